"""How steady a video is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attnscope.metrics.measures.base import Measure, measures

if TYPE_CHECKING:
    from PIL.Image import Image


@measures("videos", frames=Measure("frame distance", higher=False, leading=9))
def steadiness(frames: Sequence[Image]) -> dict[str, float]:
    """How far adjacent frames are apart."""
    from attnscope.metrics import frame_consistency

    return {"frames": frame_consistency(frames)}
