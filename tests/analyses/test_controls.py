"""The controls of Figure 2: every arm against what it is defined as, computed another way."""

import json

import converging
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import test_cli
from diffusers import IPNDMScheduler, PNDMScheduler
from PIL import Image
from test_pairs import collect

from attnscope import plots
from attnscope.analyses.convergence import controls
from attnscope.analyses.convergence.interventions import latents_kept, latents_replayed
from attnscope.analyses.convergence.measure import ConvergenceSettings
from attnscope.figures import saving
from attnscope.figures.controls import figure_controls
from attnscope.models.calling import call
from attnscope.runs.prompts import Prompt, image_seed

# Fixtures of the command's tests.

CAPTIONS = [
    "a small red circle on a white background",
    "a large blue star on a black background",
    "a large green heart on a gray background",
]
PROMPTS = [Prompt(10 + index, text) for index, text in enumerate(CAPTIONS)]


def settings(**changes):
    return ConvergenceSettings(
        **{
            "model": "toy", "weights": None, "captions": "toy", "prompts_digest": "", "limit": 3,
            "steps": 4, "scheduler": None, "guidance": 5.0, "seed": 0, "kinds": ("cross", "self"),
            "sites": None, "height": 32, "width": 32, "dtype": "float32", **changes,
        }
    )  # fmt: skip


