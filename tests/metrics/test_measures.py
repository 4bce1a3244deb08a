"""Measures: which way is better, by whom it is said apart from us, and what tables make of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torchmetrics.image import (
    PeakSignalNoiseRatio,
    StructuralSimilarityIndexMeasure,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
from torchmetrics.multimodal import CLIPScore

from attnscope.cli.reports.ablation import _marked
from attnscope.metrics.feature_sets import FeatureSet
from attnscope.metrics.intervals import Interval
from attnscope.metrics.judging import Judges, Reference, judge
from attnscope.metrics.measures import DRAWN, LEADING, MEASURES, PANELS, Measure, base, measures
from attnscope.metrics.summaries import summarise
from attnscope.metrics.told import larger_than_chance
from attnscope.metrics.verdicts import single_best
from attnscope.runs.columns import CELL, READ, of_the_old_reading
from attnscope.runs.folder import Run

TORCHMETRICS = {
    "fid": FrechetInceptionDistance,
    "kid": KernelInceptionDistance,
    "clip": CLIPScore,
    "psnr": PeakSignalNoiseRatio,
    "ssim": StructuralSimilarityIndexMeasure,
    "lpips": LearnedPerceptualImagePatchSimilarity,
}
HIGHER = {name: bool(metric.higher_is_better) for name, metric in TORCHMETRICS.items()}
HIGHER |= dict.fromkeys(READ, True)  # parts of what was asked for
HIGHER |= dict.fromkeys(
    [f"dpg{part}" for part in ("", "_global", "_entity", "_attribute", "_relation", "_other")], True
)
HIGHER |= dict.fromkeys(
    [f"tifa_{part}" for part in ("gm", "am", "object", "attribute", "count", "position", "verb")],
    True,
)
HIGHER |= {f"compbench_{part}": True for part in ("color", "shape", "texture", "spatial")}
HIGHER |= {"blip_vqa": True}  # all of them are right answers
HIGHER |= {"frames": False}  # how far adjacent frames are apart


_COUNT = 20


def arms(measure, values, differences):
    """An arm S and some others, of which the table holds one measure."""
    rows = [
        {
            **dict.fromkeys(CELL, 0), "key": f"arm{number}", "arm": f"arm{number}",
            "trajectory": "S^F" if number else "S", "measure": measure, "value": value,
            "difference": difference, "difference_low": difference - 0.1,
            "difference_high": difference + 0.1,
        }
        for number, (value, difference) in enumerate(zip(values, differences, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_measure_is_one_of_those_whose_direction_is_known_apart_from_us():
    assert set(MEASURES) == set(HIGHER)
    assert set(LEADING) <= set(MEASURES)


@pytest.mark.parametrize("measure", HIGHER)
def test_the_arrow_points_to_the_better(measure):
    assert MEASURES[measure].heading.endswith(" ↑" if HIGHER[measure] else " ↓")
    assert MEASURES[measure].higher == HIGHER[measure]


@pytest.mark.parametrize("measure", HIGHER)
def test_the_best_arm_of_a_table_is_the_better_one(measure):
    values = {"arm0": (0.5, 0.5), "arm1": (0.2, 0.2), "arm2": (0.9, 0.9)}
    top = single_best(measure, values, lambda a, b: Interval(a - b, a - b - 0.1, a - b + 0.1, 50))
    table = arms(measure, [0.5, 0.2, 0.9], [float("nan")] * 3)
    marked = _marked(table.assign(best=table["arm"] == top))
    best = [arm for arm, text in zip(marked["arm"], marked[measure], strict=True) if "*" in text]
    assert best == (["arm2"] if HIGHER[measure] else ["arm1"])


@pytest.mark.parametrize("measure", HIGHER)
@pytest.mark.parametrize("difference", [0.3, -0.3])
def test_a_difference_larger_than_chance_is_called_what_it_is(measure, difference):
    lines = larger_than_chance(arms(measure, [0.5, 0.5], [float("nan"), difference]))
    better = (difference > 0) == HIGHER[measure]
    assert lines[1].startswith("  better: " if better else "  worse: ")


def test_what_leads_is_drawn_unless_another_measure_stands_for_it():
    bound = [f"compbench_{category}" for category in ("color", "shape", "texture", "spatial")]
    assert (
        "kid", "fid", "clip", "all", "attributes", "relation", "psnr", "ssim", "frames",
        "dpg", "blip_vqa", "tifa_gm", "tifa_am", *bound,
    ) == LEADING  # fmt: skip
    asked = ("dpg", "blip_vqa", "tifa_gm")
    assert (
        "kid", "fid", "clip", "all", "psnr", "ssim", "frames", *asked, "tifa_am", *bound,
    ) == DRAWN  # fmt: skip
    assert ("all", "kid", "clip", "ssim", "fid", *asked, "compbench_color") == PANELS
    for name, measure in MEASURES.items():
        assert measure.part_of is None or measure.part_of in MEASURES, name


def test_measures_stand_in_the_order_of_what_they_are_of():
    of = [measure.of for measure in MEASURES.values()]
    assert list(dict.fromkeys(of)) == ["sets", "captions", "pairs", "videos"]
    assert of == sorted(of, key=list(dict.fromkeys(of)).index)
    of_captions = [name for name, measure in MEASURES.items() if measure.of == "captions"]
    assert of_captions[1 : 1 + len(READ)] == list(READ)


def test_two_measures_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="two measures 'fid'"):
        measures("captions", other=Measure("other", True), fid=Measure("FID", True))
    assert "other" not in MEASURES


def test_tables_are_read_without_loading_torch():
    subprocess.run(
        [sys.executable, "-c", "import sys, attnscope.metrics.measures\n"
         "assert not {'torch', 'pandas'} & set(sys.modules)"],
        check=True,
    )  # fmt: skip


@pytest.fixture
def registry():
    """The measures, which may be added to for a test."""
    registries = (base.MEASURES, base._TAKES)
    before = [dict(known) for known in registries]
    yield
    for known, kept in zip(registries, before, strict=True):
        known.clear()
        known.update(kept)


@pytest.mark.usefixtures("registry")
def test_a_measure_that_is_registered_is_taken_and_told(tmp_path):
    """Of images and of sets, without a line elsewhere."""

    @measures("captions", red=Measure("redness", higher=True, form=".1f"))
    def red(seen):
        return {"red": [np.asarray(image)[..., 0].mean() for image in seen.images]}

    @measures("pairs", apart=Measure("apart", higher=False))
    def apart(seen):
        pairs = zip(seen.images, seen.references, strict=True)
        return {"apart": [abs(np.asarray(a)[..., 0].mean() - np.asarray(b)[..., 0].mean())
                          for a, b in pairs]}  # fmt: skip

    @measures("sets", middle=Measure("middle", higher=False, biased=True))
    def middle(made, target):
        return {"middle": abs(made.values.mean() - target.values.mean())}

    table, run = images_of(tmp_path, {"S": 100, "S^F": 120})
    measured, _ = judge(run, table, dict.fromkeys(range(_COUNT), "a caption"), Judges())
    red_of = measured.groupby("arm")["red"].mean()
    assert red_of.to_dict() == {"S": 100.0, "S^F": 120.0}
    assert measured.groupby("arm")["apart"].mean()["S^F"] == 20
    sets = {arm: FeatureSet(np.full((_COUNT, 2), value, np.float32), "toy", "as is")
            for arm, value in (("S", 1.0), ("S^F", 4.0))}  # fmt: skip
    reference = Reference(FeatureSet(np.zeros((_COUNT, 2), np.float32), "toy", "as is"), "zeros")
    summary = summarise(measured, sets, reference).set_index(["arm", "measure"])
    assert summary.loc[("S^F", "red"), "value"] == 120
    assert summary.loc[("S^F", "red"), "difference"] == 20
    assert summary.loc[("S^F", "middle"), "value"] == 4
    assert summary.loc[("S^F", "middle"), "difference"] == 3
    assert np.isnan(summary.loc[("S^F", "middle"), "difference_low"])


def images_of(folder, reds):
    """A run with images of one red each: that of its arm."""
    (folder / "run.json").write_text('{"command": "ablate", "settings": {}}')
    rows = []
    for arm, red in reds.items():
        for prompt in range(_COUNT):
            path = f"{arm}-{prompt}.png"
            pixels = np.full((16, 16, 3), red, np.uint8)
            Image.fromarray(pixels).save(folder / path)
            rows.append(
                dict.fromkeys(CELL, 0)
                | {"arm": arm, "key": arm, "trajectory": arm, "gate": 1, "interval": None,
                   "reused_steps": 0, "prompt_id": prompt, "frame": 0, "path": path}
            )  # fmt: skip
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"}), Run(folder)


def test_a_measure_cannot_be_turned_round():
    with pytest.raises(FrozenInstanceError):
        MEASURES["fid"].higher = True


def test_names_that_the_reader_sees_stand_as_they_are_but_for_all():
    labels = {name: MEASURES[name].label for name in READ}
    assert labels.pop("all") == "all as asked"
    assert all(label == name for name, label in labels.items())


@pytest.mark.parametrize(
    ("names", "old"),
    [
        (["relation"], True),
        (["relation", "attributes"], False),
        (["attributes"], False),
        (["fid"], False),  # of another world: no reader has seen it
        ([], False),
    ],
    ids=str,
)
def test_a_table_is_of_the_old_reading_where_relation_stands_alone(names, old):
    assert of_the_old_reading(pd.DataFrame({"measure": names})) is old
    assert of_the_old_reading(pd.DataFrame(columns=[*names, "psnr"])) is old
