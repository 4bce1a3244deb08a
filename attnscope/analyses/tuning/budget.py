"""What a plan may cost in quality, or has to gain in speed: ``ssim>=0.98``, ``psnr>=35``, ``damage<=0.01``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from attnscope.errors import InputError

MEASURES = {"ssim": ">=", "psnr": ">=", "damage": "<="}
"""What a budget may be of, and which way round: ``damage`` is |x' - x|² / |x|² of the final latents."""
WAYS = ("macs", "time")
"""By what plans are searched: multiply-accumulates, or the time that modules take on this machine."""
_FORM = re.compile(r"\s*([a-z]+)\s*(>=|<=)\s*([0-9.eE+-]+)\s*")


@dataclass(frozen=True)
class Budget:
    """A bound on what a plan does to the images, compared with those of S.

    Args:
        measure: one of :data:`MEASURES`.
        bound: what its mean must reach, or may not pass.
    """

    measure: str
    bound: float

    def margin(self, mean: float, error: float) -> float:
        """By how much a measured mean keeps to it, one standard error subtracted; negative if not.

        Args:
            mean: over images.
            error: its standard error.
        """
        return self.better(mean - self.bound) - error

    def tightened(self, by: float) -> Budget:
        """The same measure with a bound that asks for more.

        Args:
            by: how much more, as of :meth:`margin`.
        """
        return Budget(self.measure, self.bound + self.better(by))

    def better(self, value: float) -> float:
        """A value as a number that is the larger the better."""
        return value if MEASURES[self.measure] == ">=" else -value

    def __str__(self) -> str:
        return f"{self.measure}{MEASURES[self.measure]}{self.bound!r}"


def parse(text: str) -> Budget:
    """A budget from its text form.

    Raises:
        InputError: it is none, or its measure is not known or the other way round.
    """
    match = _FORM.fullmatch(text)
    examples = ", ".join(f"{name}{sign}…" for name, sign in MEASURES.items())
    try:
        name, sign, bound = match.groups() if match else ("", "", "")
        value = float(bound)
    except ValueError as error:
        raise InputError(
            f"budget {text!r} is none: write {examples}, such as ssim>=0.98"
        ) from error
    if MEASURES.get(name) != sign:
        raise InputError(f"budget {text!r} cannot be kept to: choose from {examples}")
    if not isfinite(value) or value <= 0 or (name == "ssim" and value > 1):
        raise InputError(
            f"budget {text!r} is out of range: an SSIM is at most 1, and all are above 0"
        )
    return Budget(name, value)
