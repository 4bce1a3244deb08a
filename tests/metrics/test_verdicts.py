"""What a table of arms may say: the single best, and what was not tested."""

import json

import numpy as np
import pandas as pd
import pytest
from test_judging import features, images

from attnscope.metrics.feature_sets import FeatureSet
from attnscope.metrics.judging import Reference
from attnscope.metrics.summaries import summarise
from attnscope.metrics.verdicts import biased, untested

RNG = np.random.default_rng(3)


def spread(count=60, **shifts):
    """Images whose ``all`` is noise shared by the arms, plus the arm's shift, plus its own noise."""
    table = images(count).sort_values(["key", "prompt_id"], kind="stable")
    shared = RNG.normal(size=count)
    for name in ("S", "S^F", "S^L"):
        own = table["trajectory"] == name
        table.loc[own, "all"] = shared + shifts.get(name, 0.0) + 0.1 * RNG.normal(size=own.sum())
    return table


def best_of(table, measure="all"):
    summary = summarise(table)
    return set(summary.loc[summary["best"] & (summary["measure"] == measure), "arm"])


def test_the_single_best_is_better_than_every_other_beyond_chance():
    assert best_of(spread(**{"S^F": 1.0})) == {"S^F"}
    assert best_of(spread(**{"S^F": -1.0, "S^L": -1.0})) == {"S"}


def test_what_is_best_by_chance_or_tied_is_not_best():
    assert best_of(spread()) == set()
    assert best_of(images()) == set()  # S^F is S, S^L is worse than both
    two = spread(**{"S^L": -1.0})  # S^L is worse, of the other two one is on top by chance
    assert best_of(two) == set()


def test_few_prompts_have_no_best():
    assert best_of(spread(19, **{"S^F": 1.0})) == set()
    assert best_of(spread(20, **{"S^F": 1.0})) == {"S^F"}


def test_psnr_has_a_best_by_its_squared_error():
    table = spread()
    decibels = {"S^F": 30.0, "S^L": 20.0}
    table["psnr"] = table["trajectory"].map(decibels) + RNG.normal(size=len(table))
    assert best_of(table, "psnr") == {"S^F"}
    table.loc[table["trajectory"] == "S^F", "psnr"] = float("inf")
    assert best_of(table, "psnr") == {"S^F"}
    assert best_of(table[table["trajectory"] != "S^L"], "psnr") == set()  # of one alone


def test_lower_is_better_where_the_measure_says_so():
    table = spread()
    table["lpips"] = table["trajectory"].map({"S^F": 0.1, "S^L": 0.4})
    table["lpips"] += 0.01 * RNG.normal(size=len(table))
    assert best_of(table, "lpips") == {"S^F"}


def test_kid_is_tested_by_subsets_and_fid_and_the_reference_are_never_best():
    table = images(200)
    target = FeatureSet(RNG.normal(size=(200, 8)).astype("f"), "toy", "not resized")
    other = FeatureSet(RNG.normal(size=(200, 8)).astype("f"), "toy", "not resized")
    made = features(table)
    made["S-0"] = FeatureSet(made["S-0"].values + 1.0, "toy", "not resized")
    summary = summarise(table, made, Reference(target, "noise", other))
    assert set(summary.loc[summary["best"], "measure"]) == {"kid"}
    assert set(summary.loc[summary["best"], "arm"]) == {"S^F"}
    tied = features(table)  # S and S^F of one distribution
    summary = summarise(table, tied, Reference(target, "noise", other))
    assert not summary["best"].any()


@pytest.mark.parametrize("count", [1, 2, 19])
def test_with_few_prompts_it_is_said_that_nothing_was_tested(count):
    (line,) = untested(summarise(images(count, ssim=0.5)))
    assert f"nothing is tested with {count} prompt" in line
    assert "from 20 on (of KID from 40)" in line


def test_what_was_tested_is_not_said_to_be_untested():
    assert untested(summarise(images(20))) == []


def test_a_measure_that_few_prompts_have_is_named():
    table = images(60)
    table["relation"] = np.where(table["prompt_id"] < 12, table["all"], np.nan)
    (line,) = untested(summarise(table))
    assert line == "relation is not tested: 12 prompts have it, and intervals hold from 20 on"


