"""Runs, and where in a run a call of the denoiser stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attnscope.hooks.callers import Owner
from attnscope.hooks.encodings import TextsRead
from attnscope.hooks.habits import PERTURBED
from attnscope.sites.grids import Layout

_OTHER = {"cond": "uncond", "uncond": "cond", None: None}


@dataclass(frozen=True)
class Moment:
    """Where in a run a call of the denoiser stands.

    Args:
        step: 0-based denoising step.
        call: 0-based call of the denoiser within the step; a pipeline that calls it once per
            guidance branch has several.
        batch: rows that the pipeline passed in: guidance branches times samples.
        rows: how many of them the denoiser works on; fewer where a plan drops a branch.
        first: the first of them.
    """

    step: int
    call: int
    batch: int
    rows: int
    first: int = 0

    @property
    def held(self) -> slice:
        """The rows of the batch that the denoiser works on."""
        return slice(self.first, self.first + self.rows)


@dataclass(eq=False)
class Denoising:
    """A run, that is one call of a pipeline: what is known of it beforehand, and what became known.

    Args:
        index: 0-based number of the run within its ``Trace``.
        steps: how many steps the scheduler was set to. Image-to-image and inpainting run fewer.
        pair: names of the halves of a batch that holds two guidance branches; ``None`` where the
            caller's habits are not known.
        owner: the pipeline whose methods call the denoiser, or a loop by hand.
        reading: what the calls of the first step read, which tells branches apart where it can.
        layout: what the first call of the denoiser told of text and image.
        samples: images or videos that are made; known after the first step.
        prepared: as many as the pipeline prepared latents for; ``None`` if nobody listened to it.
        guided_steps: steps at which more than one guidance branch ran.
        returned: whether the pipeline came to its end.
        triple: names of the thirds of a batch that holds three branches, where they are known.
    """

    index: int
    steps: int
    pair: tuple[str, str] | None = ("uncond", "cond")
    owner: Owner = field(default_factory=Owner, repr=False)
    reading: TextsRead = field(default_factory=TextsRead, repr=False)
    layout: Layout = field(default_factory=lambda: Layout(()), repr=False)
    samples: int | None = None
    prepared: int | None = None
    guided_steps: int = 0
    returned: bool = False
    triple: tuple[str, str, str] | None = None
    _calls: list[tuple[str | None, int]] = field(default_factory=list, repr=False)
    _stamps: list[Any] = field(default_factory=list, repr=False)
    _timesteps: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def started_by(self) -> Any | None:
        """The pipeline whose methods call the denoiser; ``None`` in a loop by hand."""
        return self.owner.pipe

    @property
    def expected(self) -> int | None:
        """Images that are made, as far as it is known: before the first step ends, those prepared for."""
        return self.samples or self.prepared

    @property
    def steps_done(self) -> int:
        """Steps that ended."""
        return len(self._stamps)

    def timesteps(self) -> NDArray[np.float64]:
        """The timestep of every step that ended: float64 ``[steps_done]``."""
        if self._timesteps is None or len(self._timesteps) != len(self._stamps):
            stamps = [torch.as_tensor(stamp).detach().reshape(-1)[:1] for stamp in self._stamps]
            on_host = torch.cat(stamps).cpu() if stamps else torch.empty(0)
            self._timesteps = on_host.double().numpy()
        return self._timesteps

    def label(self, call: int, batch: int) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
        """Sample number and branch name of every row of a call of the denoiser.

        Branches are named by the text that they read, by a ``cache_context``, or by the habit of
        the pipeline's class. Without guidance the only branch is ``cond``. What none of them tells
        is numbered: the branches of a loop by hand whose text is not known, more than two branches
        in one batch but for ``uncond``, ``cond`` and ``perturbed``, and calls beyond those of guidance.

        Args:
            call: 0-based call within the step.
            batch: rows that the pipeline passed in.
        """
        samples = self.samples or batch
        count = batch // samples
        whole = call < len(self._calls) and batch == self.batch(call)
        if count == 1 and whole and set(told := self.reading.names(call)) == {"cond", "uncond"}:
            # Samples that read either, in a loop that guides nothing.
            return np.arange(samples), np.repeat(np.array(told), samples // len(told))
        if count == 1:
            names = [self._call_name(call)]
        else:
            known = self.halves(call) if count == 2 else self.by_habit(count)
            names = list(known or (f"branch{index}" for index in range(count)))
        return np.tile(np.arange(samples), count), np.repeat(np.array(names), samples)

    def by_habit(self, count: int) -> tuple[str, ...] | None:
        """Names of the branches of a batch that holds so many, where the pipeline's class tells."""
        known: dict[int, tuple[str, ...] | None] = {2: self.pair, 3: self.triple}
        return known.get(count)

    def rows_of_prompt(self, batch: int, samples: int) -> slice | None:
        """The rows of a batch that read the prompt; ``None`` if it holds one branch.

        Perturbed-attention guidance has two branches that do, and its own stands last.

        Raises:
            RuntimeError: there are branches, but which is which is not known.
        """
        names = self.by_habit(batch // samples) or ()
        if PERTURBED in names:
            return slice(names.index("cond") * samples, batch)
        return self.rows_of("cond", batch, samples)

    def halves(self, call: int = 0) -> tuple[str, str] | None:
        """Names of the halves of a call's batch, if it holds two branches and something tells."""
        return self.reading.halves(call) or self.pair

    def note_call(self, call: int, context: str | None, batch: int) -> None:
        """Remember the calls that a step consists of."""
        if call == len(self._calls):
            self._calls.append((context, batch))

    def batch(self, call: int) -> int:
        """Rows that the pipeline passed in when it first made a call: guidance times samples."""
        return self._calls[call][1]

    @property
    def calls_per_step(self) -> int:
        """Calls of the denoiser that a step consists of."""
        return len(self._calls)

    def rows_of(self, branch: str, batch: int, samples: int | None = None) -> slice | None:
        """Where a guidance branch stands in a batch; ``None`` if the batch holds only one.

        Args:
            branch: ``uncond`` or ``cond``.
            batch: rows of the call.
            samples: how many there are, where it is known before the first step has ended.

        Raises:
            RuntimeError: there are branches, but which is which is not known.
        """
        samples = samples or self.samples
        if samples is None or batch == samples:
            return None
        # The class first, since its habit is known without reading from the device.
        halves = (self.pair or self.reading.halves(0)) if batch == 2 * samples else None
        if halves is None or branch not in halves or PERTURBED in halves:
            raise RuntimeError(
                f"the denoiser's batch holds {batch} rows for {samples} samples, and which is the "
                f"branch {branch!r} is not known: call a pipeline of diffusers, or in a loop of "
                "your own encode both prompts by the pipeline's encode_prompt inside the Trace"
            )
        first = halves.index(branch) * samples
        return slice(first, first + samples)

    def _call_name(self, call: int) -> str:
        """Branch of a call that holds one: by its ``cache_context``, else by its place."""
        context = self._calls[call][0]
        if context is not None and context != "cond_uncond":
            return context.removeprefix("pred_")
        if len(self._calls) == 1:
            return self.reading.name(call) or "cond"
        if len(self._calls) != 2 or any(batch != self.samples for _, batch in self._calls):
            return f"extra{call}"
        names = [self.reading.name(number) for number in (0, 1)]
        told = names[call] or _OTHER[names[1 - call]]
        if told is not None and names[0] != names[1]:
            return told
        return f"branch{call}" if self.pair is None else ("cond", "uncond")[call]
