"""What was stored is carried on along a line over log-SNR, and so is guidance that was dropped."""

import contextlib
from dataclasses import dataclass, replace
from typing import ClassVar

import lettered
import pytest
import torch
import toys
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from lettered import Lettered

from attnscope import GuidanceCutoff, Plan, Trace
from attnscope.errors import InputError
from attnscope.hooks.apart import Whole
from attnscope.hooks.moments import Moment
from attnscope.hooks.site import SiteHook
from attnscope.models.predictions import log_snr
from attnscope.models.schedulers import set_scheduler
from attnscope.plans.parts import Alone
from attnscope.plans.text_form import Combined
from attnscope.plans.trajectory import Trajectory
from attnscope.sites.attention import Site

GIVEN = torch.zeros(2, 3, 4)
LEVELS = (-3.0, -2.5, -1.0, 0.0, 0.25, 4.0)


def carried_out(letters, outputs, levels, *, rows=2, differences=1):
    """What a hook returns at every step that does not compute."""
    hook = SiteHook(Site("attn", "cross", "block", 0), None, Whole())
    plan = Lettered(("cross",), letters, differences=differences)
    hook.follow(Trajectory(plan, len(letters), levels=levels))
    found = {}
    for step, (action, output) in enumerate(zip(hook.actions, outputs, strict=True)):
        moment = Moment(step, 0, rows, rows)
        if action.value == "store":
            hook.store((output,), GIVEN, moment, 0, copy=False)
        elif not action.computes:
            (found[step],) = hook.reuse(GIVEN, moment, 0)
    return found


def line(levels):
    offset, slope = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    return [offset + slope * level for level in levels]


@pytest.mark.parametrize("letters", ["ssffff", "scsfff", "sfsfsf", "srsfsf", "ssfsff", "cssfrf"])
def test_what_is_linear_in_log_snr_is_forecast_exactly(letters):
    outputs = line(LEVELS)
    found = carried_out(letters, outputs, LEVELS)
    assert found
    stored = 0
    for step, letter in enumerate(letters):
        stored += letter == "s"
        if letter == "f" and stored > 1:
            torch.testing.assert_close(found[step], outputs[step], atol=1e-5, rtol=1e-5)


def test_the_line_goes_through_the_last_two_that_were_stored():
    outputs = [step**2 * torch.ones(2, 3, 4) for step in range(6)]
    found = carried_out("sssffr", outputs, tuple(map(float, range(6))))
    assert found[3].unique().item() == 4 + 3  # through 1 and 4
    assert found[4].unique().item() == 4 + 6
    assert torch.equal(found[5], outputs[2])


INFINITE = (float("-inf"), -2.5, -1.0, 0.0, 0.25, float("inf"))


@pytest.mark.parametrize(
    ("letters", "levels", "step"),
    [
        ("sffff", LEVELS[:5], 3),
        ("ssfff", None, 3),
        ("ssfff", INFINITE[:5], 3),  # one of the two is pure noise
        ("cssff", INFINITE[1:], 4),  # the step holds no noise
        ("ssfff", (-1.0, -1.0, 0.0, 1.0, 2.0), 3),
    ],
    ids=["one alone", "unknown", "pure noise", "no noise", "the same level twice"],
)
def test_where_there_is_no_line_the_last_is_repeated(letters, levels, step):
    outputs = [torch.randn(2, 3, 4) for _ in letters]
    found = carried_out(letters, outputs, levels)
    assert torch.equal(found[step], outputs[letters.rindex("s")])


def parabola(levels):
    parts = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    return [parts[0] + parts[1] * level + parts[2] * level**2 for level in levels]


