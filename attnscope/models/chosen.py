"""The model of a command: what was asked for, and the pipeline, loaded when it is needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.models.image_sizes import check_multiple, own_size, square
from attnscope.models.loading import (
    choose_device,
    load,
    own_scheduler,
    precision_name,
    scheduler_ahead,
)
from attnscope.models.names import MODELS, Model, describe, fingerprint, is_local
from attnscope.models.schedulers import known_scheduler, levels_ahead, step_count, steps_of
from attnscope.plans.options import Levels

if TYPE_CHECKING:
    from attnscope.models.architectures import Architecture


class ChosenModel:
    """What the options of a command say about its model.

    It can be sent to another process, which loads the model by its name.

    Args:
        name: short name, hub id or folder.
        scheduler: short name; ``None`` is the model's own.
        device: a torch device, or ``auto``.
        dtype: of the weights, or ``auto``.
        offline: whether to use only what is on this machine.
        allow_pickle: whether also weights that can run code are loaded.
        elsewhere: whether images are made in other processes, by a device that this one may not have: here
            the model is loaded on the CPU, to be asked what it is.

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
        elsewhere: bool = False,
    ) -> None:
        self.name = name
        self.described = describe(name)
        self.scheduler = known_scheduler(scheduler) or self.described.scheduler
        self.device = device if elsewhere and device != "auto" else choose_device(device)
        self.dtype = precision_name(self.described, dtype, self.device)
        self._offline, self._allow_pickle = offline, allow_pickle
        self.here = "cpu" if elsewhere else self.device
        self._expected: str | None = None

    @cached_property
    def pipe(self) -> Any:
        """The pipeline, loaded at the first use."""
        return load(
            self.name,
            dtype=self.dtype,
            device=self.here,
            scheduler=self.scheduler,
            offline=self._offline,
            allow_pickle=self._allow_pickle,
        )

    def forget(self) -> None:
        """Let go of the pipeline, so that another model has its memory."""
        self.__dict__.pop("pipe", None)

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides the pipeline that is loaded, but for the state of the weights."""
        return (
            self.name, self.scheduler, self.device, self.dtype, self._offline, self._allow_pickle,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        self._expected = self._expected or self.weights
        return _sent, (*self.key, self._expected)

    def check_weights(self) -> None:
        """Refuse a model that is another one than where it was sent from.

        Raises:
            InputError: it is.
        """
        if self._expected is not None and (found := self.weights) != self._expected:
            raise InputError(
                f"its weights are {found} here and {self._expected} where the run was started"
            )

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

    def levels(self, steps: int) -> Levels:
        """Log-SNR at every step that the scheduler makes of those it is asked for, in nats.

        The model is not loaded.

        Returns:
            ``None`` where the model is not on this machine, or the scheduler does not tell, or not
            before a run begins.

        Raises:
            InputError: the scheduler does not fit the model, or cannot be set to so many steps.
        """
        scheduler = scheduler_ahead(self.described, self.scheduler)
        return None if scheduler is None else levels_ahead(scheduler, steps)

    @cached_property
    def _architecture(self) -> Architecture | None:
        """What is known of the model without loading it."""
        from attnscope.models.architectures import find

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


def _sent(
    name: str,
    scheduler: str | None,
    device: str,
    dtype: str,
    offline: bool,
    allow_pickle: bool,
    expected: str | None,
) -> ChosenModel:
    """The model in the process that it was sent to."""
    model = ChosenModel(
        name, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    model._expected = expected
    return model


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

    def levels(self, steps: int) -> Levels:
        """Log-SNR at every step in nats; ``None`` where its family has a scheduler of its own."""
        from attnscope.models.random_weights import scheduler_for

        own = self.found.family.starts_from_images
        return None if own else levels_ahead(scheduler_for(self.found), steps)

    @cached_property
    def pipe(self) -> Any:
        """The pipeline, built at the first use."""
        from attnscope.models.random_weights import build

        return build(self.found, device=self.device, dtype=self.dtype)

    def forget(self) -> None:
        """Let go of the pipeline, so that another model has its memory."""
        self.__dict__.pop("pipe", None)
