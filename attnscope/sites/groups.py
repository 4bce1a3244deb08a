"""Modules that do the same at every step, and what to call them in one line.

Needs no torch, so that plots and the terminal can use it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from attnscope.sites.names import short_site

_SAID = {
    "resnet": {"resnets"},
    "sampler": {"downsamplers", "upsamplers"},
    "feed-forward": {"ff"},
    "self": {"attn1"},
    "cross": {"attn2"},
    "joint": {"attn"},
}
"""Words of a module's path that its kind says already."""
_WAYS = ("down", "mid", "up")


@dataclass(frozen=True)
class Group:
    """Modules of one kind that do the same at every step.

    Args:
        stage: in which they stand, such as ``down 1``; empty if they were not parted by it.
        kind: of them all.
        names: their paths inside the denoiser.
        does: what they do at every step.
        whole: whether these are all modules of the kind, or all of it in the stage.
    """

    stage: str
    kind: str
    names: tuple[str, ...]
    does: tuple[str, ...]
    whole: bool

    @property
    def label(self) -> str:
        """The kind and a pattern of the names: ``resnet down {0,2}.{0-1}``."""
        if self.names == (self.kind,) or (self.whole and len(self.names) > 1):
            return f"{self.kind} all"
        return f"{self.kind} {pattern(self.names, self.kind)}"


def stage_of(name: str) -> str:
    """The stage of a U-Net that a module stands in, or the list of blocks: ``down 1``, ``mid``."""
    match = re.match(r"((down|up)_blocks\.\d+|[^.]+)", name)
    place = match.group(0) if match else name
    return re.sub("_blocks?", "", place).replace(".", " ").replace("_", " ")


def alike(
    kinds: Mapping[str, str], does: Mapping[str, Sequence[str]], *, by_stage: bool = False
) -> list[Group]:
    """Modules grouped by their kind and by what they do.

    Args:
        kinds: by the names of the modules.
        does: what each does at every step, by name.
        by_stage: whether modules of different stages are kept apart.

    Returns:
        Groups in the order of data flow through the stages; within a stage, and where stages are not
        parted, by kind as they come and by the first of the names.
    """
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    every: dict[tuple[str, str], int] = defaultdict(int)
    for name, kind in kinds.items():
        stage = stage_of(name) if by_stage else ""
        found[stage, kind, tuple(does[name])].append(name)
        every[stage, kind] += 1
    groups = [
        Group(stage, kind, tuple(sorted(names, key=_naturally)), what, len(names) == every[stage, kind])
        for (stage, kind, what), names in found.items()
    ]  # fmt: skip
    stages = list(dict.fromkeys(group.stage for group in groups))
    order = list(dict.fromkeys(kinds.values()))
    return sorted(
        groups,
        key=lambda g: (_flow(g.stage, stages), order.index(g.kind), _naturally(g.names[0])),
    )


def pattern(names: Iterable[str], kind: str = "") -> str:
    """Names in one short line that says all of them and no other: ``down {0,2}.{0-1}, mid 0``.

    Args:
        names: paths inside the denoiser.
        kind: of them all; what it says already is left out.
    """
    by_shape: dict[int, set[tuple[frozenset[str], ...]]] = defaultdict(set)
    for name in names:
        words = _words(name, kind)
        by_shape[len(words)].add(tuple(frozenset({word}) for word in words))
    found = [_joined(row) for length, rows in by_shape.items() for row in _merged(rows, length)]
    return ", ".join(sorted(found, key=_naturally))


def _words(name: str, kind: str) -> list[str]:
    words = re.split(r"[ .]", short_site(name))
    return [word for word in words if word not in _SAID.get(kind, ())]


def _merged(rows: set[tuple[frozenset[str], ...]], length: int) -> set[tuple[frozenset[str], ...]]:
    """Rows of which those are made one that differ in one place alone, so that none is added."""
    for place in reversed(range(length)):
        alike: dict[tuple[frozenset[str], ...], frozenset[str]] = {}
        for row in rows:
            rest = (*row[:place], frozenset(), *row[place + 1 :])
            alike[rest] = alike.get(rest, frozenset()) | row[place]
        rows = {(*r[:place], choices, *r[place + 1 :]) for r, choices in alike.items()}
    return rows


def _joined(row: tuple[frozenset[str], ...]) -> str:
    text = ""
    for number, choices in enumerate(row):
        numeric = all(choice.isdecimal() for choice in choices)
        before = bool(number) and all(choice.isdecimal() for choice in row[number - 1])
        text += ("." if numeric and before else " " if number else "") + _listed(choices, numeric)
    return text


def _listed(choices: frozenset[str], numeric: bool) -> str:
    """One of them as it is, several in braces, neighbours as ``0-3``."""
    if len(choices) == 1:
        return next(iter(choices))
    if not numeric:
        return "{" + ",".join(sorted(choices)) + "}"
    runs: list[list[int]] = []
    for number in sorted(map(int, choices)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return "{" + ",".join(parts) + "}"


def _naturally(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers by their values."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _flow(stage: str, stages: list[str]) -> tuple[int, int, int]:
    """Where a stage stands in the order of data flow: a U-Net's as it does, others as they come."""
    way, _, number = stage.partition(" ")
    if way in _WAYS and (number.isdecimal() or not number):
        return _WAYS.index(way), int(number or 0), 0
    return len(_WAYS), 0, stages.index(stage)
