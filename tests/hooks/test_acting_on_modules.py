"""Plans act on every module that a denoiser computes with, and what goes past it is fresh."""

import lettered
import pytest
import torch
import toys
from lettered import Lettered
from torch._dynamo.testing import CompileCounter

from attnscope import Trace
from attnscope.errors import InputError
from attnscope.sites.denoiser import Denoiser

OF_A_U_NET = ("cross", "self", "feed-forward", "block", "resnet", "transformer", "sampler")
OF_A_TRANSFORMER = ("cross", "self", "feed-forward", "block")
KINDS = {
    "sd": OF_A_U_NET,
    "sdxl": OF_A_U_NET,
    "svd": ("resnet",),
    "pixart": OF_A_TRANSFORMER,
    "latte": OF_A_TRANSFORMER,
    "wan": OF_A_TRANSFORMER,
    "sd3": ("joint", "self", "feed-forward", "block"),
    "flux": ("joint", "feed-forward", "block"),
}
"""Tiny models to the kinds of modules that they have."""
CASES = [(name, kind) for name, kinds in KINDS.items() for kind in kinds]
ADDING = ("block", "resnet", "transformer")
"""Kinds that return the stream behind them."""


def latents_given(pipe, call, steps, plan=None):
    """What the denoiser was given in every call of it, and the latents in the end."""
    given, denoiser = [], Denoiser.of(pipe).module

    def note(module, args, kwargs):
        given.append(args[0] if args else kwargs.get("hidden_states", kwargs.get("sample")))

    handle = denoiser.register_forward_pre_hook(note, with_kwargs=True)
    with Trace(pipe, plan=plan):
        latents = call(steps)
    handle.remove()
    return given, latents


@pytest.mark.filterwarnings("ignore:.*leaves its .* joint attention sites alone")
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_storing_changes_nothing_bitwise(name, kind, tokenizer_folder):
    pipe, call = lettered.pipeline(name, tokenizer_folder)
    free, freely = latents_given(pipe, call, 4)
    given, latents = latents_given(pipe, call, 4, Lettered((kind,), "sssr"))
    assert len(given) == len(free)
    assert all(torch.equal(a, b) for a, b in zip(given, free, strict=True))
    assert not torch.equal(latents, freely)


def letters_of_state(denoiser):
    """All that hooking may touch."""
    return {name: (dict(vars(m)), m.forward) for name, m in denoiser.named_modules()}


@pytest.mark.filterwarnings("ignore:.*leaves its .* joint attention sites alone")
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_reused_is_what_the_module_added_put_in_by_hand(name, kind, tokenizer_folder):
    pipe, call = lettered.pipeline(name, tokenizer_folder)
    plain, denoiser = call(5), Denoiser.of(pipe).module
    before = letters_of_state(denoiser)
    with Trace(pipe, plan=Lettered((kind,), "csrsr")) as trace:
        planned = call(5)
    after = letters_of_state(denoiser)
    assert after == before
    calls_per_step = 2 if name == "wan" else 1
    with lettered.by_hand(pipe, kind, "csrsr", calls_per_step=calls_per_step):
        by_hand = call(5)
    error, effect = (planned - by_hand).abs().max(), (planned - plain).abs().max()
    assert error <= 1e-5
    assert effect > 5 * error
    count = calls_per_step * len(lettered.sites(pipe, kind))
    assert trace.calls().set_index("kind").loc[kind].tolist() == [3 * count, 2 * count, 2 * count]
    assert torch.equal(call(5), plain)


def test_a_residual_block_with_a_shortcut_and_a_factor_is_among_them(tokenizer_folder):
    resnets = lettered.sites(toys.stable_diffusion(tokenizer_folder), "resnet").values()
    assert {module.conv_shortcut is None for module in resnets} == {True, False}


