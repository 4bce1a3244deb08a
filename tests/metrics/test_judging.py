from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from attnscope import plots
from attnscope.errors import InputError
from attnscope.metrics import fid, kid
from attnscope.metrics.feature_sets import FeatureSet
from attnscope.metrics.features import Extractor
from attnscope.metrics.judging import Judges, Reference, judge, scenes_reference
from attnscope.metrics.summaries import at_gate, over_seeds, summarise
from attnscope.metrics.told import larger_than_chance
from attnscope.models.names import SHAPES_FOLDER
from attnscope.runs.columns import READ
from attnscope.runs.folder import Run
from attnscope.shapes.reader import agreement, alignment, load_reader
from attnscope.shapes.scenes import Scene, caption, generate, render, scene_of

RNG = np.random.default_rng(0)
ARMS = {"S": None, "S^F": 2, "S^L": 2}


def images(count=60, seeds=(0,), **columns):
    """A table of images: S^L is worse in ``all``, S^F is S."""
    rows = []
    for seed in seeds:
        base = RNG.integers(0, 2, count)
        for trajectory, gate in ARMS.items():
            values = base * (0 if trajectory == "S^L" else 1)
            for number in range(count):
                rows.append(
                    {"model": "toy", "scheduler": "dpm", "steps": 4, "noise_scale": 1.0,
                     "seed": seed, "arm": trajectory, "key": f"{trajectory}-{seed}",
                     "trajectory": trajectory, "gate": gate, "interval": None, "reused_steps": 0,
                     "prompt_id": number, "frame": 0, "path": "", "all": float(values[number]),
                     **columns}
                )  # fmt: skip
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def features(table, width=8):
    shift = {"S": 0.0, "S^F": 0.0, "S^L": 2.0}
    return {
        key: FeatureSet(
            (RNG.normal(size=(len(group), width)) + shift[group["trajectory"].iloc[0]]).astype("f"),
            "toy", "not resized",
        )
        for key, group in table.groupby("key", sort=False)
    }  # fmt: skip


def test_values_and_differences_are_means_of_images_and_of_pairs():
    table = images()
    summary = summarise(table).set_index("trajectory")
    wide = table.pivot(index="prompt_id", columns="trajectory", values="all")
    assert list(summary["value"]) == pytest.approx([wide[name].mean() for name in ARMS])
    for name in ("S^F", "S^L"):
        assert summary.loc[name, "difference"] == pytest.approx((wide[name] - wide["S"]).mean())
    assert (summary["n"] == 60).all()
    assert summary.loc["S", ["difference", "difference_low", "difference_high"]].isna().all()
    assert tuple(summary.loc["S^F", ["difference_low", "difference_high"]]) == (0, 0)
    assert summary.loc["S^L", "difference_high"] < 0


def test_sets_are_measured_whole_with_an_interval_from_disjoint_parts():
    table = images(count=200)
    made = features(table)
    target = FeatureSet(RNG.normal(size=(200, 8)).astype("f"), "toy", "not resized")
    summary = summarise(table, made, Reference(target, "200 of noise"))
    by_measure = {name: rows.set_index("trajectory") for name, rows in summary.groupby("measure")}
    for trajectory in ARMS:
        own = made[f"{trajectory}-0"]
        assert by_measure["fid"].loc[trajectory, "value"] == fid(own, target)
        assert by_measure["kid"].loc[trajectory, "value"] == kid(own, target)[0]
    row = by_measure["kid"].loc["S^L"]
    assert row["low"] < row["value"] < row["high"]
    assert row["difference_low"] > 0
    assert row["difference"] == pytest.approx(
        kid(made["S^L-0"], target)[0] - kid(made["S-0"], target)[0]
    )
    biased = by_measure["fid"].loc["S^L"]
    assert np.isnan(biased["difference_low"])
    assert biased["spread"] == "5 disjoint subsets, biased"
    same = by_measure["kid"].loc["S^F"]
    assert same["difference_low"] < 0 < same["difference_high"]
    assert tuple(row[["features", "reference", "spread", "n"]]) == (
        "toy, not resized", "200 of noise", "5 disjoint subsets", 200,
    )  # fmt: skip


def test_too_few_images_have_no_interval_and_no_verdict():
    table = images(count=30)
    target = FeatureSet(RNG.normal(size=(50, 8)).astype("f"), "toy", "not resized")
    summary = summarise(table, features(table), Reference(target, "noise"))
    rows = summary[summary["measure"] == "fid"]
    assert rows[["low", "high"]].isna().all(axis=None)
    assert set(rows["spread"]) == {"none: too few"}
    assert "FID" not in " ".join(larger_than_chance(summary))


