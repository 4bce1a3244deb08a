"""What each patch of an image shows: an auxiliary loss for transformers, which see in patches.

Velocities are mean squares over latents, in which colours and backgrounds weigh much and shapes,
fills and sizes little. Asked what the thing that covers it is like, a patch half way through the
network has to fetch the words of that thing and of no other. Representations that are told what the
clean image shows train diffusion transformers many times faster (Yu et al. 2025, "Representation
Alignment for Generation", which takes a frozen image encoder's word for it; here the scene is
known).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attnscope.shapes.reader import ABSENT, HEADS, encode
from attnscope.shapes.scenes import RESOLUTION, Scene, arrange

_SIZES = [len(values) for name, values in HEADS.items() if name.endswith("_1")]
_REACH = 0.8
"""Part of a thing's radius within which the centre of a patch is the thing's: every shape covers
most of it, and it reaches a centre of an 8x8 patch wherever the thing stands."""


def covered(scene: Scene, rng: np.random.Generator | None, side: int) -> NDArray[np.uint8]:
    """Which thing covers which patch: 0 none, 1 the first in canonical order, 2 the second.

    Args:
        scene: what is shown.
        rng: as for :func:`attnscope.shapes.scenes.render`, which drew the image.
        side: patches to a side.

    Returns:
        uint8 ``[side, side]``, rows from the top.
    """
    centers = (np.arange(side) + 0.5) * RESOLUTION / side
    patches = np.zeros((side, side), dtype=np.uint8)
    for number, (_, radius, (x, y)) in enumerate(arrange(scene, rng), start=1):
        distance = np.hypot(centers[None, :] - x, centers[:, None] - y)
        patches[distance < _REACH * radius] = number
    return patches


class Shown(nn.Module):
    """A head that makes patches tell size, fill, colour and shape of the thing that covers them.

    Args:
        scenes: the training scenes in their order.
        seed: that their images were drawn by.
        side: patches to a side.
        width: of a patch's states.
    """

    def __init__(self, scenes: Sequence[Scene], seed: int, side: int, width: int) -> None:
        super().__init__()
        rngs = (np.random.default_rng([seed, index]) for index in range(len(scenes)))
        patches = [covered(s, rng, side).ravel() for s, rng in zip(scenes, rngs, strict=True)]
        self._patches = torch.from_numpy(np.stack(patches))
        classes = torch.tensor([encode(scene)[2:] for scene in scenes])
        things = classes.view(-1, 2, len(_SIZES))
        # Row 0 is of no thing: its attributes do not apply.
        nothing = torch.full_like(things[:, :1], ABSENT)
        self._attributes = torch.cat([nothing, things], dim=1)
        self.head = nn.Linear(width, sum(_SIZES), bias=False)

    def __deepcopy__(self, memo: dict[int, object]) -> Shown:
        """A copy with a head of its own and the same scenes."""
        copy = Shown.__new__(Shown)
        nn.Module.__init__(copy)
        memo[id(self)] = copy
        copy._patches, copy._attributes = self._patches, self._attributes
        copy.head = nn.Linear(self.head.in_features, self.head.out_features, bias=False)
        copy.head.to(self.head.weight.device).load_state_dict(self.head.state_dict())
        return copy

    def targets(self, examples: Tensor) -> Tensor:
        """Classes of the attributes: int64 ``[batch, patches, 4]``, ``ABSENT`` where no thing is.

        Args:
            examples: numbers of scenes, int64 ``[batch]``.
        """
        patches = self._patches[examples].long().unsqueeze(-1)
        width = self._attributes.shape[-1]
        return self._attributes[examples].gather(1, patches.expand(-1, -1, width))

    def forward(self, states: Tensor, examples: Tensor) -> Tensor:
        """The sum over attributes of the mean cross-entropy over patches that things cover.

        Args:
            states: of the patches, ``[batch, patches, width]``.
            examples: numbers of their scenes, int64 ``[batch]``.
        """
        targets = self.targets(examples).to(states.device).flatten(0, 1)
        covered = targets[:, 0] != ABSENT
        states = nn.functional.layer_norm(states, states.shape[-1:]).flatten(0, 1)[covered]
        told = self.head(states).float().split(_SIZES, dim=-1)
        losses = [
            nn.functional.cross_entropy(logits, target)
            for logits, target in zip(told, targets[covered].unbind(1), strict=True)
        ]
        return torch.stack(losses).sum()
