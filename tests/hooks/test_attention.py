import denoisers
import numpy as np
import pytest
import torch

from attnscope import (
    CrossReuse,
    FeatureMaps,
    SelfReuseEarly,
    SelfReuseLate,
    TGate,
    Trace,
)
from attnscope.hooks.apart import Whole
from attnscope.hooks.moments import Moment
from attnscope.hooks.site import SiteHook
from attnscope.sites.attention import Site

PLANS = {
    "cross": (CrossReuse(2), {2: 1, 3: 1}),
    "self-late": (SelfReuseLate(1, 3), {2: 1, 3: 1}),
    "self-early": (SelfReuseEarly(4, 3, warmup=1), {2: 1}),
}
"""Plans for four steps, and which step's output they reuse at which."""

LAYOUTS = {
    "lumina": "both",  # [batch, tokens, heads, channels]
    "kandinsky3": "cross",
    "kandinsky5": "both",
    "kandinsky6": "both",
    "i2vgen": "both",  # frames and positions stand in the batch
    "ltx": "both",
    "ltx2": "both",
    "unet": "both",
    "lumina2": "self",  # the refiner of the noise
    "z-image": "self",
    "bria-fibo2": "both",
    "flux3": "self",
}
"""Families whose attention returns something of another layout, and the kinds that they have."""


def outputs(loop, kinds, steps=4, **call):
    """Every site's output at every step: float arrays by site and step."""
    maps = FeatureMaps("*", range(steps), kinds=kinds)
    with Trace(loop, plan=call.pop("plan", None), observers=[maps]) as trace:
        latents = loop(steps, **call)
    table = trace.records()
    return (
        {
            (str(site), int(step), str(branch)): output
            for site, step, branch, output in zip(
                table["site"], table["step"], table["branch"], table["output"], strict=True
            )
        },
        latents,
        trace.calls().set_index("kind"),
    )


@pytest.mark.filterwarnings("ignore:.*leaves its .* joint attention sites alone")
@pytest.mark.parametrize(
    ("name", "plan"),
    [
        (name, plan)
        for name, kinds in LAYOUTS.items()
        for plan in PLANS
        if kinds == "both" or plan.startswith(kinds)
    ],
)
def test_what_is_reused_is_what_was_returned_whatever_its_layout(name, plan):
    plan, sources = PLANS[plan]
    kind = plan.kinds[0]
    guided = name != "z-image"
    seen, latents, calls = outputs(denoisers.Loop(name, guided=guided), [kind], plan=plan)
    free, freely, _ = outputs(denoisers.Loop(name, guided=guided), [kind])
    assert calls.loc[kind, "reused"] > 0
    for (site, step, branch), output in seen.items():
        source = sources.get(step, step)
        np.testing.assert_array_equal(output, seen[site, source, branch])
        if step <= 1:  # nothing was reused so far
            np.testing.assert_array_equal(output, free[site, step, branch])
    assert torch.isfinite(latents).all()
    assert not torch.equal(latents, freely)


def test_lumina_reuses_the_mean_of_both_branches_under_t_gate():
    seen, latents, calls = outputs(denoisers.Loop("lumina", guided=True), ["cross"], plan=TGate(2))
    for (site, step, branch), output in seen.items():
        if step >= 2:
            assert branch == "uncond"
            mean = (seen[site, 1, "uncond"] + seen[site, 1, "cond"]) / 2
            np.testing.assert_allclose(output, mean, rtol=1e-6)
    assert calls.loc["cross"].tolist() == [4, 2, 4]
    assert torch.isfinite(latents).all()


def test_lumina_under_a_plan_gives_what_it_gives_with_the_outputs_put_in_by_hand():
    loop = denoisers.Loop("lumina", guided=True)
    with Trace(loop, plan=CrossReuse(2)):
        planned = loop(4)
    step = {"now": 0}
    for layer in loop.transformer.layers:

        def forward(*args, original=layer.attn2.forward, kept={}, **kwargs):  # noqa: B006
            if step["now"] < 2:
                kept["output"] = original(*args, **kwargs)
            return kept["output"]

        layer.attn2.forward = forward
    loop.transformer.register_forward_hook(lambda *_: step.update(now=step["now"] + 1))
    assert torch.equal(loop(4), planned)


@pytest.mark.parametrize(
    ("name", "plan"), [("lumina", CrossReuse(2)), ("ltx", SelfReuseLate(1, 4))]
)
def test_an_image_that_changes_its_size_within_a_run_is_an_error(name, plan):
    loop = denoisers.Loop(name)
    message = r"of \[1, 4, \d+\] and is now called on \[1, 8, \d+\]: the batch, the image or the guidance changed"
    with pytest.raises(RuntimeError, match=message), Trace(loop, plan=plan):
        loop(4, grow_at=2)


def test_a_result_whose_rows_are_no_batch_has_no_mean_of_branches():
    hook = SiteHook(Site("attn", "cross", "blocks.0", 0), None, Whole())
    given, turned = torch.zeros(4, 6, 8), torch.zeros(6, 4, 8)
    both, one = Moment(0, 0, 4, 4), Moment(1, 0, 4, 2)
    hook.store((turned,), given, both, 0, copy=False)
    assert hook.reuse(given, Moment(1, 0, 4, 4), 0) is not None
    with pytest.raises(RuntimeError, match=r"made \[6, 4, 8\] of \[4, 6, 8\]: which rows"):
        hook.reuse(given[:2], one, 0)


def test_the_mean_of_branches_is_taken_once_and_fits_the_smaller_batch():
    hook = SiteHook(Site("attn", "cross", "blocks.0", 0), None, Whole())
    given, result = torch.zeros(4, 6, 8), torch.randn(4, 6, 2, 4)
    hook.store((result,), given, Moment(0, 0, 4, 4), 0, copy=False)
    mean = (result[:2] + result[2:]) / 2
    for step in (1, 2):
        assert torch.equal(hook.reuse(given[:2], Moment(step, 0, 4, 2), 0)[0], mean)
    with pytest.raises(RuntimeError, match=r"of \[2, 6, 8\] and is now called on \[4, 6, 8\]"):
        hook.reuse(given, Moment(3, 0, 4, 4), 0)
