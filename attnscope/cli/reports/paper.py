"""What ``attnscope paper`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.analyses.paper.items import Item
    from attnscope.analyses.paper.parts import Data
    from attnscope.runs.folder import Run


def show_list(*, as_json: bool) -> None:
    """Print all figures and tables: what each shows, what makes it here, what it needs elsewhere."""
    import pandas as pd

    from attnscope.analyses.paper.here import needs_of, runs_on
    from attnscope.analyses.paper.items import items
    from attnscope.cli.console import results, show_json, show_table

    found = items().values()
    if as_json:
        show_json([_told(item) for item in found])
        return
    rows = [
        {
            "name": item.name,
            "shows": item.shows,
            "claim": item.claim,
            "made here by": runs_on(item),
            "not here": "; ".join(need for need, is_here in needs_of(item) if not is_here) or "-",
        }
        for item in found
    ]
    title = "Faster Diffusion via Temporal Attention Decomposition, arXiv:2404.02747v3"
    show_table(pd.DataFrame(rows), title)
    results.print(
        "attnscope paper NAME makes one; with --gpu-plan it says how on the paper's models"
    )


def _told(item: Item) -> dict[str, Any]:
    from attnscope.analyses.paper.here import needs_of, runs_on
    from attnscope.analyses.paper.parts import Data
    from attnscope.analyses.paper.published import note_of, rows_of
    from attnscope.analyses.paper.run import recipe

    nothing = Data()
    here = recipe(item, model=None, own=False, limit=None, data=nothing).settings.lines
    own = recipe(item, model=None, own=True, limit=None, data=nothing).settings.lines
    return {
        "name": item.name,
        "title": item.title,
        "shows": item.shows,
        "claim": item.claim,
        "models": item.models,
        "made_here_by": runs_on(item),
        "needs": [{"what": need, "here": is_here} for need, is_here in needs_of(item)],
        "commands": here,
        "commands_own": own,
        "published": rows_of(item.name),
        "note": " ".join(filter(None, (item.note, note_of(item.name)))),
    }


def show_prompts(item: Item, *, as_json: bool) -> None:
    """Print the prompts of the figures."""
    import pandas as pd

    from attnscope.analyses.paper.prompts import PROMPTS
    from attnscope.cli.console import show_json, show_table

    if as_json:
        show_json({"name": item.name, "prompts": PROMPTS})
        return
    rows = [(figure, prompt) for figure, prompts in PROMPTS.items() for prompt in prompts]
    show_table(pd.DataFrame(rows, columns=["figure", "prompt"]), f"{item.title}: {item.shows}")


def show_gpu_plan(item: Item, data: Data, limit: int | None, *, as_json: bool) -> None:
    """Print the lines that make a figure or table on the paper's models, and what each comes to."""
    from attnscope.analyses.paper.estimate import gpu_plan
    from attnscope.analyses.paper.here import needs_of
    from attnscope.cli.console import results, show_json

    table = gpu_plan(item, data, limit)
    needs = needs_of(item)
    if as_json:
        show_json({"name": item.name, "lines": table,
                   "needs": [{"what": need, "here": is_here} for need, is_here in needs]})  # fmt: skip
        return
    results.print(f"# {item.title}: {item.shows}", soft_wrap=True)
    for need, is_here in needs:
        said = "here" if is_here else "not here" if is_here is False else "say where"
        results.print(f"# needs {need}: {said}", soft_wrap=True)
    for row in table.to_dict("records"):
        for line in _lines(row):
            results.print(line, soft_wrap=True)
    total = table["macs"].sum()
    if total:
        results.print(
            f"# in all: {int(table['images'].sum()):,} images, {total:.3g} multiply-accumulates "
            "of the denoiser",
            soft_wrap=True,
        )


def _lines(row: dict[Any, Any]) -> list[str]:
    import pandas as pd

    about = []
    if not pd.isna(row["images"]):
        about.append(f"{int(row['images']):,} images")
    if row["macs"] == row["macs"]:
        about.append(f"{row['macs']:.3g} MACs")
    said = [f"# {row['note']}"] if row["note"] else []
    told = [f"# {row['model']}: {', '.join(about)}"] if about else []
    return [*said, *told, *([row["line"]] if row["line"] else [])]


