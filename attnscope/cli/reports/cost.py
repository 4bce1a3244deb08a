"""What ``attnscope cost`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.cost.counts import Convention, Counts
    from attnscope.cost.plans import Cost
    from attnscope.models.architectures import Architecture


def show_call(found: Architecture, counts: Counts) -> None:
    """Print where the multiply-accumulates of one call of the denoiser are."""
    import pandas as pd

    from attnscope.cli.console import show_table
    from attnscope.cost.counts import counted

    parts = pd.Series(counts.parts)
    shown = pd.DataFrame({"part": parts.index, "MACs": [amount(macs) for macs in parts]})
    columns: dict[Convention, str] = {"full": "of all", "paper": "of the paper's"}
    for convention, column in columns.items():
        seen = counted(parts.index.to_series(), convention)
        shown[column] = (parts.where(seen) / counts.macs(convention)).to_numpy()
    last = pd.DataFrame(
        {"part": ["all"], "MACs": [amount(counts.macs())], "of all": 1.0, "of the paper's": 1.0}
    )
    shown = pd.concat([shown, last], ignore_index=True)
    text = "token" if found.tokens == 1 else "tokens" if found.makes_videos else "text tokens"
    size = f"{found.width}x{found.height}, {found.tokens} {text}"
    size += f", {found.frames} frames" if found.frames > 1 else ""
    title = (
        f"{found.name} at {size}: one call of the denoiser on one row, "
        f"{amount(counts.parameters)} parameters"
    )
    show_table(shown, title, dict.fromkeys(("of all", "of the paper's"), ".1%"))


def show_run(run: Cost, *, with_plan: bool) -> None:
    """Print what a run costs, and what its plan saves, by part and by step."""
    import pandas as pd

    from attnscope.cli.console import results, show_table
    from attnscope.cost.plans import attribution

    trajectory = run.trajectory
    guided = trajectory.guided_steps if run.guided else 0
    several = f", {run.batch} at a time" if run.batch > 1 else ""
    title = f"{trajectory.plan}: {trajectory.steps} steps, {guided} of them guided{several}"
    if not with_plan:
        both = f"{amount(run.macs())} MACs, {amount(run.macs('paper'))} in the paper's convention"
        results.print(f"{title}: {both}", soft_wrap=True)
        return
    rows = [(part, run.baseline.parts[part], run.parts[part]) for part in run.counts.parts]
    totals: dict[Convention, str] = {"full": "all", "paper": "all, in the paper's convention"}
    rows += [(name, run.baseline.macs(key), run.macs(key)) for key, name in totals.items()]
    shown = pd.DataFrame(
        [(name, amount(before), amount(after), 1 - after / before) for name, before, after in rows],
        columns=["part", "baseline", "plan", "saved"],
    )
    show_table(shown, title, {"saved": ".1%"})
    show_table(_steps(run), "steps that cost the same", {"of a full step": ".1%"})
    results.print(
        f"ideal speed-up: {run.speedup():.3f} (in the paper's convention {run.speedup('paper'):.3f})",
        soft_wrap=True,
    )
    results.print(f"kept in memory for reuse: {memory(run)}", soft_wrap=True)
    table = attribution(run)
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


def _steps(run: Cost) -> pd.DataFrame:
    """A row for steps of the same cost."""
    import pandas as pd

    whole = sum(run.baseline.steps[0].values())
    alike: dict[tuple[int, int], list[int]] = {}
    for step, parts in enumerate(run.steps):
        alike.setdefault((run.rows(step), sum(parts.values())), []).append(step)
    rows = [
        {
            "steps": ", ".join(_ranges(steps)),
            "rows": rows,
            "MACs each": amount(macs),
            "of a full step": macs / whole,
        }
        for (rows, macs), steps in alike.items()
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


def show_scaling(found: Architecture, grid: pd.DataFrame) -> None:
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
    title = f"{found.name}: one call on one row, and what part of it is attention"
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


def memory(run: Cost) -> str:
    """What a plan keeps for reuse, at most."""
    elements = max(run.kept)
    return f"at most {2 * elements / 2**20:.1f} MB in 16 bits" if elements else "nothing"


def amount(number: float) -> str:
    """A number with four digits and the letter of its thousands: 338.6 G."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:#.4g} {letter}".replace(". ", " ")
    return f"{number:.0f}"
