"""What the tables of an ablation hold: their columns, and measures of image quality."""

from __future__ import annotations

from dataclasses import dataclass

CELL = ("model", "scheduler", "steps", "noise_scale", "seed")
"""Columns that arms of an ablation share if they may be compared."""
LEADING = ("kid", "fid", "clip", "all", "psnr", "ssim", "frames")
"""Measures to show where there is no room for all."""
REFERENCE = "reference"
"""The trajectory of the row that shows what images as good as the references would score."""
READ = ("size", "fill", "color", "shape", "relation", "background", "all")
"""What the reader of the embedded world sees, averaged over images: the part of an image's things that
are as asked, and whether everything is (``attnscope shapes score`` averages over things)."""


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