@pytest.mark.parametrize("factor", [1.0, 2.0**0.5])
def test_a_residual_block_that_rescales_is_taken_apart(factor, tokenizer_folder):
    pipe, call = lettered.pipeline("sd", tokenizer_folder)
    for module in lettered.sites(pipe, "resnet").values():
        module.output_scale_factor = factor
    with Trace(pipe, plan=Lettered(("resnet",), "srsr")):
        planned = call(4)
    with lettered.by_hand(pipe, "resnet", "srsr"):
        assert (planned - call(4)).abs().max() < 1e-5


def outputs_of(module, call, steps, *, disturbed_at=None, by=0.0):
    """What a module returned at every step; its streams are moved before one of them."""
    seen = []

    def disturb(module, args, kwargs):
        if len(seen) != disturbed_at:
            return None
        names = ("hidden_states", "encoder_hidden_states", "input_tensor")
        moved = {n: v + by if n in names and v is not None else v for n, v in kwargs.items()}
        return (args[0] + by, *args[1:]) if args else args, moved

    def note(module, args, kwargs, output):
        parts = (output,) if isinstance(output, torch.Tensor) else output
        seen.append((args, kwargs, tuple(part.clone() for part in parts if part is not None)))

    handles = [
        module.register_forward_pre_hook(disturb, with_kwargs=True),
        module.register_forward_hook(note, with_kwargs=True),
    ]
    call(steps)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.filterwarnings("ignore:.*leaves its .* joint attention sites alone")
@pytest.mark.parametrize(
    ("name", "kind"),
    [("sd", kind) for kind in OF_A_U_NET]
    + [
        ("sd3", "block"),
        ("flux", "block"),
        ("sd3", "joint"),
        ("pixart", "block"),
        ("wan", "block"),
    ],
)
def test_the_stream_that_passes_a_reusing_module_is_fresh(name, kind, tokenizer_folder):
    pipe, call = lettered.pipeline(name, tokenizer_folder)
    site, module = next(iter(lettered.sites(pipe, kind).items()))
    with Trace(pipe, plan=Lettered((kind,), "sr", only=site)):
        calls_per_step = 2 if name == "wan" else 1
        as_it_is = outputs_of(module, call, 2)[calls_per_step]
        moved = outputs_of(module, call, 2, disturbed_at=calls_per_step, by=0.5)[calls_per_step]
    for here, there in zip(as_it_is[-1], moved[-1], strict=True):
        if kind not in ADDING:
            assert torch.equal(here, there)
            continue
        by_itself = lettered.passing(module, *as_it_is[:2]), lettered.passing(module, *moved[:2])
        shape = here.shape
        expected = next(b - a for a, b in zip(*by_itself, strict=True) if a.shape == shape)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(there - here, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["ltx2", "kandinsky6"])
def test_a_block_that_returns_another_stream_than_it_is_given_is_refused(name, tokenizer_folder):
    """A stream of sound beside that of the pictures."""
    pipe, call = lettered.pipeline(name, tokenizer_folder)
    plain = call(2)
    before = letters_of_state(pipe.transformer)
    refused = pytest.raises(
        RuntimeError, match=r"blocks\.0 returns another stream than it is given"
    )
    with refused as e, Trace(pipe, plan=Lettered(("block",), "sr")):
        call(2)
    assert "\n" not in str(e.value)
    assert letters_of_state(pipe.transformer) == before
    assert torch.equal(call(2), plain)


def test_kinds_that_a_denoiser_has_not_are_refused(tokenizer_folder):
    pipe = toys.pixart(tokenizer_folder)
    with pytest.raises(InputError, match="acts on resnet, but PixArtTransformer2DModel has only"):
        Trace(pipe, plan=Lettered(("resnet",), "sr"))


def added_by(pipe, kind, call, steps):
    """What every module of a kind added at every step."""
    modules = lettered.sites(pipe, kind)
    found, handles = {name: [] for name in modules}, []
    for name, module in modules.items():

        def note(module, args, kwargs, output, seen=found[name]):
            (own,) = lettered.contribution(kind, module, args, kwargs, output)
            seen.append(own.clone())

        handles.append(module.register_forward_hook(note, with_kwargs=True))
    latents = call(steps)
    for handle in handles:
        handle.remove()
    return found, latents


