"""attnscope: watch the attention of diffusion models while they denoise, and act on it.

Public names load when they are first used, so ``import attnscope`` alone is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import load_from

if TYPE_CHECKING:
    from attnscope import cost, intervals, metrics, plots
    from attnscope.hooks.accelerate import Acceleration, accelerate
    from attnscope.hooks.observer import Observer, SiteObserver
    from attnscope.hooks.trace import Trace, disable
    from attnscope.models.loading import load
    from attnscope.observers.branches import BranchDistance
    from attnscope.observers.captions import CaptionDistance
    from attnscope.observers.final import FinalDistance
    from attnscope.observers.maps import FeatureMaps
    from attnscope.observers.noise import NoiseMean
    from attnscope.observers.predictions import PredictionDistance
    from attnscope.observers.steps import StepDistance
    from attnscope.plans.base import Action, Baseline, Plan
    from attnscope.plans.guidance import GuidanceCutoff
    from attnscope.plans.null_text import NullTextEarly, NullTextLate
    from attnscope.plans.reuse import CrossReuse, SelfReuseEarly, SelfReuseLate, TGate
    from attnscope.plans.text_form import Combined
    from attnscope.plans.trajectory import Trajectory
    from attnscope.sites.attention import Site, find_sites

__version__ = "0.1.0"

_HOMES = {
    "cost": [],
    "intervals": [],
    "metrics": [],
    "plots": [],
    "hooks.accelerate": ["Acceleration", "accelerate"],
    "hooks.observer": ["Observer", "SiteObserver"],
    "hooks.trace": ["Trace", "disable"],
    "models.loading": ["load"],
    "observers.branches": ["BranchDistance"],
    "observers.captions": ["CaptionDistance"],
    "observers.final": ["FinalDistance"],
    "observers.maps": ["FeatureMaps"],
    "observers.noise": ["NoiseMean"],
    "observers.predictions": ["PredictionDistance"],
    "observers.steps": ["StepDistance"],
    "plans.base": ["Action", "Baseline", "Plan"],
    "plans.guidance": ["GuidanceCutoff"],
    "plans.null_text": ["NullTextEarly", "NullTextLate"],
    "plans.reuse": ["CrossReuse", "SelfReuseEarly", "SelfReuseLate", "TGate"],
    "plans.text_form": ["Combined"],
    "plans.trajectory": ["Trajectory"],
    "sites.attention": ["Site", "find_sites"],
}

__all__ = [
    "Acceleration",
    "Action",
    "Baseline",
    "BranchDistance",
    "CaptionDistance",
    "Combined",
    "CrossReuse",
    "FeatureMaps",
    "FinalDistance",
    "GuidanceCutoff",
    "NoiseMean",
    "NullTextEarly",
    "NullTextLate",
    "Observer",
    "Plan",
    "PredictionDistance",
    "SelfReuseEarly",
    "SelfReuseLate",
    "Site",
    "SiteObserver",
    "StepDistance",
    "TGate",
    "Trace",
    "Trajectory",
    "__version__",
    "accelerate",
    "cost",
    "disable",
    "find_sites",
    "intervals",
    "load",
    "metrics",
    "plots",
]

__getattr__ = load_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
