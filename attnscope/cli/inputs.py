"""From what was typed to what an analysis takes; every mistake is one clear line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.errors import InputError
from attnscope.images import open_image
from attnscope.models import MODELS, Model, describe, fingerprint, is_local, is_of_shapes
from attnscope.pipelines import choose_device, load, own_scheduler, precision_name
from attnscope.prompts import (
    Prompt,
    count_too_long,
    read_captions,
    read_images,
    sample_prompts,
)
from attnscope.schedulers import SCHEDULERS, step_count, steps_of
from attnscope.sizes import check_multiple, square
from attnscope.sizes import own as own_size
from attnscope.words import Unknown, is_empty, unknown_to_tokenizers, unknown_to_world

if TYPE_CHECKING:
    from attnscope.architectures import Architecture
    from attnscope.plan import Plan

_EMBEDDED_LIMIT = 64
_EMBEDDED_CAPTION = "a large striped red circle above a small blue square on a gray background"
_MOST_WORDS = 8


class ChosenModel:
    """What the options of a command say about its model.

    Raises:
        InputError: there is no such model, scheduler, device or dtype.
    """

    def __init__(
        self,
        name: str,
        *,
        scheduler: str | None,
        device: str,
        dtype: str,
        offline: bool,
        allow_pickle: bool,
    ) -> None:
        self.name = name
        self.described = describe(name)
        self.scheduler = known_scheduler(scheduler) or self.described.scheduler
        self.device = choose_device(device)
        self.dtype = precision_name(self.described, dtype, self.device)
        self._offline, self._allow_pickle = offline, allow_pickle

    @cached_property
    def pipe(self) -> Any:
        """The pipeline, loaded at the first use."""
        return load(
            self.name,
            dtype=self.dtype,
            device=self.device,
            scheduler=self.scheduler,
            offline=self._offline,
            allow_pickle=self._allow_pickle,
        )

    def forget(self) -> None:
        """Let go of the pipeline, so that another model has its memory."""
        self.__dict__.pop("pipe", None)

    def size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        """Height and width in pixels of what is made: one alone means a square, none the model's own.

        Returns:
            Both ``None`` only where the pipeline does not show its own size.

        Raises:
            InputError: the model does not take the size.
        """
        tall, wide = square(height, width)
        if tall is None or wide is None:
            found = self._architecture
            return (found.height, found.width) if found else own_size(self.pipe) or (None, None)
        if self._architecture is not None:
            check_multiple(self.name, tall, wide, self._architecture.multiple)
        return tall, wide

    def steps_made(self, steps: int) -> int:
        """How many steps the scheduler makes of those it is asked for, without loading the model."""
        if self.scheduler is None and (own := own_scheduler(self.described)) is not None:
            return steps_of(own, steps)
        return step_count(self.scheduler, steps)

    @cached_property
    def _architecture(self) -> Architecture | None:
        """What is known of the model without loading it."""
        from attnscope.architectures import find

        try:
            found = find(self.name, offline=self._offline or is_local(self.described))
        except InputError:
            return None
        return found if found.is_known else None

    @property
    def weights(self) -> str | None:
        """The fingerprint of the weights, which are fetched first if they are not here yet."""
        if not is_local(self.described):
            _ = self.pipe
        return fingerprint(self.described)


class RandomModel:
    """The same for the true architecture of a model with random weights, which needs no checkpoint.

    Raises:
        InputError: there is no such device or dtype.
    """

    weights = "random"
    scheduler = None

    def __init__(self, found: Architecture, *, device: str, dtype: str) -> None:
        self.found, self.name = found, found.name
        own = Model(found.name, found.name, steps=found.steps, scheduler=None)
        self.described = MODELS.get(found.name, own)
        self.device = choose_device(device)
        self.dtype = precision_name(self.described, dtype, self.device)

    def steps_made(self, steps: int) -> int:
        """How many steps the scheduler makes of those it is asked for: its own makes as many."""
        return steps

    @cached_property
    def pipe(self) -> Any:
        """The pipeline, built at the first use."""
        from attnscope.skeletons import build

        return build(self.found, device=self.device, dtype=self.dtype)


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


def positive_numbers(option: str, text: str) -> tuple[float, ...]:
    """``1,0.25`` to a tuple of positive numbers."""
    try:
        values = tuple(float(part) for part in names(option, text))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not numbers, such as 1,4") from error
    if not all(0 < value < float("inf") for value in values):
        raise InputError(f"{option} {text!r} is out of range: choose positive numbers")
    return values


def kinds(text: str) -> tuple[str, ...]:
    """``cross,self`` to a tuple."""
    from attnscope.sites import KINDS

    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not chosen or not set(chosen) <= set(KINDS):
        raise InputError(f"--kinds {text!r} is not known (choose from {', '.join(KINDS)})")
    return chosen


def known_scheduler(name: str | None) -> str | None:
    """A scheduler's short name, checked."""
    if name is not None and name not in SCHEDULERS:
        raise InputError(f"no such scheduler: {name!r} (choose {', '.join(SCHEDULERS)})")
    return name


