from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import toys

from attnscope import Trace
from attnscope.analyses.tuning import budget, proof, replay, search
from attnscope.analyses.tuning import calibration as calibrating
from attnscope.analyses.tuning.calibration import Calibration
from attnscope.analyses.tuning.modules import (
    carried,
    fine_groups,
    groups_of,
    outermost,
    timetable,
)
from attnscope.errors import InputError
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling
from attnscope.sites.denoiser import Denoiser

STEPS = 6
PROMPTS = [Prompt(0, "a circle"), Prompt(1, "a large blue star")]


@dataclass(frozen=True)
class Model:
    """A model whose pipeline is there."""

    pipe: Any
    name: str = "toy"
    device: str = "cpu"
    described: Any = field(default_factory=lambda: SimpleNamespace(options={}))


def settings(**options):
    return Sampling(model="toy", weights=None, dtype="float32", guidance=5.0, height=32, width=32,
                    **{"steps": STEPS, "scheduler": None, "seed": 0, **options})  # fmt: skip


def calibration(pipe, cut=2):
    texts = [prompt.text for prompt in PROMPTS]
    return Calibration(Model(pipe), settings(), PROMPTS, texts, cut)


def levels_in(pipe):
    return calibration(pipe).look().levels


def groups_in(pipe):
    return groups_of(outermost(Denoiser.of(pipe)))


def latents(pipe, **options):
    texts = [prompt.text for prompt in PROMPTS]
    return settings(**options).call(pipe, texts, [0, 1], output_type="latent")


@pytest.fixture
def counting(sd):
    """How often the U-Net of the pipeline really computed."""
    calls = []
    sd.unet.conv_in.register_forward_pre_hook(lambda *_: calls.append(1))
    return sd, calls


@pytest.mark.parametrize("computed", [(), (0,), (2, 3), range(STEPS)], ids=str)
def test_a_replayed_run_computes_what_it_is_told_and_comes_to_the_same(counting, computed):
    pipe, calls = counting
    kept = []
    with replay.answers_kept(pipe, kept):
        whole = latents(pipe)
    calls.clear()
    with replay.answers_replayed(pipe, kept, STEPS, computed):
        again = latents(pipe)
    assert torch.equal(again, whole)
    assert len(calls) == len(computed)
    assert "forward" not in vars(pipe.unet)


def test_a_run_of_more_steps_cannot_be_replayed(sd):
    kept = []
    with replay.answers_kept(sd, kept):
        latents(sd)
    with (
        replay.answers_replayed(sd, kept, STEPS, ()),
        pytest.raises(RuntimeError, match="more than the 6 times"),
    ):
        latents(sd, steps=STEPS + 1)
    assert "forward" not in vars(sd.unet)


def test_the_outermost_modules_are_all_there_is_to_reuse_and_stand_in_none_another(pipe):
    denoiser = Denoiser.of(pipe)
    names = [name for group in groups_in(pipe) for name in group.names]
    acting = [site.name for site in (*denoiser.sites, *denoiser.around) if site.kind != "latent"]
    for name in acting:
        assert sum(name == one or name.startswith(f"{one}.") for one in names) == 1, name


def test_fine_groups_say_of_every_kind_what_it_is_worth(sd):
    kinds = {group.kind for group in fine_groups(Denoiser.of(sd))}
    assert kinds == {"self", "cross", "feed-forward", "resnet", "sampler"}


