"""DPG-Bench (Hu et al. 2024, "ELLA: Equip Diffusion Models with LLM for Enhanced Semantic Alignment").

The questions of a caption form a graph, made as in the Davidsonian Scene Graph (Cho et al. 2024): that
the star is blue makes sense only if there is a star. As the authors' program has it
(``dpg_bench/compute_dpg_bench.py`` of the ELLA repository), with a_q = 1 where the answer is yes:

    s_q = 0 if s_p = 0 for a parent p of q, else a_q          in the order of the file
    score of an image = 100 * mean over its questions of s_q
    score of a category = 100 * mean over all questions of it, of all captions, of a_q

The score of a category counts the answers as they were given, whatever their parents, and all questions
of all captions alike. Ours of an image (``dpg_attribute``) is the mean over its own questions, so that it
can be paired and has an interval over captions; :meth:`Dpg.printed` is theirs. Percent, as there.

Their program leaves the first row of the file out (``if i == 0: continue``, though the names of the columns
are no row to pandas), and with it the first caption, whose other questions depend on it. Here it counts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attnscope.captions.delimited import table
from attnscope.errors import InputError
from attnscope.metrics.questions.base import Benchmark, Item, Question, Questionnaire, mean_of

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = ("global", "entity", "attribute", "relation", "other")
"""What questions are about, at the first of two levels."""
COLUMNS = ("item_id", "text", "proposition_id", "dependency", "question_natural_language")
"""Columns that the file has at least; ``tuple`` or ``category_broad`` tells the category."""
_TOLD_BY = ("tuple", "category_broad")


class Dpg(Benchmark):
    """Yes or no, counted where the parents hold."""

    name = "dpg"
    title = "DPG-Bench (Hu et al. 2024)"
    measures = ("dpg", *(f"dpg_{category}" for category in CATEGORIES))

    def counted(self, item: Item, right: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Answers that count: a child's only if its parents' do, in the order of the file."""
        counts = dict(zip((q.number for q in item.questions), right.tolist(), strict=True))
        for question in item.questions:
            if not all(counts[parent] for parent in question.parents):
                counts[question.number] = False
        return np.array(list(counts.values()), bool)

    def score(
        self, item: Item, probability: NDArray[np.float64], right: NDArray[np.bool_]
    ) -> dict[str, float]:
        """The score of an image, and of the categories that its questions are of, in percent."""
        given = np.where(right, 100.0, 0.0)
        categories = np.array([question.category for question in item.questions])
        return {
            "dpg": 100 * float(self.counted(item, right).mean()),
            **{f"dpg_{name}": mean_of(given, categories == name) for name in CATEGORIES},
        }

    def printed(self, answers: pd.DataFrame) -> dict[str, float]:
        """The score, and of every category that of all its questions together."""
        images = answers.groupby(["prompt_id", "frame"])["counted"].mean()
        pooled = answers.groupby("category")["right"].mean()
        told = {name: 100 * float(pooled[name]) for name in CATEGORIES if name in pooled}
        return {"all": 100 * float(images.groupby("prompt_id").mean().mean()), **told}


def read(path: Path) -> Questionnaire:
    """The questions of a file like ``dpg_bench.csv``, one a row.

    Args:
        path: with :data:`COLUMNS`. ``dependency`` is ``0`` or the numbers of parents, such as ``1, 2``; the
            category stands before the first dash or bracket of ``tuple`` (``attribute - color (car, blue)``).

    Raises:
        InputError: a line of it cannot be read: a column is missing or empty, a number is none or stands
            twice, a category is unknown, a parent is no question of the caption or the question itself,
            an item's lines are apart or have different texts, two items have one text.
    """
    rows = _rows(path)
    items: dict[str, list[Question]] = {}
    texts: dict[str, tuple[str, str]] = {}
    last = None
    for place, row in rows:
        name = row["item_id"]
        if name != last and name in items:
            raise InputError(
                f"{place}: item {name!r} goes on after another one: sort the lines by item_id"
            )
        if name not in items:
            twice = next((item for item, (_, text) in texts.items() if text == row["text"]), None)
            if twice is not None:
                raise InputError(
                    f"{place}: item {name!r} has the text of item {twice!r}: leave one out"
                )
            items[name], texts[name] = [], (place, row["text"])
        elif row["text"] != texts[name][1]:
            raise InputError(f"{place}: item {name!r} has another text here than before")
        items[name].append(_question(place, row, items[name]))
        last = name
    _check_parents(rows, items)
    return Questionnaire(
        Dpg(),
        path.name,
        {texts[name][1]: Item(tuple(questions)) for name, questions in items.items()},
    )


def _rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Every row with its place; cells without white space at their ends."""
    found = table(path, ",")
    names = list(found.names)
    missing = [name for name in COLUMNS if name not in names]
    missing += [" or ".join(_TOLD_BY)] * (not set(_TOLD_BY) & set(names))
    if missing:
        raise InputError(
            f"{str(path)!r} has no column {missing[0]}: DPG-Bench's has {', '.join(COLUMNS)}, and tuple"
        )
    wanted = [name for name in (*COLUMNS, *_TOLD_BY) if name in names]
    columns = {name: list(found.cells(names.index(name))) for name in wanted}
    places = [place for place, _ in columns["item_id"]]
    if not places:
        raise InputError(f"{str(path)!r} holds no questions")
    rows = []
    for number, line in enumerate(places):
        row = {name: str(cells[number][1]).strip() for name, cells in columns.items()}
        place = f"{str(path)!r}, {line}"
        empty = next((name for name in COLUMNS if not row[name]), None)
        if empty is not None:
            raise InputError(f"{place}: {empty} is empty")
        rows.append((place, row))
    return rows


def _question(place: str, row: dict[str, str], before: list[Question]) -> Question:
    number = _number(place, "proposition_id", row["proposition_id"])
    if number == 0 or any(question.number == number for question in before):
        why = "0 stands for no parent" if number == 0 else f"{number} stands twice in its item"
        raise InputError(f"{place}: proposition_id {why}")
    parts = row["dependency"].split(",")
    parents = tuple(_number(place, "dependency", part.strip()) for part in parts)
    if number in parents:
        raise InputError(f"{place}: question {number} depends on itself")
    return Question(
        number,
        row["question_natural_language"],
        _category(place, row),
        tuple(parent for parent in parents if parent),
    )


def _number(place: str, column: str, text: str) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise InputError(f"{place}: {column} {text!r} is no whole number, such as 0 or 1, 2")
    return int(text)


def _category(place: str, row: dict[str, str]) -> str:
    told = [re.split(r"[-(]", row[name])[0].strip().lower() for name in _TOLD_BY if name in row]
    known = next((name for name in told if name in CATEGORIES), None)
    if known is None:
        raise InputError(
            f"{place}: category {told[0]!r} is unknown (choose {', '.join(CATEGORIES)})"
        )
    return known


def _check_parents(
    rows: list[tuple[str, dict[str, str]]], items: dict[str, list[Question]]
) -> None:
    """Refuse parents that nobody asks; the authors' program fails at such a caption and leaves it out."""
    asked = {name: {question.number for question in own} for name, own in items.items()}
    questions = (question for own in items.values() for question in own)
    for (place, row), question in zip(rows, questions, strict=True):
        unknown = [parent for parent in question.parents if parent not in asked[row["item_id"]]]
        if unknown:
            raise InputError(
                f"{place}: question {question.number} depends on {unknown[0]}, which item "
                f"{row['item_id']!r} does not ask"
            )
