"""``attnscope cost``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.architectures import Architecture
    from attnscope.cost import Convention, Cost, Counts


def cost(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Short name (see 'attnscope models'), opensora, hub id or folder.")] = "shapes",
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the model's.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Of the images, in pixels.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the images, in pixels.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Of the text.")] = None,
    frames: Annotated[int | None, typer.Option(help="Of the latents of a video.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 1,
    scaling: Annotated[bool, typer.Option("--scaling", help="Also at other resolutions and lengths of the text (Table A6).")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's cost tables beside what they come to here.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for tables as CSV and figures as PNG and PDF.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the folder only.")] = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Tell what a model's attention costs and what a plan saves, in MACs, without any weights."""
    from attnscope.cli.console import quiet_libraries, show_json

    _check_out(out, quiet)
    if paper:
        _check_paper(context)
        with quiet_libraries():
            _paper(out, quiet=quiet, as_json=as_json)
        return

    from attnscope import architectures, counting
    from attnscope.cli.inputs import chosen_plan
    from attnscope.cost import cost_of
    from attnscope.cost import scaling as scaled
    from attnscope.plan import Baseline

    plan = chosen_plan(tgate, other)
    with quiet_libraries():
        found = architectures.find(model).resized(height, width, tokens, frames)
        number = steps or found.steps
        counts = counting.count_architecture(found)
        run = cost_of(counts, plan or Baseline(), number, guided=found.guided, batch=batch)
        grid = scaled(found) if scaling else None
    files = _written(found, run, grid, out, with_plan=plan is not None)
    if as_json:
        show_json(_document(found, run, grid, files))
    elif quiet:
        print(out)
    else:
        _show_call(found, counts)
        _show_run(run, with_plan=plan is not None)
        if grid is not None:
            _show_scaling(found, grid)
        _show_files(files)


def _check_out(out: Path | None, quiet: bool) -> None:
    from attnscope.errors import InputError

    if out is None and quiet:
        raise InputError("--quiet prints the folder only: give --out FOLDER")
    if out is not None and (out.is_file() or not out.absolute().parent.is_dir()):
        raise InputError(f"--out {str(out)!r} is not a folder, or one in a folder that exists")


def _check_paper(context: typer.Context) -> None:
    from attnscope.errors import InputError

    taken = {"paper", "out", "quiet", "as_json"}
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in taken and _was_given(context, str(option.name))
    ]
    if given:
        raise InputError(
            "--paper goes without --tgate, --plan and --scaling and all else that chooses a model or a "
            f"run: leave out {', '.join(given)} (it takes --out, --quiet and --json)"
        )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _show_call(found: Architecture, counts: Counts) -> None:
    import pandas as pd

    from attnscope.cli.console import show_table
    from attnscope.cost import counted

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


def _show_run(run: Cost, *, with_plan: bool) -> None:
    import pandas as pd

    from attnscope.cli.console import results, show_table
    from attnscope.cost import attribution

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


def _show_scaling(found: Architecture, grid: pd.DataFrame) -> None:
    import pandas as pd

    from attnscope.cli.console import results, show_table
    from attnscope.cost import counted, crossover

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


def _show_files(files: list[Path]) -> None:
    from attnscope.cli.console import results

    for path in files:
        beside = " and .pdf" if path.suffix == ".png" else ""
        kind = "figure" if path.suffix == ".png" else "table"
        results.print(f"{kind}: {path}{beside}", soft_wrap=True)


def _written(
    found: Architecture, run: Cost, grid: pd.DataFrame | None, out: Path | None, *, with_plan: bool
) -> list[Path]:
    """Write tables and figures, if a folder was given."""
    if out is None:
        return []
    from attnscope.cost import attribution
    from attnscope.figures import cost as figures
    from attnscope.figures.saving import save

    files = [_csv(out, "steps", run.table())]
    if with_plan:
        table = attribution(run)
        png = out / "attribution.png"
        files += [_csv(out, "attribution", table), png]
        save(lambda: figures.attribution(table), png, png.with_suffix(".pdf"))
    if grid is not None:
        png = out / "scaling.png"
        files += [_csv(out, "scaling", grid), png]
        save(lambda: figures.scaling(grid, title=found.name), png, png.with_suffix(".pdf"))
    return files


def _csv(folder: Path, name: str, table: pd.DataFrame) -> Path:
    from attnscope.runs import write_whole

    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csv"
    write_whole(path, lambda partial: table.to_csv(partial, index=False))
    return path


def _document(
    found: Architecture, run: Cost, grid: pd.DataFrame | None, files: list[Path]
) -> dict[str, Any]:
    from dataclasses import asdict

    from attnscope.cost import CONVENTIONS, attribution, crossover

    document: dict[str, Any] = {
        "model": found.name,
        "architecture": found.source,
        "height": found.height,
        "width": found.width,
        "tokens": found.tokens,
        "frames": found.frames,
        "parameters": run.counts.parameters,
        "call": {
            "parts": run.counts.parts,
            **{convention: run.counts.macs(convention) for convention in CONVENTIONS},
            "sites": [asdict(site) for site in run.counts.sites],
        },
        "run": {
            "plan": str(run.trajectory.plan),
            "steps": run.trajectory.steps,
            "guided": run.guided,
            "batch": run.batch,
            "rows": [run.rows(step) for step in range(run.trajectory.steps)],
            "by_step": run.steps,
            "kept": run.kept,
            "parts": run.parts,
            "macs": {convention: run.macs(convention) for convention in CONVENTIONS},
            "baseline": {convention: run.baseline.macs(convention) for convention in CONVENTIONS},
            "speedup": {convention: run.speedup(convention) for convention in CONVENTIONS},
            "attribution": attribution(run),
        },
        "files": files,
    }
    if grid is not None:
        document["scaling"] = grid
        document["crossover"] = {name: crossover(grid, name) for name in CONVENTIONS}
    return document


def _paper(out: Path | None, *, quiet: bool, as_json: bool) -> None:
    from attnscope import published
    from attnscope.cli.console import results, show_json, show_table

    table = published.compare()
    notes = published.notes()
    files = [] if out is None else [_csv(out, "paper", table)]
    if as_json:
        show_json({"source": published.source(), "notes": notes,
                   "rows": table, "files": files})  # fmt: skip
        return
    if quiet:
        print(out)
        return
    used = [note for note in notes if note in set(table["note"])]
    numbers = {note: str(position) for position, note in enumerate(used, start=1)}
    for name, group in table.groupby("table", sort=False):
        shown = group[["row", "published", "paper", "ratio", "agrees", "full"]].assign(
            note=[numbers.get(note, "") for note in group["note"]]
        )
        shown = shown.rename(columns={"paper": "ours", "full": "ours, full"})
        formats = {"published": ".3f", "ours": ".3f", "ratio": ".4f", "ours, full": ".3f"}
        show_table(shown, f"Table {name}" if name != "README" else "README of T-GATE", formats)
    for note in used:
        results.print(f"{numbers[note]}. {notes[note]}", soft_wrap=True)
    agreeing = table["agrees"].sum()
    results.print(
        f"{agreeing} of {len(table)} rows agree within {published.TOLERANCE:.1%}", soft_wrap=True
    )
    results.print(published.source(), soft_wrap=True)
    _show_files(files)


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
