"""What to measure while a pipeline denoises: one question a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import load_from

if TYPE_CHECKING:
    from attnscope.observers.branches import BranchDistance
    from attnscope.observers.captions import CaptionDistance
    from attnscope.observers.clean_images import CleanEstimates
    from attnscope.observers.final import FinalDistance
    from attnscope.observers.maps import FeatureMaps
    from attnscope.observers.noise import NoiseMean
    from attnscope.observers.predictions import PredictionDistance
    from attnscope.observers.steps import StepDistance

_HOMES = {
    "branches": ["BranchDistance"],
    "captions": ["CaptionDistance"],
    "clean_images": ["CleanEstimates"],
    "final": ["FinalDistance"],
    "maps": ["FeatureMaps"],
    "noise": ["NoiseMean"],
    "predictions": ["PredictionDistance"],
    "steps": ["StepDistance"],
}

__all__ = [
    "BranchDistance",
    "CaptionDistance",
    "CleanEstimates",
    "FeatureMaps",
    "FinalDistance",
    "NoiseMean",
    "PredictionDistance",
    "StepDistance",
]

__getattr__ = load_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
