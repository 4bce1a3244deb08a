"""A figure or table of the paper, made: its settings, its runs, and the tables that come of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnscope.analyses.paper import beside, claims
from attnscope.analyses.paper.items import Item
from attnscope.analyses.paper.parts import (
    MODELLESS,
    Data,
    Part,
    for_a_stand_in,
    for_the_papers_models,
    stood_in,
)
from attnscope.analyses.paper.stand_ins import RANDOM, STAND_INS, placed, prepare, shown
from attnscope.errors import InputError
from attnscope.models.names import MODELS
from attnscope.runs.folder import Run
from attnscope.runs.holding import one_at_a_time

PICTURE = "figure.png"
"""What a part without a run leaves."""


@dataclass(frozen=True, kw_only=True)
class PaperSettings:
    """What decides a figure or table.

    Args:
        name: of it.
        model: that was asked for, or the models that made it.
        own: whether they are the paper's.
        lines: the commands, without ``attnscope``.
    """

    name: str
    model: str
    own: bool
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Recipe:
    """The commands of a figure or table on this machine.

    Args:
        item: what is made.
        settings: that decide it.
        models: by the paper's short name the model that is run.
    """

    item: Item
    settings: PaperSettings
    models: Mapping[str, str]


def recipe(
    item: Item,
    *,
    model: str | None,
    own: bool,
    limit: int | None,
    data: Data,
    extra: Sequence[str] = (),
) -> Recipe:
    """Choose the models and the commands.

    Args:
        item: a figure or table.
        model: stands for all of the paper's; ``None`` takes these, or the stand-ins in the box.
        own: whether the paper's are to be taken.
        limit: captions; ``None`` is the paper's number, or the stand-ins' own.
        data: captions and images, for the paper's models, and what judges.
        extra: options that every command with a model gets, such as a dtype.

    Raises:
        InputError: a model of one's own cannot make it, or there is nothing to be made.
    """
    if model is not None:
        parts = stood_in([_as(part, model) for part in item.parts])
        made = [(part, model if name else "") for part, name in parts]
        models = dict.fromkeys(item.models, model)
    elif own:
        made = [
            (part, part.model)
            for part in item.parts
            if part.command in MODELLESS or part.model in MODELS
        ]
        models = {name: name for name in item.models}
    else:
        made = stood_in(item.parts)
        models = {name: STAND_INS[name] for name in item.models}
    lines = []
    for part, name in made:
        if own and model is None:
            line = for_the_papers_models(part, data, limit)
        else:
            line = for_a_stand_in(part, name, limit, data)
        lines.append(line if part.command in MODELLESS else (*line, *extra))
    named = model or ", ".join(dict.fromkeys(shown(name) for _, name in made if name)) or "-"
    settings = PaperSettings(
        name=item.name, model=named, own=own and model is None, lines=tuple(lines)
    )
    return Recipe(item, settings, models)


def _as(part: Part, model: str) -> Part:
    """A part whose stand-in is a model of one's own: all of them come to the same."""
    if part.command in MODELLESS or STAND_INS[part.model] not in RANDOM:
        return part
    raise InputError(
        f"{model!r} cannot stand for {part.model}, which makes videos: leave --model out, or choose "
        "another figure or table"
    )


@one_at_a_time
def carry_out(path: Path, what: Recipe, carry: Callable[[tuple[str, ...], Path], None]) -> Run:
    """Make what is missing of a figure or table, and set it beside the paper's.

    Args:
        path: the run directory; every command leaves its own run, or its picture, in a folder there that is
            called by its number and name, such as ``1-bench``.
        what: from :func:`recipe`.
        carry: carries out a command, given what follows ``attnscope`` and where its result is to go.

    Returns:
        The run, with the tables ``beside`` (:func:`attnscope.analyses.paper.beside.beside`) and ``claims``
        (:func:`attnscope.analyses.paper.claims.tested`).

    Raises:
        InputError: the directory holds another run, or a command refuses what it is asked for.
    """
    run = Run.open(path, "paper", what.settings)
    here = path.resolve()
    prepare(frozenset(word for line in what.settings.lines for word in line), here)
    for number, line in enumerate(what.settings.lines, 1):
        carry(tuple(placed(word, here) for word in line), path / f"{number}-{line[0]}")
    runs = [found for found in beside.runs_in(path) if found.path != path]
    counted = [found for found in runs if found.command == "cost paper"]
    if counted:
        table = beside.of_costs(counted[0], what.item.number)
    else:
        models = {name: placed(model, here) for name, model in what.models.items()}
        blind = {name for name, model in what.models.items() if model in RANDOM}
        table = beside.beside(what.item.name, beside.facts(runs), models, blind)
    tested = claims.tested(what.item.name, runs)
    for name, made in {"claims": tested, "beside": table}.items():
        run.write_csv(name, made)
        run.write_table(name, made)
    return run


def pictures_of(run: Run, item: Item) -> list[Path]:
    """The figures that show what an item is about, of all its commands; of random weights no quality."""
    lines = run.settings["lines"]
    found = []
    for number, line in enumerate(lines, 1):
        names = {*item.drawn} - ({"frontier"} if RANDOM & {*line} else set())
        pictures = sorted((run.path / f"{number}-{line[0]}").rglob("*.png"))
        found += [p for p in pictures if p.parent.name == "figures" and p.stem in names]
    return [*found, *sorted(run.path.glob(f"*/{PICTURE}"))]
