"""Measures: which way is better, by whom it is said apart from us, and what tables make of it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pandas as pd
import pytest
from torchmetrics.image import (
    PeakSignalNoiseRatio,
    StructuralSimilarityIndexMeasure,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
from torchmetrics.multimodal import CLIPScore

from attnscope.cli.reports.ablation import _marked
from attnscope.metrics.intervals import Interval
from attnscope.metrics.measures import LEADING, MEASURES
from attnscope.metrics.summaries import larger_than_chance
from attnscope.metrics.verdicts import single_best
from attnscope.runs.columns import CELL, READ, of_the_old_reading

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
HIGHER |= {"frames": False}  # how far adjacent frames are apart


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
