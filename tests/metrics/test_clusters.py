"""Images of one prompt are resampled together, and counted as one."""

import math

import numpy as np
import pandas as pd
import pytest

from attnscope.metrics.clusters import by_image, clusters_of
from attnscope.metrics.intervals import bootstrap, paired
from attnscope.metrics.measures import MEASURES
from attnscope.metrics.summaries import over_images, summarise


def alike(rng, prompts, images=4):
    """Images of a prompt are nearly the same: values, and the prompt of each."""
    groups = np.repeat(np.arange(prompts), images)
    return rng.normal(size=prompts)[groups] + rng.normal(0, 0.1, len(groups)), groups


def table(texts, seeds=(0,), **arms):
    """Images of S and others: ``all`` by arm, a value per text, the same for every seed."""
    rows = [
        {"model": "toy", "scheduler": "dpm", "steps": 4, "noise_scale": 1.0, "seed": seed, "arm": arm,
         "key": f"{arm}-{seed}", "trajectory": arm, "gate": None, "interval": None, "reused_steps": 0,
         "prompt_id": number, "frame": 0, "path": "", "text": text, "clip": value}
        for seed in seeds
        for arm, values in arms.items()
        for number, (text, value) in enumerate(zip(texts, values, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def test_one_image_a_prompt_is_to_the_bit_what_it_is_without_prompts():
    values = np.random.default_rng(0).normal(size=50)
    labels = np.random.default_rng(1).permutation(50)
    assert bootstrap(values, clusters=labels) == bootstrap(values)
    assert paired(values, values[::-1], clusters=labels) == paired(values, values[::-1])


def test_copies_of_an_image_tell_no_more_than_the_image():
    values = np.random.default_rng(0).normal(size=40)
    copies, groups = np.repeat(values, 4), np.repeat(np.arange(40), 4)
    alone, found = bootstrap(values), bootstrap(copies, clusters=groups)
    assert found.value == pytest.approx(alone.value)
    assert (found.n, found.prompts, alone.prompts) == (160, 40, 40)
    width, whole = found.high - found.low, alone.high - alone.low
    assert width == pytest.approx(whole, rel=0.1)
    taken_apart = bootstrap(copies)
    assert taken_apart.high - taken_apart.low < 0.6 * whole  # half, as of four times the images


def test_prompts_with_more_images_count_as_often_as_their_images():
    values, groups = [1.0, 1.0, 1.0, 5.0], [0, 0, 0, 1]
    found = bootstrap(values, clusters=groups)
    assert found.value == 2.0
    assert (found.low, found.high) == (1.0, 5.0)


def test_intervals_by_prompt_hold_the_truth_where_those_by_image_do_not():
    runs = 120
    held = dict.fromkeys(("by prompt", "by image"), 0)
    for number in range(runs):
        values, groups = alike(np.random.default_rng(number), 40)
        for name, clusters in (("by prompt", groups), ("by image", None)):
            found = bootstrap(values, clusters=clusters, seed=number)
            held[name] += found.low <= 0 <= found.high
    error = math.sqrt(0.95 * 0.05 / runs)
    assert abs(held["by prompt"] / runs - 0.94) < 3 * error  # 95 % less 1 for percentiles
    assert held["by image"] / runs < 0.8


def test_images_of_one_prompt_have_no_interval():
    found = bootstrap([1.0, 2.0, 3.0], clusters=[7, 7, 7])
    assert (found.value, found.n, found.prompts) == (2.0, 3, 1)
    assert math.isnan(found.low)


def test_every_value_is_of_a_prompt():
    with pytest.raises(ValueError, match="of one prompt"):
        bootstrap([1.0, 2.0], clusters=[0])


def test_what_an_image_does_not_have_leaves_its_prompt_out():
    found = bootstrap([1.0, math.nan, 3.0, 5.0, 5.0], clusters=[0, 1, 2, 3, 3])
    assert (found.n, found.prompts) == (4, 3)


def test_the_same_text_is_the_same_prompt_whatever_its_number():
    images = table(["a", "b", "a ", "c"], S=[1, 2, 3, 4])
    assert list(clusters_of(images)) == [0, 1, 0, 2]
    assert list(clusters_of(images.drop(columns="text"))) == [0, 1, 2, 3]
    assert list(clusters_of(images.sample(frac=1, random_state=0))) == [0, 1, 0, 2]


def test_prompts_and_values_of_images_stand_in_one_order():
    images = table(["c", "a", "b"], seeds=(1, 0), S=[1.0, 2.0, 3.0])
    videos = pd.concat([images.assign(frame=number) for number in (0, 1)])
    assert list(by_image(videos, "clip").index) == list(clusters_of(videos).index)
    assert list(clusters_of(videos)) == [0, 1, 2, 0, 1, 2]


def test_captions_that_stand_twice_are_counted_once_where_differences_are_tested():
    rng = np.random.default_rng(0)
    worse = rng.normal(-2, 0.1, 30)
    often = summarise(table(["the same"] * 30, S=np.zeros(30), other=worse))
    apart = summarise(table([f"text {n}" for n in range(30)], S=np.zeros(30), other=worse))
    assert set(often["prompts"]) == {1}
    assert set(apart["prompts"]) == {30}
    assert set(often["n"]) == set(apart["n"]) == {30}
    assert often["difference_low"].isna().all()
    assert apart.set_index("arm").loc["other", "difference_high"] < 0


def test_seeds_together_are_more_images_and_not_more_prompts():
    rng = np.random.default_rng(0)
    texts, hard = [f"text {n}" for n in range(25)], rng.normal(size=25)
    images = table(texts, seeds=(0, 1, 2), S=np.zeros(25), other=hard)
    alone = summarise(images[images["seed"] == 0]).set_index("arm").loc["other"]
    together = over_images(images).set_index("arm").loc["other"]
    assert (together["n"], together["prompts"]) == (75, 25)
    assert together["difference"] == pytest.approx(hard.mean())
    for name in ("difference_low", "difference_high"):
        assert together[name] == pytest.approx(alone[name], abs=0.1)
    assert together["p"] == pytest.approx(
        alone["p"]
    )  # the same images three times: nothing is gained
    assert "seed" not in together
    assert over_images(images[images["seed"] == 0]).empty


def test_measures_that_are_yes_or_no_say_so():
    assert {name for name, measure in MEASURES.items() if measure.share} == {
        "relation", "background", "all",
    }  # fmt: skip
