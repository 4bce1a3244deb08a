"""From what a denoiser predicts to the noise it implies.

With x_t = alpha x_0 + sigma eps (Salimans and Ho 2022, appendix D; flow matching has
alpha = 1 - sigma), every parameterisation is linear in the prediction and the latents:

==============  =======================================
epsilon         eps = p
v_prediction    eps = alpha p + sigma x_t
sample          eps = (x_t - alpha p) / sigma
flow            eps = x_t + (1 - sigma) p
==============  =======================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attnscope.errors import InputError


def noise_weights(scheduler: Any, timestep: float) -> tuple[float, float]:
    """Weights (a, b) with noise = a * prediction + b * sample.

    ``prediction`` is what ``scheduler.step`` is given and ``sample`` the latents it is given, in
    the scheduler's own scale: Euler-like schedulers keep x_0 + sigma eps.

    Args:
        scheduler: after ``set_timesteps``.
        timestep: one of ``scheduler.timesteps``.

    Raises:
        InputError: the scheduler's parameterisation is not known.
    """
    check_prediction(scheduler)
    if _is_flow(scheduler):
        return 1 - _sigma(scheduler, timestep), 1.0
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind == "epsilon":
        return 1.0, 0.0
    alpha, sigma = _alpha_sigma(scheduler, timestep)
    scale = alpha if _keeps_variance_exploding(scheduler) else 1.0
    if kind == "v_prediction":
        return alpha, sigma * scale
    return -alpha / sigma, scale / sigma


def clean_weights(scheduler: Any, timestep: float) -> tuple[float, float]:
    """Weights (a, b) with the estimate of x_0 = a * prediction + b * sample.

    It is (x_t - sigma eps) / alpha with the noise of :func:`noise_weights`.

    Args:
        scheduler: after ``set_timesteps``.
        timestep: one of ``scheduler.timesteps``.

    Raises:
        InputError: the scheduler's parameterisation is not known.
    """
    a, b = noise_weights(scheduler, timestep)
    if _is_flow(scheduler):
        return -_sigma(scheduler, timestep), 1.0
    alpha, sigma = _alpha_sigma(scheduler, timestep)
    scale = alpha if _keeps_variance_exploding(scheduler) else 1.0
    return -sigma / alpha * a, scale / alpha - sigma / alpha * b


def log_snr(scheduler: Any, timestep: float) -> float:
    """The log signal-to-noise ratio of x_t, 2 ln(alpha / sigma).

    Args:
        scheduler: after ``set_timesteps``.
        timestep: one of ``scheduler.timesteps``.
    """
    if _is_flow(scheduler):
        sigma = _sigma(scheduler, timestep)
        return 2 * math.log((1 - sigma) / sigma) if sigma < 1 else -math.inf
    alpha, sigma = _alpha_sigma(scheduler, timestep)
    return 2 * math.log(alpha / sigma)


def check_prediction(scheduler: Any) -> None:
    """Refuse schedulers whose predictions have no known way to noise, before a run is spent.

    Raises:
        InputError: EDM preconditioning, interpolated noise levels (KDPM2) or another
            parameterisation.
    """
    name, config = type(scheduler).__name__, scheduler.config
    kind = config.get("prediction_type", "epsilon")
    preconditioned = config.get("sigma_data") is not None
    interpolated = name.startswith("KDPM2") and kind != "epsilon"
    known = ("epsilon", "v_prediction", "sample", "flow_prediction")
    if preconditioned or interpolated or kind not in known:
        raise InputError(f"NoiseMean knows no way from {name}'s {kind!r} prediction to noise")


def _keeps_variance_exploding(scheduler: Any) -> bool:
    """Whether its latents are x_0 + sigma eps.

    Euler-like schedulers start from noise of their largest sigma, the others from unit noise.
    """
    return float(getattr(scheduler, "init_noise_sigma", 1.0)) != 1.0


def _is_flow(scheduler: Any) -> bool:
    return (
        scheduler.config.get("prediction_type") == "flow_prediction"
        or "FlowMatch" in type(scheduler).__name__
    )


def _alpha_sigma(scheduler: Any, timestep: float) -> tuple[float, float]:
    """Signal and noise scale at a timestep, with alpha^2 + sigma^2 = 1."""
    if getattr(scheduler, "sigmas", None) is None:
        signal = float(scheduler.alphas_cumprod[int(timestep)])
        return math.sqrt(signal), math.sqrt(1 - signal)
    ratio = _sigma(scheduler, timestep)
    return 1 / math.hypot(1, ratio), ratio / math.hypot(1, ratio)


def _sigma(scheduler: Any, timestep: float) -> float:
    """The scheduler's own noise level at a timestep."""
    timesteps = np.asarray(scheduler.timesteps.cpu(), dtype=np.float64)
    return float(scheduler.sigmas[int(np.abs(timesteps - timestep).argmin())])
