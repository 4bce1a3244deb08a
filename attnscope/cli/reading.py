"""From ``--captions`` and ``--images`` to prompts, and what of them the shapes world does not know."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.images import open_image
from attnscope.models.image_sizes import square
from attnscope.models.names import Model, describe, is_of_shapes
from attnscope.runs.prompts import (
    Prompt,
    read_captions,
    read_images,
    sample_prompts,
)
from attnscope.runs.words import warning_of_words
from attnscope.shapes.words import unknown_to_world

if TYPE_CHECKING:
    from attnscope.cli.options import CaptionOptions, OneSampling
    from attnscope.metrics.questions.choosing import Questions

_EMBEDDED_CAPTION = "a large striped red circle above a small blue square on a gray background"


def frame_size(height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width of a video's frames: one alone means a square, none Stable Video Diffusion's."""
    tall, wide = square(height, width)
    return tall or 576, wide or 1024


def read(
    model: Model,
    asked: CaptionOptions,
    seed: int,
    size: tuple[int | None, int | None] = (None, None),
    typed: Sequence[str] = (),
    offered: Questions | None = None,
) -> tuple[list[Prompt], list[Any], str]:
    """The prompts of a run, what the pipeline is given for each, and what they are called.

    ``asked`` is what the options say of captions and images; ``size`` is the height and width that
    images are cut to (see :func:`frame_size`); ``typed`` are prompts from the command line; ``offered`` are
    questions whose file brings captions, which are taken where no others are given.
    """
    captions, images, column, limit = asked.captions, asked.images, asked.column, asked.limit
    if typed:
        if model.task == "image":
            raise InputError(f"{model.name} makes videos of images, not of prompts: give --images")
        others = {"--captions": captions, "--images": images, "--column": column, "--limit": limit}
        extra = [name for name, value in others.items() if value is not None]
        if extra:
            raise InputError(f"prompts on the command line go without {', '.join(extra)}")
        prompts = [Prompt(index, text) for index, text in enumerate(typed)]
        return prompts, list(typed), "command line"
    if column is not None and captions is None:
        raise InputError(f"--column {column!r} is of a captions table: give --captions, too")
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
    if offered is not None and offered.texts:
        brought = [Prompt(number, text) for number, text in enumerate(offered.texts)]
        prompts = sample_prompts(brought, limit, seed)
        return prompts, [prompt.text for prompt in prompts], Path(offered.name).name
    if not is_of_shapes(model):
        raise InputError(f"--captions FILE is needed: {model.name} brings no captions of its own")
    from attnscope.shapes.scenes import caption, generate

    count = asked.embedded if limit is None else limit
    if count < 1:
        raise InputError(f"--limit {count} is out of range: choose 1 or more")
    scenes = islice(generate("test", seed), count)
    prompts = [Prompt(index, caption(scene)) for index, scene in enumerate(scenes)]
    return prompts, [prompt.text for prompt in prompts], "shapes, test split"


class Inputs:
    """The prompts of runs of one model that differ in their seed; each seed draws its own once.

    Args:
        asked: what the options say of captions and images.
        typed: prompts from the command line.
        offered: questions whose file brings captions.
    """

    def __init__(
        self,
        asked: CaptionOptions,
        typed: Sequence[str] = (),
        offered: Questions | None = None,
    ) -> None:
        self._asked, self._typed, self._offered = asked, typed, offered
        self._read: dict[int, tuple[list[Prompt], list[Any], str]] = {}

    def of(
        self,
        model: Model,
        sampling: OneSampling,
        size: tuple[int | None, int | None] | None = None,
    ) -> tuple[list[Prompt], list[Any], str]:
        """What :func:`read` reads for a run; the first time it warns of words that are not known.

        ``size`` is that of the images, if it is not as the sampling says.
        """
        if sampling.seed not in self._read:
            size = size or (sampling.height, sampling.width)
            self._read[sampling.seed] = read(
                model, self._asked, sampling.seed, size, self._typed, self._offered
            )
            warn_of_world([model], self._read[sampling.seed][0])
        return self._read[sampling.seed]


def read_for_all(
    models: Sequence[str],
    asked: CaptionOptions,
    seed: int,
    size: tuple[int | None, int | None],
    offered: Questions | None = None,
) -> tuple[list[Prompt], list[Any], str]:
    """What :func:`read` reads, for several models that are given the same.

    Raises:
        InputError: they cannot be, or see :func:`read`.
    """
    found = [read(describe(model), asked, seed, size, offered=offered) for model in models]
    if len({describe(model).task for model in models}) > 1:
        raise InputError("one run cannot have models of captions and models of images: give two")
    return found[0]


def warn_of_world(models: Sequence[Model], prompts: Sequence[Prompt]) -> None:
    """Say which words the captions have that no caption of the shapes world has, if it is drawn.

    Args:
        models: of the run; others than those of the shapes world are passed over.
        prompts: of the run.
    """
    from attnscope.cli.console import messages

    if any(is_of_shapes(model) for model in models):
        for line in warning_of_words(
            unknown_to_world([prompt.text for prompt in prompts]),
            len(prompts),
            "the model of shapes does not know",
            f"it was trained on captions such as {_EMBEDDED_CAPTION!r} and draws something else",
        ):
            messages.print(line, soft_wrap=True)
