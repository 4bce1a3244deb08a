"""What to measure while a pipeline denoises: one question a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import lazily

if TYPE_CHECKING:
    from attnscope.observers.attention_maps import AttentionMaps as AttentionMaps
    from attnscope.observers.branches import BranchDistance as BranchDistance
    from attnscope.observers.captions import CaptionDistance as CaptionDistance
    from attnscope.observers.clean_images import CleanEstimates as CleanEstimates
    from attnscope.observers.features import FeatureMaps as FeatureMaps
    from attnscope.observers.final import FinalDistance as FinalDistance
    from attnscope.observers.noise import NoiseMean as NoiseMean
    from attnscope.observers.points import PointAttention as PointAttention
    from attnscope.observers.predictions import PredictionDistance as PredictionDistance
    from attnscope.observers.steps import StepDistance as StepDistance

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
