"""Measures of image quality: what they are called, which way is better, how they are written."""

from __future__ import annotations

from dataclasses import dataclass

from attnscope.runs.columns import READ

LEADING = ("kid", "fid", "clip", "all", "attributes", "relation", "psnr", "ssim", "frames")
"""Measures to show in tables where there is no room for all."""
DRAWN = tuple(name for name in LEADING if name not in ("attributes", "relation"))
"""Those that figures have axes for, the first ones first: ``all`` stands for its parts."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Args:
        label: for axes and tables.
        higher: whether a higher value is better.
        form: how values are written, as a format specification.
    """

    label: str
    higher: bool
    form: str = ".3f"

    @property
    def heading(self) -> str:
        """The label with an arrow that points to the better."""
        return f"{self.label} {'↑' if self.higher else '↓'}"


MEASURES: dict[str, Measure] = {
    "fid": Measure("FID", higher=False, form=".2f"),
    "kid": Measure("KID", higher=False, form=".3g"),
    "clip": Measure("CLIP score", higher=True, form=".2f"),
    **{name: Measure(name, higher=True) for name in READ if name != "all"},
    "all": Measure("all as asked", higher=True),
    "psnr": Measure("PSNR to S (dB)", higher=True, form=".1f"),
    "ssim": Measure("SSIM to S", higher=True),
    "lpips": Measure("LPIPS to S", higher=False),
    "frames": Measure("frame distance", higher=False),
}
"""By the name that tables use; those that lead come first."""