def test_few_prompts_are_measured_but_not_tested():
    """Of 20 pairs of equal distributions 10 % would be told apart, of 4 every fourth."""
    summary = summarise(images(count=19)).set_index("trajectory")
    assert summary.loc["S^L", "difference"] < 0
    assert np.isnan(summary.loc["S^L", "difference_low"])
    assert larger_than_chance(summary.reset_index()) == []


def test_frames_of_a_video_are_one_sample():
    table = images(count=25)
    videos = pd.concat([table.assign(frame=number) for number in range(8)], ignore_index=True)
    alone, many = summarise(table), summarise(videos)
    pd.testing.assert_frame_equal(alone, many)


def test_identical_images_count_in_psnr():
    """PSNR of the error over all images, so that being S to the bit is best and not left out."""
    table = images(count=20)
    decibels = np.where(np.arange(20) < 10, 20.0, np.inf)
    mixed = {"S": np.nan, "S^F": np.inf, "S^L": decibels}
    for trajectory, values in mixed.items():
        table.loc[table["trajectory"] == trajectory, "psnr"] = values
    rows = summarise(table).query("measure == 'psnr'").set_index("trajectory")
    assert rows.loc["S^F", "value"] == np.inf
    assert rows.loc["S^L", "value"] == pytest.approx(-10 * np.log10(0.01 / 2))
    assert (rows["n"] == 20).all()


def test_only_differences_beyond_their_interval_are_told():
    lines = larger_than_chance(summarise(images()))
    assert lines[:2] == ["S^F against S", "  not told apart: all as asked"]
    assert lines[2] == "S^L against S"
    assert lines[3].startswith("  worse: all as asked -0.")
    assert lines[4] == "of 2 differences tested together: 5 % for even one that is chance (Holm)"
    alone = larger_than_chance(summarise(images()), adjust="none")
    assert alone[4] == "of 2 differences chance alone would put 0 beyond theirs"


def test_seeds_give_a_mean_and_a_standard_deviation():
    table = images(seeds=(0, 1, 2))
    arms = summarise(table)
    spread = over_seeds(arms).set_index("trajectory")
    means = table[table["trajectory"] == "S"].groupby("seed")["all"].mean()
    assert spread.loc["S", "value"] == pytest.approx(means.mean())
    assert spread.loc["S", "high"] - spread.loc["S", "value"] == pytest.approx(means.std(ddof=1))
    assert (spread["n"] == 3).all()
    assert over_seeds(arms[arms["seed"] == 0]).empty


def test_the_level_at_the_gate_is_that_of_the_first_step_after_it():
    arms = summarise(images())
    noise = pd.DataFrame({"model": "toy", "scheduler": "dpm", "steps": 4, "noise_scale": 1.0,
                          "seed": 0, "step": [0, 1, 2, 3], "log_snr": [-5.0, -2.0, 1.0, 4.0]})  # fmt: skip
    levels = at_gate(arms, noise).set_index("trajectory")["log_snr"]
    assert np.isnan(levels["S"])
    assert levels["S^F"] == levels["S^L"] == 1.0
    assert at_gate(arms, pd.DataFrame())["log_snr"].isna().all()


@pytest.fixture
def rendered(tmp_path):
    """A run of two arms: S shows what captions ask for, S^F shows the next caption's scene."""
    run = Run.open(tmp_path / "run", "ablate", Judges())
    stream = generate("test", seed=3)
    scenes = [next(stream) for _ in range(12)]
    rows = []
    for trajectory, shown in {"S": scenes, "S^F": scenes[1:] + scenes[:1]}.items():
        for number, scene in enumerate(shown):
            path = f"{trajectory[1:] or 'S'}-{number}.png"
            Image.fromarray(render(scene, np.random.default_rng(number))).save(run.path / path)
            rows.append(("toy", "dpm", 4, 1.0, 0, trajectory, trajectory, trajectory, None, None,
                         0, number, 0, path))  # fmt: skip
    columns = [*images(1).columns[:14]]
    table = pd.DataFrame(rows, columns=columns).astype({"gate": "Int64", "interval": "Int64"})
    return run, table, {number: caption(scene) for number, scene in enumerate(scenes)}


def test_the_reader_reads_every_image_as_it_reads_all_of_them(rendered):
    run, table, texts = rendered
    measured, _ = judge(run, table, texts, Judges(reader=SHAPES_FOLDER))
    reader = load_reader(SHAPES_FOLDER)
    for _, own in measured.groupby("trajectory"):
        pixels = np.stack([np.asarray(Image.open(run.path / path)) for path in own["path"]])
        tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        asked = [scene_of(texts[number]) for number in own["prompt_id"]]
        scores = alignment(agreement(reader.read(tensor), asked))
        for name in READ:
            assert own[name].mean() == pytest.approx(scores[name]), name
        two = own["text"].map(lambda text: scene_of(text).relation is not None)
        assert own["relation"].isna().tolist() == (~two).tolist()
        assert two.any()
        assert not two.all()
    means = measured.groupby("trajectory")["all"].mean()
    assert means["S"] > 0.9 > 0.2 > means["S^F"]


