"""Schedulers by short name, and the steps that they make."""

from __future__ import annotations

import inspect
from typing import Any

from attnscope.errors import InputError
from attnscope.notices import warn

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm": ("DPMSolverMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    # Left on, it clips x_0 to [-1, 1], where latents do not live.
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    # As Stable Diffusion sets it: without the Runge-Kutta start, n + 1 steps.
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}
"""Short name to the class in diffusers, and settings that latent diffusion needs."""


def set_scheduler(pipe: Any, name: str) -> None:
    """Give a pipeline another scheduler over the same noise schedule.

    Raises:
        InputError: the name is not known, or the pipeline has no such noise schedule.
    """
    pipe.scheduler = over_the_schedule_of(pipe.scheduler, name)


def over_the_schedule_of(own: Any, name: str) -> Any:
    """A scheduler by its short name over the noise schedule of another.

    Args:
        own: of diffusers; returned as it is if it is of the class that is wanted.
        name: see :data:`SCHEDULERS`.

    Raises:
        InputError: the name is not known, or the other has another kind of noise schedule.
    """
    import diffusers

    if name not in SCHEDULERS:
        raise InputError(f"no such scheduler: {name!r} (choose {', '.join(SCHEDULERS)})")
    class_name, settings = SCHEDULERS[name]
    scheduler = getattr(diffusers, class_name)
    if isinstance(own, scheduler):
        return own
    if getattr(own, "alphas_cumprod", None) is None:
        raise InputError(
            f"`scheduler={name!r}` does not fit this model's {type(own).__name__}: it has "
            "another kind of noise schedule; leave `scheduler` out"
        )
    return scheduler.from_config(own.config, **settings)


def step_count(scheduler: str | None, steps: int) -> int:
    """How many steps a scheduler makes of those it is asked for: Heun 2n - 1, PNDM n + 1.

    Args:
        scheduler: short name; ``None``, a model's own, is taken to make as many as asked for
            (:func:`steps_of` asks it).
        steps: asked for.

    Raises:
        InputError: there is no such scheduler.
    """
    if scheduler is None:
        return steps
    if scheduler not in SCHEDULERS:
        raise InputError(f"no such scheduler: {scheduler!r} (choose {', '.join(SCHEDULERS)})")
    return {"heun": 2 * steps - 1, "pndm": steps + 1 if steps > 1 else 1}.get(scheduler, steps)


def steps_of(scheduler: Any, steps: int) -> int:
    """How many steps a scheduler of diffusers makes of those it is asked for; it is set to them.

    Raises:
        InputError: the scheduler cannot be set to so many.
    """
    most = scheduler.config.get("num_train_timesteps") or steps
    if steps > most:
        raise InputError(
            f"`steps={steps}` is more than the {most} noise levels that this model was trained on: "
            f"choose at most {most}"
        )
    if waits_for_the_size(scheduler):
        return steps
    try:
        scheduler.set_timesteps(steps)
    except ValueError as error:
        raise InputError(f"`steps={steps}` is refused by the scheduler: {error}") from error
    return len(scheduler.timesteps)


def scaled_timesteps(pipe: Any, steps: int, scale: float) -> list[int]:
    """The timesteps whose noise levels are a scheduler's own times a factor.

    A model of another resolution decides the same things at other noise levels: a factor of 4 undoes
    the shift of the embedded models' schedule.

    Args:
        pipe: a pipeline over a discrete noise schedule.
        steps: denoising steps.
        scale: factor on sigma / alpha. With less than 1 a run starts where noise is not quite pure.

    Returns:
        As many timesteps as the scheduler makes of ``steps``, falling; the next in turn where two
        would be the same.

    Raises:
        InputError: the pipeline or its scheduler does not take timesteps.
    """
    scheduler = pipe.scheduler
    takes = [inspect.signature(f).parameters for f in (pipe.__call__, scheduler.set_timesteps)]
    cumulated = getattr(scheduler, "alphas_cumprod", None)
    if cumulated is None or not all("timesteps" in parameters for parameters in takes):
        raise InputError(
            f"noise levels of {type(scheduler).__name__} cannot be scaled: choose `scheduler='dpm'`, "
            "or leave `noise_scale` at 1"
        )
    scheduler.set_timesteps(steps)
    levels = ((1 - cumulated) / cumulated).sqrt()
    wanted = levels[scheduler.timesteps.long().cpu()] * scale
    beyond = int(((wanted > levels[-1]) | (wanted < levels[0])).sum())
    if beyond:
        warn(
            f"{beyond} of {len(wanted)} noise levels scaled by {scale:g} lie beyond the schedule and "
            "become its nearest"
        )
    nearest = [int((levels - level).abs().argmin()) for level in wanted]
    chosen: list[int] = []
    for place, timestep in enumerate(nearest):
        highest = chosen[-1] - 1 if chosen else timestep
        chosen.append(max(min(timestep, highest), len(nearest) - 1 - place))
    return chosen


def first_step(scheduler: Any, pipe: Any) -> int:
    """The step that a run begins at, of those that its scheduler is set to; image-to-image begins late.

    Args:
        scheduler: at the first call of the denoiser.
        pipe: the pipeline that runs; ``None`` is a loop by hand.
    """
    if hasattr(scheduler, "begin_index"):
        return int(scheduler.begin_index or 0)
    # DDIM, PNDM and DDPM are not told; their pipelines say how many steps they go, and SDXL ones
    # that are to stop early (``denoising_end``) count from the first.
    steps = getattr(pipe, "num_timesteps", None)
    if not isinstance(steps, int) or getattr(pipe, "denoising_end", None) is not None:
        return 0
    return max(0, len(scheduler.timesteps) - steps)


def known_scheduler(name: str | None) -> str | None:
    """A scheduler's short name, checked."""
    if name is not None and name not in SCHEDULERS:
        raise InputError(f"no such scheduler: {name!r} (choose {', '.join(SCHEDULERS)})")
    return name


def waits_for_the_size(scheduler: Any) -> bool:
    """Whether the timesteps of a scheduler depend on the size of the image, so that none are set ahead."""
    return bool(scheduler.config.get("use_dynamic_shifting"))


def levels_ahead(scheduler: Any, steps: int) -> tuple[float, ...] | None:
    """Log-SNR of x_t at every step that a scheduler makes of those it is asked for; it is set to them.

    Returns:
        In nats; ``None`` where the scheduler does not tell, or not before a run begins.

    Raises:
        InputError: the scheduler cannot be set to so many.
    """
    steps_of(scheduler, steps)
    return None if waits_for_the_size(scheduler) else levels_of(scheduler)


def levels_of(scheduler: Any) -> tuple[float, ...] | None:
    """Log-SNR of x_t at every step that a scheduler is set to, in nats.

    Args:
        scheduler: after ``set_timesteps``.

    Returns:
        ``None`` where the scheduler does not tell (:func:`attnscope.models.predictions.log_snr`).
    """
    from attnscope.models.predictions import log_snr

    try:
        return tuple(map(float, log_snr(scheduler, scheduler.timesteps.cpu())))
    except InputError:
        return None
