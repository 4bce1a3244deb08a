import pytest
import torch
import toys

from attnscope.analyses.convergence.interventions import (
    latents_kept,
    latents_replayed,
    random_weights,
    same_latents,
)
from attnscope.sites.attention import find_denoiser


def hooks(pipe):
    return list(find_denoiser(pipe)._forward_pre_hooks)


def given(pipe, run):
    """What the denoiser is given at every call, seen by a hook of its own."""
    seen = []

    def see(module, args, kwargs):
        seen.append((args[0] if args else kwargs["hidden_states"]).clone())

    handle = find_denoiser(pipe).register_forward_pre_hook(see, with_kwargs=True)
    run()
    handle.remove()
    return seen


def test_random_weights_are_of_the_same_architecture_and_go_away(pipe):
    plain, denoiser = toys.call(pipe), find_denoiser(pipe)
    state = {name: value.clone() for name, value in denoiser.state_dict().items()}
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(5)
        with random_weights(pipe, seed):
            other = find_denoiser(pipe)
            assert other is not denoiser
            assert other.config == denoiser.config
            assert not other.training
            drawn.append((toys.call(pipe), other.state_dict()))
    assert find_denoiser(pipe) is denoiser
    for name, value in denoiser.state_dict().items():
        assert torch.equal(value, state[name])
        assert drawn[0][1][name].shape == value.shape
    assert torch.equal(plain, toys.call(pipe))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert not torch.equal(drawn[0][0], plain)


def test_random_weights_leave_the_generator_of_torch_alone(sd):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with random_weights(sd, 0):
        pass
    assert torch.equal(torch.rand(1), expected)


def test_random_weights_come_in_the_dtype_of_the_denoiser(sd):
    sd.unet.to(torch.bfloat16)
    with random_weights(sd, 0):
        assert sd.unet.dtype == torch.bfloat16


def test_replayed_latents_are_those_that_were_kept(pipe):
    kept = []
    with latents_kept(pipe, kept):
        own = given(pipe, lambda: toys.call(pipe, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(kept, own, strict=True))
    with latents_replayed(pipe, kept):
        for _ in range(2):
            seen = given(pipe, lambda: toys.call(pipe, seed=2))
            assert all(torch.equal(a, b) for a, b in zip(seen, kept, strict=True))
    assert not hooks(pipe)
    assert not torch.equal(given(pipe, lambda: toys.call(pipe, seed=2))[0], kept[0])


def test_replayed_latents_must_fit(sd):
    kept = []
    with latents_kept(sd, kept):
        toys.call(sd)
    with (
        pytest.raises(RuntimeError, match="in the run whose latents it is given"),
        latents_replayed(sd, kept),
    ):
        toys.call(sd, prompts=2)
    assert not hooks(sd)


def test_the_first_half_is_made_as_if_alone_and_the_second_sees_its_latents(sd):
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 1)]
    with same_latents(sd, 1):
        seen = given(sd, lambda: toys.call(sd, prompts=2, generator=generators))
    alone = given(sd, lambda: toys.call(sd, prompts=1, generator=torch.Generator().manual_seed(1)))
    for both, single in zip(seen, alone, strict=True):
        for row in range(4):
            torch.testing.assert_close(both[row], single[row // 2], rtol=1e-3, atol=1e-4)
    assert not hooks(sd)


def test_pairs_must_fill_the_batch(sd):
    with pytest.raises(RuntimeError, match="are not 3 pairs"), same_latents(sd, 3):
        toys.call(sd, prompts=2)
