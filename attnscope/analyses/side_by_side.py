"""Runs beside each other: where their settings differ, and what came out of each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attnscope import documents
from attnscope.analyses.merging import is_done
from attnscope.cost.counts import CONVENTIONS, counted
from attnscope.errors import InputError
from attnscope.metrics.clusters import clusters_of
from attnscope.metrics.intervals import bootstrap
from attnscope.metrics.measures import MEASURES
from attnscope.notices import warn
from attnscope.runs.columns import CELL
from attnscope.runs.contents import is_finished
from attnscope.runs.folder import Run
from attnscope.runs.reading import telling

COLUMNS = ("run", "what", "measure", "value", "low", "high", "n")
"""Of :func:`outcomes`."""


def listed(folder: Path) -> pd.DataFrame:
    """The run directories in a folder and in its folders, the newest first; what cannot be read is warned of.

    What stands in a run directory is that run's own.

    Returns:
        Columns ``run`` (its path), ``command``, ``model``, ``limit`` (prompts), ``steps``, ``created``,
        ``shard`` (such as ``2/4``; missing of a whole run) and ``finished`` (of a shard, whether it has all of
        its batches); missing where a run has no such setting.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is no folder: name the one that runs were written to")
    rows = []
    for path in _directories(folder):
        try:
            with telling(path):
                rows.append(_row(Run(path)))
        except InputError as error:
            warn(str(error))
    columns = ["run", "command", "model", "limit", "steps", "created", "shard", "finished"]
    table = pd.DataFrame(rows, columns=columns).astype({"limit": "Int64"})
    return table.sort_values("created", ascending=False, ignore_index=True)


def _directories(folder: Path) -> list[Path]:
    """Those of runs: of a command with several values they stand in a folder of its own."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    deeper = (below for path in inside if not _is_run(path) for below in path.glob("*/"))
    return sorted(path for path in (folder, *inside, *deeper) if _is_run(path))


def _is_run(path: Path) -> bool:
    return os.path.exists(path / "run.json")  # a folder that cannot be looked into holds none


def _row(run: Run) -> dict[str, Any]:
    """What a list of runs says of one."""
    subjects = run.settings.get("subjects") or [run.settings]
    model = ", ".join(dict.fromkeys(str(subject.get("model", "-")) for subject in subjects))
    steps, whole = subjects[0].get("steps"), run.share.is_whole
    return {
        "run": run.path,
        "command": run.command,
        "model": model,
        "limit": _prompts(run),
        "steps": ", ".join(map(str, steps)) if isinstance(steps, list) else steps,
        "created": run.about.get("created"),
        "shard": None if whole else str(run.share),
        "finished": is_finished(run) or (not whole and is_done(run)),
    }


def _prompts(run: Run) -> np.int64 | int | None:
    """How many prompts a run has: as many as it was limited to, or all that were given."""
    limit = run.settings.get("limit")
    if limit is not None:
        return np.int64(limit)  # which no column takes that is larger
    with contextlib.suppress(InputError):  # it is told where more is asked of the run
        return len(run.read_table("prompts"))
    return None


def differing_settings(runs: Sequence[Run]) -> pd.DataFrame:
    """Settings in which runs differ.

    Args:
        runs: of one command.

    Returns:
        The column ``setting``, and one of text for every run by its name.

    Raises:
        InputError: they are of several commands.
    """
    names = names_of(runs)
    plain = [flat(run.settings) for run in runs]
    keys = dict.fromkeys(key for settings in plain for key in settings)
    rows = [
        {"setting": key, **{name: s.get(key, "-") for name, s in zip(names, plain, strict=True)}}
        for key in keys
        if len({settings.get(key, "-") for settings in plain}) > 1
    ]
    return pd.DataFrame(rows, columns=["setting", *names])


def outcomes(runs: Sequence[Run]) -> pd.DataFrame:
    """What came out of every run.

    Args:
        runs: finished ones of one command.

    Returns:
        Columns :data:`COLUMNS`: ``what`` is a kind of attention or an arm, ``low`` and ``high`` the
        ends of the 95 % interval (of a speed-up, its range), NaN where there is none.

    Raises:
        InputError: they are of several commands, of one that measures nothing, or not finished.
    """
    names_of(runs)
    if runs[0].command not in _READERS:
        raise InputError(f"a run of '{runs[0].command}' measures nothing that could be compared")
    rows = [
        (str(run.path), *row)
        for run in runs
        for row in _READERS[run.command](run)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def names_of(runs: Sequence[Run]) -> list[str]:
    """The paths of runs, once it is sure that they are of one command.

    Raises:
        InputError: they are not, or one of them stands twice.
    """
    commands = list(dict.fromkeys(run.command for run in runs))
    if len(commands) > 1:
        raise InputError(
            f"runs of {' and '.join(map(repr, commands))} have nothing in common: compare runs of one "
            "command"
        )
    names = [str(run.path) for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice!r} is given twice: compare it with another run")
    return names


Row = tuple[str, str, float, float, float, int]
Reader = Callable[[Run], Iterator[Row]]
_READERS: dict[str, Reader] = {}


def reads(command: str) -> Callable[[Reader], Reader]:
    """Make a function the one that reads from a run of a command what :func:`outcomes` tells."""

    def register(reader: Reader) -> Reader:
        _READERS[command] = reader
        return reader

    return register


@reads("convergence")
def _of_convergence(run: Run) -> Iterator[Row]:
    """The relative change of every kind of attention at its first and its last step."""
    records = run.read_table("records")
    for kind, group in records.groupby("kind", observed=True, sort=False):
        steps = group["step"]
        for name, step in (("first change", steps.min()), ("last change", steps.max())):
            yield _mean(
                run, str(kind), name, group[steps == step].groupby("prompt_id")["relative"].mean()
            )


@reads("ablate")
def _of_ablation(run: Run) -> Iterator[Row]:
    """The measures of every arm; where models, steps, seeds or the like differ, with those of the arm."""
    arms = run.read_table("arms")
    varying = [name for name in CELL if arms[name].nunique() > 1]
    for row in arms.to_dict("records"):
        cell = ", ".join(f"{name} {row[name]}" for name in varying)
        what = f"{row['arm']} ({cell})" if cell else row["arm"]
        yield what, row["measure"], row["value"], row["low"], row["high"], row["n"]


@reads("bench")
def _of_bench(run: Run) -> Iterator[Row]:
    rounds = int(run.settings["repeats"])
    for row in run.read_table("arms").to_dict("records"):
        ends = row["speedup_low"], row["speedup_high"]
        yield row["arm"], "speed-up", row["speedup"], *ends, rounds
    if run.has_table("frontier"):
        for row in run.read_table("frontier").to_dict("records"):
            yield row["arm"], row["measure"], row["value"], row["low"], row["high"], row["n"]


@reads("generate")
def _of_generation(run: Run) -> Iterator[Row]:
    images = run.read_table("images")
    for measure in [name for name, known in MEASURES.items() if known.of == "pairs"]:
        if measure in images:
            finite = images.loc[images[measure].abs() < float("inf"), [measure, "prompt_id"]]
            if len(finite):
                yield _mean(run, "plan", measure, finite.groupby("prompt_id")[measure].mean())
    times = run.read_table("times").groupby("arm")[["seconds", "images"]].sum()
    for arm, seconds in (times["seconds"] / times["images"]).items():
        yield str(arm), "seconds an image", seconds, float("nan"), float("nan"), 1


@reads("generate-plans")
def _of_plans(run: Run) -> Iterator[Row]:
    """How fast every plan is, and how far its images are from the reference's."""
    for row in run.read_table("plans").to_dict("records"):
        ends = row["speedup_low"], row["speedup_high"]
        yield row["plan"], "speed-up", row["speedup"], *ends, int(row["images"])
        if row["ssim"] == row["ssim"]:
            yield (
                row["plan"],
                "ssim",
                row["ssim"],
                row["ssim_low"],
                row["ssim_high"],
                int(row["images"]),
            )


