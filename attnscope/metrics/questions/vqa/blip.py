"""BLIP for questions (Li et al. 2022, "BLIP"): an encoder reads the question over the image, a decoder writes.

The probabilities are those of the first token that is written, as T2I-CompBench takes them
(``vqa_prob`` in ``BLIPvqa_eval/models/blip_vqa.py`` of its repository).
"""

from __future__ import annotations

from collections.abc import Sequence
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
        seen = seen[[places.index(one.image) for one in asked]]
        question = self.processor.tokenizer(
            [one.ask.text for one in asked],
            padding=True,
            truncation=True,
            max_length=min(_LONGEST, self.config.text_config.max_position_embeddings),
            return_tensors="pt",
        ).to(self.device)
        read = model.text_encoder(
            input_ids=question["input_ids"],
            attention_mask=question["attention_mask"],
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=self.device),
        )[0]
        start = torch.full((len(asked), 1), model.decoder_start_token_id, device=self.device)
        written = model.text_decoder(
            input_ids=start,
            encoder_hidden_states=read,
            encoder_attention_mask=question["attention_mask"],
        )
        return torch.softmax(written.logits[:, 0].float(), dim=-1)
