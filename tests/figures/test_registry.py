"""Which figures are drawn of which runs is said where they are drawn."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from attnscope.figures import registry, saving
from attnscope.figures.registry import draws, figures_of
from attnscope.runs.contents import CONTENTS
from attnscope.runs.folder import Run

FILES = {
    "ablate": ["arms", "gates", "decided", "noise", "pictures", "samples"],
    "bench": ["breakdown", "attribution", "frontier", "fronts"],
    "tune": ["staleness", "stale_modules", "candidates"],
    "convergence": ["figure2", "figureA3", "heatmap", "controls"],
    "cost": ["attribution", "scaling"],
    "cost paper": [],
    "generate": ["samples", "comparison", "frames"],
    "generate-plans": ["plans", "frames", "stages"],
    "paper": [],
    "maps": [
        "word_maps",
        "attention_entropy",
        "head_map",
        "attention_and_change",
        "feature_maps",
        "point_maps",
    ],
}


def test_every_command_with_runs_has_its_figures_in_their_order():
    assert {
        command: [figure.name for figure in figures_of(command)] for command in CONTENTS
    } == FILES


def test_a_figure_that_is_registered_is_drawn_of_the_runs_that_have_its_table(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(registry, "_KNOWN", [])

    @draws("bench", "frontier", name="of-frontier")
    def one(table):
        figure, ax = plt.subplots()
        ax.plot(table["value"])
        return figure

    @draws("bench", "parts")
    def none(table):
        return None

    @draws("generate", "images")
    def others(table):
        raise AssertionError("of another command")

    (tmp_path / "run.json").write_text('{"command": "bench", "settings": {}}')
    run = Run(tmp_path)
    run.write_table("parts", pd.DataFrame({"value": [1.0]}))
    assert saving.save_figures(run) == []
    assert not (tmp_path / "figures").exists()
    run.write_table("frontier", pd.DataFrame({"value": [1.0, 2.0]}))
    assert saving.save_figures(run) == [tmp_path / "figures" / "of-frontier.png"]
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".pdf"}


def test_a_figure_of_two_tables_is_given_both(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_KNOWN", [])
    given = []

    @draws("generate-plans", "images", "plans")
    def both(*tables):
        given.extend(tables)

    (tmp_path / "run.json").write_text('{"command": "generate-plans", "settings": {}}')
    run = Run(tmp_path)
    run.write_table("images", pd.DataFrame({"path": ["a.png"]}))
    run.write_table("plans", pd.DataFrame({"seconds": [1.0]}))
    assert saving.save_figures(run) == []
    assert list(given[0]["path"]) == [str(tmp_path / "a.png")]
    assert list(given[1]["seconds"]) == [1.0]
    with pytest.raises(ValueError, match="runs of 'bench' have no table 'records'"):
        draws("bench", "parts", "records")


def test_a_figure_of_no_table_and_two_of_one_name_are_mistakes():
    with pytest.raises(ValueError, match="runs of 'bench' have no table 'records'"):
        draws("bench", "records")
    with pytest.raises(ValueError, match="two figures 'breakdown' of 'bench'"):
        draws("bench", "parts", name="breakdown")(lambda table: None)


def test_a_run_of_a_command_without_figures_has_none(tmp_path):
    (tmp_path / "run.json").write_text('{"command": "cost paper", "settings": {}}')
    assert saving.save_figures(Run(tmp_path)) == []
