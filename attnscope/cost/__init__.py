"""What a model's attention costs and what a plan saves, in multiply-accumulates (MACs).

``counts`` holds the cost of one call of the denoiser, which ``counting`` finds from shapes alone;
``plans`` says what a plan makes of it, ``resolutions`` what it is at other sizes, and ``published`` what
the paper has for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import lazily

if TYPE_CHECKING:
    from attnscope.cost.counting import count_architecture as count_architecture
    from attnscope.cost.counts import CONVENTIONS as CONVENTIONS
    from attnscope.cost.counts import PARTS as PARTS
    from attnscope.cost.counts import Convention as Convention
    from attnscope.cost.counts import Counts as Counts
    from attnscope.cost.counts import SiteCost as SiteCost
    from attnscope.cost.counts import counted as counted
    from attnscope.cost.counts import summed as summed
    from attnscope.cost.plans import Cost as Cost
    from attnscope.cost.plans import attribution as attribution
    from attnscope.cost.plans import cost_of as cost_of
    from attnscope.cost.plans import savings as savings
    from attnscope.cost.resolutions import counts_of as counts_of
    from attnscope.cost.resolutions import crossover as crossover
    from attnscope.cost.resolutions import scaling as scaling

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
