"""From what a denoiser predicts to the noise it implies.

A scheduler's latents are x_t = A x_0 + B eps, and every parameterisation is a mixture of the same
two, p = u x_0 + w eps (Salimans and Ho 2022, appendix D), so that two equations give eps and x_0:

=======================================  ================  ================
latents                                  A                 B
=======================================  ================  ================
DDIM, DDPM, PNDM, LCM, TCD, DPM-Solver…  alpha             sigma
Euler, Heun, LMS                         1                 sigma / alpha
flow matching, ``use_flow_sigmas``       1 - sigma         sigma
the same with ``invert_sigmas``          sigma             1 - sigma
=======================================  ================  ================

with alpha^2 + sigma^2 = 1 in the first two rows, and

=======================  ======  =====
prediction               u       w
=======================  ======  =====
epsilon                  0       1
v_prediction             -sigma  alpha
sample                   1       0
flow                     -1      1
with ``invert_sigmas``   1       -1
=======================  ======  =====

How noisy a step is, whatever the scheduler, is its log-SNR = log(A^2 / B^2), in nats. A scheduler
that is not listed here is refused: one that merely looks alike may read its table elsewhere.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnscope.errors import InputError

_CUMULATED = frozenset(
    {
        "DDIM",
        "DDIMParallel",
        "DDPM",
        "DDPMParallel",
        "PNDM",
        "LCM",
        "TCD",
        "UnCLIP",
        "CogVideoXDDIM",
        "CogVideoXDPM",
    }
)
"""Their noise levels are ``alphas_cumprod`` at the timestep; like all below without "Scheduler"."""
_PRESERVING = frozenset(
    {"DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep", "SASolver"}
)
"""They read sigma / alpha from ``sigmas`` and keep latents of unit variance."""
_EXPLODING = frozenset({"EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete"})
"""They read sigma / alpha from ``sigmas`` and keep x_0 + sigma eps."""
_PRECONDITIONED = frozenset({"EDMEuler", "EDMDPMSolverMultistep", "CosineDPMSolverMultistep"})
"""Like those, but x_0 is made from the latents and the prediction by weights of their own."""
_FLOWS = frozenset(
    {"FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete", "FlowMatchLCM", "LTXEulerAncestralRF"}
)
_NOISE_ONLY = frozenset(
    {"KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE", "DDPMWuerstchen"}
)
"""They work between their own noise levels, or do not list them: only a prediction of noise is clear."""
_SIGMAS = _PRESERVING | _EXPLODING | _PRECONDITIONED | _FLOWS
_REMEDY = "choose `scheduler='dpm'`, euler, ddim or pndm"


class Level(NamedTuple):
    """What latents are made of: x_t = ``signal`` x_0 + ``noise`` eps."""

    signal: float
    noise: float


def noise_weights(
    scheduler: Any, timestep: float, *, place: int | None = None
) -> tuple[float, float]:
    """Weights (a, b) with noise = a * prediction + b * sample.

    ``prediction`` is what ``scheduler.step`` is given and ``sample`` the latents it is given, in
    the scheduler's own scale: Euler-like schedulers keep x_0 + sigma eps.

    Args:
        scheduler: after ``set_timesteps``.
        timestep: one of ``scheduler.timesteps``.
        place: where it stands in them (:func:`places`), for schedules that hold a timestep twice.

    Returns:
        NaN where latents and prediction hold no noise, as ``sample`` at the clean end.

    Raises:
        InputError: the scheduler's parameterisation is not known.
    """
    check_prediction(scheduler)
    if _kind(scheduler) == "epsilon":
        return 1.0, 0.0
    to_noise, _ = _inverse(scheduler, timestep, place)
    return to_noise


def clean_weights(
    scheduler: Any, timestep: float, *, place: int | None = None
) -> tuple[float, float]:
    """Weights (a, b) with the estimate of x_0 = a * prediction + b * sample.

    Args:
        scheduler: after ``set_timesteps``.
        timestep: one of ``scheduler.timesteps``.
        place: where it stands in them, as in :func:`noise_weights`.

    Returns:
        NaN where latents and prediction hold nothing of x_0: ``epsilon`` where all is noise.

    Raises:
        InputError: the scheduler's parameterisation or its noise levels are not known.
    """
    check_prediction(scheduler)
    check_noise_levels(scheduler)
    if _kind(scheduler) == "sample":
        return 1.0, 0.0
    _, to_clean = _inverse(scheduler, timestep, place)
    return to_clean


def _inverse(
    scheduler: Any, timestep: float, place: int | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Noise and x_0 as (a, b) of a * prediction + b * sample, both of which mix the two; NaN if alike."""
    level = _level(scheduler, timestep, place)
    of_clean, of_noise = _mixture(scheduler, level)
    shared = level.signal * of_noise - level.noise * of_clean
    if shared == 0:
        return (math.nan, math.nan), (math.nan, math.nan)
    to_noise = level.signal / shared, -of_clean / shared
    return to_noise, (-level.noise / shared, of_noise / shared)


