"""How objects show themselves in notebooks."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attnscope
from attnscope.html_tables import as_strips, as_table
from attnscope.observers.named_maps import Maps
from attnscope.plans import parse
from attnscope.runs.folder import Run

HOSTILE = "<img src=x onerror=alert(1)>"


def test_text_stays_text():
    for made in (
        as_table(HOSTILE, {HOSTILE: HOSTILE}),
        as_strips(HOSTILE, {HOSTILE: [(HOSTILE, HOSTILE)]}),
    ):
        assert "<img" not in made
        assert made.count("&lt;img") >= 3


@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        ("m=10,k=5", ["self", "cross", "branches"]),
        ("null-text-late:m=3", ["self", "cross", "branches", "text"]),
        ("reweight:words=red,factor=0,from=2,to=4", ["attention to red \u00d70"]),
    ],
)
def test_a_plan_shows_what_it_does_at_every_step(plan, rows):
    shown = parse(plan)._repr_html_()
    for row in rows:
        assert f"<th>{row}</th>" in shown
    assert shown.count("step 24: ") == shown.count("<tr>")


def test_a_plan_that_does_not_fit_shows_its_text():
    assert "guidance-cutoff:m=40" in attnscope.GuidanceCutoff(40)._repr_html_()
    assert "1nat" in parse("m=-1nat")._repr_html_()


def test_maps_and_runs_say_what_they_hold(tmp_path):
    axes = ("sample", "step", "word", "height", "width")
    maps = Maps(np.zeros((1, 2, 1, 4, 4), np.float32), axes, (0, 1), (), ((HOSTILE,),))
    assert "2 step" in maps._repr_html_()
    assert "<img" not in maps._repr_html_()
    about = {"command": "maps", "settings": {"model": HOSTILE}, "machine": {}}
    (tmp_path / "run.json").write_text(json.dumps(about))
    shown = Run(tmp_path)._repr_html_()
    assert "maps" in shown
    assert "<img" not in shown