@reports("paper")
def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Print what came out beside what the paper prints, whether it holds, and where figures are."""
    from attnscope.analyses.paper.beside import named, seeds_as_columns, summary
    from attnscope.analyses.paper.items import find
    from attnscope.analyses.paper.published import note_of
    from attnscope.analyses.paper.run import pictures_of
    from attnscope.cli.console import results, show_json, show_table

    if as_json:
        show_json(document(run))
        return
    if quiet:
        print(run.path)
        return
    item = find(run.settings["name"])
    table, claims = run.read_table("beside"), run.read_table("claims")
    results.print(f"{item.title}: {item.shows}", soft_wrap=True)
    results.print(f"the paper: {item.claim}", soft_wrap=True)
    own = "the paper's models" if run.settings["own"] else f"{run.settings['model']} in their place"
    if len(table):
        title = f"beside the paper, {own} (change from the baseline: ratio of MACs and times, else difference)"
        show_table(_shown(table), title)
        if (seeds := seeds_as_columns(table)) is not None:
            show_table(seeds.assign(quantity=seeds["quantity"].map(named)).drop(columns="here_measure"),
                       "the same, seeds as columns", dict.fromkeys(map(str, list(seeds)[3:]), ".4g"))  # fmt: skip
        said = ", ".join(f"{count} {name}" for name, count in summary(table).items() if count)
        results.print(f"rows whose change is as the paper says: {said}", soft_wrap=True)
    if len(claims):
        show_table(
            _claims(claims),
            f"the claim, {own} (95 % interval over prompts; of times, the range over batches)",
        )
    for note in filter(None, (item.note, note_of(item.name))):
        results.print(f"note: {note}", soft_wrap=True)
    for picture in pictures_of(run, item):
        results.print(f"figure: {picture}", soft_wrap=True)
    results.print(f"run directory: {run.path}", soft_wrap=True)


def document(run: Run) -> dict[str, Any]:
    """The same for machines."""
    from attnscope.analyses.paper.items import find
    from attnscope.analyses.paper.run import pictures_of

    item = find(run.settings["name"])
    return {
        "run": run.path,
        "settings": run.settings,
        "shows": item.shows,
        "claim": item.claim,
        "beside": run.read_table("beside"),
        "claims": run.read_table("claims"),
        "figures": pictures_of(run, item),
    }


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = table.to_dict("records")
    return pd.DataFrame(
        {
            "row": [row["row"] for row in rows],
            "paper": [f"{row['published']:.5g} {_named(row['quantity'])}" for row in rows],
            "change": [_change(row["quantity"], row["published_change"]) for row in rows],
            "here": [_here(row) for row in rows],
            "change here": [_interval(row) for row in rows],
            "n": ["-" if pd.isna(row["n"]) else f"{int(row['n'])}" for row in rows],
            "as the paper says": [row["verdict"] or "-" for row in rows],
        }
    )


def _named(measure: Any) -> str:
    from attnscope.analyses.paper.beside import named

    return named(str(measure))


def _here(row: dict[Any, Any]) -> str:
    if row["here"] is None or row["here"] != row["here"]:
        return "-"
    return f"{row['here']:.4g} {_named(row['here_measure'])}"


def _change(measure: str, value: float) -> str:
    from attnscope.analyses.paper.published import RATIOS

    if value != value:
        return "-"
    return f"x {value:.3f}" if measure in RATIOS else f"{value:+.3g}"


def _interval(row: dict[Any, Any]) -> str:
    if row["here"] is None or row["here"] != row["here"]:
        return "-"
    shown = _change(str(row["here_measure"]), row["change"])
    if row["low"] != row["low"] or row["low"] == row["high"] or shown == "-":
        return shown
    return f"{shown} [{row['low']:.3g}, {row['high']:.3g}]"


def _claims(claims: pd.DataFrame) -> pd.DataFrame:
    ends = [
        f" [{row['low']:+.3g}, {row['high']:+.3g}]" if row["low"] == row["low"] else ""
        for row in claims.to_dict("records")
    ]
    values = [f"{value:+.3g}{end}" for value, end in zip(claims["value"], ends, strict=True)]
    shown = claims[["claim", "what", "run"]].assign(above_zero=values)
    shown["n"], shown["verdict"] = claims["n"], claims["verdict"]
    return shown.rename(columns={"above_zero": "above zero?"})
