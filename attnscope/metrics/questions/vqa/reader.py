"""The embedded world's reader as what answers questions about it.

It gives a probability per attribute of two places (:mod:`attnscope.shapes.reader`), first and second from the
left or from the top. Taken as independent, they give the probability that what a question asks is so:

    there is a star that is blue   sum over layouts of P(layout) (1 - product over its places of
                                   (1 - P(shape = star) P(color = blue)))
    the star is left of the circle P(left of) P(first is a star) P(second is a circle)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image

from attnscope.errors import InputError
from attnscope.metrics.questions.base import Ask
from attnscope.metrics.questions.vqa.base import Answerer, Answers, Asked
from attnscope.metrics.questions.world import Kind, Meaning, meaning
from attnscope.shapes.reader import HEADS, SINGLE, load_reader
from attnscope.shapes.scenes import RESOLUTION

NAME = "reader"
_LAYOUT = "relation"


class WorldReader(Answerer):
    """Answers yes or no.

    Args:
        folder: of the embedded world's model, where its reader is.
    """

    name = NAME
    about = "the embedded world's reader"

    def __init__(self, folder: Path) -> None:
        self._reader = load_reader(folder)

    def check(self, asks: Iterable[Ask]) -> None:
        """Refuse questions about other worlds."""
        for ask in asks:
            meaning(ask.text)

    @torch.inference_mode()
    def answer(self, images: Sequence[Image], asked: Sequence[Asked]) -> Answers:
        """Answer questions of the embedded world, on the CPU.

        Args:
            images: of 64 x 64 pixels.
            asked: as :func:`attnscope.metrics.questions.world.meaning` reads them.

        Raises:
            InputError: a question is none of this world, or an image is of another size.
        """
        meanings = {text: meaning(text) for text in {one.ask.text for one in asked}}
        if not asked:
            return Answers(np.empty(0), np.empty(0, bool))
        other = next((image.size for image in images if image.size != (RESOLUTION,) * 2), None)
        if other is not None:
            raise InputError(
                f"the reader reads images of {RESOLUTION} x {RESOLUTION} pixels only, not "
                f"{other[0]} x {other[1]}: choose another `vqa`"
            )
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        logits = self._reader(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
        seen = {name: torch.softmax(values.double(), dim=-1) for name, values in logits.items()}
        values = np.array(
            [
                float(_probability(meanings[one.ask.text], _of_image(seen, one.image)))
                for one in asked
            ]
        )
        return Answers(values, values > 0.5)


def _of_image(seen: Mapping[str, torch.Tensor], place: int) -> dict[str, torch.Tensor]:
    return {name: values[place] for name, values in seen.items()}


def _probability(asked: Meaning, seen: Mapping[str, torch.Tensor]) -> float:
    """The probability of yes."""
    single = float(seen[_LAYOUT][SINGLE])
    if asked.background is not None:
        return _of(seen, "background", asked.background)
    if asked.count is not None:
        return single if asked.count == 1 else 1 - single
    if asked.relation is None:
        first, second = (_is_of(seen, place, asked.things[0]) for place in (1, 2))
        return single * first + (1 - single) * (1 - (1 - first) * (1 - second))
    one, other = asked.things
    if asked.relation in ("right of", "below"):
        one, other = other, one
    axis = "left of" if asked.relation in ("left of", "right of") else "above"
    return _of(seen, _LAYOUT, axis) * _is_of(seen, 1, one) * _is_of(seen, 2, other)


def _is_of(seen: Mapping[str, torch.Tensor], place: int, kind: Kind) -> float:
    """The probability that what stands in a place is of a kind."""
    value = 1.0
    for attribute, word in kind.said:
        value *= _of(seen, f"{attribute}_{place}", word)
    return value


def _of(seen: Mapping[str, torch.Tensor], head: str, word: str) -> float:
    return float(seen[head][HEADS[head].index(word)])
