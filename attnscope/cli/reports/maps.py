"""What ``attnscope maps`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from attnscope.runs.folder import Run


@reports("maps")
def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw a maps run's figures and print how much its words are attended to."""
    from attnscope.cli.console import results, show_json, show_places, show_table
    from attnscope.figures.saving import save_figures

    if as_json:
        show_json(document(run))
        return
    figures = save_figures(run)
    if quiet:
        print(run.path)
        return
    prompts, (table, every, last) = run.read_table("prompts"), _of_words(run)
    settings = run.settings
    what = str(prompts["text"].iloc[0]) if len(prompts) == 1 else f"{len(prompts)} prompts"
    title = f"{settings['model']}, {settings['plan']}, {what}: attention paid to words"
    formats = dict.fromkeys(("first step", "last step", "highest"), ".3f")
    show_table(table, title, formats)
    steps = int(run.read_table("attention")["step"].max()) + 1
    for line in _told_of_words(every, last, steps):
        results.print(line, soft_wrap=True)
    if run.has_table("features"):
        shares = dict.fromkeys(("first", "second", "third", "together"), ".0%")
        show_table(_by_site(run), "variance that principal components explain", shares)
    if run.has_table("points"):
        nats = dict.fromkeys(("first step", "last step", "lowest", "highest"), ".2f")
        show_table(_by_point(run), "entropy of where points look, over positions (nats)", nats)
    results.print(f"maps, with named axes: {run.path / 'maps'}", soft_wrap=True)
    show_places(run, figures)
    if len(prompts) > 1:
        results.print("figures of maps show the first prompt", soft_wrap=True)


def document(run: Run) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    from attnscope.figures.saving import save_figures

    figures = save_figures(run)
    table, every, last = _of_words(run)
    return {
        "run": run.path,
        "plan": run.settings["plan"],
        "prompts": run.read_table("prompts"),
        "words": table,
        "all_words": every or None,
        "looked_at_last": last,
        "maps": sorted({*run.read_table("pictures")["maps"]}),
        **{name: _listed(run, name) for name in ("features", "points") if run.has_table(name)},
        "figures": figures,
    }


def _listed(run: Run, name: str) -> dict[str, Any]:
    """A table on request, summed up, and its files."""
    table = _by_site(run) if name == "features" else _by_point(run)
    return {"table": table, "files": sorted({*run.read_table(name)["path"]})}


def _by_site(run: Run) -> pd.DataFrame:
    """A row a site: the shares of variance of its components, averaged over prompts."""
    features = run.read_table("features")
    by = features.groupby(["site", "component"], observed=True, sort=False)["explained"].mean()
    shares = by.unstack("component")
    shares.columns = ["first", "second", "third"]
    return shares.assign(together=shares.sum(axis=1)).reset_index()


def _by_point(run: Run) -> pd.DataFrame:
    """A row a point: how widely it looks, averaged over sites, heads and prompts."""
    import pandas as pd

    points = run.read_table("points")
    rows = []
    for (_, x, y), own in points.groupby(["point", "x", "y"], sort=False):
        curve = own.groupby("step")["spread"].mean().sort_index()
        rows.append(
            {
                "point": f"{x:g},{y:g}",
                "first step": curve.iloc[0],
                "last step": curve.iloc[-1],
                "lowest": curve.min(),
                "highest": curve.max(),
            }
        )
    return pd.DataFrame(rows)


def _of_words(run: Run) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any] | None]:
    """When words are looked at, all of them together, and that of the prompt which is looked at last."""
    from attnscope.runs.paid import ALL, OTHERS, TOGETHER, last_of, looked_at, together

    attention, words = run.read_table("attention"), run.read_table("words")
    looked, every = looked_at(attention), looked_at(together(attention))
    own = {*words.loc[words["kind"] == "word", "word"].astype(str)} - {ALL, OTHERS}
    return looked, last_of(every, [TOGETHER]) or {}, last_of(looked, own)


def _told_of_words(every: dict[str, Any], last: dict[str, Any] | None, steps: int) -> Iterator[str]:
    """When the text is looked at no more, in words."""

    def told(row: dict[str, Any]) -> str:
        until = row["half of it until"]
        end = ", the last" if until == steps - 1 else ""
        return f"most at step {row['at step']}, half of that until step {until}{end}"

    if every:
        yield f"all words together: {told(every)}"
    if last:
        yield f"the word looked at last: {last['word']}, {told(last)}"