@pytest.mark.parametrize("letters", ["sssfff", "scssff", "sfsfsf", "ssrsff", "sssfsf"])
def test_what_is_quadratic_in_log_snr_is_forecast_exactly_by_second_differences(letters):
    outputs = parabola(LEVELS)
    found = carried_out(letters, outputs, LEVELS, differences=2)
    straight = carried_out(letters, outputs, LEVELS)
    stored = 0
    for step, letter in enumerate(letters):
        stored += letter == "s"
        if letter == "f" and stored > 2:
            torch.testing.assert_close(found[step], outputs[step], atol=1e-4, rtol=1e-4)
            assert (straight[step] - outputs[step]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("letters", "levels"),
    [
        ("ssff", (-3.0, -2.5, -1.0, 0.0)),  # two were stored
        ("sssf", (float("-inf"), -2.5, -1.0, 0.0)),  # the first is pure noise
        ("sssf", (-2.5, -2.5, -1.0, 0.0)),  # a level twice
    ],
    ids=["two alone", "pure noise", "the same level twice"],
)
def test_where_there_is_no_parabola_the_line_goes_on(letters, levels):
    outputs = [torch.randn(2, 3, 4) for _ in letters]
    found = carried_out(letters, outputs, levels, differences=2)
    straight = carried_out(letters, outputs, levels)
    for step in found:
        assert torch.equal(found[step], straight[step])
        assert not torch.equal(found[step], outputs[letters.rindex("s")])


def test_where_there_is_not_even_a_line_second_differences_repeat():
    outputs = [torch.randn(2, 3, 4) for _ in range(4)]
    assert torch.equal(carried_out("sfff", outputs, LEVELS[:4], differences=2)[3], outputs[0])
    assert torch.equal(carried_out("sssf", outputs, None, differences=2)[3], outputs[2])


def test_a_parabola_goes_through_outputs_of_one_branch_alone(sd):
    """What both branches stored is narrowed to the one that stays, and curves with what it stored itself."""
    name = next(iter(lettered.sites(sd, "cross")))
    sd.scheduler.set_timesteps(6)
    levels = log_snr(sd.scheduler, sd.scheduler.timesteps)
    calls = follow_a_curve(sd, name, levels)
    with Trace(sd, plan=Lettered(("cross",), "cccccc", "bbcccc")):
        exact = toys.call(sd, steps=6)
    differences = {}
    for order in (1, 2):
        calls[0] = 0
        plan = Lettered(("cross",), "cssscf", "bbcccc", only=name, differences=order)
        with Trace(sd, plan=plan):
            differences[order] = float((toys.call(sd, steps=6) - exact).abs().max())
    assert differences[2] < 1e-4
    assert differences[1] > 10 * differences[2]


@pytest.mark.parametrize("order", [0, 3, True, "2", None])
def test_other_differences_are_refused(order):
    plan = Lettered(("cross",), "ssf", differences=order)
    message = f"Lettered.order answers {order!r} for attn .cross-attention.: choose 1"
    with pytest.raises(InputError, match=message):
        Trajectory(plan, 3).actions(Site("attn", "cross", "block", 0))
    Trajectory(replace(plan, letters="ssr"), 3).actions(Site("attn", "cross", "block", 0))


def test_parts_of_a_plan_and_plans_of_plans_forecast_as_theirs_do():
    site = Site("attn", "cross", "block", 0)
    second, first = Lettered(("cross",), "ssf", differences=2), Lettered(("resnet",), "ssf")
    assert Alone(second, "cross").order(site) == 2
    both = Combined((first, second))
    assert both.order(site) == 2
    assert both.order(Site("res", "resnet", "block", 0)) == 1


def test_streams_that_are_none_stay_none_and_two_streams_are_both_forecast():
    hook = SiteHook(Site("block", "block", "block", 0), None, Whole())
    hook.follow(Trajectory(Lettered(("block",), "ssf"), 3, levels=(0.0, 1.0, 3.0)))
    for step in (0, 1):
        own = (torch.full((2, 3, 4), 1.0 + step), None, torch.full((2, 5), -2.0 * step))
        hook.store(own, GIVEN, Moment(step, 0, 2, 2), 0, copy=False)
    image, none, text = hook.reuse(GIVEN, Moment(2, 0, 2, 2), 0)
    assert none is None
    assert (image.unique().item(), text.unique().item()) == (4.0, -6.0)


def follow_a_curve(pipe, name, levels):
    """Make a module return what is quadratic in log-SNR, whatever it is given."""
    return follow_a_line(pipe, name, levels, power=2)


