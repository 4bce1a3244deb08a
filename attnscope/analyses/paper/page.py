"""All figures and tables as one document: what the paper prints beside what was measured.

What runs left is kept in a folder of small files, from which the document follows: every number of it
stands in one of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attnscope.analyses.paper import beside
from attnscope.analyses.paper.estimate import gpu_plan, line_of
from attnscope.analyses.paper.here import runs_on
from attnscope.analyses.paper.items import Item, items
from attnscope.analyses.paper.parts import Data
from attnscope.analyses.paper.prompts import PROMPTS
from attnscope.analyses.paper.published import RATIOS, note_of, source
from attnscope.analyses.paper.run import pictures_of
from attnscope.runs.folder import Run

_MADE = "made.csv"
_WIDTH = 470
_LEFT_OUT = ("--offline",)
"""Options that change nothing in a result."""


def keep(run: Run, folder: Path) -> None:
    """Keep what a run of ``attnscope paper`` left.

    Args:
        run: a finished one.
        folder: of the document's files; those of the same figure or table are replaced.
    """
    item = items()[run.settings["name"]]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{item.name}-*"):
        old.unlink()
    for name in ("beside", "claims"):
        table = run.read_table(name)
        if len(table):
            table.to_csv(folder / f"{item.name}-{name}.csv", index=False)
    for number, picture in enumerate(pictures_of(run, item), 1):
        shutil.copy(picture, folder / f"{item.name}-{number}.png")
    lines = [[w for w in line if w not in _LEFT_OUT] for line in run.settings["lines"]]
    row: dict[Any, Any] = {"name": item.name, "model": run.settings["model"], "own": run.settings["own"],
           "lines": "\n".join(line_of(line) for line in lines)}  # fmt: skip
    known = [other for other in _made(folder).to_dict("records") if other["name"] != item.name]
    order = list(items())
    rows = sorted([*known, row], key=lambda made: order.index(made["name"]))
    pd.DataFrame(rows).to_csv(folder / _MADE, index=False)


def page(folder: Path) -> str:
    """The document, in markdown.

    Args:
        folder: of what was kept; its name is how the document points to pictures.
    """
    made = {str(row["name"]): row for row in _made(folder).to_dict("records")}
    parts = [_opening(made, folder)]
    for item in items().values():
        parts.append("\n".join(_section(item, made.get(item.name), folder)))
    return "\n\n".join(parts) + "\n"


def _made(folder: Path) -> pd.DataFrame:
    path = folder / _MADE
    if path.is_file():
        return pd.read_csv(path)
    return pd.DataFrame(columns=["name", "model", "own", "lines"])


def _opening(made: dict[str, Any], folder: Path) -> str:
    tables = [_read(folder, name, "beside") for name in made]
    said = [beside.summary(table) for table in tables if table is not None]
    rows = {name: sum(counts[name] for counts in said) for name in (said[0] if said else ())}
    claims = [_read(folder, name, "claims") for name in made]
    verdicts = pd.concat([t["verdict"] for t in claims if t is not None]) if made else pd.Series()
    tested = verdicts.value_counts()
    of_rows = ", ".join(f"{count} {name}" for name, count in rows.items())
    of_claims = ", ".join(f"{count} {name}" for name, count in tested.items())
    return f"""# The paper, figure by figure and table by table

Every figure and table of {source()}

`attnscope paper` lists them, `attnscope paper table2` makes one: on the paper's own models where they are on the
machine, else on models in the box that stand for them, and `--gpu-plan` prints what to run elsewhere. This page is
what these commands said on the models in the box ([`docs/paper/`](paper/) has it as CSV); `python benchmarks/paper.py`
writes it anew. {len(made)} of {len(items())} were made here.

A stand-in draws 64×64 scenes of a small world, so absolute values have nothing to do with the paper's: *change* is what a
plan does to its baseline, times and multiply-accumulates as a ratio, all else as a difference. *As the paper says*
is whether the 95 % interval of the change (of times the range over rounds) lies on the side where the paper's change lies. FID is biased and
not tested: KID stands for it. Of fewer than 20 prompts, and of KID fewer than 40, nothing is tested, and *n* says how many
there were; a processor that was shared with other work makes ranges of times wide.

No model of videos is in the box. For these stand tiny pipelines of **random weights**, which `attnscope paper` writes into its run
directory (`$RUN`) with rendered scenes to begin with: that the way from command to table runs is all that their images show, and
nothing is tested of them but times, multiply-accumulates and memory.

