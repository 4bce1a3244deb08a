"""What ``attnscope cost`` prints, from the settings and the tables of a run, written or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.cost.counts import Convention
    from attnscope.runs.folder import Run

Tables = Mapping[str, "pd.DataFrame"]
"""By name, as of :func:`attnscope.analyses.cost.tables_of`."""


@reports("cost")
def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw the figures of a run of ``cost`` and print what it says."""
    from attnscope.cli.console import show_json
    from attnscope.figures.saving import save_figures
    from attnscope.runs.contents import CONTENTS

    names = [name for name in CONTENTS["cost"].tables if run.has_table(name)]
    tables = {name: run.read_table(name) for name in names}
    figures = save_figures(run)
    if as_json:
        show_json({"run": run.path, "settings": run.settings, "figures": figures, **tables})
    elif quiet:
        print(run.path)
    else:
        show(run.settings, tables)
        show_files(files_of(run, figures))


def files_of(run: Run, figures: Sequence[Path]) -> list[Path]:
    """What a run holds for people: every table as CSV, and the figure of it, if there is one."""
    from attnscope.analyses.cost import FOR_PEOPLE

    drawn = {path.stem: path for path in figures}
    files = []
    for name in FOR_PEOPLE:
        if run.has_table(name):
            files.append(run.path / f"{name}.csv")
            files += [drawn[name]] if name in drawn else []
    return files


def show(settings: Mapping[str, Any], tables: Tables) -> None:
    """Print where the cost is, what the plan saves, and how it grows, if that was asked."""
    _show_call(settings, tables["call"])
    _show_run(settings, tables)
    if "scaling" in tables:
        _show_scaling(settings["model"], tables["scaling"])


def _show_call(settings: Mapping[str, Any], call: pd.DataFrame) -> None:
    """Print where the multiply-accumulates of one call of the denoiser are."""
    import pandas as pd

    from attnscope.cli.console import show_table

    shown = pd.DataFrame({"part": call["part"], "MACs": [amount(macs) for macs in call["macs"]]})
    columns: dict[Convention, str] = {"full": "of all", "paper": "of the paper's"}
    for convention, column in columns.items():
        seen = _seen(call, convention)
        shown[column] = call["macs"].where(seen) / _total(call, "macs", convention)
    whole = amount(_total(call, "macs"))
    last = pd.DataFrame({"part": ["all"], "MACs": [whole], "of all": 1.0, "of the paper's": 1.0})
    shown = pd.concat([shown, last], ignore_index=True)
    tokens, frames = settings["tokens"], settings["frames"]
    text = "token" if tokens == 1 else "tokens" if settings["videos"] else "text tokens"
    size = f"{settings['width']}x{settings['height']}, {tokens} {text}"
    size += f", {frames} frames" if frames > 1 else ""
    title = (
        f"{settings['model']} at {size}: one call of the denoiser on one row, "
        f"{amount(settings['parameters'])} parameters"
    )
    show_table(shown, title, dict.fromkeys(("of all", "of the paper's"), ".1%"))


def _show_run(settings: Mapping[str, Any], tables: Tables) -> None:
    """Print what a run costs, and what its plan saves, by part and by step."""
    import pandas as pd

    from attnscope.cli.console import results, show_table

    parts, steps, number = tables["parts"], tables["steps"], settings["steps"]
    rows = steps.groupby("step")["rows"].first()
    guided = int((rows > settings["batch"]).sum())
    several = f", {settings['batch']} at a time" if settings["batch"] > 1 else ""
    title = f"{settings['plan'] or 'baseline'}: {number} steps, {guided} of them guided{several}"
    if settings["plan"] is None:
        full, paper = amount(_total(parts, "plan")), amount(_total(parts, "plan", "paper"))
        both = f"{full} MACs, {paper} in the paper's convention"
        results.print(f"{title}: {both}", soft_wrap=True)
        return
    lines = list(parts[["part", "baseline", "plan"]].itertuples(index=False, name=None))
    totals: dict[Convention, str] = {"full": "all", "paper": "all, in the paper's convention"}
    lines += [
        (name, _total(parts, "baseline", key), _total(parts, "plan", key))
        for key, name in totals.items()
    ]
    shown = pd.DataFrame(
        [
            (name, amount(before), amount(after), 1 - after / before)
            for name, before, after in lines
        ],
        columns=["part", "baseline", "plan", "saved"],
    )
    show_table(shown, title, {"saved": ".1%"})
    alike = _steps(steps, int(parts["baseline"].sum()) / number)
    show_table(alike, "steps that cost the same", {"of a full step": ".1%"})
    speedups = {key: _total(parts, "baseline", key) / _total(parts, "plan", key) for key in totals}
    results.print(
        f"ideal speed-up: {speedups['full']:.3f} (in the paper's convention {speedups['paper']:.3f})",
        soft_wrap=True,
    )
    kept = memory(int(tables["kept"]["elements"].max()))
    results.print(f"kept in memory for reuse: {kept}", soft_wrap=True)
    _show_attribution(tables["attribution"])