def log_snr(scheduler: Any, timesteps: ArrayLike) -> NDArray[np.float64]:
    """How much signal is in the latents at each timestep: log(A^2 / B^2), in nats.

    =================================================  =============================================
    DDIM, PNDM, DDPM, LCM, TCD                         log(a / (1 - a)) with a = alphas_cumprod[t]
    DPM-Solver, UniPC, DEIS, Euler, Heun, EDM          -2 log sigma, with sigma of x_0 + sigma eps
    flow matching, ``use_flow_sigmas``                 2 log((1 - sigma) / sigma)
    flow matching with ``invert_sigmas`` (Mochi)       2 log(sigma / (1 - sigma))
    =================================================  =============================================

    For data that is not of unit variance every value is off by one and the same number, so that
    differences mean the same for all of them.

    Args:
        scheduler: after ``set_timesteps``.
        timesteps: some of ``scheduler.timesteps``; those of a run in its order, so that a timestep
            that stands there twice is told apart.

    Returns:
        As many as timesteps; -inf where nothing but noise is left, inf where there is none.

    Raises:
        InputError: the scheduler says nothing of its noise levels, or interpolates them (KDPM2).
    """
    check_noise_levels(scheduler)
    given = np.asarray(timesteps, dtype=np.float64)
    levels = [
        _level(scheduler, timestep, place)
        for timestep, place in zip(given, places(scheduler, given), strict=True)
    ]
    signal, noise = np.array(levels, dtype=np.float64).reshape(-1, 2).T
    with np.errstate(divide="ignore"):
        snr: NDArray[np.float64] = 2 * (np.log(signal) - np.log(noise))
    return snr


def places(scheduler: Any, timesteps: ArrayLike) -> NDArray[np.int64]:
    """Where timesteps stand in ``scheduler.timesteps``.

    Schedules of Karras and others round to timesteps that stand there twice, at two noise levels:
    those of a run are known by their neighbours, and if these do not tell by the scheduler's count.

    Args:
        scheduler: after ``set_timesteps``.
        timesteps: of a run in its order, which may start late as image-to-image does; or any, of
            which the nearest is meant.
    """
    given = np.asarray(timesteps, dtype=np.float64).reshape(-1)
    own = np.asarray(scheduler.timesteps.cpu(), dtype=np.float64)
    starts = [
        start
        for start in range(len(own) - len(given) + 1)
        if np.allclose(own[start : start + len(given)], given, rtol=1e-5, atol=1e-6)
    ]
    if starts:
        counted = getattr(scheduler, "step_index", None)
        hints = (
            None if counted is None else counted - len(given),
            getattr(scheduler, "begin_index", None),
        )
        start = next((hint for hint in hints if hint in starts), starts[0])
        return np.arange(start, start + len(given))
    nearest: NDArray[np.int64] = np.abs(own[None] - given[:, None]).argmin(1)
    return nearest


def check_noise_levels(scheduler: Any) -> None:
    """Refuse schedulers that do not say how noisy the latents are at a timestep.

    Raises:
        InputError: it has neither ``sigmas`` nor ``alphas_cumprod``, works between them (KDPM2), or
            is not known.
    """
    if not _is(scheduler, _CUMULATED | _SIGMAS):
        raise InputError(
            f"{type(scheduler).__name__} does not tell the noise levels of its timesteps, so log-SNR "
            f"is not defined: {_REMEDY}"
        )
    _check_renoising(scheduler)


