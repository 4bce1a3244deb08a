"""Which guidance branch a row of the denoiser's batch is, told by the text that it reads.

A pipeline encodes its prompt and its negative prompt by ``encode_prompt`` and hands both to the
denoiser; where they stand in the batch is the pipeline's habit. Comparing what it hands over with
what it encoded tells the branches apart without knowing the habit. The comparison stays on the
device until somebody asks.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from attnscope.hooks.listening import put_on

Name = Literal["uncond", "cond"]


@dataclass(eq=False)
class TextsRead:
    """What the calls of a run's first step read, as far as it can be told.

    Args:
        cond: the encoded prompt, ``[rows, ...]``; ``None`` if none was heard of.
        uncond: the encoded negative prompt, alike.
    """

    cond: Tensor | None = None
    uncond: Tensor | None = None
    _found: dict[int, Tensor] = field(default_factory=dict)
    _names: dict[int, tuple[Name | None, ...]] = field(default_factory=dict)

    def see(self, call: int, given: Any) -> None:
        """Compare what a call of the first step is given with both encodings.

        Args:
            call: 0-based number of the call within the step.
            given: its arguments, at any depth.
        """
        known = self.cond if self.cond is not None else self.uncond
        if known is None or call in self._found:
            return
        for states in _tensors(given):
            if states.shape[1:] == known.shape[1:] and len(states) % len(known) == 0:
                found = [
                    _equal(states, encoded, len(known)) for encoded in (self.uncond, self.cond)
                ]
                self._found[call] = torch.stack(found)  # [2, parts]
                return

    def drop_encodings(self) -> None:
        """Free the encodings; what was found out stays."""
        self.cond = self.uncond = None

    def names(self, call: int) -> tuple[Name | None, ...]:
        """The branch of every part of a call's batch that is as long as the encodings.

        The first question reads from the device.

        Args:
            call: 0-based number of the call within the step.

        Returns:
            ``None`` for a part that reads neither, or both where they are the same.
        """
        if call not in self._names:
            found = self._found[call].tolist() if call in self._found else ((), ())
            self._names[call] = tuple(
                None if uncond == cond else "uncond" if uncond else "cond"
                for uncond, cond in zip(*found, strict=True)
            )
        return self._names[call]

    def name(self, call: int) -> Name | None:
        """The branch of a call whose batch holds one; ``None`` if the text does not tell."""
        names = set(self.names(call)) - {None}
        return names.pop() if len(names) == 1 else None

    def halves(self, call: int) -> tuple[Name, Name] | None:
        """The branches of a call whose batch holds two; ``None`` if the text does not tell."""
        names = self.names(call)
        middle = len(names) // 2
        first, second = set(names[:middle]) - {None}, set(names[middle:]) - {None}
        if len(first) > 1 or len(second) > 1 or first == second:
            return None
        cond_first = "cond" in first or "uncond" in second
        return ("cond", "uncond") if cond_first else ("uncond", "cond")


class Encodings:
    """Hears what a pipeline's ``encode_prompt`` returns."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._heard: list[tuple[Tensor | None, Tensor | None]] = []
        self._last: tuple[Tensor | None, Tensor | None] = (None, None)
        self._asked: list[dict[str, Any]] = []
        self.asked: dict[str, Any] = {}
        """What it was called with for the run that began last, by name; the prompt, where it was called
        for that and for the negative one in turn."""

    def collected(self) -> TextsRead:
        """For the run that begins: what was encoded last, which may serve several runs."""
        heard, self._heard = self._heard, []
        if self._asked:
            self.asked = self._asked[0]
            self._asked = []
        if heard:
            # Pipelines that encode one prompt at a time do not say which of them is which.
            self._last = heard[0] if len(heard) == 1 else (None, None)
        return TextsRead(*self._last)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen on the instance; what it was before is restored."""
        original = getattr(self._pipe, "encode_prompt", None)
        if original is None:
            yield
            return
        places = _places(original)
        try:
            with put_on(self._pipe, "encode_prompt", self._heard_by(original, places)):
                yield
        finally:
            self._heard.clear()
            self._last = (None, None)
            self.asked = {}
            self._asked.clear()

    def _heard_by(
        self, original: Callable[..., Any], places: tuple[int, int] | None
    ) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def encode_prompt(*args: Any, **kwargs: Any) -> Any:
            self._asked.append(dict(signature.bind(*args, **kwargs).arguments))
            encoded = original(*args, **kwargs)
            if places and isinstance(encoded, tuple) and len(encoded) > max(places):
                cond, uncond = (_tensor(encoded[place]) for place in places)
                self._heard.append((cond, uncond))
            return encoded

        return encode_prompt


_PARSING = threading.Lock()
"""Some CPython 3.11 counts the depth of a tree for all threads at once, and raises SystemError where two parse."""


def _places(encode_prompt: Callable[..., Any]) -> tuple[int, int] | None:
    """Where a pipeline returns the encoded prompt and the negative one: its code names both."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(encode_prompt)))
        with _PARSING:
            (function,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    returned = [node.value for node in _own(function) if isinstance(node, ast.Return)]
    found = {_named(value) for value in returned if isinstance(value, ast.Tuple)}
    return found.pop() if len(found) == 1 else None


def _named(returned: ast.Tuple) -> tuple[int, int] | None:
    """The places of both encodings among names that are returned."""
    names = [ast.unparse(part).lower() for part in returned.elts]
    embeds = [place for place, name in enumerate(names) if "embeds" in name or "states" in name]
    uncond = [place for place in embeds if "negative" in names[place] or "uncond" in names[place]]
    cond = [place for place in embeds if place not in uncond]
    return (cond[0], uncond[0]) if cond and uncond else None


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Everything within a function but what functions within it hold."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.Lambda)):
            yield child
            yield from _own(child)


def _tensor(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) else None


def _tensors(given: Any) -> Iterator[Tensor]:
    """Every tensor in a call's arguments."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict):
        for part in given.values():
            yield from _tensors(part)
    elif isinstance(given, (list, tuple)):
        for part in given:
            yield from _tensors(part)


def _equal(states: Tensor, encoded: Tensor | None, rows: int) -> Tensor:
    """Whether every part of a batch is the encoding: bool ``[parts]``, on the device."""
    parts = states.detach().reshape(-1, rows, *states.shape[1:])
    if encoded is None or encoded.shape != parts.shape[1:] or encoded.device != parts.device:
        return torch.zeros(len(parts), dtype=torch.bool, device=parts.device)
    return (parts == encoded.detach()).flatten(1).all(1)
