"""How far an image is from S's of the same prompt and seed."""

from __future__ import annotations

from typing import Any

from attnscope.metrics.measures.base import Measure, Seen, measures


@measures(
    "pairs",
    psnr=Measure("PSNR to S (dB)", higher=True, form=".1f", leading=7, decibels=True),
    ssim=Measure("SSIM to S", higher=True, leading=8, panel=4),
    lpips=Measure("LPIPS to S", higher=False),
)
def distances(seen: Seen) -> dict[str, Any]:
    """PSNR and SSIM, and LPIPS if it was asked for."""
    from attnscope import metrics

    given = seen.images, seen.references
    found = {"psnr": metrics.psnr(*given), "ssim": metrics.ssim(*given)}
    if seen.judges.lpips:
        found["lpips"] = metrics.lpips(*given, device=seen.judges.device)
    return found
