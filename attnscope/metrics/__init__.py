"""How good images are: against references, as sets, against their text, and by which intervals.

``images``, ``sets`` and ``text`` measure, by torchmetrics; ``features`` sees images as vectors, by
``networks``, and ``feature_sets`` holds them; ``measures`` says what is to be said of each and takes it;
``judging`` goes over the images of a run, ``summaries`` and ``verdicts`` over what it found;
``intervals`` is the statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import load_from

if TYPE_CHECKING:
    from attnscope.metrics.images import frame_consistency, lpips, psnr, ssim
    from attnscope.metrics.sets import fid, kid
    from attnscope.metrics.text import clip_score

_HOMES = {
    "images": ["frame_consistency", "lpips", "psnr", "ssim"],
    "sets": ["fid", "kid"],
    "text": ["clip_score"],
}

__all__ = ["clip_score", "fid", "frame_consistency", "kid", "lpips", "psnr", "ssim"]

__getattr__ = load_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
