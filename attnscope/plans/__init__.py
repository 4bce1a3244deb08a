"""Plans: what every attention call, every guidance branch and the text do at every denoising step.

Nothing here needs torch. ``text_form`` reads and writes ``m=10,k=5``; ``reuse``, ``guidance`` and
``null_text`` hold the plans of the paper, ``base`` what a plan of one's own is derived from, ``parts``
the parts that a plan falls into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import load_from

if TYPE_CHECKING:
    from attnscope.plans.base import Action, AnySite, Baseline, Plan
    from attnscope.plans.guidance import GuidanceCutoff
    from attnscope.plans.null_text import NullTextEarly, NullTextLate
    from attnscope.plans.options import Option
    from attnscope.plans.parts import Alone, Within
    from attnscope.plans.reuse import CrossReuse, SelfReuseEarly, SelfReuseLate, TGate
    from attnscope.plans.text_form import Combined, parse
    from attnscope.plans.trajectory import Trajectory

_HOMES = {
    "base": ["Action", "AnySite", "Baseline", "Plan"],
    "guidance": ["GuidanceCutoff"],
    "null_text": ["NullTextEarly", "NullTextLate"],
    "options": ["Option"],
    "parts": ["Alone", "Within"],
    "reuse": ["CrossReuse", "SelfReuseEarly", "SelfReuseLate", "TGate"],
    "text_form": ["Combined", "parse"],
    "trajectory": ["Trajectory"],
}

__all__ = [
    "Action",
    "Alone",
    "AnySite",
    "Baseline",
    "Combined",
    "CrossReuse",
    "GuidanceCutoff",
    "NullTextEarly",
    "NullTextLate",
    "Option",
    "Plan",
    "SelfReuseEarly",
    "SelfReuseLate",
    "TGate",
    "Trajectory",
    "Within",
    "parse",
]

__getattr__ = load_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
