"""Asking about the images of a run, part by part: what was answered is kept and is not asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from attnscope.files import write_whole
from attnscope.metrics.measures import MEASURES
from attnscope.metrics.questions.base import Questionnaire
from attnscope.metrics.questions.vqa.base import Answerer, Asked
from attnscope.runs.columns import PER_IMAGE
from attnscope.runs.reading import read_whole

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnscope.runs.folder import Run

FOLDER = "answers"
"""In a run directory: the parts, in a folder per questions and who answers."""
TABLE = "answers"
"""All of them, a row per image and question."""
CATEGORIES = "categories"
"""What the benchmark's own program prints of them, a row per arm and category."""


def forget(run: Run) -> None:
    """Remove the tables of answers that a run was judged by before; the parts stay."""
    for name in (TABLE, CATEGORIES):
        for path in run.path.glob(f"{name}.*"):
            path.unlink()


@dataclass(frozen=True)
class Asking:
    """What is asked, and who answers.

    Args:
        questionnaire: of the captions of a run.
        answerer: answers.
        digest: of both: answers of others are not taken for these.
    """

    questionnaire: Questionnaire
    answerer: Answerer
    digest: str

    def answers(
        self, run: Run, part: pd.DataFrame, images: Sequence[Image], captions: Sequence[str]
    ) -> pd.DataFrame:
        """The answers about some images of an arm, asked or as they were kept.

        Args:
            run: whose images they are; it keeps the answers.
            part: a row per image: ``key`` of the arm, ``prompt_id``, ``frame``.
            images: of these rows.
            captions: of these rows.

        Returns:
            A row per image and question: ``image`` (the row's place in ``part``), ``key``, ``prompt_id``,
            ``frame``, ``question`` (its number), ``category``, ``asked`` (its text), ``parents`` (their
            numbers, with commas), ``expected`` (the right answer), ``probability`` of it, ``right``
            (whether the model's answer is it), ``counted`` (whether it counts as right; not if a parent
            does not), ``atoms`` of the caption.

        Raises:
            InputError: what was kept is damaged, or a question cannot be answered.
        """
        first, last = part.iloc[0], part.iloc[-1]
        ends = "-".join(f"{row['prompt_id']:05d}.{row['frame']:03d}" for row in (first, last))
        path = run.path / FOLDER / self.digest / f"{first['key']}-{ends}.parquet"
        if path.is_file():
            return read_whole(path, run.command)
        found = self._ask(part, images, captions)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda partial: found.to_parquet(partial, index=False))
        return found

    def write(self, run: Run, images: pd.DataFrame, answers: pd.DataFrame) -> None:
        """Write the tables of a run's answers.

        ``answers`` has a row per image and question; ``categories`` what the benchmark's own program prints:
        a row per arm and category with the columns of the arm, ``benchmark``, ``vqa``, ``category``,
        ``value``, and ``form``, how it is written.

        Args:
            run: whose images they are about.
            images: a row per image, with the columns of the arms.
            answers: all of :meth:`answers`.
        """
        about = [name for name in images if name not in PER_IMAGE and name not in MEASURES]
        arms = images[about].drop_duplicates("key").set_index("key", drop=False)
        benchmark = self.questionnaire.benchmark
        rows = [
            {**arms.loc[key], "benchmark": benchmark.title, "vqa": self.answerer.name,
             "category": category, "value": value, "form": benchmark.form}
            for key, own in answers.groupby("key", sort=False)
            for category, value in benchmark.printed(own).items()
        ]  # fmt: skip
        run.write_table(TABLE, answers.drop(columns="image"))
        run.write_table(CATEGORIES, pd.DataFrame(rows))
        run.write_csv(CATEGORIES, pd.DataFrame(rows))

    def _ask(
        self, part: pd.DataFrame, images: Sequence[Image], captions: Sequence[str]
    ) -> pd.DataFrame:
        items = [self.questionnaire.items[caption] for caption in captions]
        benchmark = self.questionnaire.benchmark
        asked = [
            Asked(place, benchmark.ask(question))
            for place, item in enumerate(items)
            for question in item.questions
        ]
        answers = self.answerer.answer(images, asked)
        rows, first = [], 0
        for place, (item, (_, about)) in enumerate(zip(items, part.iterrows(), strict=True)):
            own = slice(first, first + len(item.questions))
            counted = benchmark.counted(item, answers.right[own])
            given = zip(
                item.questions, answers.probability[own], answers.right[own], counted, strict=True
            )
            rows += [
                (place, about["key"], about["prompt_id"], about["frame"], question.number,
                 question.category, question.text, ",".join(map(str, question.parents)),
                 question.answer, probability, right, counts, item.atoms)
                for question, probability, right, counts in given
            ]  # fmt: skip
            first = own.stop
        names = ["image", "key", "prompt_id", "frame", "question", "category", "asked", "parents",
                 "expected", "probability", "right", "counted", "atoms"]  # fmt: skip
        kinds = {"probability": float, "right": bool, "counted": bool}
        return pd.DataFrame(rows, columns=names).astype(kinds)
