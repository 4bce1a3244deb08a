"""What a run or a block fell short of: warnings that only its end can give.

What cannot be done at all is refused beforehand, by :mod:`attnscope.hooks.refusals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnscope.hooks.moments import Denoising
from attnscope.hooks.site import SiteHook
from attnscope.kinds import KINDS
from attnscope.notices import warn
from attnscope.plans.base import Plan
from attnscope.plans.trajectory import Trajectory
from attnscope.sites.denoiser import Denoiser


def warn_of_block(runs: Sequence[Denoising], hooks: Sequence[SiteHook]) -> None:
    """Say it when a ``Trace`` saw no denoising, or some sites were never called.

    Args:
        runs: of the block.
        hooks: one a site.
    """
    silent = [hook.site.name for hook in hooks if not hook.settled and hook.site.kind in KINDS]
    if not runs:
        warn("this Trace saw no denoising: call its own pipeline inside the block")
    elif silent:
        warn(
            f"{len(silent)} attention sites were never called, such as {silent[0]}: "
            "the pipeline did not use them"
        )


def warn_of_no_step(run: Denoising, plan: Plan, scheduler: Any) -> None:
    """Say it when the denoiser was called, but its scheduler never stepped."""
    if run.steps_done or not run.calls_per_step:
        return
    name = "a loop" if run.started_by is None else type(run.started_by).__name__
    warn(
        f"{name} called its denoiser {run.calls_per_step} times and never the step of its "
        f"{type(scheduler).__name__}, so no step ended: nothing was measured, and "
        f"{plan} was not carried out. A sampler of its own, or a copy of the scheduler, "
        "cannot be followed: call pipe.scheduler.step once a step"
    )


def warn_of_idleness(run: Denoising, carried_out: Trajectory, plan: Plan) -> None:
    """Say it when a plan had nothing to do in a run that came to its end.

    Args:
        run: which is over.
        carried_out: the plan made for the run's steps, which may be one that it stands for.
        plan: as it was given.
    """
    gate = getattr(carried_out.plan, "gate", 0)
    if 0 < run.steps_done < gate:
        warn(
            f"the run ended after {run.steps_done} steps, before the gate of {carried_out.plan}: "
            "image-to-image and the like run fewer steps than they are asked for"
        )
    cuts = run.steps_done and carried_out.drops and not plan.kinds
    if cuts and not run.guided_steps:
        warn(f"there was no guidance that {plan} could cut off")


def warn_of_lost_sites(plan: Plan, denoiser: Denoiser, hooks: Sequence[SiteHook]) -> None:
    """Say it when the calls have shown that a plan has no site of a kind it was to act on.

    Args:
        plan: as it was given.
        denoiser: with its sites as they were found.
        hooks: one a site, which knows better once it was called.
    """
    settled = {hook.site.kind for hook in hooks if hook.settled}
    found = {site.kind for site in denoiser.sites}
    lost = [kind for kind in plan.kinds if kind in found and kind not in settled]
    if settled and lost:
        warn(
            f"{plan} acts on {' and '.join(lost)}-attention, but when it was called the "
            f"attention of {denoiser.class_name} turned out to be "
            f"{' and '.join(sorted(settled))}: nothing of kind {' or '.join(lost)} was reused"
        )
