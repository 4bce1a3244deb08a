"""More or less attention to chosen words: a map is tested by taking away what it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, ClassVar

from attnscope.errors import InputError
from attnscope.plans.base import Plan, registered
from attnscope.plans.options import Nats, Option

_LAST = 1000
"""Beyond all steps."""
ADDED = re.compile(r"<(start|end|padding)>")
"""Stands for what the tokenizer adds to the prompt, among words."""
_WORD = re.compile(r"[^,+|:=]*[^,+|:=\s][^,+|:=]*")


@dataclass(frozen=True)
class _Words(Option):
    """Words and phrases, parted by ``|``."""

    def read(self, text: str) -> Any:
        return tuple(word.strip() for word in text.split("|"))

    def write(self, value: Any) -> str:
        return "|".join(value)

    def check(self, name: str, value: Any) -> None:
        fits = isinstance(value, tuple) and value
        if not fits or not all(isinstance(word, str) and _WORD.fullmatch(word) for word in value):
            raise InputError(
                f"{name}={value!r} are no words: give one or more, parted by |, none of them with any of "
                ", + | : ="
            )


@dataclass(frozen=True)
class _Factor(Option):
    """A number from 0 on."""

    def read(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError as error:
            raise InputError(f"{text!r} is no number") from error

    def check(self, name: str, value: Any) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not isfinite(value) or value < 0:
            raise InputError(f"{name}={value!r} is no number from 0 on")


@registered
@dataclass(frozen=True)
class Reweight(Plan):
    """Attention that the image pays to chosen words, scaled at some steps.

    The odds of a word's tokens are scaled, and all of a position's attention is shared out anew, so that
    it still sums to one: the logarithm of the factor is added to the scores. (Prompt-to-Prompt scales
    probabilities and leaves the sum open.) A factor of 0 takes the words away, as if they were not among
    the keys; what the text encoder made of them in other words stays.

    Args:
        words: and phrases of the prompt, such as ``("red circle",)``; see
            :func:`attnscope.models.text_tokens.named`. ``<start>``, ``<end>`` and ``<padding>`` are what the
            tokenizer adds, which attention is mostly paid to.
        factor: 0 takes them away, 1 changes nothing.
        first: the first step at which it holds.
        last: the first step at which it does not hold any more.

    Raises:
        InputError: no words, or a negative factor.
    """

    name: ClassVar[str] = "reweight"
    kinds: ClassVar[tuple[str, ...]] = ()
    words: Annotated[tuple[str, ...], _Words("words")]
    factor: Annotated[float, _Factor("factor")] = 0.0
    first: Annotated[int, Option("from", nats=True)] = 0
    last: Annotated[int, Option("to", nats=True)] = _LAST

    def __post_init__(self) -> None:
        if isinstance(self.words, (str, list)):
            words = (self.words,) if isinstance(self.words, str) else tuple(self.words)
            object.__setattr__(self, "words", words)
        super().__post_init__()
        # as the text form reads them back
        object.__setattr__(self, "words", tuple(word.strip() for word in self.words))
        object.__setattr__(self, "factor", float(self.factor))
        steps = not isinstance(self.first, Nats) and not isinstance(self.last, Nats)
        alike = steps or type(self.first) is type(self.last)
        if self.last != _LAST and alike and self.first >= self.last:
            raise InputError(
                f"from (first)={self.first} does not lie before to (last)={self.last}: no step is left"
            )

    def ever_weighs(self) -> bool:
        """Wherever its noise levels lie."""
        return self.factor != 1

    def weights(self, step: int) -> Mapping[str, float]:
        """Of the words, at the steps at which it holds."""
        holds = self.factor != 1 and self.first <= step < self.last
        return dict.fromkeys(self.words, float(self.factor)) if holds else {}
