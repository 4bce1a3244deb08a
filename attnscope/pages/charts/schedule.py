"""What a plan does at every step: a row per kind of attention or group of modules."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from attnscope.pages.charts.frame import WIDTH, drawing
from attnscope.pages.svg import CHARACTER, shortened, tag, text
from attnscope.plans.display import ACTION_NAMES, factors_of, row_name, told
from attnscope.plans.trajectory import is_of_modules
from attnscope.plots.schedule import groups_of

_ROWS = {
    "self": "self-attention",
    "cross": "cross-attention",
    "branches": "guidance",
    "text": "text",
}
_ROW, _MOST_NAME = 18.0, 28


def schedule(title: str, table: pd.DataFrame) -> Markup:
    """A plan's schedule.

    Args:
        title: of the chart.
        table: of :meth:`attnscope.plans.trajectory.Trajectory.table`.
    """
    rows = list(_rows(table))
    steps = sorted(int(step) for step in table["step"].unique())
    left = CHARACTER * 0.9 * min(_MOST_NAME, max(len(name) for name, _, _ in rows)) + 12
    wide = (WIDTH - left) / len(steps)
    found, top = _legend(list(dict.fromkeys(what for _, does, _ in rows for what in does)))
    for place, (name, does, factors) in enumerate(rows):
        y = top + _ROW * place
        cells = [
            text(left - 6, y + 12, shortened(name, _MOST_NAME), text_anchor="end", class_="name")
        ]
        for n, (step, what, factor) in enumerate(zip(steps, does, factors, strict=True)):
            cells.append(
                tag("rect", class_=f"cell do-{what}", x=left + n * wide + 0.6, y=y + 1, rx=1.5,
                    width=max(wide - 1.2, 0.8), height=_ROW - 3, data_tip=f"step {step}: {told(what, factor)}")
            )  # fmt: skip
            if what == "store" and wide > 5:
                cells.append(tag("circle", class_="stored", cx=left + (n + 0.5) * wide, cy=y + _ROW / 2 - 0.5, r=2))  # fmt: skip
        found.append(tag("g", *cells, data_name=name))
    bottom, every = top + _ROW * len(rows), max(1, -(-len(steps) // 10))
    found += [
        text(left + (n + 0.5) * wide, bottom + 13, str(step), text_anchor="middle", class_="tick")
        for n, step in enumerate(steps)
        if n % every == 0
    ]
    found.append(
        text((left + WIDTH) / 2, bottom + 30, "step", text_anchor="middle", class_="label")
    )
    return drawing(title, bottom + 36, *found)


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, list[str], list[float]]]:
    """Names of rows, what each does and by which factor; modules that do the same share one."""
    named, steps = "kind" in table, table["step"].nunique()
    if named:
        for group in groups_of(table):
            count = f" x{len(group.names)}" if len(group.names) > 1 else ""
            yield f"{group.label}{count}", list(group.does[:steps]), [float("nan")] * steps
    ordered = table.sort_values("step", kind="stable")
    for row, cells in ordered.groupby("row", sort=False):
        if not named or not is_of_modules(str(row)):
            name = row_name(cells)
            yield _ROWS.get(name, name), list(cells["what"]), factors_of(cells)


def _legend(found: list[str]) -> tuple[list[Markup], float]:
    """What the colours mean, in lines."""
    shown: list[Markup] = []
    x = y = 0.0
    for what in [what for what in ACTION_NAMES if what in found]:
        wide = 18 + CHARACTER * len(ACTION_NAMES[what]) + 12
        if x and x + wide > WIDTH:
            x, y = 0.0, y + 17
        shown.append(
            tag("rect", class_=f"cell do-{what}", x=x, y=y + 2, width=12, height=12, rx=1.5)
        )
        if what == "store":
            shown.append(tag("circle", class_="stored", cx=x + 6, cy=y + 8, r=2))
        shown.append(text(x + 18, y + 12, ACTION_NAMES[what]))
        x += wide
    return shown, y + 26
