"""How much memory the maps of a run take: told before anything is made, and kept within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnscope.analyses.maps.words import Group
from attnscope.errors import InputError

if TYPE_CHECKING:
    from attnscope.analyses.maps.run import MapsSettings

MOST = 2**31
"""Bytes that the maps of a batch take at most, where they are of several images: the same everywhere, so
that batches do not depend on the machine."""


@dataclass(frozen=True)
class Memory:
    """What the maps of one image take, of the prompt with most words.

    Args:
        device: bytes, while its steps are made.
        host: bytes of all of them at one resolution, as a file is made of them.
        file: bytes, in half precision.
    """

    device: int
    host: int
    file: int

    @property
    def whole(self) -> int:
        """At the most: on the device, of which the host keeps a copy, put together, and as a file."""
        return 2 * self.device + self.host + 3 * self.file

    @property
    def told(self) -> str:
        """In words."""
        return (
            f"maps of an image take {_size(self.device)} on the device and {_size(self.host)} in memory, "
            f"and {_size(self.file)} in a file"
        )

    def batch(self, size: int) -> int:
        """How many images are made at once, where so many would be."""
        return min(size, max(1, MOST // max(1, self.whole)))


def foreseen(
    pipe: Any, settings: MapsSettings, groups: Sequence[Sequence[Group]], steps: int
) -> Memory | None:
    """What maps will take; ``None`` of videos, and where it is not known how large those of a denoiser are.

    Args:
        pipe: that is watched.
        settings: of the run.
        groups: of every prompt, those that have maps.
        steps: that it has.

    Raises:
        InputError: the machine has not so much memory for one image.
    """
    import psutil  # which accelerate brings

    from attnscope.observers.attention_maps import AttentionMaps
    from attnscope.observers.points import PointAttention
    from attnscope.sites.denoiser import Denoiser

    if Denoiser.of(pipe).family.makes_videos:
        return None

    def asked(kind: Any, *given: Any) -> Any:
        each = "head" if settings.heads else "model"
        return kind(*given, steps=settings.looked_at, each=each, sites=settings.sites)

    of = {"steps": steps, "height": settings.height, "width": settings.width}
    keeping = [asked(AttentionMaps, groups)]
    if settings.points is not None:
        keeping.append(asked(PointAttention, settings.points))
    try:
        device = sum(observer.nbytes(pipe, **of) for observer in keeping)
        host = sum(observer.host_nbytes(pipe, **of) for observer in keeping)
    except InputError:
        return None
    made = Memory(device, host, host // 2)
    free = psutil.virtual_memory().available
    if made.whole > free:
        raise InputError(
            f"{made.told}, {_size(made.whole)} at the most, and {_size(free)} are free: choose fewer "
            "steps by `at`, fewer `sites` or `words`"
            + (", or leave `heads` out" if settings.heads else "")
        )
    return made


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
