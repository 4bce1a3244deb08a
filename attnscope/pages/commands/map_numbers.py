"""How much words are looked at: until when, beside what changes, by which sites and heads."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.pages.charts import Curve, HeatRow, curves, heat, lines
from attnscope.pages.commands.convergence import means
from attnscope.pages.parts import Chart, Part, Table
from attnscope.plain import how_many
from attnscope.runs.paid import TOGETHER, looked_at, together
from attnscope.sites.names import short_site

_LEVEL = "log-SNR (nats)"
_LOOKED = dict.fromkeys(("first step", "last step", "highest"), ".3f")
_NOTE = "Half of it until: the last step with half of the highest."


def when_looked_at(attention: pd.DataFrame) -> Table:
    """Until when each word is looked at, all of them first.

    Args:
        attention: of a maps run.
    """
    parts = [_together(attention), looked_at(attention)]
    filled = [part for part in parts if len(part)]  # pandas 2 warns of empty ones
    table = pd.concat(filled or parts, ignore_index=True)
    note = f"Mean over sites and prompts. {_NOTE}"
    return Table("When each word is looked at", table, forms=_LOOKED, note=note)


def beside_change(attention: pd.DataFrame, distances: pd.DataFrame) -> Iterator[Part]:
    """Attention to words and change of the same sites, over the steps and over log-SNR where it is known.

    Args:
        attention: of a maps run.
        distances: likewise.
    """
    branch = attention["branch"].astype(str).iloc[0]
    moved = distances[distances["branch"].astype(str) == branch]
    if moved.empty:
        return
    paid = together(attention).groupby(["word", "step"], sort=False)["mass"].mean().reset_index()
    both = pd.concat([attention[["step", "log_snr"]], moved[["step", "log_snr"]]])
    levels = both.drop_duplicates("step").set_index("step")["log_snr"].sort_index()
    by_kind = means(moved, "relative").astype({"kind": str}).set_index(["kind", "step"])[["mean"]]
    whole_axis = [by_kind.index.unique("kind"), levels.index]  # the first step has no change
    changes = by_kind.reindex(pd.MultiIndex.from_product(whole_axis)).reset_index()
    axes = {"step": "step"} | ({"log_snr": _LEVEL} if levels.notna().all() else {})
    tables = {
        "Attention paid to words": (paid, "word", "mass", "probability"),
        "Change since the step before": (changes, "kind", "mean", "relative change"),
    }
    for title, (table, name, value, unit) in tables.items():
        for x, label in axes.items():
            placed = table.assign(log_snr=table["step"].map(levels))
            given = [
                Curve(str(key), list(own[x]), list(own[value]))
                for key, own in placed.groupby(name, sort=False)
            ]
            whole = f"{title}, over {'the steps' if x == 'step' else 'log-SNR'}"
            columns = [name, *dict.fromkeys(("step", x)), value]
            yield Chart(
                whole, lines(whole, given, label, unit), placed[columns], "Mean over sites."
            )


def by_site(attention: pd.DataFrame) -> Iterator[Part]:
    """A curve a site, whose points lead to its row.

    Args:
        attention: of a maps run.
    """
    every = _of_all_words(attention)
    if every.empty:  # a prompt without words
        return
    keys = ["kind", "site", "step"]
    paid = every.groupby(keys, observed=True, sort=False)["mass"].mean().reset_index()
    paid = paid.astype({"kind": str, "site": str})
    given, rows = [], []
    for (kind, site), own in paid.groupby(["kind", "site"], sort=False):
        name = short_site(str(site))
        given.append(Curve(name, list(own["step"]), list(own["mass"]), of=str(kind), key=str(site)))
        looked = looked_at(own.assign(word=TOGETHER)).drop(columns="word")
        rows.append(looked.assign(name=name, kind=str(kind), site=str(site)))
    title = "Attention paid to all words, by site"
    yield Chart(title, curves(title, given, "step", "probability"), paid)
    table = pd.concat(rows, ignore_index=True)
    order = [
        "name",
        "kind",
        *(name for name in table if name not in ("name", "kind", "site")),
        "site",
    ]
    yield Table(
        how_many(len(table), "site"),
        table[order],
        {"site": "path"},
        _LOOKED,
        key="site",
        note=_NOTE,
    )


def by_head(attention: pd.DataFrame) -> Iterator[Part]:
    """A row a site and a column a head, if heads were told apart.

    Args:
        attention: of a maps run.
    """
    every = _of_all_words(attention)
    if "head" not in every or every.empty:
        return
    keys = ["kind", "site", "head"]
    grid = every.groupby(keys, observed=True, sort=False)["mass"].mean().unstack("head")
    grid = grid[sorted(grid.columns)]
    rows = [
        HeatRow(short_site(str(site)), list(values), str(site), str(kind))
        for (kind, site), values in zip(grid.index, grid.to_numpy(), strict=True)
    ]
    title = "Attention paid to all words, by head"
    table = grid.rename(columns=str).reset_index().astype({"kind": str, "site": str})
    drawn = heat(title, rows, [int(head) for head in grid.columns], "head", "probability")
    yield Chart(title, drawn, table, "Mean over steps and prompts.")


def _of_all_words(attention: pd.DataFrame) -> pd.DataFrame:
    every = together(attention)
    return every[every["word"] == TOGETHER]


def _together(attention: pd.DataFrame) -> pd.DataFrame:
    return looked_at(_of_all_words(attention))
