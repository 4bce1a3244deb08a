"""How much words are looked at: what a page of maps says of it."""

import re

import numpy as np
import pandas as pd
import pytest

from attnscope.pages.commands.map_numbers import (
    beside_change,
    by_head,
    by_site,
    when_looked_at,
)
from attnscope.pages.parts import Chart, Table
from attnscope.runs.paid import TOGETHER

SITES = (("down_blocks.0.attn2", "cross", 2), ("mid_block.attn2", "cross", 4))


def attention(**options):
    rows = [
        {"prompt_id": 0, "branch": "cond", "step": step, "log_snr": 2.0 * step - 4, "site": site, "kind": kind,
         "head": head, "place": place, "word": word, "peak": 0.5, "spread": 1.0, "entropy": 2.0,
         "mass": share * (1 + head) / (1 + step)}
        for step in range(3)
        for site, kind, heads in SITES
        for head in range(heads)
        for place, (word, share) in enumerate((("<start>", 0.1), ("red", 0.02), ("circle", 0.03)))
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**options)


def distances():
    rows = [
        {"prompt_id": 0, "branch": branch, "step": step, "log_snr": 2.0 * step - 4, "site": site, "kind": kind,
         "relative": (1.0 if branch == "cond" else 9.0) / step}
        for branch in ("uncond", "cond") for step in (1, 2) for site, kind, _ in SITES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_attention_and_change_stand_beside_each_other_over_steps_and_noise():
    charts = list(beside_change(attention(), distances()))
    assert [chart.title for chart in charts] == [
        "Attention paid to words, over the steps", "Attention paid to words, over log-SNR",
        "Change since the step before, over the steps", "Change since the step before, over log-SNR",
    ]  # fmt: skip
    paid = charts[0].table.set_index(["word", "step"])["mass"]
    heads = np.mean([1 + head for _, _, n in SITES for head in range(n)])
    assert paid[(TOGETHER, 1)] == pytest.approx(0.05 * heads / 2)
    np.testing.assert_allclose(
        charts[2].table["mean"], [np.nan, 1.0, 0.5]
    )  # of the branch of the maps
    assert list(charts[3].table["log_snr"]) == [-4.0, -2.0, 0.0]
    ticks = [re.findall(r'class="tick">([^<]*)<', chart.svg) for chart in charts]
    assert ticks[0][-3:] == ticks[2][-3:] == ["0", "1", "2"]  # one stands above the other
    assert "log-SNR (nats) -2" in charts[3].svg
    alone = list(beside_change(attention(log_snr=np.nan), distances()))
    assert len(alone) == 2
    assert list(beside_change(attention(), distances().iloc[:0])) == []


def test_points_of_a_site_lead_to_its_row():
    chart, table = by_site(attention())
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    assert [key for key, _ in table.rows] == [site for site, _, _ in SITES]
    for site, _, _ in SITES:
        assert f'data-key="{site}"' in chart.svg
    own = chart.table.set_index(["site", "step"])["mass"]
    assert own[("mid_block.attn2", 0)] == pytest.approx(0.05 * 2.5)


def test_heads_are_columns_where_they_were_told_apart():
    (chart,) = by_head(attention())
    grid = chart.table.set_index("site")
    assert list(grid) == ["kind", "0", "1", "2", "3"]
    assert grid.loc["mid_block.attn2", "3"] == pytest.approx(0.05 * 4 * (1 + 1 / 2 + 1 / 3) / 3)
    assert np.isnan(grid.loc["down_blocks.0.attn2", "2"])
    assert "head 3: 0.122" in chart.svg
    assert list(by_head(attention().drop(columns="head"))) == []


def test_all_words_stand_before_each():
    table = when_looked_at(attention()).frame
    assert list(table["word"]) == [TOGETHER, "<start>", "red", "circle"]
    assert list(table["half of it until"]) == [1, 1, 1, 1]


def test_a_prompt_without_words_has_no_sites_that_look_at_them():
    added = attention()[attention()["word"] == "<start>"]
    assert list(by_site(added)) == list(by_head(added)) == []
    assert list(when_looked_at(added).frame["word"]) == ["<start>"]