@pytest.mark.parametrize("what", ["window", "final", "guidance", "module"])
def test_what_is_measured_without_computing_it_all_is_what_a_whole_run_shows(sd, what):
    """Without replay: the plan of a part carried out from the first step to the last."""
    found = calibration(sd)
    groups, steps = groups_in(sd), found.look()
    whole = replay.Trajectory()
    with Trace(sd, observers=[whole]):
        before = [latents(sd)]
    before = [*whole.seen, *before]
    parts = [*steps.parts(groups), *steps.windows("all", groups)]
    parts = [part for part in parts if part.what == what]
    for part in parts[:: max(1, len(parts) // 4)]:
        table = found.measured([part]).groupby("length")["damage"].mean()
        seen = replay.Trajectory()
        with Trace(sd, plan=part.plan, observers=[seen]):
            final = settings().call(
                sd, ["a circle", "a large blue star"], [0, 1], output_type="latent"
            )
        after = [*seen.seen, final]
        for length, damage in table.items():
            step = STEPS if length == 0 else part.step + length
            expected = replay.relative_error(after[step], before[step]).mean()
            assert damage == pytest.approx(float(expected), rel=1e-4), (part.key, length)


def test_batches_change_nothing_in_what_is_measured(sd):
    whole, single = calibration(sd), calibration(sd, cut=1)
    parts = list(whole.look().parts(groups_in(sd)))[::9]
    first, second = (found.measured(parts) for found in (whole, single))
    pd.testing.assert_frame_equal(first, second, rtol=1e-3, atol=1e-9)


def test_a_scheduler_that_does_not_tell_its_noise_levels_is_refused(sd, monkeypatch):
    monkeypatch.setattr(calibrating, "levels_of", lambda scheduler: None)
    with pytest.raises(InputError, match="does not tell the noise levels"):
        calibration(sd).look()


def test_what_was_measured_before_is_not_measured_again(counting):
    pipe, calls = counting
    found = calibration(pipe)
    parts = list(found.look().parts(groups_in(pipe)))[:6]
    first = found.measured(parts[:4])
    calls.clear()
    whole = found.measured(parts, done=[first])
    assert len(calls) == sum(len(part.computed) for part in parts[4:])
    pd.testing.assert_frame_equal(whole, found.measured(parts))


def test_rows_stand_in_the_order_of_parts_and_prompts_whoever_was_first(sd):
    found = calibration(sd, cut=1)
    parts = list(found.look().parts(groups_in(sd)))[-4:]
    whole = found.measured(parts)
    halves = [whole[whole["prompt_id"] == number] for number in (1, 0)]
    last = found.measured(parts[2:])
    assert found.measured(parts, done=[halves[0], halves[1].iloc[1:3]]).equals(whole)
    again = found.measured(parts[:2], done=[last])
    assert again.equals(pd.concat([last, whole[: len(whole) - len(last)]], ignore_index=True))
    assert found.measured(parts[2:], done=[again]).equals(whole)


def test_a_whole_run_is_made_once_and_only_what_is_wanted_of_it_is_held(counting):
    pipe, calls = counting
    pairs = list(zip(PROMPTS, ("a circle", "a large blue star"), strict=True))
    work = calibrating.Looking(Model(pipe), settings())
    for items, made in [(pairs, 1), (pairs, 0), (pairs[:1], 1), (pairs[:1], 0), (pairs[1:], 1),
                        (pairs[:1], 0), (pairs, 1), (pairs[1:], 1)]:  # fmt: skip
        calls.clear()
        work(pipe, items, 0)
        assert len(calls) == made * STEPS, items
    calls.clear()
    calibrating.Looking(Model(pipe), settings(seed=1))(pipe, pairs, 0)
    work(pipe, pairs[1:], 0)
    assert len(calls) == 2 * STEPS


def test_families_leave_out_what_does_most_damage_for_what_it_saves():
    rows = [
        ("module", group, ".", step, 0.0, 1, 0, damage)
        for group, damage in (("dear", 1e-2), ("big", 1e-2), ("cheap", 1e-8))
        for step in (1, 5)
    ]
    rows += [("final", "", ".", 1, 0.0, length, 0, 1e-3) for length in (0, 1)]
    damages = search.Damages(pd.DataFrame(rows, columns=list(calibrating.COLUMNS)), range(STEPS))
    found = search.families(damages, {"dear": 0.1, "big": 0.5, "cheap": 0.4})
    assert found == [(), ("big", "dear")]


def test_a_schedule_is_carried_out_as_it_is_written(sd):
    groups = groups_in(sd)
    levels = levels_in(sd)
    plan = timetable(groups, levels, "##.#..", guidance="bbbccc")
    with Trace(sd, plan=plan) as trace:
        settings().call(sd, ["a circle"], [0], output_type="latent")
    calls = trace.calls().set_index("kind")
    modules = {kind: sum(len(g.names) for g in groups if g.kind == kind) for kind in calls.index}
    for kind in ("resnet", "transformer", "sampler"):
        assert calls.loc[kind, "computed"] == 3 * modules[kind]
        assert calls.loc[kind, "reused"] == 3 * modules[kind]
    assert trace.runs[-1].guided_steps == 3


@pytest.mark.parametrize(
    ("text", "measure", "bound"),
    [("ssim>=0.98", "ssim", 0.98), (" psnr >= 35 ", "psnr", 35), ("damage<=1e-2", "damage", 0.01)],
)
def test_a_budget_is_read_and_written(text, measure, bound):
    found = budget.parse(text)
    assert (found.measure, found.bound) == (measure, bound)
    assert budget.parse(str(found)) == found


@pytest.mark.parametrize("text", ["", "ssim", "ssim<=0.9", "damage>=0.1", "fid<=3", "ssim>=much"])
def test_what_is_no_budget_says_what_one_is(text):
    with pytest.raises(InputError, match="ssim>="):
        budget.parse(text)


def test_a_budget_is_kept_to_with_one_standard_error():
    assert budget.parse("ssim>=0.98").margin(0.985, 0.004) == pytest.approx(0.001)
    assert budget.parse("ssim>=0.98").margin(0.985, 0.006) < 0
    assert budget.parse("damage<=0.01").margin(0.008, 0.001) == pytest.approx(0.001)
    assert budget.parse("damage<=0.01").margin(0.0095, 0.001) < 0


@pytest.mark.parametrize("text", ["ssim>=0.98", "damage<=0.01"])
def test_a_tightened_budget_asks_for_so_much_more(text):
    whole = budget.parse(text)
    assert whole.tightened(0.005).margin(0.98, 0.001) == pytest.approx(
        whole.margin(0.98, 0.001) - 0.005
    )


def test_the_distance_of_latents_is_relative_and_by_sample():
    before = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    after = torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    assert np.allclose(replay.relative_error(after, before), [0.25, 0.0])


def test_a_plan_is_carried_onto_a_larger_model_by_kind_and_place(sd, tokenizer_folder):
    groups, levels = groups_in(sd), levels_in(sd)
    letters = [
        f"#{'#' * (place % 2)}{'.' * (STEPS - 1 - place % 2)}" for place in range(len(groups))
    ]
    plan = timetable(groups, levels, letters)
    larger = toys.stable_diffusion(tokenizer_folder, layers_per_block=2)
    onto = outermost(Denoiser.of(larger))
    found = carried(plan, onto)
    assert {name for _, name, _ in found.rows} == {site.name for site in onto}
    own = {name: row for _, name, row in plan.rows}
    there = {name: row for _, name, row in found.rows}
    assert there["mid_block.resnets.0"] == own["mid_block.resnets.0"]
    for stage in ("down_blocks.0", "down_blocks.1", "up_blocks.0", "up_blocks.1"):
        assert there[f"{stage}.resnets.0"] == own[f"{stage}.resnets.0"], stage
    with Trace(larger, plan=found):
        assert torch.isfinite(toys.call(larger, steps=STEPS)).all()
    same = carried(plan, outermost(Denoiser.of(sd)))
    assert dict(own) == {name: row for _, name, row in same.rows}


def test_a_plan_is_not_carried_onto_a_model_without_its_kinds(sd, tokenizer_folder):
    plan = timetable(groups_in(sd), levels_in(sd), "#.....")
    blocks = outermost(Denoiser.of(toys.pixart(tokenizer_folder)))
    with pytest.raises(InputError, match="of which this model has none"):
        carried(plan, blocks)


def test_plans_are_compared_with_others_prompt_by_prompt():
    rows = [
        {"arm": arm, "prompt_id": number, "ssim": base + number / 100, "psnr": float("inf")}
        for arm, base in (("baseline", 1.0), ("ours", 0.9), ("theirs", 0.8))
        for number in range(8)
    ]
    table = proof.differences(pd.DataFrame(rows), ["ours", "of another run"])
    (row,) = table.to_dict("records")
    assert (row["plan"], row["against"], row["measure"], row["n"]) == ("ours", "theirs", "ssim", 8)
    assert row["difference"] == pytest.approx(0.1)
    assert row["low"] == pytest.approx(0.1)  # in pairs, though prompts differ
    assert row["worst"] == 0
