"""From what was typed to what an analysis takes; every mistake is one clear line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attnscope.errors import InputError

if TYPE_CHECKING:
    from attnscope.cli import options as o
    from attnscope.cli.crews import Team
    from attnscope.metrics.choosing import Quality
    from attnscope.metrics.questions.choosing import Questions
    from attnscope.models.chosen import ChosenModel
    from attnscope.plans.base import Plan
    from attnscope.plans.options import Nats
    from attnscope.runs.progress import Progress
    from attnscope.runs.prompts import Prompt


def names(option: str, text: str) -> tuple[str, ...]:
    """``a,b`` to a tuple; each once.

    Raises:
        InputError: there are none.
    """
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise InputError(f"{option} {text!r} is empty: give one value, or several with commas")
    return parts


def whole_numbers(option: str, text: str, *, least: int = 1) -> tuple[int, ...]:
    """``15,25`` to a tuple of whole numbers from ``least``."""
    parts = names(option, text)
    if not all(part.isascii() and part.isdecimal() and int(part) >= least for part in parts):
        raise InputError(f"{option} {text!r} is not whole numbers from {least}, such as 15,25")
    return tuple(int(part) for part in parts)


def steps_or_nats(option: str, text: str) -> tuple[int | Nats, ...]:
    """``10,-1nat`` to a tuple of steps from 1 and noise levels."""
    from attnscope.plans.options import nats_of

    found = [(part, nats_of(part)) for part in names(option, text)]
    if not all(
        level is not None or (part.isdecimal() and part.isascii() and int(part))
        for part, level in found
    ):
        raise InputError(
            f"{option} {text!r} is not whole numbers from 1, such as 15,25, or nats, such as -1nat"
        )
    return tuple(int(part) if level is None else level for part, level in found)


def positive_numbers(option: str, text: str) -> tuple[float, ...]:
    """``1,0.25`` to a tuple of positive numbers."""
    try:
        values = tuple(float(part) for part in names(option, text))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not numbers, such as 1,4") from error
    if not all(0 < value < float("inf") for value in values):
        raise InputError(f"{option} {text!r} is out of range: choose positive numbers")
    return values


def points(option: str, texts: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """``0.3,0.5`` and others to points of the image."""
    from attnscope.observers.named_maps import checked_points

    found = []
    for text in texts:
        try:
            x, y = map(float, text.split(","))
        except ValueError as error:
            raise InputError(f"{option} {text!r} is no point x,y, such as 0.3,0.5") from error
        found.append((x, y))
    return checked_points(found)


def kinds(text: str) -> tuple[str, ...]:
    """``cross,self`` to a tuple."""
    from attnscope.kinds import KINDS

    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not chosen or not set(chosen) <= set(KINDS):
        raise InputError(f"--kinds {text!r} is not known (choose from {', '.join(KINDS)})")
    return chosen


def chosen_plan(tgate: str | None, other: str | None) -> Plan | None:
    """The plan of ``--tgate`` or ``--plan``; ``None`` if neither was given.

    A plan of one's own may stand in a module of the folder that the command is typed in.
    """
    from attnscope.plans.text_form import find, parse

    if tgate is not None and other is not None:
        raise InputError("give --tgate or --plan, not both")
    if tgate is not None:
        return parse(tgate if tgate.startswith("tgate:") else f"tgate:{tgate}")
    if other is None:
        return None
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    return find(other)


def batch_size(text: str) -> int | None:
    """A positive number, or ``None`` for ``auto``."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise InputError(f"--batch-size {text!r} is not 'auto' or a number from 1")
    return int(text)


def check_guidance(guidance: float | None) -> None:
    """Guidance scales are numbers from 0."""
    if guidance is not None and not 0 <= guidance < float("inf"):
        raise InputError(f"--guidance {guidance} is out of range: choose 0 (none) or more")


def check_size(height: int | None, width: int | None) -> None:
    """Sizes that every model takes are multiples of 8."""
    for name, value in (("--height", height), ("--width", width)):
        if value is not None and value % 8:
            raise InputError(f"{name} {value} is not a multiple of 8 (choose {value // 8 * 8})")


def check_sampling(sampling: o.SamplingOptions) -> None:
    """Refuse what no model takes."""
    check_size(sampling.height, sampling.width)
    check_guidance(sampling.guidance)


def chosen_model(
    sampling: o.OneSampling | o.SeveralSamplings,
    output: o.OutputOptions,
    *,
    name: str | None = None,
    scheduler: str | None = None,
    team: Team | None = None,
) -> ChosenModel:
    """The model that the options say; of several the one of a name, with a scheduler.

    ``team`` says where images are made, if that may be elsewhere.
    """
    from attnscope.cli.options import OneSampling
    from attnscope.models.chosen import ChosenModel

    if isinstance(sampling, OneSampling):
        name, scheduler = sampling.model, sampling.scheduler
    assert name is not None, "which of them?"
    return ChosenModel(
        name, scheduler=scheduler, dtype=sampling.dtype,
        device=sampling.device if team is None else team.device(sampling.device),
        offline=output.offline, allow_pickle=output.allow_pickle,
        elsewhere=team is not None and team.crew.elsewhere,
    )  # fmt: skip


def chosen_rivals(text: str) -> tuple[tuple[str, str | None], ...]:
    """What ``--rivals`` says, with the version of each.

    Raises:
        InputError: there is no such rival.
    """
    from attnscope.analyses.bench.rivals import RIVALS

    chosen: Sequence[str] = ()
    if text != "none":
        chosen = list(RIVALS) if text == "all" else names("--rivals", text)
    unknown = [name for name in chosen if name not in RIVALS]
    if unknown:
        raise InputError(f"no such rival: {unknown[0]!r} (choose all, none, {', '.join(RIVALS)})")
    return tuple((name, RIVALS[name].version()) for name in chosen)


def chosen_questions(judged: o.QualityOptions) -> Questions | None:
    """The questions of ``--questions``; ``None`` if there are none.

    Raises:
        InputError: they cannot be read, or nobody is to answer them.
    """
    from attnscope.metrics.questions.choosing import choose

    if judged.questions is None:
        if judged.vqa is not None:
            raise InputError("--vqa answers questions: give --questions, scenes or a file")
        return None
    if judged.vqa is None:
        raise InputError(
            "--questions needs somebody who answers: give --vqa, reader on the embedded world, or a model"
        )
    return choose(judged.questions)


def chosen_quality(
    judged: o.QualityOptions,
    models: Sequence[str],
    prompts: Sequence[Prompt],
    sides: Iterable[int | None],
    *,
    device: str,
    output: o.OutputOptions,
    progress: Progress,
    digest: str = "",
) -> Quality:
    """What images are judged by; see :class:`attnscope.metrics.choosing.Quality`."""
    from attnscope.metrics.choosing import Quality, embedded_world

    world, asked = embedded_world(models, prompts, sides, progress), chosen_questions(judged)
    return Quality(
        judged.features, judged.features_weights, judged.reference, judged.clip, judged.lpips,
        device, world, len(prompts), output.offline, digest,
        None if asked is None else asked.of([prompt.text for prompt in prompts]),
        judged.vqa, output.allow_pickle,
    )  # fmt: skip