def test_kid_of_fewer_prompts_than_two_subsets_need_is_named():
    table = images(30)
    target = FeatureSet(RNG.normal(size=(50, 8)).astype("f"), "toy", "not resized")
    (line,) = untested(summarise(table, features(table), Reference(target, "noise")))
    assert line == "KID is not tested: 30 prompts have it, and intervals hold from 40 on"


def test_distances_to_s_alone_leave_nothing_to_test():
    table = images(30).drop(columns="all")
    table["psnr"] = table["trajectory"].map({"S^F": 30.0, "S^L": 20.0})
    (line,) = untested(summarise(table))
    assert line.startswith("no difference is tested")


def ablate(folder, captions, out, *more):
    return ["ablate", "--model", folder, "--captions", captions, "--steps", 2, "--gate", 1,
            "--height", 16, "--device", "cpu", "--out", out, *more]  # fmt: skip


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])


@pytest.mark.usefixtures("no_figures")
def test_ablate_says_that_nothing_was_tested_and_marks_nothing(
    attnscope, folder, captions, tmp_path
):
    command = ablate(folder, captions, tmp_path / "run")
    code, out, err = attnscope(*command)
    assert (code, err) == (0, "")
    assert "nothing is tested with 2 prompts" in out
    assert "no difference was tested" in out
    assert "*" not in out
    assert "≠" not in out
    code, out, err = attnscope(*command, "--json")
    assert (code, err) == (0, "")
    assert "2 prompts" in json.loads(out)["untested"][0]


@pytest.mark.usefixtures("no_figures")
def test_ablate_marks_the_single_best_alone(attnscope, folder, tmp_path):
    """With m = 2 of 2 steps S^F is S to the bit, so nothing else comes near S."""
    (tmp_path / "captions.txt").write_text("".join(f"a circle {n}\n" for n in range(20)))
    command = ablate(folder, tmp_path / "captions.txt", tmp_path / "run")
    command[command.index("--gate") + 1] = "2"
    code, out, _ = attnscope(*command)
    assert code == 0
    arms = pd.read_parquet(tmp_path / "run" / "arms.parquet").set_index(["arm", "measure"])
    assert np.isinf(arms.loc[("S^F m=2", "psnr"), "value"])
    (line,) = [line for line in out.splitlines() if "SSIM" in line and "│" in line]
    cells = dict(
        zip(["no guidance", "S^F", "S^L"], [c for c in line.split("│")[2:] if c.strip() not in ("", "-")],
            strict=True)
    )  # fmt: skip
    assert "*" in cells["S^F"]
    assert "*" not in cells["S^L"]


@pytest.mark.usefixtures("no_figures")
def test_a_frontier_of_few_images_says_that_nothing_was_tested(
    attnscope, folder, captions, tmp_path
):
    command = ["bench", "--model", folder, "--tgate", "m=1", "--steps", 2, "--height", 16,
               "--device", "cpu", "--repeats", 1, "--rivals", "none", "--frontier", "--captions",
               captions, "--out", tmp_path / "run"]  # fmt: skip
    code, out, _ = attnscope(*command)
    assert code == 0
    assert "nothing is tested with 2 prompts" in out
    assert "2 prompts" in json.loads(attnscope(*command, "--json")[1])["untested"][0]


def test_few_images_are_not_told_to_read_a_kid_that_was_not_tested():
    table = images(60)
    target = FeatureSet(RNG.normal(size=(50, 8)).astype("f"), "toy", "not resized")
    many = summarise(table, features(table), Reference(target, "noise"))
    assert biased(60, many) == "FID of 60 images is biased and not tested: read KID"
    few = images(30)
    few = summarise(few, features(few), Reference(target, "noise"))
    assert biased(30, few).endswith("not tested: read KID, which is tested from 40 captions on")


@pytest.mark.usefixtures("no_figures")
def test_times_without_the_autoencoder_say_so(attnscope, folder, tmp_path):
    command = ["bench", "--model", folder, "--tgate", "m=1", "--steps", 2, "--height", 16,
               "--device", "cpu", "--repeats", 1, "--rivals", "none"]  # fmt: skip
    whole = attnscope(*command, "--out", tmp_path / "whole")[1]
    latents = attnscope(*command, "--latents", "--out", tmp_path / "latents")[1]
    assert "without the autoencoder" not in whole
    assert "without the autoencoder" in " ".join(latents.split())