@reads("paper")
def _of_paper(run: Run) -> Iterator[Row]:
    """How every row and claim of a figure or table changed from its baseline."""
    for row in run.read_table("beside").dropna(subset=["here"]).to_dict("records"):
        yield (
            row["row"],
            row["here_measure"],
            row["here"],
            float("nan"),
            float("nan"),
            int(row["n"]),
        )
    for row in run.read_table("claims").to_dict("records"):
        yield row["claim"], row["what"], row["value"], row["low"], row["high"], int(row["n"])


@reads("tune")
def _of_tuning(run: Run) -> Iterator[Row]:
    """How fast every plan is, and what it does to the images that it was chosen on."""
    images = int(run.settings["measured"])
    for row in run.read_table("plans").to_dict("records"):
        nothing = float("nan"), float("nan")
        yield row["budget"], "ideal speed-up", row["ideal"], *nothing, 1
        if "by_time" in row:
            yield row["budget"], "speed-up by time", row["by_time"], *nothing, 1
        for measure in ("ssim", "psnr", "damage"):
            yield row["budget"], measure, row[measure], *nothing, images


@reads("cost")
def _of_cost(run: Run) -> Iterator[Row]:
    """What a run of the denoiser costs, and how much faster its plan would be."""
    parts = run.read_table("parts")
    for convention in CONVENTIONS:
        seen = parts[counted(parts["part"], convention)]
        macs, whole = float(seen["plan"].sum()), float(seen["baseline"].sum())
        yield "all steps", f"10^12 MACs, {convention}", macs / 1e12, float("nan"), float("nan"), 1
        yield (
            "all steps",
            f"ideal speed-up, {convention}",
            whole / macs,
            float("nan"),
            float("nan"),
            1,
        )


@reads("cost paper")
def _of_cost_paper(run: Run) -> Iterator[Row]:
    """What the rows of the paper's tables come to here."""
    for row in run.read_table("paper").to_dict("records"):
        what = f"{row['table']}, {row['row']}"
        yield what, "10^12 MACs, paper", row["paper"], float("nan"), float("nan"), 1


def _mean(run: Run, what: str, measure: str, values: pd.Series[float]) -> Row:
    """Over prompts, by their number; those of the same text are resampled together."""
    clusters = None
    if run.has_table("prompts"):
        clusters = clusters_of(run.read_table("prompts")).reindex(values.index)
    found = bootstrap(values, clusters=clusters)
    return what, measure, found.value, found.low, found.high, found.n


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by dotted names, as text.

    Args:
        settings: of a run, as they stand in its ``run.json``.
        prefix: before all names.
    """
    found: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            for number, part in enumerate(value):
                found |= flat(part, f"{name}.{number}.")
        else:
            found[name] = value if isinstance(value, str) else documents.text(value, indent=None)
    return found
