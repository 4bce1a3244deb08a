"""Captions as a text encoder reads them: tokens, padded, and what each should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnscope.shapes.places import token_places
from attnscope.shapes.scenes import Scene, caption


def tokenize(tokenizer: Any, captions: list[str]) -> Tensor:
    """int64 ``[captions, 24]``, padded as the pipeline pads."""
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = tokens.input_ids
    return ids


@dataclass(frozen=True, eq=False)
class Captions:
    """The captions of scenes as a text encoder reads them, and what their tokens should know.

    Args:
        tokens: int64 ``[scenes, 24]``.
        places: int64 ``[scenes, 24]``, the class in :data:`PLACES` of every token.
        null: int64 ``[1, 24]``, the tokens of "".
    """

    tokens: Tensor
    places: Tensor
    null: Tensor

    @classmethod
    def of(cls, scenes: Sequence[Scene], tokenizer: Any) -> Captions:
        """Tokenise the captions of scenes."""
        tokens = tokenize(tokenizer, [caption(scene) for scene in scenes])
        # CLIP's tokenizer begins with a token of its own, T5's with the first word.
        offset = int(tokenizer("").input_ids[0] != tokenizer.eos_token_id)
        places = token_places(scenes, tokens.shape[1], offset=offset)
        return cls(tokens, places, tokenize(tokenizer, [""]))

    def take(self, examples: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and places of a batch, those of "" where ``dropped``, so that guidance can be used.

        Args:
            examples: int64 ``[batch]``.
            dropped: bool ``[batch]``.
        """
        dropped = dropped.unsqueeze(1)
        tokens = torch.where(dropped, self.null, self.tokens[examples])
        return tokens, self.places[examples].masked_fill(dropped, 0)
