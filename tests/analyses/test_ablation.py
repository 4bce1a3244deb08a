import functools
import itertools
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from ablating import sample_arm
from diffusers import DDIMScheduler
from hearing import Hearing
from PIL import Image

from attnscope import Trace
from attnscope.analyses.ablation import arms
from attnscope.analyses.ablation.arms import AblationSettings, Subject, arms_of, gate_of
from attnscope.analyses.ablation.tables import images_of, noise_of, pictures_of
from attnscope.errors import InputError
from attnscope.models.schedulers import SCHEDULERS, scaled_timesteps, set_scheduler, step_count
from attnscope.observers.clean_images import CleanEstimates
from attnscope.plans.text_form import parse
from attnscope.runs.folder import Run
from attnscope.runs.prompts import Prompt

PROMPTS = [Prompt(3, "a circle"), Prompt(4, "a large blue star"), Prompt(7, "a small cross")]


def settings(attention="cross", **options):
    subject = {"model": "toy", "weights": None, "dtype": "float32", "guidance": 5.0,
               "steps": (4,), "schedulers": ("dpm",)}  # fmt: skip
    subject |= {name: options.pop(name) for name in list(options) if name in subject}
    values = {"captions": "three", "prompts_digest": "", "limit": 3, "gates": ("2",),
              "intervals": (2,), "height": 32, "width": 32}  # fmt: skip
    return AblationSettings((Subject(**subject),), attention=attention, **(values | options))


def make(pipe, wanted, run, **options):
    for arm in arms_of(wanted):
        texts = [prompt.text for prompt in PROMPTS]
        sample_arm(pipe, arm, wanted, PROMPTS, texts, run, **({"batch_size": 2} | options))


def pixels(run, arm):
    return [np.asarray(Image.open(p)) for p in sorted((run.path / "images" / arm.key).iterdir())]


def test_cross_attention_has_the_arms_of_the_paper():
    made = arms_of(
        settings(gates=("1", "3"), steps=(4, 10), schedulers=("dpm", "ddim"), seeds=(0, 1))
    )
    names = ["S", "no guidance", "S^F m=1", "S^L m=1", "S^F m=3", "S^L m=3"]
    cells = [list(group) for _, group in itertools.groupby(made, key=lambda arm: arm.cell)]
    assert len(cells) == 2 * 2 * 2
    assert all([arm.name for arm in cell] == names for cell in cells)
    assert [arm.guidance for arm in made[:3]] == [5.0, 1.0, 5.0]
    assert made[2].plan == "null-text-late:m=1"
    assert len({arm.key for arm in made}) == len(made)


def test_self_attention_is_reused_alone_and_with_cross_attention_gated():
    made = {
        arm.name: parse(arm.plan) for arm in arms_of(settings("self", gates=("5",), steps=(8,)))
    }
    assert list(made) == [
        "S", "gate m=5", "S^F m=5 k=2", "S^L m=5 k=2", "S^F+gate m=5 k=2", "S^L+gate m=5 k=2",
    ]  # fmt: skip
    guided = {name: plan.over(8).guided_steps for name, plan in made.items()}
    assert guided == dict.fromkeys(made, 8) | {name: 5 for name in made if "gate" in name}
    assert made["S^L+gate m=5 k=2"] == parse("m=5,k=2")


def test_without_guidance_nothing_is_left_out_or_dropped():
    made = arms_of(settings(guidance=1.0)) + arms_of(
        settings("self", guidance=0.0, gates=("5",), steps=(8,))
    )
    assert "no guidance" not in [arm.trajectory for arm in made]
    assert "guidance-cutoff" not in " ".join(arm.plan for arm in made)


def test_a_gate_is_a_step_or_a_part_of_the_steps():
    assert [gate_of(text, 25) for text in ("10", "40%", "1%", "100%")] == [10, 10, 1, 25]
    with pytest.raises(InputError, match="gate 'ten' is no step"):
        gate_of("ten", 25)
    with pytest.raises(InputError, match="there are 4 steps"):
        arms_of(settings(gates=("5",)))
    for text in ("0%", "-50%", "nan%", "101%"):
        with pytest.raises(InputError, match="choose a part from 1% to 100%"):
            gate_of(text, 25)
    with pytest.raises(InputError, match="two arms are the same"):
        arms_of(settings(gates=("2", "50%")))


