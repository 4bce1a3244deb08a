"""A plan as a picture in the terminal: steps across, a row a kind of modules or a group of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any

from attnscope.kinds import KINDS
from attnscope.plans.display import row_name
from attnscope.plans.trajectory import SCALED, is_of_modules
from attnscope.sites.groups import Group, alike

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

    from attnscope.plans.base import Plan
    from attnscope.plans.trajectory import Trajectory

Cell = tuple[str, str]
"""A character and its colour."""
CELLS: dict[str, Cell] = {
    "compute": ("█", "blue"),
    "store": ("●", "blue"),
    "reuse": ("·", "bright_black"),
    "forecast": ("~", "magenta"),
    "both": ("█", "green"),
    "one": ("▒", "green"),
    "uncond": ("u", "green"),
    "cond": ("c", "green"),
    "prompt": ("█", "yellow"),
    "null": ("∅", "yellow"),
    "unscaled": ("·", "bright_black"),
    "removed": ("✕", "red"),
    "less": ("▼", "red"),
    "more": ("▲", "magenta"),
}
_MEANING = {
    "compute": "compute",
    "store": "compute and store",
    "reuse": "reuse",
    "forecast": "forecast",
    "both": "both branches",
    "one": "one branch",
    "uncond": "unconditional branch alone",
    "cond": "conditional branch alone",
    "prompt": "prompt",
    "null": 'encoding of ""',
    "unscaled": "word as it is",
    "removed": "word removed",
    "less": "less attention",
    "more": "more attention",
}
_PARTS = "▁▂▃▄▅▆▇"
"""Of modules that compute; all of them and none have signs of their own."""
_MOST_LINES = 40
"""Of a picture, so that it stays one."""
_FEW_GROUPS = 12
"""So many rows need no sections."""
_LEAST_LABEL, _MOST_LABEL = 24, 48
"""Characters of the name of a row, and of how many modules it stands for."""


@dataclass(frozen=True)
class Line:
    """A row of the picture.

    Args:
        label: its name.
        cells: one a step; empty for a heading.
        count: of the modules that it stands for; 0 says none.
    """

    label: str
    cells: Sequence[Cell] = field(default=())
    count: int = 0


def show(asked: Plan, trajectory: Trajectory, table: pd.DataFrame, *, on: str = "") -> None:
    """Print a schedule.

    Args:
        asked: the plan as it was asked for.
        trajectory: the plan made for the steps.
        table: of :meth:`attnscope.plans.trajectory.Trajectory.table`.
        on: whose steps these are: a model, and its scheduler if it is not its own.
    """
    from attnscope.cli.console import results

    head = [_title(asked, trajectory, on), *_about(getattr(asked, "about", {}))]
    if getattr(trajectory.plan, "differences", 1) == 2:
        head.append("forecasts go by second differences, along a parabola through the last three")
    results.print(head[0], style="bold", soft_wrap=True)
    for line in head[1:]:
        results.print(line, soft_wrap=True)
    legends = list(_legends(table))
    once = len(head) + len(legends) + 3  # and what is said at the end
    others = sum(not is_of_modules(str(row)) for row in table["row"].unique())
    each = 2 + others + ("weight" in table)
    panels = -(-trajectory.steps // _columns(trajectory.steps, _LEAST_LABEL + 2))
    lines, left_out = _lines(table, (_MOST_LINES - once) // panels - each)
    _picture(lines, trajectory)
    if any(cell[0] in _PARTS for line in lines for cell in line.cells):
        legends.insert(1, _legend([((_PARTS, "blue"), "part of the modules that compute")]))
    for legend in legends:
        results.print(legend)
    results.print(_counted(trajectory, table), soft_wrap=True)
    if left_out:
        results.print(
            f"{left_out} modules are summed up: --out plan.pdf draws every row", soft_wrap=True
        )


def _title(asked: Plan, trajectory: Trajectory, on: str) -> str:
    """The plan, and what became of it at these steps."""
    placed, steps = trajectory.plan, trajectory.steps
    here = "" if str(placed) == str(asked) else f", here {placed}"
    own = asked.own_steps
    found = f" (found at {own})" if own is not None and own != steps else ""
    of = f" of {on}" if on else ""
    return f"{asked}{here}, {steps} steps{of}{found}"


def _about(about: Mapping[str, Any]) -> Iterator[str]:
    """What a file says of itself: all that is one value, then what is one line of values."""
    values = {key: value for key, value in about.items() if _is_one(value)}
    if values:
        yield " · ".join(_said(values))
    for key, inner in about.items():
        if isinstance(inner, Mapping) and any(map(_is_one, inner.values())):
            told = _said({name: value for name, value in inner.items() if _is_one(value)})
            yield f"{_words(key)}: {' · '.join(told)}"


def _said(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, bool):
            yield f"{_words(key)} {'yes' if value else 'no'}"
        elif isinstance(value, Real):
            yield f"{_words(key)} {float(value):.4g}"
        else:
            yield f"{_words(key)} {value}"


def _words(key: str) -> str:
    """A key as a sentence has it."""
    words = str(key).replace("_", " ")
    return words.replace("speedup", "speed-up").replace("log snr", "log-SNR")


def _is_one(value: Any) -> bool:
    return isinstance(value, str | bool | int | float) and value != ""


def _lines(table: pd.DataFrame, most: int) -> tuple[list[Line], int]:
    """The rows of a table, and how many modules are summed up in rows of several that differ."""
    cells = {str(row): list(what) for row, what in table.groupby("row", sort=False)["what"]}
    rest = [
        Line(
            "guidance" if "kind" in table and row == "branches" else row_name(own),
            _cells(own["what"]),
        )
        for row, own in table.groupby("row", sort=False)
        if not is_of_modules(str(row))
    ]
    if "weight" in table:
        rest.insert(1, Line("direction", list(_weights(table))))
    if "kind" not in table:
        return [*(Line(r, _cells(w)) for r, w in cells.items() if is_of_modules(r)), *rest], 0
    kinds = dict(table.dropna(subset=["kind"]).groupby("row", sort=False)["kind"].first())
    # What is stored and what is not looks the same: what the file says is whether it is computed.
    does = {name: [_plainly(what) for what in cells[name]] for name in kinds}
    groups = alike(kinds, does)
    if len(groups) <= min(_FEW_GROUPS, most):
        return [*map(_line, groups), *rest], 0
    staged = alike(kinds, does, by_stage=True)
    lines, left_out = _sections(staged, most)
    return [*lines, *rest], left_out


def _plainly(what: str) -> str:
    return "compute" if what == "store" else what


def _line(group: Group) -> Line:
    return Line(group.label, _cells(group.does), len(group.names))


def _cells(what: Iterable[str]) -> list[Cell]:
    return [CELLS[word] for word in what]


def _weights(table: pd.DataFrame) -> Iterator[Cell]:
    """How much of the last guidance counts, in tenths."""
    for weight in table.loc[table["row"] == "branches", "weight"]:
        tenths = round(10 * float(weight))
        yield ("·", "bright_black") if not tenths else ("+" if tenths > 9 else str(tenths), "green")


def _sections(groups: Sequence[Group], most: int) -> tuple[list[Line], int]:
    """Groups under their stage, or under their kind where there is one stage; the largest of too many.

    Returns:
        The lines, and how many modules are summed up.
    """
    stages: dict[str, list[Group]] = {}
    for group in groups:
        stages.setdefault(group.stage, []).append(group)
    if len(stages) == 1:  # of a transformer
        stages = {}
        for group in groups:
            stages.setdefault(group.kind, []).append(group)
    heads, most = len(stages) > 1, max(most, 2)
    if len(stages) * (2 + heads) > most:  # not even two rows a stage
        stages, heads = {"": list(groups)}, False
    longest = max(map(len, stages.values()))
    each = next(
        (n for n in range(longest, 0, -1) if sum(heads + min(n, len(s)) for s in stages.values()) <= most),
        1,
    )  # fmt: skip
    lines: list[Line] = []
    left_out = 0
    for stage, found in stages.items():
        lines += [Line(stage)] if heads else []
        if len(found) <= each:
            lines += map(_line, found)
            continue
        shown = sorted(found, key=lambda group: -len(group.names))[: each - 1]
        others = [group for group in found if group not in shown]
        lines += [_line(group) for group in found if group in shown]
        lines.append(_sum(others, more=bool(shown)))
        left_out += sum(len(group.names) for group in others)
    return lines, left_out


def _sum(groups: Sequence[Group], *, more: bool) -> Line:
    """One row for groups that differ: the part of their modules that compute at each step."""
    modules = sum(len(group.names) for group in groups)
    cells: list[Cell] = []
    for step in range(len(groups[0].does)):
        computing = sum(len(g.names) for g in groups if g.does[step] == "compute")
        if computing in (0, modules):
            cells.append(CELLS["compute" if computing else "reuse"])
        else:
            cells.append((_PARTS[int(computing / modules * len(_PARTS))], "blue"))
    kinds = list(dict.fromkeys(group.kind for group in groups))
    more_of = f"more ({', '.join(kinds)})" if more else ", ".join(kinds)
    return Line(f"… {len(groups)} rows {more_of}", cells, modules)


def _picture(lines: Sequence[Line], trajectory: Trajectory) -> None:
    from rich.text import Text

    from attnscope.cli.console import results

    counts = max((len(f"x{line.count}") + 1 for line in lines if line.count > 1), default=0)
    levels = [_level(level) for level in trajectory.levels or ()]
    log_snr = "log-SNR, nats" if levels else ""
    longest = max(len(log_snr) - counts, *(len(line.label) for line in lines))
    room = results.width - trajectory.steps - 2
    label = min(longest, min(max(room, _LEAST_LABEL), _MOST_LABEL) - counts)
    before = label + counts + 2
    width = _columns(trajectory.steps, before)
    for first in range(0, trajectory.steps, width):
        numbers = range(first, min(first + width, trajectory.steps))
        results.print(" " * before + _ruler(numbers, range(trajectory.steps)))
        if levels:
            told = f"{log_snr:<{before}}{_ruler(numbers, levels)}"
            results.print(told, style="bright_black", soft_wrap=True)
        for line in lines:
            if not line.cells:
                results.print(line.label, style="bold", soft_wrap=True)
                continue
            count = f"x{line.count}" if line.count > 1 else ""
            name = line.label if len(line.label) <= label else line.label[: label - 1] + "…"
            row = Text(f"{name:<{label}}{count:>{counts}}  ")
            for step in numbers:
                row.append(*line.cells[step])
            results.print(row, soft_wrap=True)


def _columns(steps: int, before: int) -> int:
    """How many steps stand side by side: all that there are, or tens of them."""
    from attnscope.cli.console import results

    room = results.width - before
    return steps if steps <= room else max(10, room // 10 * 10)


def _ruler(numbers: range, values: Sequence[Any]) -> str:
    """What is said of every fifth step, over its column."""
    ruler = "".join(f"{values[step]!s:<5}" for step in numbers if step % 5 == 0)
    return ruler[: len(numbers) + 4].rstrip()


def _level(level: float) -> str:
    """Log-SNR in four characters at most."""
    if not isfinite(level):
        return "-∞" if level < 0 else "∞"
    return f"{level:.0f}" if abs(level) >= 9.95 else f"{round(level, 1) + 0.0:.1f}"


def _legends(table: pd.DataFrame) -> Iterator[Text]:
    """What the signs mean: of modules, of guidance, of the text, of words."""
    named = "kind" in table
    modules = table["row"].map(is_of_modules)
    one = [table["row"] == row for row in ("branches", "text")]
    for part in (modules, *one, table["row"].str.startswith(SCALED)):
        found = set(table.loc[part, "what"])
        if named and "store" in found:
            found = {_plainly(what) for what in found}
        signs = [(cell, _MEANING[what]) for what, cell in CELLS.items() if what in found]
        if "weight" in table and "cond" in found:
            signs.append((("1-9 +", "green"), "the last guidance goes on, in tenths, whole"))
        if signs:
            yield _legend(signs)


def _legend(signs: Iterable[tuple[Cell, str]]) -> Text:
    from rich.text import Text

    legend = Text("  ")
    for cell, meaning in signs:
        legend.append(*cell)
        legend.append(f" {meaning}   ")
    return legend


def _counted(trajectory: Trajectory, table: pd.DataFrame) -> str:
    """How much is computed, in one line."""
    steps, guided = trajectory.steps, trajectory.guided_steps
    computes = table["what"].isin(["compute", "store"])
    if "kind" not in table:
        computed = table[computes].groupby("row").size()
        parts = [
            f"{kind}-attention computed in {computed.get(kind, 0)}" for kind in KINDS[:2][::-1]
        ]
        return f"of {steps} steps: {', '.join([*parts, f'guided {guided}'])}"
    modules = table["kind"].notna()
    of_kinds = computes[modules].groupby(table.loc[modules, "kind"], sort=False).mean()
    parts = [f"{kind} {part:.0%}" for kind, part in of_kinds.items()]
    number = table.loc[modules & (table["row"] != table["kind"]), "row"].nunique()
    return (
        f"{number} modules, of whose steps are computed: {', '.join(parts)} (what has no row: all); "
        f"guided in {guided} of {steps} steps"
    )
