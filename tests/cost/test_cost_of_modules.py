"""What plans on other modules than attention cost and keep is what is counted while they run."""

from dataclasses import replace

import pytest
import toys
from lettered import Lettered
from test_cost import kept_now, tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import attnscope
from attnscope.cost import counting
from attnscope.cost.plans import attribution, cost_of
from attnscope.sites.denoiser import Denoiser

OF_A_U_NET = ("feed-forward", "block", "resnet", "transformer", "sampler")
CASES = [("sd", kind) for kind in OF_A_U_NET] + [("sdxl", "resnet"), ("sdxl", "transformer")]
CASES += [("pixart", "feed-forward"), ("pixart", "block"), ("svd", "resnet")]
LEVELS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0)
LETTERS = ["ssrfsf", "csrrsr", "sssfff", "srccsr"]
GUIDANCE = ["", "bbbccc", "bcbbbb"]


def multiplied(run):
    """Multiply-accumulates as torch's own counter sees them."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Counts of a toy by its name."""
    found = {}

    def of(name):
        if name not in found:
            architecture = tiny(name, tmp_path_factory.mktemp(name))[2]
            found[name] = counting.count_architecture(architecture)
        return found[name]

    return of


def runs():
    """Models, kinds, letters and guidance, but for what is stale where a branch comes back."""
    for name, kind in CASES:
        for letters in LETTERS if name == "sd" else LETTERS[:1]:
            for guidance in GUIDANCE if name != "svd" else GUIDANCE[:1]:
                if guidance != "bcbbbb" or letters in ("sssfff", "srccsr"):
                    yield name, kind, letters, guidance


@pytest.mark.parametrize(("name", "kind", "letters", "guidance"), [*runs()])
def test_what_is_kept_is_what_hooks_hold_at_every_step(
    name, kind, letters, guidance, counts, tmp_path
):
    plan = Lettered((kind,), letters, guidance)
    pipe = toys.FAMILIES[name](tmp_path)
    denoiser = Denoiser.of(pipe).module
    cost = cost_of(counts(name), plan, 6, batch=2, levels=LEVELS)
    kept = []
    with attnscope.Trace(pipe, plan=plan):
        denoiser.register_forward_pre_hook(lambda *_: kept.append(kept_now(denoiser)))
        toys.call(pipe, prompts=2, steps=6)
        kept.append(kept_now(denoiser))
    assert kept == [0, *cost.kept]
    assert max(kept) > 0 == kept[-1]


@pytest.mark.parametrize("letters", ["ssssff", "sfsfsf", "ssrssf"])
@pytest.mark.parametrize(("name", "kind"), [("sd", "resnet"), ("pixart", "block")])
@pytest.mark.parametrize("guidance", ["", "bbbccc"])
def test_second_differences_keep_three_outputs_as_predicted(
    name, kind, letters, guidance, counts, tmp_path
):
    plan = Lettered((kind,), letters, guidance, differences=2)
    pipe = toys.FAMILIES[name](tmp_path)
    denoiser = Denoiser.of(pipe).module
    cost = cost_of(counts(name), plan, 6, batch=2, levels=LEVELS)
    kept = []
    with attnscope.Trace(pipe, plan=plan):
        denoiser.register_forward_pre_hook(lambda *_: kept.append(kept_now(denoiser)))
        toys.call(pipe, prompts=2, steps=6)
        kept.append(kept_now(denoiser))
    assert kept == [0, *cost.kept]
    one = cost_of(counts(name), replace(plan, differences=1), 6, batch=2, levels=LEVELS)
    assert sum(cost.kept) > sum(one.kept) > 0


@pytest.mark.parametrize(("name", "kind", "letters", "guidance"), [*runs()])
def test_every_step_costs_what_is_counted_while_it_runs(
    name, kind, letters, guidance, counts, tmp_path
):
    plan = Lettered((kind,), letters, guidance)
    pipe = toys.FAMILIES[name](tmp_path)
    denoiser = Denoiser.of(pipe).module
    cost = cost_of(counts(name), plan, 6, batch=2, levels=LEVELS)
    steps = []

    def counted(*args, original=denoiser.forward, **kwargs):
        outputs = []
        steps.append(multiplied(lambda: outputs.append(original(*args, **kwargs))))
        return outputs[0]

    with attnscope.Trace(pipe, plan=plan):
        denoiser.forward = counted
        toys.call(pipe, prompts=2, steps=6)
        del denoiser.forward
    assert steps == [sum(parts.values()) for parts in cost.steps]
    assert cost.macs() == sum(steps) < cost.baseline.macs()
    table = attribution(cost).query("convention == 'full'").set_index("saving")
    assert table["saved"].drop("all").sum() == table.loc["all", "saved"]
    assert table.loc["all", "saved"] == cost.baseline.macs() - cost.macs()
