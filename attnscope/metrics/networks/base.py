"""What is to be said of a network that sees images as vectors, and how it comes to be known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    Build = Callable[[Path | None], nn.Module]
    """From weights, ``None`` being those that are installed, to a network that takes float32 pixels
    from 0 to 255, ``[n, 3, side, side]``, and returns float32 features ``[n, width]``."""


def _as_many(count: int) -> int:
    return max(count, 1000)


@dataclass(frozen=True)
class Network:
    """What features are of.

    Args:
        name: what they are called.
        build: loads the network.
        side: height and width of the images that it takes, in pixels.
        resizes: whether images of other sizes are brought to it; if not, they are refused.
        file: where in a folder of weights its own stand; ``None`` where weights are a file.
        rendered: how many scenes of the embedded world to compare so many images with.
    """

    name: str
    build: Build
    side: int = 256
    resizes: bool = True
    file: str | None = None
    rendered: Callable[[int], int] = _as_many

    @property
    def protocol(self) -> str:
        """How images are resized: as in the paper, or not at all."""
        how = "antialiased bilinear" if self.resizes else "not resized"
        return f"{self.side} x {self.side}, {how}"

    def file_of(self, weights: Path) -> Path:
        """The file that holds the weights."""
        return weights if self.file is None else weights / self.file


NETWORKS: dict[str, Network] = {}
"""By the names that their features go by in settings and on the command line."""


def registered(
    name: str,
    *,
    side: int = 256,
    resizes: bool = True,
    file: str | None = None,
    rendered: Callable[[int], int] = _as_many,
) -> Callable[[Build], Build]:
    """Make what builds a network known by the name of its features.

    Args:
        name: and all that follows as of :class:`Network`.
        side: see there.
        resizes: see there.
        file: see there.
        rendered: see there.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: there are features of this name.
    """
    if name in NETWORKS:
        raise ValueError(f"there are two networks {name!r}")

    def register(build: Build) -> Build:
        NETWORKS[name] = Network(name, build, side, resizes, file, rendered)
        return build

    return register