def test_things_in_each_others_place_cost_the_relation_and_no_attribute(tmp_path):
    """An arm that swaps: its attributes are not told from S, its relation is, of the captions with two."""
    run = Run.open(tmp_path / "run", "ablate", Judges())
    scenes = list(islice(generate("test", seed=7), 60))
    rows = []
    for trajectory in ("S", "S^L"):
        for number, scene in enumerate(scenes):
            swapped = Scene(scene.things[::-1], scene.relation, scene.background)
            shown = scene if trajectory == "S" else swapped
            path = f"{trajectory[-1]}-{number}.png"
            Image.fromarray(render(shown, np.random.default_rng(number))).save(run.path / path)
            rows.append({"model": "toy", "scheduler": "dpm", "steps": 4, "noise_scale": 1.0,
                         "seed": 0, "arm": trajectory, "key": trajectory, "trajectory": trajectory,
                         "gate": None, "interval": None, "reused_steps": 0, "prompt_id": number,
                         "frame": 0, "path": path})  # fmt: skip
    texts = {number: caption(scene) for number, scene in enumerate(scenes)}
    measured, _ = judge(run, pd.DataFrame(rows), texts, Judges(reader=SHAPES_FOLDER))
    arms = summarise(measured).set_index(["trajectory", "measure"])
    two = sum(scene.relation is not None for scene in scenes)
    swapped = arms.loc["S^L"]
    assert swapped.loc["relation", "value"] == 0
    assert (arms.loc["S"].loc["relation", "n"], swapped.loc["relation", "n"]) == (two, two)
    assert (swapped.drop("relation")["n"] == 60).all()
    assert swapped.loc["relation", "difference_high"] < -0.9
    assert swapped.loc["attributes", "value"] > 0.97
    assert (
        swapped.loc["attributes", "difference_low"]
        <= 0
        <= swapped.loc["attributes", "difference_high"]
    )
    assert swapped.loc["all", "value"] <= 1 - two / 60


def test_judging_measures_what_is_asked_for_and_keeps_features(rendered):
    run, table, texts = rendered
    extractor = Extractor("reader")
    judges = Judges(extractor, scenes_reference(extractor, 40, 12), reader=SHAPES_FOLDER)
    measured, features = judge(run, table, texts, judges)
    arms = summarise(measured, features, judges.reference)
    assert {"psnr", "ssim", "all", "text"} <= set(measured)
    assert measured.loc[measured["trajectory"] == "S", "psnr"].isna().all()
    assert set(arms["measure"]) >= {"fid", "kid", "all", "ssim"}
    assert set(arms.loc[arms["measure"] == "fid", "reference"]) == {"40 rendered held-out scenes"}
    renders = arms[arms["trajectory"] == "reference"].set_index("measure")
    assert list(renders.index) == ["fid", "kid"]
    assert (
        renders.loc["fid", "value"]
        < arms.query("trajectory == 'S^F' and measure == 'fid'")["value"].iloc[0] * 2
    )
    kept = np.load(run.path / "features" / "reader" / "S.npy")
    assert kept.shape == (12, 256)
    again = summarise(*judge(run, table, texts, judges), judges.reference)
    pd.testing.assert_frame_equal(arms, again)


def test_an_image_that_is_gone_is_named(rendered):
    run, table, texts = rendered
    (run.path / "S-3.png").unlink()
    with pytest.raises(InputError, match=r"S-3\.png.*gone or damaged"):
        judge(run, table, texts, Judges())


def test_rows_of_other_features_or_counts_are_not_drawn_together():
    table = images()
    target = FeatureSet(RNG.normal(size=(50, 8)).astype("f"), "toy", "not resized")
    arms = summarise(table, features(table), Reference(target, "noise"))
    plots.by_arm(arms, "fid")
    plots.by_arm(arms, "kid", difference=True)
    mixed = arms.copy()
    mixed.loc[mixed["trajectory"] == "S^L", "features"] = "other, 256 x 256"
    with pytest.raises(ValueError, match="different features or counts"):
        plots.by_arm(mixed, "fid")
    fewer = arms.copy()
    fewer.loc[fewer["trajectory"] == "S^L", "n"] = 10
    with pytest.raises(ValueError, match="different features or counts"):
        plots.by_arm(fewer, "fid")
    with pytest.raises(ValueError, match="no measure 'clip'"):
        plots.by_arm(arms, "clip")