Of all rows: {of_rows}. Of the claims in words: {of_claims}."""


def _section(item: Item, made: dict[Any, Any] | None, folder: Path) -> Iterator[str]:
    yield f"## {item.title}\n\n{item.shows} **The paper:** {item.claim}\n"
    if not item.parts:
        yield _prompts()
        return
    if made is None:
        yield f"Not made here ({runs_on(item)}).\n"
    else:
        stands = "the paper's models" if made["own"] else made["model"]
        on = "" if made["model"] == "-" else f" on {stands}"
        yield f"`attnscope paper {item.name}`{on}:\n"
        yield f"```console\n{_console(str(made['lines']).splitlines())}\n```\n"
    own = [line for line in gpu_plan(item, Data(), None)["line"] if line]
    if own and item.models:
        yield f"On the paper's models:\n\n```console\n{_console(own)}\n```\n"
    yield from _measured(item, folder)
    notes = " ".join(filter(None, (item.note, note_of(item.name))))
    if notes:
        yield f"*{notes}*"


def _console(lines: Sequence[str]) -> str:
    return "\n".join(f"$ {line}" for line in lines)


def _prompts() -> str:
    rows = [f"| {figure} | {text} |" for figure, texts in PROMPTS.items() for text in texts]
    return "\n".join(["| figure | prompt |", "|---|---|", *rows])


def _measured(item: Item, folder: Path) -> Iterator[str]:
    """Tables and pictures of what was kept."""
    table, claims = _read(folder, item.name, "beside"), _read(folder, item.name, "claims")
    if table is not None:
        head = "| row | paper | change | here | change here | n | as the paper says |"
        rows = [_row(row) for row in table.to_dict("records")]
        yield "\n".join([head, "|---|---|---|---|---|---|---|", *rows]) + "\n"
        yield from _by_seed(table)
    if claims is not None:
        head = "| the claim | above zero if right | on | value | n | |"
        rows = [
            f"| {row['claim']} | {row['what']} | {row['run']} | {_interval(row['value'], row['low'], row['high'], '+.3g')} "
            f"| {row['n']} | **{row['verdict']}** |"
            for row in claims.to_dict("records")
        ]
        yield "\n".join([head, "|---|---|---|---|---|---|", *rows]) + "\n"
    for number, path in enumerate(sorted(folder.glob(f"{item.name}-[0-9]*.png")), 1):
        more = f", {number}" if number > 1 else ""
        yield f'<img src="{folder.name}/{path.name}" width="{_WIDTH}" alt="{item.title}{more}">\n'


def _by_seed(table: pd.DataFrame) -> Iterator[str]:
    """The same with seeds as columns, of a table that has several."""
    wide = beside.seeds_as_columns(table)
    if wide is None:
        return
    values = [name for name in wide if ", seed " in str(name)]
    lines = ["| row | measure | " + " | ".join(map(str, values)) + " |"]
    lines.append("|---" * (2 + len(values)) + "|")
    for row in wide.to_dict("records"):
        here = row["here_measure"]
        names = [
            row["quantity"],
            *([here] if isinstance(here, str) and here != row["quantity"] else []),
        ]
        told = [f"{row[name]:.4g}" if row[name] == row[name] else "" for name in values]
        shown = ", here ".join(beside.named(str(name)) for name in names)
        lines.append(f"| {row['row']} | {shown} | {' | '.join(told)} |".replace("-", "−"))
    yield "\n".join(lines) + "\n"


def _read(folder: Path, name: str, kind: str) -> pd.DataFrame | None:
    path = folder / f"{name}-{kind}.csv"
    return pd.read_csv(path) if path.is_file() else None


def _row(row: dict[Any, Any]) -> str:
    measure, here = str(row["quantity"]), row["here"]
    ours, change, count = "", "", ""
    if here == here:
        name = str(row["here_measure"])
        ours = f"{here:.4g} {beside.named(name)}"
        change = _change(name, row["change"], row["low"], row["high"])
        count = f"{int(row['n'])}"
    published = f"{row['published']:.5g} {beside.named(measure)}"
    said = row["verdict"] if isinstance(row["verdict"], str) else ""
    verdict = f"**{said}**" if said and said != beside.UNTESTED else said
    theirs = _change(measure, row["published_change"])
    return f"| {row['row']} | {published} | {theirs} | {ours} | {change} | {count} | {verdict} |"


def _change(
    measure: str, value: float, low: float = float("nan"), high: float = float("nan")
) -> str:
    if value != value:
        return ""
    if measure in RATIOS:
        return "×" + _interval(value, low, high, ".3f")
    return _interval(value, low, high, "+.3g")


def _interval(value: float, low: float, high: float, form: str) -> str:
    text = f"{value:{form}}"
    if low != low or high != high or low == high:
        return text.replace("-", "−")
    return f"{text} [{low:{form}}, {high:{form}}]".replace("-", "−")