def check_prediction(scheduler: Any) -> None:
    """Refuse schedulers whose predictions have no known way to noise, before a run is spent.

    Raises:
        InputError: EDM preconditioning, interpolated noise levels (KDPM2), another parameterisation,
            or a scheduler that is not known.
    """
    name, kind = type(scheduler).__name__, _kind(scheduler)
    if _is(scheduler, _FLOWS):
        _check_renoising(scheduler)
        return
    known = {"epsilon"}
    if _is(scheduler, _CUMULATED | _EXPLODING):
        known = {"epsilon", "sample", "v_prediction"}
    elif _is(scheduler, _PRESERVING):
        # diffusers takes x_0 = (1 - sigma) x - sigma v there, which no v of unit variance gives.
        straight = scheduler.config.get("use_flow_sigmas")
        known = {"epsilon", "sample", "flow_prediction" if straight else "v_prediction"}
    elif not _is(scheduler, _NOISE_ONLY):
        known = set()
    if kind not in known:
        allowed = f"of {name} choose {', '.join(sorted(known))}, or " if known else ""
        raise InputError(
            f"there is no way from {name}'s {kind!r} prediction to noise: {allowed}{_REMEDY}"
        )


def check_step(levels_apart: bool) -> None:
    """Refuse a step whose latents are at several noise levels at once.

    Args:
        levels_apart: whether ``scheduler.step`` is given ``per_token_timesteps``, as by LTX for
            frames that are known, along with a prediction of the other sign.

    Raises:
        InputError: it is.
    """
    if levels_apart:
        raise InputError(
            "this pipeline gives every token a noise level of its own (per_token_timesteps), so no "
            "prediction has one way to noise: watch without observers of noise"
        )


def _check_renoising(scheduler: Any) -> None:
    """Refuse fresh noise on x - sigma p: where sigmas are inverted, that is noise already."""
    name, config = type(scheduler).__name__, scheduler.config
    fresh = config.get("stochastic_sampling") or _is(scheduler, frozenset({"FlowMatchLCM"}))
    if config.get("invert_sigmas") and fresh:
        raise InputError(
            f"{name} makes noise of noise with invert_sigmas=True, so its latents are at no known "
            "noise level: choose FlowMatchEulerDiscreteScheduler with stochastic_sampling=False"
        )


def _kind(scheduler: Any) -> str:
    kind: str = scheduler.config.get("prediction_type", "epsilon")
    alike = kind == "original_sample" and _is(scheduler, frozenset({"EulerDiscrete"}))
    if _is(scheduler, _FLOWS):
        return "flow_prediction"
    return "sample" if alike else kind


def _is(scheduler: Any, names: frozenset[str]) -> bool:
    """Whether a scheduler's class, or one that it is made from, is among those named."""
    return any(kind.__name__.removesuffix("Scheduler") in names for kind in type(scheduler).__mro__)


def _mixture(scheduler: Any, level: Level) -> tuple[float, float]:
    """What a prediction is made of: u and w of p = u x_0 + w eps."""
    kind = _kind(scheduler)
    if kind == "epsilon":
        return 0.0, 1.0
    if kind == "sample":
        return 1.0, 0.0
    if kind == "v_prediction":
        length = math.hypot(*level)
        return -level.noise / length, level.signal / length
    return (1.0, -1.0) if scheduler.config.get("invert_sigmas") else (-1.0, 1.0)


def _level(scheduler: Any, timestep: float, place: int | None) -> Level:
    """What the latents at a timestep are made of, in the scheduler's own scale."""
    if _is(scheduler, _CUMULATED):
        kept = float(scheduler.alphas_cumprod[_index(scheduler, timestep)])
        return Level(math.sqrt(kept), math.sqrt(1 - kept))
    if place is None:
        (place,) = places(scheduler, [timestep])
    largest = float(scheduler.timesteps.abs().max())
    if abs(float(scheduler.timesteps[place]) - timestep) > 0.01 * largest:
        raise InputError(
            f"timestep={timestep:g} is none of this {type(scheduler).__name__}'s, so its noise "
            "level is not known: give some of scheduler.timesteps"
        )
    sigma = float(scheduler.sigmas[place])
    if _is(scheduler, _FLOWS) or scheduler.config.get("use_flow_sigmas"):
        inverted = scheduler.config.get("invert_sigmas")
        return Level(sigma, 1 - sigma) if inverted else Level(1 - sigma, sigma)
    if _is(scheduler, _PRESERVING):
        return Level(1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma))
    return Level(1.0, sigma)


def _index(scheduler: Any, timestep: float) -> int:
    """A timestep as the place in ``alphas_cumprod`` that it is."""
    index, count = int(timestep), len(scheduler.alphas_cumprod)
    if not 0 <= index < count:
        raise InputError(
            f"timestep={timestep:g} is none of this {type(scheduler).__name__}'s (choose 0..{count - 1})"
        )
    return index