def _show_attribution(table: pd.DataFrame) -> None:
    """Print which part of a plan saves how much."""
    import pandas as pd

    from attnscope.cli.console import show_table

    wide = table.pivot_table(
        index="saving", columns="convention", values=["share", "speedup"], sort=False
    )
    shown = pd.DataFrame(
        {
            "saved by": wide.index,
            "share": wide["share", "full"].to_numpy(),
            "alone": wide["speedup", "full"].to_numpy(),
            "share, paper's": wide["share", "paper"].to_numpy(),
            "alone, paper's": wide["speedup", "paper"].to_numpy(),
        }
    )
    formats = {"share": ".1%", "alone": ".3f", "share, paper's": ".1%", "alone, paper's": ".3f"}
    show_table(shown, "what saves it, and the ideal speed-up of each part alone", formats)


def _seen(table: pd.DataFrame, convention: Convention) -> pd.Series[bool]:
    from attnscope.cost.counts import counted

    return counted(table["part"], convention)


def _total(table: pd.DataFrame, column: str, convention: Convention = "full") -> int:
    """The MACs of a column that a convention counts."""
    return int(table.loc[_seen(table, convention), column].sum())


def _steps(steps: pd.DataFrame, whole: float) -> pd.DataFrame:
    """A row for steps of the same cost; ``whole`` is that of a step without the plan."""
    import pandas as pd

    alike: dict[tuple[int, int], list[int]] = {}
    for step, parts in steps.groupby("step"):
        cost = int(parts["rows"].iloc[0]), int(parts["macs"].sum())
        alike.setdefault(cost, []).append(int(str(step)))
    rows = [
        {
            "steps": ", ".join(_ranges(numbers)),
            "rows": rows,
            "MACs each": amount(macs),
            "of a full step": macs / whole,
        }
        for (rows, macs), numbers in alike.items()
    ]
    return pd.DataFrame(rows)


def _ranges(numbers: list[int]) -> list[str]:
    """1, 2, 3, 7 as 1-3 and 7."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return [
        str(start) if start == end else f"{start}-{end}"
        for start, end in zip(starts, ends, strict=True)
    ]


def _show_scaling(model: str, grid: pd.DataFrame) -> None:
    """Print what a model costs at other resolutions and lengths of the text."""
    import pandas as pd

    from attnscope.cli.console import results, show_table
    from attnscope.cost.counts import counted
    from attnscope.cost.resolutions import crossover

    rows = []
    once = grid.drop_duplicates(["height", "width", "tokens", "part"])  # on both axes
    for (height, width, tokens), cell in once.groupby(["height", "width", "tokens"], sort=False):
        full = cell["macs"].sum()
        cross = cell.loc[cell["part"].str.startswith("cross"), "macs"].sum()
        selves = cell.loc[cell["part"].str.startswith("self"), "macs"].sum()
        paper = cell.loc[counted(cell["part"], "paper"), "macs"].sum()
        rows.append(
            {
                "size": f"{width}x{height}",
                "tokens": tokens,
                "MACs": amount(full),
                "self": selves / full,
                "cross": cross / full,
                "in the paper's": amount(paper),
            }
        )
    title = f"{model}: one call on one row, and what part of it is attention"
    show_table(pd.DataFrame(rows), title, {"self": ".1%", "cross": ".1%"})
    point = crossover(grid)
    results.print(
        f"cross-attention costs more than everything else from {point:,.0f} tokens on"
        if point is not None
        else "cross-attention never costs more than everything else",
        soft_wrap=True,
    )


def show_files(files: list[Path]) -> None:
    """Print what was written, and where."""
    from attnscope.cli.console import results

    for path in files:
        beside = " and .pdf" if path.suffix == ".png" else ""
        kind = "figure" if path.suffix == ".png" else "table"
        results.print(f"{kind}: {path}{beside}", soft_wrap=True)


def memory(elements: int) -> str:
    """What a plan keeps for reuse, at most, if that is so many elements."""
    return f"at most {2 * elements / 2**20:.1f} MB in 16 bits" if elements else "nothing"


def amount(number: float) -> str:
    """A number with four digits and the letter of its thousands: 338.6 G."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:#.4g} {letter}".replace(". ", " ")
    return f"{number:.0f}"
