from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from attnscope.errors import InputError
from attnscope.models.predictions import (
    check_prediction,
    check_step,
    clean_weights,
    log_snr,
    noise_weights,
    places,
)

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def by_hand(timesteps):
    """Cumulated betas, as in the paper on denoising diffusion, without a scheduler."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = np.cumprod(1 - betas)[np.asarray(timesteps, dtype=int)]
    return np.log(signal) - np.log1p(-signal)


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler,
        PNDMScheduler,
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
        EulerDiscreteScheduler,
        HeunDiscreteScheduler,
    ],
)
def test_log_snr_follows_from_the_betas_alone(scheduler):
    made = scheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1)
    made.set_timesteps(10)
    found = log_snr(made, made.timesteps)
    np.testing.assert_allclose(found, by_hand(made.timesteps), rtol=1e-4, atol=1e-4)
    assert np.all(np.diff(found) >= 0)


def test_log_snr_follows_karras_levels():
    made = EulerDiscreteScheduler(**SCHEDULE, use_karras_sigmas=True)
    made.set_timesteps(10)
    ramp = np.linspace(made.sigmas[0].item() ** (1 / 7), made.sigmas[9].item() ** (1 / 7), 10) ** 7
    np.testing.assert_allclose(log_snr(made, made.timesteps), -2 * np.log(ramp), rtol=1e-3)


def test_log_snr_of_a_flow_is_that_of_its_two_weights():
    made = FlowMatchEulerDiscreteScheduler(shift=3.0)
    made.set_timesteps(5)
    sigmas = made.sigmas[:5].double().numpy()
    found = log_snr(made, made.timesteps)
    assert found[0] == -np.inf
    np.testing.assert_allclose(found[1:], 2 * np.log((1 - sigmas[1:]) / sigmas[1:]), rtol=1e-5)


def test_log_snr_of_preconditioned_models_is_that_of_their_sigmas():
    made = EDMEulerScheduler()
    made.set_timesteps(5)
    expected = -2 * np.log(made.sigmas[:5].double().numpy())
    np.testing.assert_allclose(log_snr(made, made.timesteps), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of KDPM2 itself
@pytest.mark.parametrize("scheduler", [KDPM2DiscreteScheduler, IPNDMScheduler])
def test_log_snr_is_refused_where_it_is_not_defined(scheduler):
    made = scheduler()
    made.set_timesteps(5)
    with pytest.raises(ValueError, match="log-SNR is not defined"):
        log_snr(made, made.timesteps)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_noise_and_x_0_make_up_the_latents(scheduler, prediction):
    made = scheduler(**SCHEDULE, prediction_type=prediction)
    made.set_timesteps(7)
    generator = torch.Generator().manual_seed(0)
    predicted, sample = torch.randn((2, 9), generator=generator, dtype=torch.float64)
    for timestep in made.timesteps:
        a, b = noise_weights(made, float(timestep))
        c, d = clean_weights(made, float(timestep))
        ratio = np.exp(-log_snr(made, [float(timestep)])[0] / 2)
        signal = 1.0 if scheduler is EulerDiscreteScheduler else 1 / np.hypot(1, ratio)
        noise, clean = a * predicted + b * sample, c * predicted + d * sample
        np.testing.assert_allclose(signal * (clean + ratio * noise), sample, atol=1e-6)


def schedule(*timesteps, **counts):
    """What of a scheduler tells where its timesteps stand."""
    return SimpleNamespace(timesteps=torch.tensor(timesteps), **counts)


@pytest.mark.parametrize(
    ("given", "counts", "found"),
    [
        ([900.0, 500.0, 500.0, 100.0], {}, [0, 1, 2, 3]),
        ([500.0, 500.0], {}, [1, 2]),  # by their neighbours
        ([500.0, 100.0], {}, [2, 3]),
        ([500.0], {}, [1]),
        ([500.0], {"step_index": None}, [1]),
        ([500.0], {"step_index": 2}, [1]),  # how many are done: the second was the last
        ([500.0], {"step_index": 3}, [2]),
        ([500.0], {"step_index": 4}, [1]),
        ([500.0], {"begin_index": 2}, [2]),
        ([500.0], {"step_index": 2, "begin_index": 2}, [1]),
        ([500.0], {"step_index": 4, "begin_index": 2}, [2]),
        ([100.0, 890.0, 510.0], {}, [3, 0, 1]),  # no run of it: the nearest
    ],
)
def test_a_timestep_that_stands_twice_is_told_by_its_neighbours_or_the_count(given, counts, found):
    scheduler = schedule(900.0, 500.0, 500.0, 100.0, **counts)
    assert places(scheduler, given).tolist() == found


def test_timesteps_that_were_rounded_are_told_by_their_neighbours_as_well():
    assert places(schedule(900.3, 500.1, 500.1, 100.7), [500.1, 500.1]).tolist() == [1, 2]


def test_timesteps_close_together_are_not_taken_for_one_another():
    assert places(schedule(10.0, 9.5, 9.0, 8.5), [9.5, 9.0]).tolist() == [1, 2]


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_a_timestep_that_was_rounded_is_the_one_it_was_rounded_from(scheduler):
    made = scheduler(**SCHEDULE)
    made.set_timesteps(5)
    exact = [float(made.timesteps[2])]
    assert log_snr(made, [exact[0] + 0.5]) == log_snr(made, exact)
    assert log_snr(made, [exact[0] - 5]) == log_snr(made, exact)
    with pytest.raises(InputError, match="is none of this"):
        log_snr(made, [exact[0] + 20])


@pytest.mark.parametrize("timestep", [-1, 1000, 1001])
def test_a_timestep_outside_of_training_is_refused_with_what_is_allowed(timestep):
    made = DDIMScheduler(**SCHEDULE)
    made.set_timesteps(5)
    with pytest.raises(InputError, match=rf"timestep={timestep} is none .*\(choose 0\.\.999\)"):
        log_snr(made, [timestep])


def test_predictions_that_are_not_known_are_refused_with_those_that_are():
    choices = r"of DDIMScheduler choose epsilon, sample, v_prediction, or choose `scheduler='dpm'`"
    with pytest.raises(InputError, match=choices):
        check_prediction(DDIMScheduler(prediction_type="velocity"))
    with pytest.raises(InputError, match="'epsilon' prediction to noise: choose `scheduler='dpm'`"):
        check_prediction(IPNDMScheduler())


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of KDPM2 itself
def test_noise_is_told_and_x_0_is_not_between_the_noise_levels_of_a_schedule():
    made = KDPM2DiscreteScheduler(**SCHEDULE)
    made.set_timesteps(5)
    timestep = float(made.timesteps[1])
    assert noise_weights(made, timestep) == (1.0, 0.0)
    with pytest.raises(InputError, match="log-SNR is not defined"):
        clean_weights(made, timestep)


def test_noise_made_of_noise_has_no_level():
    made = FlowMatchLCMScheduler(invert_sigmas=True)
    made.set_timesteps(4)
    with pytest.raises(InputError, match="makes noise of noise"):
        log_snr(made, made.timesteps)


def test_a_step_at_several_noise_levels_is_refused():
    check_step(False)
    with pytest.raises(InputError, match="a noise level of its own"):
        check_step(True)
