"""Where the thing that a token of a caption is about stands, as far as the caption says.

In ``a large red circle left of a small blue square`` the first four words are about a thing on the
left. A causal text encoder reads them before it reads "left of" and cannot know; a denoiser that
draws what such tokens say puts both things where chance will have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attnscope.shapes.scenes import Scene

PLACES = ("anywhere", "left", "right", "top", "bottom")
"""What a token can know of its thing's place; ``anywhere`` also for tokens about no thing of two."""

_OF_RELATION = {
    "left of": ("left", "right"),
    "right of": ("right", "left"),
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
}
"""Relation to the places of the first and the second thing."""


def word_places(scene: Scene) -> list[int]:
    """The class in :data:`PLACES` of every word of a scene's caption, up to its last thing."""
    if scene.relation is None:
        return []
    first, second = (len(thing.phrase.split()) for thing in scene.things)
    before, after = (PLACES.index(place) for place in _OF_RELATION[scene.relation])
    return [before] * first + [0] * len(scene.relation.split()) + [after] * second


def token_places(scenes: Sequence[Scene], length: int, *, offset: int) -> Tensor:
    """The class in :data:`PLACES` of every token, one to a word.

    Args:
        scenes: whose captions are tokenised.
        length: tokens of a padded caption.
        offset: tokens before the first word: 1 for CLIP's tokenizer, 0 for T5's.

    Returns:
        int64 ``[scenes, length]``.
    """
    classes = torch.zeros(len(scenes), length, dtype=torch.int64)
    for row, scene in zip(classes, scenes, strict=True):
        words = torch.tensor(word_places(scene), dtype=torch.int64)
        row[offset : offset + len(words)] = words
    return classes
