"""The reader: a small classifier that says what an image of the shapes world shows.

It has one head per attribute and object. Objects stand in canonical order (left to right, or top
to bottom), and a caption is brought to that order before the two are compared, so "a red circle
left of a blue square" and "a blue square right of a red circle" read alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

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
"""Head name to its classes, in the order of :func:`encode`'s columns."""

ATTRIBUTES = ("size", "fill", "color", "shape", "relation", "background")
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


def matches(read: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Where the reading agrees with the scenes.

    Args:
        read: int64 ``[batch, heads]`` from :meth:`Reader.read`.
        scenes: what the captions ask for, ``batch`` of them.

    Returns:
        float32 ``[batch, heads]``: 1 agrees, 0 does not, NaN where the head does not apply.
    """
    asked = torch.tensor([encode(scene) for scene in scenes], device=read.device)
    agreed = (read == asked).float()
    return agreed.masked_fill(asked == ABSENT, float("nan"))


def alignment(agreed: Tensor) -> dict[str, float]:
    """Fraction of what was asked for that was seen, by attribute, and ``all`` of it at once.

    Sizes, fills, colours and shapes count per thing; relation, background and ``all`` per image.

    Args:
        agreed: from :func:`matches`.
    """
    names = list(HEADS)
    scores = {}
    for attribute in ATTRIBUTES:
        columns = [i for i, name in enumerate(names) if name.split("_")[0] == attribute]
        scores[attribute] = float(agreed[:, columns].nanmean())
    scores["all"] = float((agreed.nan_to_num(1.0).min(dim=1).values == 1).float().mean())
    return scores