def follow_a_line(pipe, name, levels, power=1):
    """Make a module return what is linear in log-SNR, or in a power of it, whatever it is given."""
    module = dict(pipe.unet.named_modules())[name]
    outputs, calls = {}, [0]
    generator = torch.Generator().manual_seed(3)

    def forward(hidden_states, *args, **kwargs):
        if not outputs:
            outputs.update(enumerate(torch.randn(2, *hidden_states.shape[1:], generator=generator)))
        own = outputs[0] + levels[calls[0]] ** power * outputs[1]
        return own.expand(hidden_states.shape).clone()

    module.forward = forward
    pipe.unet.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    return calls


@pytest.mark.parametrize("scheduler", ["dpm", "euler", "ddim"])
@pytest.mark.parametrize("guidance", ["", "bbbccc"])
def test_a_pipeline_forecasts_over_the_levels_of_its_scheduler(scheduler, guidance, sd):
    set_scheduler(sd, scheduler)
    sd.scheduler.set_timesteps(6)
    levels = log_snr(sd.scheduler, sd.scheduler.timesteps)
    name = next(iter(lettered.sites(sd, "cross")))
    calls = follow_a_line(sd, name, levels)
    with Trace(sd, plan=Lettered(("cross",), "cccccc", guidance)):
        exact = toys.call(sd, steps=6)
    differences = {}
    for letters in ("sscfff", "ssrfff", "ssrrrr"):
        calls[0] = 0
        with Trace(sd, plan=Lettered(("cross",), letters, guidance, only=name)):
            differences[letters] = (toys.call(sd, steps=6) - exact).abs().max()
    assert differences["sscfff"] < 1e-4
    assert differences["ssrfff"] > 10 * differences["sscfff"]
    assert differences["ssrrrr"] > differences["ssrfff"]


def kept_by(hook):
    return [len(kept) for kept in hook._kept.values()]


@pytest.mark.parametrize(
    ("letters", "counts"),
    [
        ("sssfff", [0, 1, 2, 2, 2, 0]),
        ("ssfsfc", [1, 2, 2, 2, 0, 0]),
        ("sfsffc", [1, 1, 2, 2, 0, 0]),
        ("sssrrr", [0, 0, 1, 1, 1, 0]),
        ("srsrsr", [1, 0, 1, 0, 1, 0]),
        ("2ssssff", [0, 1, 2, 3, 3, 0]),
        ("2sfsfsf", [1, 1, 2, 2, 3, 0]),
        ("2sssrrr", [0, 0, 1, 1, 1, 0]),
    ],
)
def test_outputs_are_kept_as_many_as_forecasts_need_and_freed_after_their_last_use(
    letters, counts, sd
):
    order, letters = (2, letters[1:]) if letters[0] == "2" else (1, letters)
    seen = []
    with Trace(sd, plan=Lettered(("resnet",), letters, differences=order)) as trace:
        hooks = [hook for hook in trace._hooks if hook.site.kind == "resnet"]

        def note(*_):
            lengths = {sum(kept_by(hook)) for hook in hooks}
            assert len(lengths) == 1
            seen.append(lengths.pop())

        # Torch calls ours, which the Trace put on before, first.
        handle = sd.unet.register_forward_hook(note)
        toys.call(sd, steps=6)
        handle.remove()
        assert not any(hook._kept for hook in hooks)
    assert seen == counts


