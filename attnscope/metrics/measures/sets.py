"""How far all images of an arm are from the references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.metrics.measures.base import Measure, measures

if TYPE_CHECKING:
    from attnscope.metrics.feature_sets import FeatureSet, Statistics


@measures("sets", fid=Measure("FID", higher=False, form=".2f", leading=2, panel=5, biased=True))
def frechet(made: FeatureSet, target: FeatureSet | Statistics) -> dict[str, float]:
    """FID, for which the mean and the covariance of the references are enough."""
    from attnscope.metrics import fid

    return {"fid": fid(made, target)}


@measures("sets", kid=Measure("KID", higher=False, form=".3g", leading=1, panel=2))
def kernel(made: FeatureSet, target: FeatureSet | Statistics) -> dict[str, float]:
    """KID, where there are the references' features themselves."""
    from attnscope.metrics import kid
    from attnscope.metrics.feature_sets import FeatureSet

    return {"kid": kid(made, target)[0]} if isinstance(target, FeatureSet) else {}
