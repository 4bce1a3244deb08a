"""attnscope: watch the attention of diffusion models while they denoise, and act on it.

Public names load when they are first used, so ``import attnscope`` alone is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnscope import plots
    from attnscope.acceleration import accelerate
    from attnscope.comparisons import (
        BranchDistance,
        CaptionDistance,
        FinalDistance,
        PredictionDistance,
    )
    from attnscope.observers import FeatureMaps, NoiseMean, Observer, StepDistance
    from attnscope.pipelines import load
    from attnscope.plan import (
        Action,
        Baseline,
        Combined,
        CrossReuse,
        GuidanceCutoff,
        NullTextEarly,
        NullTextLate,
        Plan,
        SelfReuseEarly,
        SelfReuseLate,
        TGate,
    )
    from attnscope.sites import Site, find_sites
    from attnscope.trace import Trace, disable

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(
        ("BranchDistance", "CaptionDistance", "FinalDistance", "PredictionDistance"),
        "attnscope.comparisons",
    ),
    "FeatureMaps": "attnscope.observers",
    "NoiseMean": "attnscope.observers",
    "Observer": "attnscope.observers",
    "StepDistance": "attnscope.observers",
    **dict.fromkeys(
        (
            "Action",
            "Baseline",
            "Combined",
            "CrossReuse",
            "GuidanceCutoff",
            "NullTextEarly",
            "NullTextLate",
            "Plan",
            "SelfReuseEarly",
            "SelfReuseLate",
            "TGate",
        ),
        "attnscope.plan",
    ),
    "Site": "attnscope.sites",
    "find_sites": "attnscope.sites",
    "Trace": "attnscope.trace",
    "accelerate": "attnscope.acceleration",
    "disable": "attnscope.trace",
    "load": "attnscope.pipelines",
}

__all__ = [
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
    "StepDistance",
    "TGate",
    "Trace",
    "__version__",
    "accelerate",
    "disable",
    "find_sites",
    "load",
    "plots",
]


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module("attnscope.plots")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