@dataclass(frozen=True)
class Recording(Plan):
    """Notes the levels that it is made for."""

    seen: tuple[list, ...] = ([],)

    def over(self, steps, *, kept="uncond", levels=None):
        self.seen[0].append(levels)
        return super().over(steps, kept=kept, levels=levels)


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("scheduler", ["dpm", "euler", "ddim", "pndm", "heun"])
def test_a_run_that_starts_late_has_the_levels_of_its_own_steps(scheduler, strength, sd):
    set_scheduler(sd, scheduler)
    pipe = StableDiffusionImg2ImgPipeline(**sd.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    plan = Recording(([],))
    with Trace(pipe, plan=plan) as trace:
        pipe(
            toys.PROMPTS[0], image=torch.zeros(1, 3, 32, 32), strength=strength,
            num_inference_steps=10, output_type="latent",
        )  # fmt: skip
        (levels,) = plan.seen[0]
        steps = trace.runs[-1].steps_done
        ran = log_snr(pipe.scheduler, pipe.scheduler.timesteps)[-steps:]
        assert len(levels) == trace.runs[-1].steps
    assert list(levels[:steps]) == list(ran)
    assert set(levels[steps:]) <= {levels[steps - 1]}


def test_a_run_that_stops_early_begins_at_its_first_level(tokenizer_folder):
    pipe = toys.stable_diffusion_xl(tokenizer_folder)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    plan = Recording(([],))
    with Trace(pipe, plan=plan) as trace:
        toys.call(pipe, steps=10, denoising_end=0.5)
        done = trace.runs[-1].steps_done
        ran = log_snr(pipe.scheduler, trace.runs[-1].timesteps())
    (levels,) = plan.seen[0]
    assert list(levels[:done]) == list(ran)


ALWAYS = "bbbbbb"


def run(pipe, guidance, *, weight=0.0, steps=6):
    with Trace(pipe, plan=Lettered((), "c" * steps, guidance, weight=weight)):
        return toys.call(pipe, prompts=2, steps=steps)


def test_without_a_weight_the_conditional_branch_goes_on_alone_bitwise(sd):
    with Trace(sd, plan=GuidanceCutoff(3, keep="cond")):
        plain = toys.call(sd, prompts=2, steps=6)
    assert torch.equal(run(sd, "bbbccc"), plain)
    assert not torch.equal(run(sd, "bbbccc", weight=1.0), plain)


def keep_apart(pipe, by):
    """Make both branches' predictions differ by the same at every step."""

    def put(module, args, output):
        sample = output[0] if isinstance(output, tuple) else output.sample
        if len(sample) == 4:
            sample[:2] = sample[2:] - by

    return pipe.unet.register_forward_hook(put)


@pytest.mark.parametrize("guidance", ["bccccc", "bbbccc", "bcbcbc", "bbbbbc"])
@pytest.mark.parametrize("scheduler", ["dpm", "ddim"])
def test_guidance_that_does_not_change_goes_on_as_it_was(guidance, scheduler, sd):
    set_scheduler(sd, scheduler)
    keep_apart(sd, torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2)))
    full, plain = run(sd, ALWAYS), run(sd, guidance)
    assert (full - plain).abs().max() > 1e-2
    torch.testing.assert_close(run(sd, guidance, weight=1.0), full, atol=1e-4, rtol=1e-4)
    half = run(sd, guidance, weight=0.5)
    assert (half - full).abs().max() > 1e-2
    assert (half - plain).abs().max() > 1e-2


@pytest.mark.parametrize("guidance", ["bbbuuu", ALWAYS])
def test_steps_without_the_conditional_branch_alone_are_left_as_they_are(guidance, sd):
    assert torch.equal(run(sd, guidance), run(sd, guidance, weight=1.0))


def test_the_last_difference_counts_and_none_of_another_run(sd):
    first = run(sd, "bbbccc", weight=1.0)
    with Trace(sd, plan=Lettered((), "cccccc", "bbbccc", weight=1.0)) as trace:
        toys.call(sd, prompts=2, steps=6, seed=9)
        assert torch.equal(toys.call(sd, prompts=2, steps=6), first)
        assert trace._denoiser_hook._difference is None
        assert trace._denoiser_hook._latest is None


def test_without_guidance_there_is_no_direction(sd):
    plain = toys.call(sd, steps=4, guidance=1.0)
    with Trace(sd, plan=Lettered(("cross",), "cccc", "bbcc", weight=1.0)):
        assert torch.equal(toys.call(sd, steps=4, guidance=1.0), plain)


@pytest.mark.parametrize("guided", [5.0, 1.0])
def test_a_branch_may_be_dropped_at_the_first_step(guided, sd):
    """How many images are made is known by then from what the pipeline prepared."""

    @dataclass(frozen=True)
    class Late(Plan):
        kinds: ClassVar[tuple[str, ...]] = ()

        def keeps(self, step):
            return "cond" if step == 0 else "both"

    rows = []
    sd.unet.conv_in.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    nothing = toys.warns("no guidance") if guided == 1 else contextlib.nullcontext()
    with nothing, Trace(sd, plan=Late()) as trace:
        toys.call(sd, prompts=2, guidance=guided, steps=4)
    assert rows == ([2, 4, 4, 4] if guided > 1 else [2, 2, 2, 2])
    assert trace.runs[-1].guided_steps == (3 if guided > 1 else 0)
