"""A static site of many runs: a page each, and an index of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attnscope.errors import InputError
from attnscope.files import make_folder, write_whole
from attnscope.pages.page import report, template
from attnscope.plain import how_many, printable
from attnscope.runs.folder import Run
from attnscope.runs.reading import telling

INDEX = "index.html"
_OURS = '<meta name="generator" content="attnscope'


@dataclass(frozen=True)
class Entry:
    """A line of an index.

    Args:
        name: of the run.
        values: its command, model, prompts, steps and when it was begun.
        file: of its page, beside the index; empty if it has none.
        reason: why it has none.
    """

    name: str
    values: Sequence[str]
    file: str = ""
    reason: str = ""


def check_target(folder: Path) -> None:
    """Refuse a folder that holds something else than a site of before.

    Raises:
        InputError: it does, or is a file, or stands in a folder that does not exist.
    """
    if folder.is_dir():
        index = folder / INDEX
        ours = index.is_file() and _OURS in index.read_text("utf-8", errors="replace")[:2000]
        if any(folder.iterdir()) and not ours:
            raise InputError(
                f"`bundle` {str(folder)!r} is not empty and holds no site of before: choose another folder"
            )
    elif folder.exists():
        raise InputError(f"`bundle` {str(folder)!r} is a file: choose a folder")
    elif not folder.parent.is_dir():
        raise InputError(f"`bundle` {str(folder)!r} stands in a folder that does not exist")


def write_site(listed: pd.DataFrame, folder: Path) -> list[Entry]:
    """Write a page for every run, and the index last.

    Args:
        listed: of :func:`attnscope.analyses.side_by_side.listed`.
        folder: where to; see :func:`check_target`.

    Returns:
        The index. A run that is not finished, or whose images are gone, stands in it without a page and
        with the reason.
    """
    make_folder(folder)
    entries: list[Entry] = []
    for row in listed.to_dict("records"):
        path = Path(row["run"])
        told = [row["command"], row["model"], row["limit"], row["steps"]]
        values = ["-" if pd.isna(value) else str(value) for value in told]
        values.append(str(row["created"] or "-")[:16].replace("T", " "))
        file = _file(path, [entry.file for entry in entries])
        try:
            with telling(path):
                text = report([Run(path)], back=INDEX)
        except InputError as error:
            entries.append(Entry(path.name, values, reason=str(error)))
            continue
        write(folder / file, text)
        entries.append(Entry(path.name, values, file))
    title = how_many(len(entries), "run")
    write(folder / INDEX, template("index.html", title=title, entries=entries))
    return entries


def write(path: Path, text: str) -> None:
    """Write a page, whole or not at all, without characters that steer terminals."""
    write_whole(path, lambda partial: partial.write_text(printable(text), "utf-8"))


def _file(path: Path, taken: Sequence[str]) -> str:
    """A name of a file that every address and every system takes; some take A and a for one."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.resolve().name).strip("-.") or "run"
    name = f"run-{name}" if name.lower() == "index" else name
    others = {file.lower() for file in taken}
    found, number = f"{name}.html", 2
    while found.lower() in others:
        found, number = f"{name}-{number}.html", number + 1
    return found
