"""ViLT for questions (Kim et al. 2021, "ViLT"): a classifier over the answers of VQAv2.

Its answers are labels, such as yes, no and 2. It was trained with a score per label; here they are made
probabilities by a softmax, so that a right answer's is one among all that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL.Image import Image

from attnscope.metrics.questions.vqa.base import Answering, Asked
from attnscope.metrics.questions.vqa.models import Model


class Labels(Answering):
    """Answers that a classifier chooses among.

    Args:
        labels: by number.
    """

    def __init__(self, labels: Mapping[int, str]) -> None:
        super().__init__()
        self._labels = {int(number): label.strip().lower() for number, label in labels.items()}

    def numbers(self, words: Iterable[str]) -> set[int]:
        """The numbers of the labels that are one of some words, in any case."""
        wanted = {word.strip().lower() for word in words}
        return {number for number, label in self._labels.items() if label in wanted}


class Vilt(Model):
    """``ViltForQuestionAnswering`` and its processor."""

    about = "ViLT's labels"
    architecture: ClassVar[str | None] = "ViltForQuestionAnswering"

    def __init__(self, name: str, config: Any, processor: Any, **how: Any) -> None:
        super().__init__(name, config, processor, **how)
        self.answering = Labels(config.id2label)

    @classmethod
    def of_transformers(cls) -> Any:
        """``ViltForQuestionAnswering``."""
        from transformers import ViltForQuestionAnswering

        return ViltForQuestionAnswering

    def probabilities(self, images: Sequence[Image], asked: Sequence[Asked]) -> torch.Tensor:
        """Of the labels: ``[questions, labels]``."""
        given = self.processor(
            images=[images[one.image] for one in asked],
            text=[one.ask.text for one in asked],
            padding=True,
            truncation=True,
            max_length=self.config.max_position_embeddings,
            return_tensors="pt",
        )
        return torch.softmax(self.model(**self.placed(given)).logits.float(), dim=-1)
