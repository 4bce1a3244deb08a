"""How good images are: against references, as sets, and against their text."""

from __future__ import annotations

from attnscope.metrics.images import frame_consistency, lpips, psnr, ssim
from attnscope.metrics.sets import fid, kid
from attnscope.metrics.text import clip_score

__all__ = ["clip_score", "fid", "frame_consistency", "kid", "lpips", "psnr", "ssim"]