def measure(pipe, batch_size=3, options=None, inputs=CAPTIONS, **changes):
    return converging.controlled(
        pipe, settings(**changes), PROMPTS[: len(inputs)], inputs, batch_size=batch_size,
        **(options or {}),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_every_arm_has_its_measures_of_every_kind(sd):
    table = measure(sd)
    found = {
        (arm, name): set(group["kind"])
        for (arm, name), group in table.groupby(["arm", "measure"], observed=True)
    }
    modules = {"cross", "self", "feed-forward", "block"}
    whole = {"step": {*modules, "latent"}, "branches": {*modules, "prediction"}}
    expected = {("trained", "caption"): modules, ("other-caption", "step"): modules}
    for arm in ("trained", "random", "random-replayed"):
        expected |= {(arm, name): kinds for name, kinds in whole.items()}
    for arm in ("trained", "random-replayed"):
        expected[arm, "final"] = {*modules, "latent"}
    assert found == expected
    assert set(table["prompt_id"]) == {10, 11, 12}
    assert not table.duplicated(["arm", "measure", "prompt_id", "branch", "step", "site"]).any()
    assert np.isfinite(table[["l2", "rms", "relative", "cosine"]]).all(axis=None)


def test_other_families_have_controls_too(pipe, family):
    if family == "svd":
        pixels = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
        images = [Image.fromarray(np.roll(pixels, 9 * index, 0)) for index in range(2)]
        table = measure(pipe, inputs=images, options={"num_frames": 2, "decode_chunk_size": 2})
    elif family == "pixart":
        pytest.skip("the toy has no text encoder, so that it cannot be called on captions")
    else:
        table = measure(pipe, inputs=CAPTIONS[:2])
    assert set(table["arm"]) == {"trained", "other-caption", "random", "random-replayed"}
    assert set(table["measure"]) == set(controls.MEASURES)


def test_the_steps_of_the_trained_model_are_those_of_the_paper_s_figure(sd):
    keys = ["prompt_id", "branch", "step", "site"]
    records = converging.curves(sd, settings(), PROMPTS, CAPTIONS, batch_size=3)
    table = measure(sd).query("arm == 'trained' and measure == 'step'")
    table = table[table["kind"].isin(["cross", "self"])]
    one, two = (
        part.astype({"branch": str, "site": str}).set_index(keys).sort_index()
        for part in (records, table)
    )
    assert one.index.equals(two.index)
    for name in ("l2", "relative", "timestep", "seed"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-6)


def test_a_wrong_caption_is_read_over_the_image_s_own_latents(sd):
    """By replaying the latents of a run to the same pipeline with another caption."""
    seeds = [image_seed(0, prompt.prompt_id) for prompt in PROMPTS]
    common = {"seeds": seeds, "steps": 4, "guidance": 5.0, "height": 32, "width": 32}
    kept = []
    with latents_kept(sd, kept):
        own = collect(sd, lambda: call(sd, CAPTIONS, output_type="latent", **common))
    shuffled = [*CAPTIONS[1:], CAPTIONS[0]]
    with latents_replayed(sd, kept):
        other = collect(sd, lambda: call(sd, shuffled, output_type="latent", **common))
    table = measure(sd).astype({"branch": str, "site": str})
    between = table.query("measure == 'caption'").set_index(["site", "step", "branch", "prompt_id"])
    paces = table.query("arm == 'other-caption'").set_index(["site", "step", "branch", "prompt_id"])
    checked = 0
    for site in set(own) - {"given"}:
        for step in range(4):
            for row in range(3, 6):
                key = (site, step, "cond", 10 + row % 3)
                a, b = (kept_[site][step].reshape(6, -1)[row] for kept_ in (own, other))
                np.testing.assert_allclose(
                    between.loc[key, "l2"], np.linalg.norm(a - b), rtol=1e-3, atol=2e-4
                )
                if step:
                    before = other[site][step - 1].reshape(6, -1)[row]
                    change = np.linalg.norm(b - before)
                    np.testing.assert_allclose(paces.loc[key, "l2"], change, rtol=1e-3, atol=2e-4)
                checked += 1
    assert checked == len(between)


def test_replayed_random_weights_see_the_trained_model_s_latents(sd):
    table = measure(sd, seed=5).query("kind == 'latent'").astype({"arm": str})
    keys = ["measure", "prompt_id", "step"]
    curves = {arm: group.sort_values(keys)["l2"].to_numpy() for arm, group in table.groupby("arm")}
    np.testing.assert_array_equal(curves["trained"], curves["random-replayed"])
    own = table.query("arm == 'random'").sort_values(keys)["l2"]
    led = table.query("arm == 'trained' and measure == 'step'").sort_values(keys)["l2"]
    assert not np.allclose(own, led)


def test_the_batch_size_changes_nothing(sd):
    keys = ["arm", "measure", "prompt_id", "branch", "step", "site"]
    one, three = (
        measure(sd, size).astype(dict.fromkeys(keys, str)).sort_values(keys) for size in (1, 3)
    )
    assert one[keys].to_numpy().tolist() == three[keys].to_numpy().tolist()
    np.testing.assert_allclose(one["l2"], three["l2"], rtol=1e-2, atol=1e-3)


def test_distances_per_nat_are_over_the_change_in_log_snr(sd):
    table = measure(sd).query("measure == 'step'")
    signal = sd.scheduler.alphas_cumprod.double().numpy()[sd.scheduler.timesteps.numpy()]
    levels = np.log(signal) - np.log1p(-signal)
    change = (levels[1:] - levels[:-1])[table["step"].to_numpy() - 1]
    np.testing.assert_allclose(table["l2_per_nat"], table["l2"] / change, rtol=1e-4)
    np.testing.assert_allclose(table["relative_per_nat"], table["relative"] / change, rtol=1e-4)
    np.testing.assert_allclose(table["log_snr"], levels[table["step"].to_numpy()], rtol=1e-4)


def test_a_step_that_changes_no_noise_level_has_no_distance_per_nat(sd):
    """PNDM stays at one timestep for two of its steps."""
    sd.scheduler = PNDMScheduler.from_config(sd.scheduler.config, skip_prk_steps=True)
    table = measure(sd, inputs=CAPTIONS[:2]).query("measure == 'step'")
    missing = table.groupby("step")["l2_per_nat"].agg(lambda values: values.isna().mean())
    assert missing[missing > 0].to_dict() == {2: 1.0}


def test_without_guidance_there_are_no_branches_to_compare(sd):
    table = measure(sd, inputs=CAPTIONS[:2], guidance=1.0)
    assert set(table["measure"]) == {"step", "final", "caption"}
    assert figure_controls(table).axes[5].get_title(loc="left") == "(f) Guidance branches"


def test_a_pattern_narrows_attention_alone(sd):
    table = measure(sd, inputs=CAPTIONS[:2], sites="mid*attn2", kinds=("cross",))
    of_kind = table.drop_duplicates("site").groupby("kind", observed=True)["site"].count()
    assert of_kind.to_dict() == {
        "cross": 1, "feed-forward": 4, "block": 4, "latent": 1, "prediction": 2,
    }  # fmt: skip


def test_every_caption_meets_another_one():
    others = controls._others(["a", "a", "b", "c"])
    assert others == ["b", "b", "c", "a"]
    for same in (["a"], ["a", "a", "a"]):
        with pytest.raises(ValueError, match="no two different captions"):
            controls._others(same)


def test_a_scheduler_without_noise_levels_is_refused_before_the_run(sd):
    sd.scheduler = IPNDMScheduler()
    with pytest.raises(ValueError, match="log-SNR is not defined"):
        measure(sd)


def made(prompts=3, steps=10):
    """A table as a run has it, with known values."""
    rows = []
    arms = {"step": 1.0, "final": 2.0, "caption": 4.0, "branches": 8.0}
    for arm, factor in (("trained", 1.0), ("random-replayed", 0.5)):
        for name, size in arms.items():
            for prompt in range(prompts):
                for step in range(name == "step", steps):
                    for kind, scale in (("cross", 1.0), ("self", 3.0), ("prediction", 1.0)):
                        if (kind == "prediction") != (name == "branches"):
                            continue
                        value = factor * size * scale * (prompt + 1) / (step + 1)
                        rows.append((arm, name, prompt, 0, "cond", step, "noise", kind,
                                     value, value / 100, value / 2))  # fmt: skip
    columns = ["arm", "measure", "prompt_id", "image", "branch", "step", "site", "kind",
               "relative", "cosine", "relative_per_nat"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).assign(block="mid")


def test_the_summary_is_the_mean_over_prompts_at_three_steps():
    table = controls.summary(made()).set_index(["arm", "measure", "kind"])
    row = table.loc[("trained", "final", "self")]
    assert row["first"] == pytest.approx(2 * 3 * 2)
    assert row["gate"] == pytest.approx(2 * 3 * 2 / 5)  # the fifth of ten steps is step 4
    assert row["last"] == pytest.approx(2 * 3 * 2 / 10)
    assert row["gate_sd"] == pytest.approx(np.std([1, 2, 3], ddof=1) * 2 * 3 / 5)
    assert table.loc[("random-replayed", "step", "cross"), "first"] == pytest.approx(0.5 * 2 / 2)
    assert table.loc[("trained", "step_per_nat", "cross"), "first"] == pytest.approx(2 / 2 / 2)
    predicted = table.loc[("trained", "branches", "1 - cos of noise")]
    assert predicted["first"] == pytest.approx(8 * 2 / 100)


def test_curves_are_drawn_on_a_logarithmic_axis_with_their_own_colours():
    table = made().query("measure == 'final' and arm == 'trained'")
    ax = plots.controls(table, ax=plt.subplots()[1])
    assert ax.get_yscale() == "log"
    drawn = {line.get_color(): line.get_ydata() for line in ax.get_lines() if len(line.get_ydata())}
    for kind, scale in (("cross", 1), ("self", 3)):
        expected = [2 * scale * 2 / (step + 1) for step in range(10)]
        np.testing.assert_allclose(drawn[plots.KIND_COLORS[kind]], expected)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["Cross-attention", "Self-attention"]
    with pytest.raises(ValueError, match="no column l2"):
        plots.controls(table, value="l2")


def test_trained_lines_are_solid_and_random_ones_dashed(sd):
    controls_of = measure(sd, seed=5)  # the toy's own weights are drawn with seed 0
    figure = figure_controls(controls_of)
    ax = figure.axes[3]
    lines = [line for line in ax.get_lines() if len(line.get_ydata())]
    solid = {line.get_color(): line.get_ydata() for line in lines if line.get_linestyle() == "-"}
    table = controls_of.query("arm == 'trained' and measure == 'final' and kind == 'cross'")
    expected = table.groupby("step")["relative"].mean()
    np.testing.assert_allclose(solid[plots.KIND_COLORS["cross"]], expected, rtol=1e-5)
    assert len(lines) == 4
    assert len(solid) == 2


def test_the_command_adds_controls_to_a_run(attnscope, folder, captions, tmp_path, monkeypatch):
    command = test_cli.convergence(folder, captions, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_figures", lambda run: [])  # they are drawn with the controls
        attnscope(*command, "-q")
    records = (tmp_path / "run" / "records.parquet").stat().st_mtime_ns
    code, out, err = attnscope(*command, "--controls")
    assert (code, err) == (0, "")
    assert "controls: relative distances" in out
    assert "to another caption" in out
    assert (tmp_path / "run" / "records.parquet").stat().st_mtime_ns == records
    table = (tmp_path / "run" / "controls.parquet").stat().st_mtime_ns
    for name in ("controls.csv", "figures/controls.png", "figures/controls.pdf"):
        assert (tmp_path / "run" / name).exists()
    code, out, _ = attnscope(*command, "--controls", "--json")
    assert str(tmp_path / "run" / "figures" / "controls.png") in json.loads(out)["figures"]
    assert (tmp_path / "run" / "controls.parquet").stat().st_mtime_ns == table


def test_the_command_refuses_controls_of_one_caption(attnscope, folder, captions, tmp_path):
    command = test_cli.convergence(folder, captions, tmp_path / "run", "--limit", 1, "--controls")
    code, _, err = attnscope(*command)
    assert code == 2
    assert err.startswith("error: --controls shuffles captions against images")
