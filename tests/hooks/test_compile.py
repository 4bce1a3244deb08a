"""Compiled denoisers: the same images, and no more graphs than pieces between attention calls."""

import pytest
import torch
import toys
from torch._dynamo.testing import CompileCounter

from attnscope import StepDistance, Trace, accelerate
from attnscope.errors import InputError
from attnscope.versions import release


@pytest.fixture(autouse=True)
def _no_graphs_of_other_tests():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(pipe, how, **options):
    """Compile a pipeline's denoiser; the counter runs graphs as they are, so results are exact."""
    counter = CompileCounter()
    denoiser = "unet" if hasattr(pipe, "unet") else "transformer"
    if how == "blocks" and denoiser == "unet":
        pipe.unet.compile_repeated_blocks(backend=counter, **options)
    elif how == "blocks":  # PixArt does not name its blocks
        for block in pipe.transformer.transformer_blocks:
            block.compile(backend=counter, **options)
    elif how == "in place":
        getattr(pipe, denoiser).compile(backend=counter, **options)
    else:
        setattr(pipe, denoiser, torch.compile(getattr(pipe, denoiser), backend=counter, **options))
    return counter


MODELS = {
    "sd": lambda folder: toys.stable_diffusion(folder, layers_per_block=3),
    "pixart": lambda folder: toys.pixart(folder, num_layers=12),
}


# How many graphs, whatever the number of blocks. A block falls into four pieces, of which each may
# be compiled again for the smaller batch after the gate; a whole model falls apart at the same
# places and in the loops around them, until torch stops at eight versions of a piece. torch 2.6 takes
# up to that for every attention processor and comes to 18 of PixArt's blocks; later ones stay at 16.
GRAPHS = {"blocks": 18 if release("torch") < (2, 7) else 16, "in place": 48, "whole": 48}


@pytest.mark.parametrize(
    ("how", "used_before"),
    [("blocks", False), ("blocks", True), ("in place", False), ("whole", True)],
)
@pytest.mark.parametrize("model", MODELS)
def test_the_same_images_with_a_bounded_number_of_graphs(model, how, used_before, tokenizer_folder):
    pipe = MODELS[model](tokenizer_folder)
    plain = toys.call(pipe, steps=6)
    with Trace(pipe, plan="m=3,k=2,w=0") as trace:
        expected = toys.call(pipe, steps=6)
    uncompiled = trace.calls()
    counter = compiled(pipe, how)
    if used_before:
        assert (toys.call(pipe, steps=6) - plain).abs().max() < 1e-4
    with accelerate(pipe, "m=3,k=2,w=0") as handle:
        assert (toys.call(pipe, steps=6) - expected).abs().max() < 1e-4
        assert handle.calls().equals(uncompiled)
        after_one = counter.frame_count
        assert (toys.call(pipe, steps=6) - expected).abs().max() < 1e-4
        assert counter.frame_count == after_one
        toys.call(pipe, steps=9)
        assert counter.frame_count == after_one
    assert (toys.call(pipe, steps=6) - plain).abs().max() < 1e-4
    assert after_one <= GRAPHS[how]


@pytest.mark.slow
def test_real_graphs_give_the_same_images(sd):
    with Trace(sd, plan="m=3,k=2,w=0"):
        expected = toys.call(sd, steps=6)
    sd.unet.compile_repeated_blocks()
    with accelerate(sd, "m=3,k=2,w=0"):
        assert (toys.call(sd, steps=6) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("how", ["blocks", "whole"])
def test_compiling_under_an_acceleration(sd, how):
    with accelerate(sd, "m=3,k=2") as handle:
        expected = toys.call(sd, steps=6)
        compiled(sd, how)
        assert (toys.call(sd, steps=6) - expected).abs().max() < 1e-4
        assert handle._trace._compiled


def test_observers_see_the_same_with_compiled_blocks(sd):
    with Trace(sd, plan="m=3,k=2", observers=[StepDistance()]) as plain:
        toys.call(sd, steps=6)
    compiled(sd, "blocks")
    with Trace(sd, plan="m=3,k=2", observers=[StepDistance()]) as trace:
        toys.call(sd, steps=6)
    ours, theirs = trace.records(), plain.records()
    assert (ours["l2"] - theirs["l2"]).abs().max() < 1e-4
    assert ours["site"].astype(str).equals(theirs["site"].astype(str))


@pytest.mark.parametrize("how", ["blocks", "in place", "whole"])
def test_a_graph_that_may_not_break_is_refused(sd, how):
    compiled(sd, how, fullgraph=True)
    with pytest.raises(InputError, match="UNet2DConditionModel is compiled with fullgraph=True"):
        accelerate(sd, "m=3")


def test_a_graph_that_may_not_break_is_refused_where_it_is_compiled_later(sd):
    with accelerate(sd, "m=3"):
        compiled(sd, "blocks", fullgraph=True)
        with pytest.raises(InputError, match="compile it without"):
            toys.call(sd)
