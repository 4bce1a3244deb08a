"""Vision-language models that talk: the probabilities of the first token of their reply.

The question is one turn of a user, an image and a text, in the model's own chat template; a checkpoint
without a template, such as BLIP-2's, is given ``Question: … Answer:``. Nothing is drawn by chance: the
probabilities are those of the model itself, before sampling settings of its checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image

from attnscope.errors import InputError
from attnscope.metrics.questions.base import Ask
from attnscope.metrics.questions.vqa.base import Asked, FirstTokens
from attnscope.metrics.questions.vqa.models import Model


class Talking(Model):
    """What ``AutoModelForImageTextToText`` loads, and its processor."""

    about = "first token of the reply"

    def __init__(self, name: str, config: Any, processor: Any, **how: Any) -> None:
        super().__init__(name, config, processor, **how)
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is None:
            raise InputError(
                f"`vqa`: {name!r} has no processor for images and text: choose another"
            )
        tokenizer.padding_side = "left"  # so that the reply begins at the end of every row
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.answering = FirstTokens(tokenizer)

    @classmethod
    def of_transformers(cls) -> Any:
        """``AutoModelForImageTextToText``."""
        from transformers import AutoModelForImageTextToText

        return AutoModelForImageTextToText

    def probabilities(self, images: Sequence[Image], asked: Sequence[Asked]) -> torch.Tensor:
        """Of the first token: ``[questions, tokens]``."""
        given = self._given([(images[one.image], one.ask) for one in asked])
        model = self.model
        replies = model.generate(
            **self.placed(given),
            max_new_tokens=1,
            min_new_tokens=1,
            do_sample=False,
            num_beams=1,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=self.processor.tokenizer.pad_token_id,
        )
        return torch.softmax(replies.logits[0].float(), dim=-1)

    def _given(self, pairs: Sequence[tuple[Image, Ask]]) -> Any:
        """What the model takes: images and texts, padded on the left."""
        if getattr(self.processor, "chat_template", None) is None:
            texts = [f"Question: {_said(ask)} Answer:" for _, ask in pairs]
            images: list[Any] = [image for image, _ in pairs]
            return self.processor(images=images, text=texts, padding=True, return_tensors="pt")
        texts = [
            self.processor.apply_chat_template(
                _turn(ask), add_generation_prompt=True, tokenize=False
            )
            for _, ask in pairs
        ]
        begins = self.processor.tokenizer.bos_token
        begun = begins is not None and texts[0].startswith(begins)
        return self.processor(
            images=[[image] for image, _ in pairs],
            text=texts,
            padding=True,
            add_special_tokens=not begun,  # a template that writes the first token writes it once
            return_tensors="pt",
        )


def _turn(ask: Ask) -> list[dict[str, Any]]:
    """A user's turn: an image, and a question about it."""
    content = [{"type": "image"}, {"type": "text", "text": _said(ask)}]
    return [{"role": "user", "content": content}]


def _said(ask: Ask) -> str:
    """The question, and in what form an answer is wanted."""
    return f"{ask.text} {ask.hint}".strip()
