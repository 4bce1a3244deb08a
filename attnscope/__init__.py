"""attnscope: watch the attention of diffusion models while they denoise, and act on it.

Public names load when they are first used, so ``import attnscope`` alone is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import lazily

if TYPE_CHECKING:
    from attnscope import cost as cost
    from attnscope import intervals as intervals
    from attnscope import metrics as metrics
    from attnscope import plots as plots
    from attnscope.hooks.accelerate import Acceleration as Acceleration
    from attnscope.hooks.accelerate import accelerate as accelerate
    from attnscope.hooks.observer import Observer as Observer
    from attnscope.hooks.observer import SiteObserver as SiteObserver
    from attnscope.hooks.trace import Trace as Trace
    from attnscope.hooks.trace import disable as disable
    from attnscope.models.loading import load as load
    from attnscope.observers.attention_maps import AttentionMaps as AttentionMaps
    from attnscope.observers.branches import BranchDistance as BranchDistance
    from attnscope.observers.captions import CaptionDistance as CaptionDistance
    from attnscope.observers.features import FeatureMaps as FeatureMaps
    from attnscope.observers.final import FinalDistance as FinalDistance
    from attnscope.observers.noise import NoiseMean as NoiseMean
    from attnscope.observers.points import PointAttention as PointAttention
    from attnscope.observers.predictions import PredictionDistance as PredictionDistance
    from attnscope.observers.steps import StepDistance as StepDistance
    from attnscope.plans.base import Action as Action
    from attnscope.plans.base import Baseline as Baseline
    from attnscope.plans.base import Plan as Plan
    from attnscope.plans.guidance import GuidanceCutoff as GuidanceCutoff
    from attnscope.plans.null_text import NullTextEarly as NullTextEarly
    from attnscope.plans.null_text import NullTextLate as NullTextLate
    from attnscope.plans.reuse import CrossReuse as CrossReuse
    from attnscope.plans.reuse import SelfReuseEarly as SelfReuseEarly
    from attnscope.plans.reuse import SelfReuseLate as SelfReuseLate
    from attnscope.plans.reuse import TGate as TGate
    from attnscope.plans.reweight import Reweight as Reweight
    from attnscope.plans.text_form import Combined as Combined
    from attnscope.plans.trajectory import Trajectory as Trajectory
    from attnscope.sites.attention import Site as Site
    from attnscope.sites.attention import find_sites as find_sites

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