def chosen_plan(tgate: str | None, other: str | None) -> Plan | None:
    """The plan of ``--tgate`` or ``--plan``; ``None`` if neither was given."""
    from attnscope.plan import parse

    if tgate is not None and other is not None:
        raise InputError("give --tgate or --plan, not both")
    if tgate is not None:
        return parse(tgate if tgate.startswith("tgate:") else f"tgate:{tgate}")
    return None if other is None else parse(other)


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


def frame_size(height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width of a video's frames: one alone means a square, none Stable Video Diffusion's."""
    tall, wide = square(height, width)
    return tall or 576, wide or 1024


def read(
    model: Model,
    captions: Path | None,
    images: Path | None,
    column: str | None,
    limit: int | None,
    seed: int,
    size: tuple[int | None, int | None] = (None, None),
    typed: Sequence[str] = (),
) -> tuple[list[Prompt], list[Any], str]:
    """The prompts of a run, what the pipeline is given for each, and what they are called.

    ``size`` is the height and width that images are cut to (see :func:`frame_size`); ``typed`` are
    prompts from the command line.
    """
    if typed:
        if model.task == "image":
            raise InputError(f"{model.name} makes videos of images, not of prompts: give --images")
        others = {"--captions": captions, "--images": images, "--column": column, "--limit": limit}
        extra = [name for name, value in others.items() if value is not None]
        if extra:
            raise InputError(f"prompts on the command line go without {', '.join(extra)}")
        prompts = [Prompt(index, text) for index, text in enumerate(typed)]
        return prompts, list(typed), "command line"
    if model.task == "image":
        if images is None or captions is not None:
            raise InputError(f"{model.name} is conditioned on images: give --images FOLDER")
        named = sample_prompts(read_images(images), limit, seed)
        tall, wide = frame_size(*size)
        opened = [open_image(images / item.text, (wide, tall)) for item in named]
        return named, opened, images.name
    if images is not None:
        raise InputError(f"{model.name} is conditioned on captions, not on --images")
    if captions is not None:
        prompts = sample_prompts(read_captions(captions, column), limit, seed)
        return prompts, [prompt.text for prompt in prompts], captions.name
    if not is_of_shapes(model):
        raise InputError(f"--captions FILE is needed: {model.name} brings no captions of its own")
    from attnscope.shapes.scenes import caption, generate

    count = _EMBEDDED_LIMIT if limit is None else limit
    if count < 1:
        raise InputError(f"--limit {count} is out of range: choose 1 or more")
    scenes = islice(generate("test", seed), count)
    prompts = [Prompt(index, caption(scene)) for index, scene in enumerate(scenes)]
    return prompts, [prompt.text for prompt in prompts], "shapes, test split"


def read_for_all(
    models: Sequence[str],
    captions: Path | None,
    images: Path | None,
    column: str | None,
    limit: int | None,
    seed: int,
    size: tuple[int | None, int | None],
    *,
    embedded_limit: int,
) -> tuple[list[Prompt], list[Any], str]:
    """What :func:`read` reads, for several models that are given the same.

    Raises:
        InputError: they cannot be, or see :func:`read`.
    """
    found = []
    for model in models:
        described = describe(model)
        own = limit is None and captions is None and is_of_shapes(described)
        found.append(
            read(described, captions, images, column, embedded_limit if own else limit, seed, size)
        )
    if len({describe(model).task for model in models}) > 1:
        raise InputError("one run cannot have models of captions and models of images: give two")
    return found[0]


def digest(prompts: Sequence[Prompt], given: Sequence[Any]) -> str:
    """SHA-256 over numbers, texts and what the pipeline is given, the first twelve digits."""
    total = hashlib.sha256()
    for prompt, item in zip(prompts, given, strict=True):
        total.update(f"{prompt.prompt_id}\t{prompt.text}\n".encode())
        if not isinstance(item, str):
            total.update(item.tobytes())
    return total.hexdigest()[:12]


def table(prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Columns ``prompt_id`` and ``text``."""
    return pd.DataFrame([(p.prompt_id, p.text) for p in prompts], columns=["prompt_id", "text"])


def check_sites(pipe: Any, kinds: Sequence[str], pattern: str | None) -> None:
    """Refuse a choice of sites that the pipeline does not have, before anything is written."""
    from attnscope.sites import find_denoiser, find_sites, select_sites

    select_sites(find_sites(find_denoiser(pipe)), kinds=kinds, pattern=pattern)


def check_steps(pipe: Any, steps: int) -> int:
    """Refuse a number of steps that the scheduler cannot be set to; how many it makes of them."""
    return steps_of(pipe.scheduler, steps)


def check_steps_made(pipe: Any, steps: int, expected: int) -> None:
    """Refuse a scheduler that makes another number of steps than is recorded."""
    made = check_steps(pipe, steps)
    if made != expected:
        raise InputError(
            f"{type(pipe.scheduler).__name__} makes {made} steps of --steps {steps}, where {expected} "
            "are recorded: choose --scheduler dpm, or another number of steps"
        )


def check_plan(pipe: Any, plan: Plan, steps: int) -> None:
    """Refuse a plan that does not fit the pipeline or its steps, before anything is written."""
    from attnscope.trace import Trace

    plan.over(check_steps(pipe, steps))
    Trace(pipe, plan=plan)


def warn_of_world(models: Sequence[Model], prompts: Sequence[Prompt]) -> None:
    """Say which words the captions have that no caption of the shapes world has, if it is drawn.

    Args:
        models: of the run; others than those of the shapes world are passed over.
        prompts: of the run.
    """
    if any(is_of_shapes(model) for model in models):
        _warn_of_words(
            unknown_to_world([prompt.text for prompt in prompts]),
            prompts,
            "the model of shapes does not know",
            f"it was trained on captions such as {_EMBEDDED_CAPTION!r} and draws something else",
        )


def warn_of_text(pipe: Any, prompts: Sequence[Prompt]) -> None:
    """Say what of the captions does not get into a pipeline: words without a token, a cut end."""
    if getattr(pipe, "tokenizer", None) is None:
        return  # images, whose prompts are names of files
    _warn_of_words(
        unknown_to_tokenizers(pipe, [prompt.text for prompt in prompts]),
        prompts,
        "the tokenizer has no token for",
        "its unknown token stands there",
    )
    _warn_if_empty(prompts)
    warn_if_too_long(pipe, prompts)


def _warn_of_words(found: Unknown, prompts: Sequence[Prompt], what: str, outcome: str) -> None:
    from attnscope.cli.console import messages

    if not found.words:
        return
    several = len(prompts) > 1
    shown = [
        f"{word!r} ({count})" if several else repr(word)
        for word, count in islice(found.words.items(), _MOST_WORDS)
    ]
    left = len(found.words) - len(shown)
    listed = ", ".join(shown) + (f" and {left} more" if left else "")
    where = (
        f"{found.captions} of {len(prompts)} captions have words that {what}" if several else what
    )
    messages.print(f"warning: {where}: {listed}; {outcome}", soft_wrap=True)


def _warn_if_empty(prompts: Sequence[Prompt]) -> None:
    from attnscope.cli.console import messages

    count = sum(is_empty(prompt.text) for prompt in prompts)
    if count:
        messages.print(
            f"warning: {count} of {len(prompts)} captions have no words: nothing is asked for"
        )


def warn_if_too_long(pipe: Any, prompts: Sequence[Prompt]) -> None:
    """Say how many captions the tokenizer will cut."""
    from attnscope.cli.console import messages

    count, longest = count_too_long(pipe, [prompt.text for prompt in prompts])
    if count:
        messages.print(
            f"warning: {count} of {len(prompts)} captions have more than {longest} tokens "
            "and are cut there"
        )
