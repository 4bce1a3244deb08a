"""From what a denoiser predicts to the noise it implies.

With x_t = alpha x_0 + sigma eps (Salimans and Ho 2022, appendix D; flow matching has
alpha = 1 - sigma), every parameterisation is linear in the prediction and the latents:

==============  =======================================
epsilon         eps = p
v_prediction    eps = alpha p + sigma x_t
sample          eps = (x_t - alpha p) / sigma
flow            eps = x_t + (1 - sigma) p
==============  =======================================

and so is the estimate x_0 = (x_t - sigma eps) / alpha. How noisy a step is, whatever the scheduler,
is its log-SNR = log(alpha^2 / sigma^2), in nats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    scale = alpha if _keeps_signal(scheduler) else 1.0
    if kind == "v_prediction":
        return alpha, sigma * scale
    return -alpha / sigma, scale / sigma


def clean_weights(scheduler: Any, timestep: float) -> tuple[float, float]:
    """Weights (a, b) with the estimate of x_0 = a * prediction + b * sample.

    Args:
        scheduler: after ``set_timesteps``.
        timestep: one of ``scheduler.timesteps``.

    Raises:
        InputError: the scheduler's parameterisation or its noise levels are not known.
    """
    a, b = noise_weights(scheduler, timestep)
    check_noise_levels(scheduler)
    if _is_flow(scheduler):
        return -_sigma(scheduler, timestep), 1.0
    kind = scheduler.config.get("prediction_type", "epsilon")
    alpha, sigma = _alpha_sigma(scheduler, timestep)
    if kind == "sample":
        return 1.0, 0.0
    if kind == "v_prediction":
        return -sigma, alpha * (alpha if _keeps_signal(scheduler) else 1.0)
    if alpha == 0:
        raise InputError("an image cannot be told from a prediction of noise where all is noise")
    whole = 1.0 if _keeps_signal(scheduler) else 1 / alpha
    return -sigma / alpha * a, whole - sigma / alpha * b


def log_snr(scheduler: Any, timesteps: ArrayLike) -> NDArray[np.float64]:
    """How much signal is in the latents at each timestep: log(alpha^2 / sigma^2), in nats.

    ===================================  ===============================================
    DDIM, PNDM, DDPM, LCM, TCD           log(a / (1 - a)) with a = alphas_cumprod[t]
    DPM-Solver, UniPC, Euler, Heun, EDM  -2 log sigma, with sigma of x_0 + sigma eps
    flow matching                        2 log((1 - sigma) / sigma)
    ===================================  ===============================================

    For data that is not of unit variance every value is off by one and the same number, so that
    differences mean the same for all of them.

    Args:
        scheduler: after ``set_timesteps``.
        timesteps: some of ``scheduler.timesteps``.

    Returns:
        As many as timesteps; -inf where nothing but noise is left.

    Raises:
        InputError: the scheduler says nothing of its noise levels, or interpolates them (KDPM2).
    """
    check_noise_levels(scheduler)
    levels = []
    for timestep in np.asarray(timesteps, dtype=np.float64):
        if _is_flow(scheduler):
            sigma = _sigma(scheduler, timestep)
            alpha = 1 - sigma
        else:
            alpha, sigma = _alpha_sigma(scheduler, timestep)
        levels.append((alpha, sigma))
    alphas, sigmas = np.array(levels, dtype=np.float64).reshape(-1, 2).T
    with np.errstate(divide="ignore"):
        snr: NDArray[np.float64] = 2 * (np.log(alphas) - np.log(sigmas))
    return snr


def check_noise_levels(scheduler: Any) -> None:
    """Refuse schedulers that do not say how noisy the latents are at a timestep.

    Raises:
        InputError: it has neither ``sigmas`` nor ``alphas_cumprod``, or interpolates them (KDPM2).
    """
    name = type(scheduler).__name__
    levels = [getattr(scheduler, name, None) for name in ("sigmas", "alphas_cumprod")]
    if name.startswith("KDPM2") or all(level is None for level in levels):
        raise InputError(
            f"{name} does not tell the noise levels of its timesteps, so log-SNR is not defined: "
            "choose --scheduler dpm, euler, ddim or pndm"
        )


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
        raise InputError(f"there is no way from {name}'s {kind!r} prediction to noise")


def _is_flow(scheduler: Any) -> bool:
    return (
        scheduler.config.get("prediction_type") == "flow_prediction"
        or "FlowMatch" in type(scheduler).__name__
    )


def _keeps_signal(scheduler: Any) -> bool:
    """Whether the scheduler's latents are x_0 + sigma eps, as those of Euler-like ones are.

    They start from noise of their largest sigma, the others from unit noise.
    """
    return float(getattr(scheduler, "init_noise_sigma", 1.0)) != 1.0


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