@pytest.mark.parametrize("keep", ["u", "c"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("sd", kind) for kind in OF_A_U_NET] + [("pixart", "block"), ("pixart", "feed-forward")],
)
@pytest.mark.parametrize("mean", [False, True], ids=["its own", "the mean"])
def test_the_branch_that_stays_goes_on_with_what_is_said(name, kind, keep, mean, tokenizer_folder):
    pipe, call = lettered.pipeline(name, tokenizer_folder)
    plan = Lettered((kind,), "csrr", "bb" + 2 * keep, mean=mean)
    with Trace(pipe, plan=plan):
        found, latents = added_by(pipe, kind, call, 4)
    assert torch.isfinite(latents).all()
    apart = 0.0  # which branch it is makes a difference
    for _, stored, *reused in found.values():
        uncond, cond = stored.chunk(2)
        expected = (uncond + cond) / 2 if mean else {"u": uncond, "c": cond}[keep]
        apart = max(apart, (uncond - cond).abs().max())
        for own in reused:
            torch.testing.assert_close(own, expected, atol=2e-6, rtol=1e-5)
    assert apart > 1e-4


@pytest.mark.parametrize(
    ("letters", "guidance", "message"),
    [
        ("csrr", "bbcb", "the image or the guidance changed within a run"),
        ("csrr", "bcbb", "the image or the guidance changed within a run"),
        ("csrr", "bbcu", "of one guidance branch and is now called on the other"),
        ("csrr", "bcuu", "of one guidance branch and is now called on the other"),
    ],
)
@pytest.mark.parametrize("kind", ["resnet", "feed-forward"])
def test_what_was_stored_of_one_branch_is_not_reused_by_another(
    kind, letters, guidance, message, sd
):
    with (
        pytest.raises(RuntimeError, match=message),
        Trace(sd, plan=Lettered((kind,), letters, guidance)),
    ):
        toys.call(sd, steps=4)


def test_guidance_may_come_back_where_modules_compute(sd):
    with Trace(sd, plan=Lettered(("resnet", "block"), "csrs", "bbcb")) as trace:
        assert torch.isfinite(toys.call(sd, steps=4)).all()
    assert trace.runs[-1].guided_steps == 3


def test_the_mean_of_both_branches_is_of_either(sd):
    with Trace(sd, plan=Lettered(("resnet",), "srr", "bcu", mean=True)):
        assert torch.isfinite(toys.call(sd, steps=3)).all()


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("blocks", "block"),
        ("blocks", "resnet"),
        pytest.param("blocks", "transformer", marks=pytest.mark.slow),
        pytest.param("in place", "resnet", marks=pytest.mark.slow),
        pytest.param("in place", "block", marks=pytest.mark.slow),
        pytest.param("whole", "block", marks=pytest.mark.slow),
        pytest.param("whole", "transformer", marks=pytest.mark.slow),
    ],
)
def test_compiled_modules_act_as_they_do_uncompiled(how, kind, sd):
    torch._dynamo.reset()
    plan = Lettered((kind,), "ssrfsr", "bbbccc")
    plain = toys.call(sd, steps=6)
    with Trace(sd, plan=plan) as uncompiled:
        expected = toys.call(sd, steps=6)
    counter = CompileCounter()
    if how == "blocks":
        modules = lettered.sites(sd, kind).values()
        for module in modules:
            module.compile(backend=counter)
    elif how == "in place":
        sd.unet.compile(backend=counter)
    else:
        sd.unet = torch.compile(sd.unet, backend=counter)
    with Trace(sd, plan=plan) as trace:
        assert (toys.call(sd, steps=6) - expected).abs().max() < 1e-4
    assert trace.calls().equals(uncompiled.calls())
    assert counter.frame_count > 0
    assert (toys.call(sd, steps=6) - plain).abs().max() < 1e-4
    torch._dynamo.reset()
