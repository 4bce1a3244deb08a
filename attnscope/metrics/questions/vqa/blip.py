"""BLIP for questions (Li et al. 2022, "BLIP"): an encoder reads the question over the image, a decoder writes.

The probabilities are those of the first token that is written, as T2I-CompBench takes them
(``vqa_prob`` in ``BLIPvqa_eval/models/blip_vqa.py`` of its repository).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from PIL.Image import Image

from attnscope.metrics.questions.vqa.base import Asked, FirstTokens
from attnscope.metrics.questions.vqa.models import Model

_LONGEST = 35
"""Tokens of a question, beyond which it is cut, as the authors do."""


class Blip(Model):
    """``BlipForQuestionAnswering`` and its processor."""

    about = "first token of BLIP's answer"
    architecture: ClassVar[str | None] = "BlipForQuestionAnswering"

    def __init__(self, name: str, config: Any, processor: Any, **how: Any) -> None:
        super().__init__(name, config, processor, **how)
        self.answering = FirstTokens(processor.tokenizer)

    @classmethod
    def of_transformers(cls) -> Any:
        """``BlipForQuestionAnswering``."""
        from transformers import BlipForQuestionAnswering

        return BlipForQuestionAnswering

    def probabilities(self, images: Sequence[Image], asked: Sequence[Asked]) -> torch.Tensor:
        """Of the first token: ``[questions, tokens]``. Every image is encoded once."""
        model = self.model
        places = list(dict.fromkeys(one.image for one in asked))
        pixels = self.processor.image_processor(
            [images[place] for place in places], return_tensors="pt"
        )["pixel_values"].to(self.device, model.dtype)
        seen = model.vision_model(pixel_values=pixels)[0]
        found: dict[int, torch.Tensor] = {}
        for numbers, tokens in self._by_length(asked):
            of = [places.index(asked[number].image) for number in numbers]
            found |= dict(zip(numbers, self._first_token(seen[of], tokens), strict=True))
        return torch.stack([found[number] for number in range(len(asked))])

    def _by_length(self, asked: Sequence[Asked]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The questions of as many tokens together, so that none is padded.

        transformers 5.23 hands the mask of the padding to ``BlipTextSelfAttention`` under a name that it does
        not read where it attends to the question: the answer would depend on the longest one beside it.
        """
        tokens = self.processor.tokenizer(
            [one.ask.text for one in asked],
            truncation=True,
            max_length=min(_LONGEST, self.config.text_config.max_position_embeddings),
        )["input_ids"]
        for length in sorted({len(row) for row in tokens}):
            numbers = [number for number, row in enumerate(tokens) if len(row) == length]
            rows = torch.tensor([tokens[number] for number in numbers], device=self.device)
            yield numbers, rows

    def _first_token(self, seen: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Probabilities ``[questions, tokens]``.

        Args:
            seen: encoded images ``[questions, patches, channels]``.
            question: int64 ``[questions, tokens]``, none of which is padding.
        """
        model = self.model
        read = model.text_encoder(
            input_ids=question,
            attention_mask=torch.ones_like(question),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=self.device),
        )[0]
        start = torch.full((len(question), 1), model.decoder_start_token_id, device=self.device)
        written = model.text_decoder(
            input_ids=start,
            encoder_hidden_states=read,
            encoder_attention_mask=torch.ones_like(question),
        )
        return torch.softmax(written.logits[:, 0].float(), dim=-1)
