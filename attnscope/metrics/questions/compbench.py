"""BLIP-VQA of T2I-CompBench (Huang et al. 2023, "T2I-CompBench", section 4; ``BLIPvqa_eval`` of its repository).

Every noun phrase of a caption is a question ("a green bench?"), and

    score of an image = product over its phrases of P(yes) / (P(yes) + P(no))

with the probabilities of the first word of the answer; the benchmark's is the mean over images, from 0 to
1. As in the authors' program, phrases are the noun chunks of spaCy's ``en_core_web_sm``, the first
:data:`MOST` of them, without :data:`NO_THINGS`; a caption without any scores 1. It is theirs if BLIP
answers (``Salesforce/blip-vqa-base``; they use the VQA weights of BLIP's own repository at 480 pixels).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnscope.captions.text import clean, decode, lines
from attnscope.errors import InputError
from attnscope.metrics.questions.base import Benchmark, Item, Question, Questionnaire

if TYPE_CHECKING:
    import pandas as pd

MOST = 8
"""Phrases of a caption that are asked for."""
NO_THINGS = ("top", "the side", "the left", "the right")
"""Noun chunks that name no thing."""
CATEGORY = "phrase"
_SPACY = "en_core_web_sm"


class BlipVqa(Benchmark):
    """The product of the probabilities of yes."""

    name = "blip_vqa"
    title = "BLIP-VQA of T2I-CompBench (Huang et al. 2023)"
    measures = ("blip_vqa",)
    form = ".3f"

    def score(
        self, item: Item, probability: NDArray[np.float64], right: NDArray[np.bool_]
    ) -> dict[str, float]:
        """The product, from 0 to 1."""
        return {"blip_vqa": float(probability.prod())}

    def printed(self, answers: pd.DataFrame) -> dict[str, float]:
        """The mean over images that have phrases, and that of all phrases by themselves."""
        products = answers.groupby(["prompt_id", "frame"])["probability"].prod()
        return {
            "all": float(products.mean()),
            "phrases by themselves": float(answers["probability"].mean()),
        }


def of_phrases(source: str, phrases: Mapping[str, Iterable[str]]) -> Questionnaire:
    """A question per phrase of every caption.

    Args:
        source: where they come from, for people.
        phrases: by caption, in their order.
    """
    items = {}
    for text, found in phrases.items():
        asked = (Question(n, f"{phrase}?", CATEGORY) for n, phrase in enumerate(kept(found), 1))
        items[text] = Item(tuple(asked))
    return Questionnaire(BlipVqa(), source, items)


def kept(phrases: Iterable[str]) -> list[str]:
    """The phrases of a caption that are asked for."""
    return [phrase for phrase in phrases if phrase not in NO_THINGS][:MOST]


def of_captions(source: str, texts: Sequence[str]) -> Questionnaire:
    """A question per noun phrase of captions: of the embedded world's by its own grammar, else by spaCy.

    Args:
        source: where they come from, for people.
        texts: captions.

    Raises:
        InputError: spaCy or its small English model is not installed.
    """
    from attnscope.shapes.scenes import scene_of

    try:
        of_world = {text: [thing.phrase for thing in scene_of(text).things] for text in texts}
    except ValueError:
        return of_phrases(source, dict(zip(texts, map(noun_chunks, texts), strict=True)))
    return of_phrases(source, of_world)


def noun_chunks(text: str) -> list[str]:
    """The noun chunks of a text by spaCy's small English model.

    Raises:
        InputError: it is not installed.
    """
    return [chunk.text for chunk in _parser()(text).noun_chunks]


@cache
def _parser() -> Any:
    try:
        import spacy
    except ImportError as error:
        raise InputError(
            f"noun phrases need spaCy: pip install spacy, then python -m spacy download {_SPACY}; or give "
            "a file (.jsonl) with `prompt` and `phrases` in every line"
        ) from error
    try:
        return spacy.load(_SPACY)
    except OSError as error:
        raise InputError(
            f"spaCy has no {_SPACY}: python -m spacy download {_SPACY}; or give a file (.jsonl) with "
            "`prompt` and `phrases` in every line"
        ) from error


def read(path: Path) -> Questionnaire:
    """The phrases of a file, a caption a line: JSON objects with ``prompt`` and ``phrases``, a list.

    Raises:
        InputError: a line is no such object, or a caption stands twice.
    """
    phrases: dict[str, list[str]] = {}
    for number, line in enumerate(lines(decode(path)), 1):
        if not clean(line):
            continue
        place = f"{str(path)!r}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place} is no JSON ({error})") from error
        text, found = _told(place, entry)
        if text in phrases:
            raise InputError(f"{place}: the prompt {text!r} stands twice")
        phrases[text] = found
    if not phrases:
        raise InputError(f"{str(path)!r} holds no questions")
    return of_phrases(path.name, phrases)


def _told(place: str, entry: Any) -> tuple[str, list[str]]:
    if not isinstance(entry, dict) or not {"prompt", "phrases"} <= set(entry):
        raise InputError(f"{place} is no JSON object with 'prompt' and 'phrases'")
    text, phrases = entry["prompt"], entry["phrases"]
    if not isinstance(text, str) or not clean(text):
        raise InputError(f"{place}: prompt is no text")
    if not isinstance(phrases, list) or not all(
        isinstance(part, str) and clean(part) for part in phrases
    ):
        raise InputError(f"{place}: phrases is no list of texts")
    return clean(text), [clean(part) for part in phrases]
