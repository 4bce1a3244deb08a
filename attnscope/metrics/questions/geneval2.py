"""GenEval 2 (Kamath et al. 2025, "GenEval 2: Addressing Benchmark Drift in Text-to-Image Evaluation").

Every atom of a caption is a question with its answer: "Are the cows plastic?" yes, "How many cows are in
the image?" three. Soft-TIFA scores an atom by the probability p of the answer as the first word of the
model's, among all words (``evaluation.py`` of the authors' repository):

    p = sum over the ways to begin the answer (three, Three, 3; with a blank or without) of P(first token)
    arithmetic mean of an image = 100 * mean over its questions of p          atoms, one by one
    geometric mean of an image = 100 * (product of p)^(1 / questions)         the whole caption
    score of a skill = 100 * mean over all questions of it, of all captions

A token that begins several of the ways counts once here, and one that is white space alone not at all: the
digit after a blank is two tokens to many models, of which the first begins every number. Percent, as there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnscope.captions.text import clean, decode, lines
from attnscope.errors import InputError
from attnscope.metrics.questions.base import (
    YES,
    Ask,
    Benchmark,
    Item,
    Question,
    Questionnaire,
    mean_of,
)

if TYPE_CHECKING:
    import pandas as pd

SKILLS = ("object", "attribute", "count", "position", "verb")
"""What atoms are, in the order of the authors' analysis."""
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_KEYS = ("prompt", "atom_count", "vqa_list", "skills")


class SoftTifa(Benchmark):
    """Probabilities of right answers, averaged."""

    name = "tifa"
    title = "Soft-TIFA of GenEval 2 (Kamath et al. 2025)"
    measures = ("tifa_gm", "tifa_am", *(f"tifa_{skill}" for skill in SKILLS))

    def ask(self, question: Question) -> Ask:
        """With the ways to begin the right answer, in one word."""
        wanted = YES if question.answer == "yes" else ways(question.answer)
        return Ask(question.text, wanted, (), "Answer in one word.")

    def score(
        self, item: Item, probability: NDArray[np.float64], right: NDArray[np.bool_]
    ) -> dict[str, float]:
        """Both means of an image, and those of the skills that its questions are of, in percent."""
        skills = np.array([question.category for question in item.questions])
        return {
            "tifa_gm": 100 * _geometric(probability),
            "tifa_am": 100 * float(probability.mean()),
            **{f"tifa_{name}": 100 * mean_of(probability, skills == name) for name in SKILLS},
        }

    def printed(self, answers: pd.DataFrame) -> dict[str, float]:
        """Both means, that of every skill, and the geometric one by how many atoms captions have."""
        images = answers.groupby(["prompt_id", "frame"])
        of_image = images["probability"].agg(am="mean", gm=_geometric)
        atoms = of_image.groupby(images["atoms"].first())["gm"].mean()
        skills = answers.groupby("category")["probability"].mean()
        told = {name: 100 * float(skills[name]) for name in SKILLS if name in skills}
        told |= {f"{count} atoms, GM": 100 * float(value) for count, value in atoms.items()}
        means = {
            f"all, {name.upper()}": 100 * float(of_image[name].mean()) for name in ("gm", "am")
        }
        return means | told


def ways(answer: str) -> tuple[str, ...]:
    """How an answer that is a number can begin: ``three`` to three, Three, 3, each with a blank, too."""
    words = [answer, answer.capitalize(), str(NUMBERS.index(answer) + 1)]
    return tuple(blank + word for word in words for blank in ("", " "))


def read(path: Path) -> Questionnaire:
    """The questions of a file like ``geneval2_data.jsonl``, a caption a line.

    Args:
        path: of objects with ``prompt``, ``atom_count``, ``vqa_list`` (pairs of question and answer) and
            ``skills`` (as many).

    Raises:
        InputError: a line is no such object; an answer is neither yes nor a number up to ten, a skill is
            unknown, or a caption stands twice.
    """
    items: dict[str, Item] = {}
    for number, line in enumerate(lines(decode(path)), 1):
        if not clean(line):
            continue
        place = f"{str(path)!r}, line {number}"
        entry = _entry(place, line)
        text = clean(entry["prompt"])
        if text in items:
            raise InputError(f"{place}: the prompt {text!r} stands twice")
        items[text] = Item(tuple(_questions(place, entry)), entry["atom_count"])
    if not items:
        raise InputError(f"{str(path)!r} holds no questions")
    return Questionnaire(SoftTifa(), path.name, items)


def _entry(place: str, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is no JSON ({error})") from error
    if not isinstance(entry, dict):
        raise InputError(f"{place} is a {type(entry).__name__}, not a JSON object")
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        raise InputError(f"{place} has no {missing[0]!r}: GenEval 2's has {', '.join(_KEYS)}")
    if not isinstance(entry["prompt"], str) or not clean(entry["prompt"]):
        raise InputError(f"{place}: prompt is no text")
    if type(entry["atom_count"]) is not int or entry["atom_count"] < 1:
        raise InputError(f"{place}: atom_count {entry['atom_count']!r} is no number from 1")
    pairs, skills = entry["vqa_list"], entry["skills"]
    if not isinstance(pairs, list) or not pairs or not isinstance(skills, list):
        raise InputError(f"{place}: vqa_list and skills are to be lists that are not empty")
    if len(pairs) != len(skills):
        raise InputError(f"{place}: {len(pairs)} questions and {len(skills)} skills")
    return entry


def _questions(place: str, entry: dict[str, Any]) -> list[Question]:
    made = []
    for number, (pair, skill) in enumerate(zip(entry["vqa_list"], entry["skills"], strict=True), 1):
        where = f"{place}, question {number}"
        if not isinstance(pair, list) or [type(part) for part in pair] != [str, str]:
            raise InputError(f"{where} is no pair of a question and its answer")
        question, answer = clean(pair[0]), clean(pair[1]).lower()
        if not question:
            raise InputError(f"{where} is empty")
        if skill not in SKILLS:
            raise InputError(f"{where}: skill {skill!r} is unknown (choose {', '.join(SKILLS)})")
        allowed = NUMBERS if question.startswith("How many") else ("yes",)
        if answer not in allowed:
            raise InputError(
                f"{where}: answer {pair[1]!r} is unknown (choose {', '.join(allowed)})"
            )
        made.append(Question(number, question, skill, answer=answer))
    return made


def _geometric(values: NDArray[np.float64] | pd.Series[float]) -> float:
    """The geometric mean; zero if one of them is."""
    return float(np.exp(np.log(values).mean())) if (values > 0).all() else 0.0
