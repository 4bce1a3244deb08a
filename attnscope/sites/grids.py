"""Where the tokens of a site lie in the image: from a count of tokens to rows and columns.

The size comes from the latents that the denoiser was called on, never from a square root, so it holds
for images of any shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnscope.errors import InputError


class Grid(NamedTuple):
    """How the image's tokens of a site are laid out.

    Args:
        frames: of a video; 1 for images.
        height: rows of tokens.
        width: columns of tokens.
    """

    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Layout:
    """What a call of a denoiser tells of text and image.

    Args:
        shape: of the latents that it was given, ``[batch, ...]``.
        text: tokens of the text that it was given; ``None`` if it was given none.
        ids: where every token of the image stands, ``[tokens, axes]``, of models that are given
            their latents as a sequence (Flux); rows and columns are the second and third axis.
        channels: of the latents.
    """

    shape: tuple[int, ...]
    text: int | None = None
    ids: Tensor | None = None
    channels: int | None = None

    @classmethod
    def of(cls, first: Any, kwargs: Mapping[str, Any], channels: int | None = None) -> Layout:
        """That of a call.

        Args:
            first: the latents that the denoiser is called on.
            kwargs: the call's keywords.
            channels: of the latents, by the denoiser's configuration.
        """
        text = kwargs.get("encoder_hidden_states")
        ids = kwargs.get("img_ids")
        if isinstance(ids, Tensor) and ids.ndim == 3:  # a row a sample, all alike
            ids = ids[0]
        ids = _ids_of(kwargs.get("img_shapes")) if ids is None else ids
        return cls(
            tuple(getattr(first, "shape", ())),
            text.shape[1] if isinstance(text, Tensor) and text.ndim == 3 else None,
            ids if isinstance(ids, Tensor) else None,
            channels,
        )

    @property
    def frames(self) -> int:
        """Of a video's latents; 1 for images."""
        if len(self.shape) != 5:
            return 1
        first, second = self.shape[1:3]
        return second if first == self.channels else first if second == self.channels else second

    def places(
        self, points: Sequence[tuple[float, float]], tokens: int, site: str, device: torch.device
    ) -> Tensor:
        """Which of so many tokens stand at points of the image; in a video, of its first frame.

        Nothing is read from the device.

        Args:
            points: x and y, from 0 to 1 of the width and of the height.
            tokens: of the image at a site.
            site: its name, for the error.
            device: where the answer is wanted.

        Returns:
            int64 ``[points]``.

        Raises:
            InputError: how they are laid out is not known.
        """
        xy = torch.tensor(points, dtype=torch.float64).to(device, non_blocking=True)
        if self.ids is not None:
            size = self.ids[:, 1:3].to(device).amax(0).double() + 1
        else:
            _, height, width = self.grid(tokens, site)
            size = torch.tensor([height, width]).double().to(device, non_blocking=True)
        at = torch.minimum((xy.flip(-1) * size).floor(), size - 1)
        return (at[:, 0] * size[1] + at[:, 1]).long().clamp(0, tokens - 1)

    def is_over_the_image(self, tokens: int, apart: int, site: str) -> bool:
        """Whether attention goes over an image, a frame or a whole video, not over frames at a position.

        Args:
            tokens: that attention goes over.
            apart: such sequences in a sample.
            site: its name, for the error.

        Raises:
            InputError: how they are laid out is not known.
        """
        if apart == 1:
            return True
        return apart == self.frames > 1 and self.grid(tokens, site, apart).frames == 1

    def grid(self, tokens: int, site: str, apart: int = 1) -> Grid:
        """How so many tokens of a sample, or of one of its frames, are laid out. Reads from the device.

        U-Nets halve their latents from stage to stage, and round up; transformers take patches.

        Args:
            tokens: of the image at a site.
            site: its name, for the error.
            apart: such sequences in a sample, one a frame.

        Raises:
            InputError: no layout of the latents gives so many.
        """
        if self.ids is not None:
            rows, columns = (int(self.ids[:, axis].max().item()) + 1 for axis in (1, 2))
            if rows * columns == tokens:
                return Grid(1, rows, columns)
        elif len(self.shape) in (4, 5):
            # A video in one sequence first: its frames at half the size may be as many as one frame.
            for frames in (1,) if apart > 1 or self.frames == 1 else (self.frames, 1):
                height, width = self.shape[-2:]
                while tokens != frames * height * width and height * width > 1:
                    height, width = -(-height // 2), -(-width // 2)
                if tokens == frames * height * width:
                    return Grid(frames, height, width)
        raise InputError(
            f"how the {tokens} tokens of the image at {site} are laid out is not known: the denoiser "
            f"was called on {list(self.shape)}"
        )


def _ids_of(shapes: Any) -> Tensor | None:
    """Where every token of an image stands, of models that are told its size (Qwen-Image); else ``None``.

    Args:
        shapes: of every sample the frames, rows and columns of its images; of one image alone it is known
            which tokens are the generated one's.
    """
    first = shapes[0] if isinstance(shapes, (list, tuple)) and len(shapes) else None
    if isinstance(first, list) and len(first) == 1:
        (first,) = first
    if not isinstance(first, tuple) or len(first) != 3 or first[0] != 1:
        return None
    return torch.cartesian_prod(*(torch.arange(int(size)) for size in first))
