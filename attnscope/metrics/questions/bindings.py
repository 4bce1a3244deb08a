"""T2I-CompBench by category (Huang et al. 2023, "T2I-CompBench", sections 3 and 4), as the paper's Table A10 has it.

A caption is of one category, and BLIP-VQA (:mod:`.compbench`) is its authors' measure of three of them:

    score of a category = 100 * mean over its captions of the product over noun phrases of P(yes)

in percent, as the table prints it; the authors' own program prints a hundredth of that. Their spatial
category is UniDet's, a detector, their non-spatial one CLIP's, and the complex one a mean of all three:
no questions answer these.

A caption of the embedded world is of all categories at once. Of "a large striped red circle above a
small blue square on a gray background":

    color    a red circle?  a blue square?
    shape    a circle?  a square?
    texture  a striped circle?  a plain square?
    spatial  Is the circle above the square?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attnscope.captions.text import clean, decode, lines
from attnscope.errors import InputError
from attnscope.metrics.questions import compbench, world
from attnscope.metrics.questions.base import Benchmark, Item, Question, Questionnaire

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.shapes.scenes import Scene

ASKED = ("color", "shape", "texture")
"""Categories that BLIP-VQA is for."""
CATEGORIES = (*ASKED, "spatial")
"""With the one that questions answer on the embedded world alone."""
FILES = {category: f"{category}_val.txt" for category in ASKED}
"""In ``examples/dataset`` of the authors' repository: a caption a line."""


class CompBench(Benchmark):
    """The product of the probabilities of yes, category by category."""

    name = "compbench"
    title = "BLIP-VQA by category of T2I-CompBench (Huang et al. 2023)"
    measures = tuple(f"compbench_{category}" for category in CATEGORIES)

    def score(
        self, item: Item, probability: NDArray[np.float64], right: NDArray[np.bool_]
    ) -> dict[str, float]:
        """The product of every category that the caption is of, in percent."""
        categories = np.array([question.category for question in item.questions])
        return {
            f"compbench_{name}": 100 * float(probability[categories == name].prod())
            if (categories == name).any()
            else float("nan")
            for name in CATEGORIES
        }

    def printed(self, answers: pd.DataFrame) -> dict[str, float]:
        """The mean over images of every category."""
        products = answers.groupby(["category", "prompt_id", "frame"])["probability"].prod()
        means = 100 * products.groupby("category").mean()
        return {name: float(means[name]) for name in CATEGORIES if name in means}


def of_phrases(source: str, phrases: Mapping[str, tuple[str, Sequence[str]]]) -> Questionnaire:
    """A question per phrase of every caption.

    Args:
        source: where they come from, for people.
        phrases: by caption its category and its phrases in their order.

    Raises:
        InputError: a caption has no phrase that names a thing.
    """
    items = {}
    for text, (category, found) in phrases.items():
        kept = compbench.kept(found)
        if not kept:
            raise InputError(f"{source}: {text!r} has no noun phrase to ask for: leave it out")
        asked = (Question(n, f"{phrase}?", category) for n, phrase in enumerate(kept, 1))
        items[text] = Item(tuple(asked))
    return Questionnaire(CompBench(), source, items)


def of_captions(source: str, texts: Sequence[str]) -> Questionnaire:
    """The questions of captions of the embedded world, of all categories.

    Args:
        source: where they come from, for people.
        texts: captions.

    Raises:
        InputError: one is no caption of this world.
    """
    own = f"; of T2I-CompBench's own give the folder with {FILES['color']}"
    return Questionnaire(CompBench(), source, world.items_of(texts, questions, "compbench", own))


def questions(scene: Scene) -> list[Question]:
    """The questions of a scene, category by category; none is asked twice."""
    asked: list[tuple[str, str]] = []
    for category, words in (("color", "color"), ("shape", ""), ("texture", "fill")):
        for thing in scene.things:
            word = f"{getattr(thing, words)} " if words else ""
            phrase = f"{word}{thing.shape}"
            asked.append((category, f"{world.article(phrase)} {phrase}?"))
    if scene.relation is not None:
        first, second = world.names_of(scene)
        asked.append(("spatial", f"Is the {first} {scene.relation} the {second}?"))
    return [
        Question(number, text, category)
        for number, (category, text) in enumerate(dict.fromkeys(asked), 1)
    ]


def read(folder: Path) -> Questionnaire:
    """The captions of T2I-CompBench's validation sets, each with its noun chunks by spaCy.

    Args:
        folder: with :data:`FILES`, or some of them.

    Raises:
        InputError: it has none of them, one is empty, a caption stands in two, or spaCy or its small
            English model is not installed.
    """
    phrases: dict[str, tuple[str, Sequence[str]]] = {}
    for category, text in _captions(folder):
        if text in phrases and phrases[text][0] != category:
            raise InputError(
                f"{str(folder)!r}: {text!r} stands in {phrases[text][0]} and in {category}: an image of it "
                "would be of both"
            )
        phrases[text] = category, compbench.noun_chunks(text)
    return of_phrases(folder.name, phrases)


def _captions(folder: Path) -> Iterator[tuple[str, str]]:
    """Every caption with its category."""
    here = {name: folder / file for name, file in FILES.items() if (folder / file).is_file()}
    if not here:
        raise InputError(
            f"`questions`: {str(folder)!r} has none of {', '.join(FILES.values())}: give "
            "examples/dataset of T2I-CompBench's repository"
        )
    for category, path in here.items():
        texts = [text for line in lines(decode(path)) if (text := clean(line))]
        if not texts:
            raise InputError(f"{str(path)!r} holds no captions")
        yield from ((category, text) for text in texts)
