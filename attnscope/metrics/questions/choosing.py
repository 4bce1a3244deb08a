"""What ``--questions`` names: a file of a benchmark's, or a way to make questions of captions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnscope.captions.text import clean, decode, lines
from attnscope.errors import InputError
from attnscope.metrics.questions import bindings, compbench, dpg, geneval2, world
from attnscope.metrics.questions.base import Questionnaire

OF_CAPTIONS: dict[str, Callable[[str, Sequence[str]], Questionnaire]] = {
    "scenes": world.questionnaire,
    "compbench": bindings.of_captions,
    "noun-phrases": compbench.of_captions,
}
"""Names of what makes questions of captions."""
FILES = "DPG-Bench's .csv, GenEval 2's .jsonl, .jsonl with `prompt` and `phrases`, or T2I-CompBench's folder"


@dataclass(frozen=True)
class Questions:
    """What was chosen, before it is known which captions are drawn.

    Args:
        name: as it was given.
        read: what a file holds; ``None`` if questions are made of captions.
    """

    name: str
    read: Questionnaire | None

    @property
    def texts(self) -> tuple[str, ...]:
        """The captions that a file brings; none where questions are made of others."""
        return () if self.read is None else tuple(self.read.items)

    def of(self, texts: Sequence[str]) -> Questionnaire:
        """The questions of captions.

        Raises:
            InputError: there are none for one of them.
        """
        if self.read is not None:
            return self.read.restricted(texts)
        return OF_CAPTIONS[self.name](self.name, list(dict.fromkeys(texts)))


def choose(name: str) -> Questions:
    """The questions of a name.

    Args:
        name: one of :data:`OF_CAPTIONS`, or the path of a file or of T2I-CompBench's folder.

    Raises:
        InputError: there is no such file, or it is none of a benchmark that is known.
    """
    if name in OF_CAPTIONS:
        return Questions(name, None)
    path = Path(name)
    if path.is_dir():
        return Questions(name, bindings.read(path))
    if not path.is_file():
        raise InputError(
            f"`questions` {name!r} is no file and none of {', '.join(OF_CAPTIONS)} (files: {FILES})"
        )
    ending = path.suffix.lower()
    if ending == ".csv":
        return Questions(name, dpg.read(path))
    if ending in (".jsonl", ".ndjson", ".json"):
        return Questions(name, compbench.read(path) if _of_phrases(path) else geneval2.read(path))
    raise InputError(f"`questions` cannot be read from {path.name!r}: give {FILES}")


def _of_phrases(path: Path) -> bool:
    """Whether the first line of a file holds phrases; what is wrong with it, its reader says."""
    first = next((line for line in lines(decode(path)) if clean(line)), "")
    try:
        entry = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and "phrases" in entry
