"""The reader: a small classifier that says what an image of the shapes world shows.

It has one head per attribute and object. Objects stand in canonical order (left to right, or top
to bottom), and a caption is brought to that order before the two are compared, so "a red circle
left of a blue square" and "a blue square right of a red circle" read alike.

:func:`agreement` says what a person would of an image and its caption: are these the things that were
asked for, and do they stand where they should? The two are apart: things in each other's place are
right things in wrong places.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from attnscope.runs.columns import READ
from attnscope.shapes.scenes import (
    BACKGROUNDS,
    COLORS,
    FILLS,
    SHAPES,
    SIZES,
    Scene,
)

LAYOUTS = ("single", "left of", "above")
"""What a canonical scene's relation can be; ``single`` is a scene of one thing."""
SINGLE = LAYOUTS.index("single")

HEADS: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "relation": LAYOUTS,
    **{
        f"{attribute}_{slot}": values
        for slot in (1, 2)
        for attribute, values in (
            ("size", SIZES),
            ("fill", FILLS),
            ("color", COLORS),
            ("shape", SHAPES),
        )
    },
}
"""Head name to its classes, in the order of :func:`encode`'s columns. The head ``relation`` tells the
axis alone: whatever stands first in canonical order is the first thing."""
_LAYOUT = list(HEADS).index("relation")

ATTRIBUTES = ("size", "fill", "color", "shape")
"""What a thing has."""
ABSENT = -100
"""Class of a head that does not apply (the second thing of a single one); ignored by the loss."""


def encode(scene: Scene) -> list[int]:
    """The class of every head for a scene, in the order of :data:`HEADS`."""
    scene = scene.canonical()
    classes = [BACKGROUNDS.index(scene.background), LAYOUTS.index(scene.relation or "single")]
    for slot in range(2):
        if slot >= len(scene.things):
            classes += [ABSENT] * 4
            continue
        thing = scene.things[slot]
        classes += [
            SIZES.index(thing.size),
            FILLS.index(thing.fill),
            COLORS.index(thing.color),
            SHAPES.index(thing.shape),
        ]
    return classes


class AttributeHeads(nn.Module):
    """Linear heads over features ``[..., width]``; logits by head name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.ModuleDict({name: nn.Linear(width, len(c)) for name, c in HEADS.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {name: head(features) for name, head in self.linear.items()}


def heads_loss(logits: dict[str, Tensor], classes: Tensor) -> Tensor:
    """Mean cross-entropy over the heads.

    Args:
        logits: by head, ``[batch, classes]``.
        classes: int64 ``[batch, heads]`` from :func:`encode`.
    """
    losses = []
    for column, name in enumerate(HEADS):
        target = classes[:, column]
        total = nn.functional.cross_entropy(
            logits[name].float(), target, ignore_index=ABSENT, reduction="sum"
        )
        losses.append(total / (target != ABSENT).sum().clamp(min=1))
    return torch.stack(losses).mean()


class Reader(nn.Module):
    """Images ``[batch, 3, 64, 64]`` in [-1, 1] to features ``[batch, 256]`` and head logits."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 128)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 256), nn.SiLU())
        self.heads = AttributeHeads(256)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features, ``[batch, 256]``."""
        out: Tensor = self.trunk(images)
        return out

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.heads(self.features(images))
        return logits

    @torch.inference_mode()
    def read(self, images: Tensor) -> Tensor:
        """The most likely class of every head: int64 ``[batch, heads]``, on the images' device."""
        return torch.stack([logits.argmax(-1) for logits in self(images).values()], dim=1)


def load_reader(folder: Path) -> Reader:
    """The trained reader of a shapes folder, in evaluation mode, float32, on the CPU."""
    reader = Reader()
    state = load_file(folder / "reader.safetensors")
    reader.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return reader.requires_grad_(False).eval()


def agreement(read: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """What of the scenes the reading shows.

    With an asked thing ``t`` and the seen thing ``p(t)`` that it is taken for, ``p`` is the one of the
    two assignments under which more attributes agree::

        p = argmax_p  sum_t sum_a [a(p(t)) = a(t)]       a: size, fill, colour, shape

    and the caption's own order where both are as good (one thing drawn twice, or two things asked for
    that are alike). Under ``p``:

    - ``size``, ``fill``, ``color``, ``shape``: the part of the asked things that agree in it;
      ``attributes``: of all four. A thing that is not there agrees in nothing.
    - ``relation``: whether both things are there and stand where the caption puts them: along its axis,
      and ``p`` is the caption's order. NaN for a caption of one thing.
    - ``background``: whether it agrees. ``all``: whether all of this does and there is no thing too many.

    Args:
        read: int64 ``[batch, heads]`` from :meth:`Reader.read`.
        scenes: what the captions ask for, ``batch`` of them.

    Returns:
        float32 ``[batch, 8]``, columns as in :data:`attnscope.runs.columns.READ`, from 0 to 1.
    """
    asked = torch.tensor([encode(scene) for scene in scenes], device=read.device)
    agreed, swapped = _things(read, asked)
    background, layout = (read == asked)[:, :2].unbind(1)
    paired = asked[:, _LAYOUT] != SINGLE
    parts = agreed.sum(1) / (1.0 + paired)[:, None]
    attributes = parts.mean(1)
    placed = layout & ~swapped
    values = {
        **dict(zip(ATTRIBUTES, parts.unbind(1), strict=True)),
        "attributes": attributes,
        "relation": placed.float().masked_fill(~paired, float("nan")),
        "background": background,
        "all": (attributes == 1) & placed & background,
    }
    return torch.stack([values[name].float() for name in READ], dim=1)


def _things(read: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Which attributes agree under the better assignment, and whether it swaps the two things.

    Args:
        read: int64 ``[batch, heads]``, what is seen.
        asked: int64 ``[batch, heads]`` of :func:`encode`; what is absent agrees with nothing.

    Returns:
        bool ``[batch, things, attributes]`` and bool ``[batch]``.
    """
    seen, wanted = (heads[:, 2:].reshape(-1, 2, len(ATTRIBUTES)) for heads in (read, asked))
    # the heads of a second thing always say something: it is there only if the layout says so
    there = torch.stack([torch.ones_like(read[:, 0]), read[:, _LAYOUT] != SINGLE], dim=1).bool()
    ordered = (seen == wanted) & there[:, :, None]
    crossed = (seen.flip(1) == wanted) & there.flip(1)[:, :, None]
    swapped = crossed.sum((1, 2)) > ordered.sum((1, 2))
    return torch.where(swapped[:, None, None], crossed, ordered), swapped


def alignment(agreed: Tensor) -> dict[str, float]:
    """Means over images, by the names of :data:`attnscope.runs.columns.READ`.

    ``relation`` is the mean over captions with two things; NaN if there are none.

    Args:
        agreed: from :func:`agreement`.
    """
    return dict(zip(READ, agreed.double().nanmean(dim=0).tolist(), strict=True))
