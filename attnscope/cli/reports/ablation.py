"""What ``attnscope ablate`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports
from attnscope.cli.reports.questions import show_categories
from attnscope.metrics.adjusting import ADJUSTMENTS

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run

_MOST_COLUMNS = 6


@reports("ablate")
def report(run: Run, *, adjust: str = ADJUSTMENTS[0], quiet: bool, as_json: bool) -> None:
    """Draw an ablation's figures, print its arms and which differences are larger than chance."""
    from attnscope.cli.console import messages, results, show_json, show_places
    from attnscope.figures.saving import save_figures
    from attnscope.metrics.summaries import over_images, over_seeds
    from attnscope.metrics.told import larger_than_chance, seen
    from attnscope.metrics.verdicts import FEW, about_relation, biased, untested

    arms = run.read_table("arms")
    if "best" not in arms:  # judged before there was a test of it
        arms = arms.assign(best=False)
    seeds, together = over_seeds(arms), over_images(run.read_table("images"))
    if len(seeds):
        run.write_csv("seeds", seeds)
        run.write_csv("over-seeds", together)
    figures = save_figures(run)
    if as_json:
        document = {"run": run.path, "figures": figures, "arms": arms, "untested": untested(arms)}
        show_json(document | ({"over_seeds": together} if len(together) else {}))
        return
    if quiet:
        print(run.path)
        return
    _show_arms(arms, run.settings, adjust)
    if len(seeds):
        _show_seeds(seeds)
    show_categories(run)
    if relation := about_relation(arms):
        results.print(relation, soft_wrap=True)
    tested = together if len(together) else arms
    if len(together):
        results.print(_over_seeds(together), soft_wrap=True)
    for line in (*larger_than_chance(tested, adjust=adjust), *seen(tested), *untested(tested)):
        results.print(line, soft_wrap=True)
    of_sets = arms.loc[arms["features"] != "", ["features", "reference", "n"]].drop_duplicates()
    for row in of_sets.to_dict("records"):
        results.print(
            f"FID, KID: {row['n']} images against {row['reference']}; {row['features']}",
            soft_wrap=True,
        )
        if row["n"] < FEW:
            messages.print(f"note: {biased(row['n'], arms)}", soft_wrap=True)
    results.print(f"every value with its interval: {run.path / 'arms.csv'}", soft_wrap=True)
    show_places(run, figures)


def _over_seeds(together: pd.DataFrame) -> str:
    """What the lines below it are of: KID and FID, of sets, are not among them."""
    return (
        f"over all seeds, the images of a prompt together ({together['n'].max()} images of "
        f"{together['prompts'].max()} prompts an arm):"
    )


def _show_arms(arms: pd.DataFrame, settings: dict[str, Any], adjust: str) -> None:
    """Few arms stand side by side with all measures, many below each other with those that lead."""
    import pandas as pd

    from attnscope.cli.console import show_table
    from attnscope.metrics.measures import LEADING, MEASURES
    from attnscope.runs.columns import CELL

    marked = _marked(arms, adjust)
    varying = [name for name in CELL if arms[name].nunique() > 1]
    if arms["key"].nunique() <= _MOST_COLUMNS and not varying:
        rows = {
            measure.heading: marked[name] for name, measure in MEASURES.items() if name in marked
        }
        names = dict(zip(marked["key"], marked["arm"], strict=True))
        shown = pd.DataFrame(rows).set_axis(list(names.values())).T.rename_axis("measure")
        shown = shown.reset_index()
    else:
        leading = {name: MEASURES[name].heading for name in LEADING if name in marked}
        shown = marked[[*varying, "arm", *leading]].rename(columns=leading)
    show_table(
        shown,
        f"{settings['attention']}-attention, {settings['limit']} prompts, {_sizes(settings)} "
        f"({_legend(arms, adjust)})",
    )


def _sizes(settings: dict[str, Any]) -> str:
    """The size of the images, or every model's."""
    of = {s["model"]: f"{s['width']}x{s['height']}" for s in settings["subjects"] if s.get("width")}
    if len(set(of.values())) < 2:
        return next(iter(of.values()), "images of the model's own size")
    return ", ".join(f"{size} of {model}" for model, size in of.items())


def _legend(arms: pd.DataFrame, adjust: str) -> str:
    """What the marks mean; under 20 prompts there are none."""
    if arms["difference_low"].isna().all() and not arms["best"].any():
        return "no difference was tested"
    from attnscope.metrics.told import family

    return (
        "* better than every other by more than the 95 % interval of the difference, ≠ differs from S "
        f"by more than it; {family(arms, adjust)}"
    )


def _marked(arms: pd.DataFrame, adjust: str = ADJUSTMENTS[0]) -> pd.DataFrame:
    """A row per arm, a column per measure: values as text, with marks."""
    import pandas as pd

    from attnscope.metrics.measures import MEASURES
    from attnscope.metrics.told import is_told
    from attnscope.runs.columns import CELL

    rows = []
    arms = arms.assign(told=is_told(arms, adjust))
    for _, group in arms.groupby("key", sort=False):
        row = dict(group.iloc[0][[*CELL, "key", "arm"]])
        for value in group.to_dict("records"):
            marks = ("*" if value["best"] else "") + ("≠" if value["told"] else "")
            row[value["measure"]] = f"{value['value']:{MEASURES[value['measure']].form}} {marks:<2}"
        rows.append(row)
    return pd.DataFrame(rows)


def _show_seeds(seeds: pd.DataFrame) -> None:
    """Mean ± standard deviation over seeds, a row per arm."""
    import pandas as pd

    from attnscope.cli.console import show_table
    from attnscope.metrics.measures import LEADING, MEASURES
    from attnscope.runs.columns import CELL

    keys = [name for name in CELL if name in seeds and seeds[name].nunique() > 1]
    rows = []
    for values, group in seeds.groupby([*keys, "arm"], sort=False):
        row = dict(zip([*keys, "arm"], values, strict=True))
        for value in group[group["measure"].isin(LEADING)].to_dict("records"):
            measure = MEASURES[value["measure"]]
            both = (value["value"], value["high"] - value["value"])
            row[measure.heading] = " ± ".join(f"{number:{measure.form}}" for number in both)
        rows.append(row)
    show_table(pd.DataFrame(rows), f"mean ± standard deviation over {seeds['n'].iloc[0]} seeds")
