"""What a run asks of its pipeline, refused before anything is written."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.models.schedulers import levels_ahead, steps_of, waits_for_the_size
from attnscope.plans.options import UnknownLevelsError
from attnscope.plans.trajectory import made

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel, RandomModel
    from attnscope.plans.base import Plan


def check_sites(pipe: Any, kinds: Sequence[str], pattern: str | None) -> None:
    """Refuse a choice of sites that the pipeline does not have.

    Raises:
        InputError: it has none of them.
    """
    from attnscope.sites.attention import find_denoiser, find_sites, select_sites

    select_sites(find_sites(find_denoiser(pipe)), kinds=kinds, pattern=pattern)


def check_steps(pipe: Any, steps: int) -> int:
    """Refuse a number of steps that the scheduler cannot be set to; how many it makes of them.

    Raises:
        InputError: it cannot.
    """
    return steps_of(pipe.scheduler, steps)


def check_steps_made(pipe: Any, steps: int, expected: int) -> None:
    """Refuse a scheduler that makes another number of steps than is recorded.

    Raises:
        InputError: it does.
    """
    made = check_steps(pipe, steps)
    if made != expected:
        raise InputError(
            f"{type(pipe.scheduler).__name__} makes {made} steps of `steps={steps}`, where {expected} "
            "are recorded: choose `scheduler='dpm'`, or another number of steps"
        )


def check_plan_ahead(chosen: ChosenModel | RandomModel, plan: Plan, steps: int) -> None:
    """Refuse a plan that does not fit the steps, as far as that is known before the model is loaded.

    Raises:
        InputError: it does not.
    """
    levels = chosen.levels(steps)
    waits = () if levels is not None else (UnknownLevelsError,)
    with contextlib.suppress(*waits):  # until the model is here
        made(plan, chosen.steps_made(steps), levels=levels)


def check_plan(
    pipe: Any, plan: Plan, steps: int, texts: Sequence[str] = (), **options: Any
) -> None:
    """Refuse a plan that does not fit the pipeline, its steps or the prompts.

    Args:
        pipe: the pipeline.
        plan: that is to be carried out.
        steps: of the run.
        texts: all prompts that it is carried out on.
        options: of the pipeline's call.

    Raises:
        InputError: it does not; of prompts, the first that lacks a word to which attention is scaled is
            named, with the words that it has.
    """
    from attnscope.hooks.trace import Trace

    number, levels = check_steps(pipe, steps), levels_ahead(pipe.scheduler, steps)
    waits = (UnknownLevelsError,) if waits_for_the_size(pipe.scheduler) else ()
    told = levels if levels is not None and len(levels) == number else None
    words: tuple[str, ...] = ()
    with contextlib.suppress(*waits):  # until the run begins
        words = tuple(made(plan, number, levels=told).factors)
    Trace(pipe, plan=plan)
    _check_words(pipe, words, texts, options)


def _check_words(
    pipe: Any, words: Sequence[str], texts: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Refuse a prompt without one of the words."""
    if not words:
        return
    from attnscope.hooks.weighting import positions_of
    from attnscope.models.text_tokens import words_of

    for number, text in enumerate(texts, 1):
        found = words_of(pipe, text, **options)
        try:
            for word in words:
                positions_of(found, word)
        except InputError as error:
            which = f"prompt {number} of {len(texts)}, " if len(texts) > 1 else ""
            raise InputError(
                f"{which}{text!r}: {error}; the plan scales attention to "
                f"{', '.join(map(repr, words))}, which every prompt is to have"
            ) from error