def test_what_is_left_of_self_attention_is_computed_when_the_paper_says(sd):
    """Calls of the projection to queries, step by step, against appendix B written out."""
    steps, gate, interval, warmup = 9, 6, 3, 2
    wanted = settings("self", gates=(str(gate),), intervals=(interval,), steps=(steps,))
    by_name = {arm.name: arm for arm in arms_of(wanted)}
    late = {i for i in range(steps) if i < gate or (i - gate) % interval == 0}
    early = {
        i for i in range(steps)
        if i <= warmup or i >= gate - 1 or i % interval == 0
    }  # fmt: skip
    expected = {"S": set(range(steps)), "S^F m=6 k=3": late, "S^L m=6 k=3": early}
    expected |= {"S^F+gate m=6 k=3": late, "S^L+gate m=6 k=3": early, "gate m=6": set(range(steps))}
    queries = [m.to_q for name, m in sd.unet.named_modules() if name.endswith("attn1")]
    for name, arm in by_name.items():
        calls: Counter[int] = Counter()
        with Trace(sd, plan=arm.plan) as trace:
            handles = [
                query.register_forward_hook(
                    lambda *_, calls=calls, trace=trace: calls.update([trace.runs[-1].steps_done])
                )
                for query in queries
            ]
            toys.call(sd, steps=steps)
            for handle in handles:
                handle.remove()
        assert set(calls) == expected[name], name
        assert set(calls.values()) == {len(queries)}


def test_arms_that_would_be_s_under_another_name_are_left_out():
    wanted = settings("self", gates=("3", "5"), steps=(8,))
    names = [arm.name for arm in arms_of(wanted)]
    assert arms.idle(wanted) == ["S^L m=3 k=2", "S^L+gate m=3 k=2"]
    assert set(arms.idle(wanted)).isdisjoint(names)
    assert "S^F m=3 k=2" in names
    with pytest.raises(InputError, match=r"m=3 k=1 reuses nothing: choose `intervals` of 2"):
        arms_of(settings("self", gates=("3",), intervals=(1,), steps=(8,)))


def test_a_part_of_the_steps_counts_those_that_the_scheduler_makes():
    made = arms_of(settings(gates=("40%",), steps=(10,), schedulers=("dpm", "heun", "pndm")))
    gates = {arm.cell.scheduler: (arm.cell.steps, arm.gate) for arm in made if arm.gate}
    assert gates == {"dpm": (10, 4), "heun": (19, 8), "pndm": (11, 4)}
    assert {arm.asked for arm in made} == {10}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_schedulers_make_as_many_steps_as_is_said(sd, name, steps):
    set_scheduler(sd, name)
    sd.scheduler.set_timesteps(steps)
    assert len(sd.scheduler.timesteps) == step_count(name, steps)


def test_how_many_steps_reuse_stands_beside_every_arm():
    """Appendix B with m = 10, k = 5 and 25 steps: 5 early steps, 12 late ones."""
    made = arms_of(settings("self", gates=("10",), intervals=(5,), steps=(25,)))
    assert {arm.trajectory: arm.reused_steps for arm in made} == {
        "S": 0, "gate": 0, "S^F": 12, "S^L": 5, "S^F+gate": 12, "S^L+gate": 5,
    }  # fmt: skip


def test_gated_arms_keep_the_branch_that_tgate_keeps():
    kept = {
        arm.name: parse(arm.plan).over(9, kept="cond").branches(8)
        for arm in arms_of(settings("self", gates=("6",), steps=(9,)))
        if "gate" in arm.name
    }
    assert set(kept.values()) == {("cond",)}
    assert len(kept) == 3


def test_batches_that_are_there_are_not_made_again(sd, tmp_path):
    wanted = settings()
    run = Run.open(tmp_path / "run", "ablate", wanted)
    told = Hearing()
    make(sd, wanted, run, progress=told)
    assert told.counts == [0, 2, 1] * 4
    first = {path: path.read_bytes() for path in run.path.rglob("*.png")}
    tables = images_of(run, wanted), noise_of(run, wanted)

    told.counts.clear()
    arm = arms_of(wanted)[2]
    (run.path / "parts" / arm.key / "images-00007.parquet").unlink()
    (run.path / "images" / arm.key / "00007.png").write_bytes(b"half a pic")
    (run.path / "pictures" / arm.key / ".abc12345.png").write_bytes(b"left by a kill")
    assert len(pictures_of(run, wanted)) == 4 * 3 * 4
    (run.path / "pictures" / arm.key / ".abc12345.png").unlink()
    assert len(run.known(f"{arm.key}/images")) < 3
    make(sd, wanted, run, progress=told)
    assert told.counts == [3, 3, 2, 1, 3]
    assert {path: path.read_bytes() for path in run.path.rglob("*.png")} == first
    pd.testing.assert_frame_equal(images_of(run, wanted), tables[0])
    pd.testing.assert_frame_equal(noise_of(run, wanted), tables[1])


def test_images_that_are_missing_are_counted(sd, tmp_path):
    wanted = settings()
    run = Run.open(tmp_path / "run", "ablate", wanted)
    make(sd, wanted, run)
    (run.path / "parts" / arms_of(wanted)[0].key / "images-00007.parquet").unlink()
    with pytest.raises(InputError, match="has 2 of 3 images of S: give the same command again"):
        images_of(run, wanted)


