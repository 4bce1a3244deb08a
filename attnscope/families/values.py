"""What families answer with: sizes of a call, places of streams and of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Noise = Callable[..., Any]
"""Takes the sizes of one row and returns random values ``[rows, *sizes]``."""


class Stream(NamedTuple):
    """Where a module has the image's stream: its argument, and the place in what it returns."""

    argument: str = "hidden_states"
    place: int = 0


TEXT_FIRST = Stream(place=1)
"""Of a block that returns the text's stream, then the image's."""


@dataclass(frozen=True)
class CallSizes:
    """What a denoiser without weights is called on.

    Args:
        rows: of the latents.
        columns: of the latents.
        tokens: of the text, or of the image that a video begins with.
        frames: of the latents of a video; 1 for images.
    """

    rows: int
    columns: int
    tokens: int
    frames: int = 1


@dataclass(frozen=True)
class TextKeys:
    """A stretch of the text that a denoiser attends to: ``length`` positions one after another.

    Args:
        length: positions.
        tokenizers: components of the pipeline whose text stands at them; that of several lies
            side by side along the channels. With none there are zeros.
        prompts: keyword of the pipeline's call that each of them reads; where it is not given it
            is ``prompt``.
    """

    length: int
    tokenizers: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    """What a pipeline puts around a prompt before its tokenizer reads it, and which tokens come of it.

    Args:
        before: text before the prompt.
        after: text after it.
        length: tokens that are read at most.
        kept: of these, the ones that the denoiser is given, in order; those that are not there do not
            count.
        is_padded: whether all texts are padded to that length; else a text has its own tokens alone.
        side: where padding stands, ``left`` or ``right``; ``None`` is as the tokenizer has it.
    """

    before: str
    after: str
    length: int
    kept: tuple[int, ...]
    is_padded: bool = True
    side: str | None = None
