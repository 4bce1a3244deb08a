import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from attnscope.models.predictions import clean_weights, log_snr, noise_weights

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