def test_batch_size_changes_nothing(sd, tmp_path):
    wanted = settings()
    made = []
    for size in (1, 3):
        run = Run.open(tmp_path / str(size), "ablate", wanted)
        make(sd, wanted, run, batch_size=size)
        made.append([pixels(run, arm) for arm in arms_of(wanted)])
    for alone, together in zip(*made, strict=True):
        assert np.abs(np.subtract(alone, together, dtype=float)).max() <= 1


def test_text_throughout_in_two_ways_is_s_to_the_bit(sd, tmp_path):
    """S^F_m with m = steps never takes the text away."""
    wanted = settings(gates=("2", "4"))
    run = Run.open(tmp_path / "run", "ablate", wanted)
    make(sd, wanted, run)
    by_name = {arm.name: pixels(run, arm) for arm in arms_of(wanted)}
    assert np.array_equal(by_name["S^F m=4"], by_name["S"])
    assert not np.array_equal(by_name["S^F m=2"], by_name["S"])
    assert not np.array_equal(by_name["S^L m=4"], by_name["S^L m=2"])


def test_all_arms_start_from_the_same_noise(sd, tmp_path):
    wanted = settings(seeds=(0, 1))
    run = Run.open(tmp_path / "run", "ablate", wanted)
    make(sd, wanted, run)
    noise = noise_of(run, wanted).query("branch == 'uncond' and step == 0")
    means = noise.groupby("seed")["mean"].agg(["min", "max"])
    assert means.loc[0, "min"] == means.loc[0, "max"]
    assert means.loc[0, "min"] != means.loc[1, "min"]


def test_a_table_of_noise_says_the_level_at_every_step(sd, tmp_path):
    wanted = settings()
    run = Run.open(tmp_path / "run", "ablate", wanted)
    make(sd, wanted, run)
    noise = noise_of(run, wanted)
    assert set(noise["step"]) == set(range(4))
    signal = sd.scheduler.alphas_cumprod[noise["timestep"].astype(int)].double().numpy()
    assert np.allclose(noise["log_snr"], np.log(signal / (1 - signal)), atol=1e-3)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_image_on_the_way_is_what_the_scheduler_takes_it_for(sd, kind, monkeypatch):
    """DDIM returns its own estimate of x_0 beside the next latents."""
    set_scheduler(sd, "ddim")
    sd.scheduler.register_to_config(prediction_type=kind)
    own, step = [], DDIMScheduler.step

    @functools.wraps(step)
    def listening(*args, **options):
        result = step(*args, **options)
        own.append(result[1])
        return result

    monkeypatch.setattr(DDIMScheduler, "step", listening)
    estimates = CleanEstimates(steps=(0, 2, 3), samples=(1,))
    with Trace(sd, observers=[estimates]):
        toys.call(sd, prompts=2, steps=4)
    assert list(estimates.table()["step"]) == [0, 2, 3]
    for at, latents in estimates.latents.items():
        assert torch.allclose(latents, own[at][1:2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["dpm", "euler", "ddim"])
def test_the_last_image_on_the_way_is_the_result(sd, name, tmp_path):
    """Where a scheduler ends at no noise, its last estimate of x_0 is what it returns."""
    set_scheduler(sd, name)
    estimates = CleanEstimates(steps=(3,), samples=(0, 1))
    sd.scheduler.register_to_config(set_alpha_to_one=True)
    if name == "ddim":
        sd.scheduler.final_alpha_cumprod = torch.tensor(1.0)
    with Trace(sd, observers=[estimates]):
        latents = toys.call(sd, prompts=2, steps=4)
    assert (estimates.latents[3] - latents).abs().max() < 1e-4
    decoded = estimates.images(sd)
    assert {size.size for size in decoded.values()} == {(32, 32)}


def test_scaled_timesteps_have_scaled_noise(sd):
    set_scheduler(sd, "dpm")
    own = scaled_timesteps(sd, 10, 1.0)
    sd.scheduler.set_timesteps(10)
    assert own == sd.scheduler.timesteps.tolist()
    halved = scaled_timesteps(sd, 10, 0.5)
    signal = sd.scheduler.alphas_cumprod.double()
    level = ((1 - signal) / signal).sqrt().numpy()
    np.testing.assert_allclose(level[halved] / level[own], 0.5, atol=0.02)
    with warnings.catch_warnings(record=True) as heard:  # diffusers warns about itself, too
        warnings.simplefilter("always")
        crowded = scaled_timesteps(sd, 10, 1e-6)
    assert "10 of 10 noise levels" in str(heard[-1].message)
    assert crowded == list(range(9, -1, -1))
    set_scheduler(sd, "ddim")
    with pytest.raises(InputError, match="choose `scheduler='dpm'`"):
        scaled_timesteps(sd, 10, 2.0)
