"""Plans: what every module, every guidance branch and the text do at every denoising step.

Nothing here needs torch. ``text_form`` reads and writes ``m=10,k=5``; ``reuse``, ``guidance`` and
``null_text`` hold the plans of the paper, ``timetable`` those that are found and kept in files, ``base``
what a plan of one's own is derived from, ``parts`` the parts that a plan falls into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import lazily

if TYPE_CHECKING:
    from attnscope.plans.base import Action as Action
    from attnscope.plans.base import AnySite as AnySite
    from attnscope.plans.base import Baseline as Baseline
    from attnscope.plans.base import Plan as Plan
    from attnscope.plans.guidance import GuidanceCutoff as GuidanceCutoff
    from attnscope.plans.null_text import NullTextEarly as NullTextEarly
    from attnscope.plans.null_text import NullTextLate as NullTextLate
    from attnscope.plans.options import Option as Option
    from attnscope.plans.parts import Alone as Alone
    from attnscope.plans.parts import Within as Within
    from attnscope.plans.reuse import CrossReuse as CrossReuse
    from attnscope.plans.reuse import SelfReuseEarly as SelfReuseEarly
    from attnscope.plans.reuse import SelfReuseLate as SelfReuseLate
    from attnscope.plans.reuse import TGate as TGate
    from attnscope.plans.reweight import Reweight as Reweight
    from attnscope.plans.text_form import Combined as Combined
    from attnscope.plans.text_form import parse as parse
    from attnscope.plans.timetable import Timetable as Timetable
    from attnscope.plans.trajectory import Trajectory as Trajectory

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
