"""``accelerate``: a plan on a pipeline until it is taken away again."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import pandas as pd

from attnscope.hooks.display import as_html, as_line
from attnscope.hooks.trace import Trace
from attnscope.plans.base import Plan


class Acceleration:
    """A plan at work on a pipeline; what :func:`accelerate` returns.

    Usable as a context manager too: leaving the block disables it.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    @property
    def plan(self) -> Plan:
        """What is carried out."""
        return self._trace.plan

    def calls(self) -> pd.DataFrame:
        """What the calls of modules did so far; see :meth:`attnscope.Trace.calls`."""
        return self._trace.calls()

    def disable(self) -> None:
        """Give the pipeline back as it was; a second time does nothing."""
        self._trace.close()

    def __enter__(self) -> Acceleration:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disable()

    @property
    def is_on(self) -> bool:
        """Whether the plan is at work: until it is disabled."""
        return self._trace.is_on

    def __repr__(self) -> str:
        return as_line("Acceleration", self._trace)

    def _repr_html_(self) -> str:
        return as_html("Acceleration", self._trace)


def accelerate(pipe: Any, plan: Plan | str) -> Acceleration:
    """Make every following call of a pipeline faster.

    The pipeline is called as before: any number of steps from the gate on, any batch and image
    size. The scheduler must stay the same object: change it before, or ``disable()`` first.

    Args:
        pipe: a diffusers pipeline.
        plan: a :class:`~attnscope.plans.base.Plan`, its text form such as ``"m=10,k=5"``, or its file,
            ``"plan.json"``.

    Returns:
        A handle whose ``disable()`` gives the pipeline back as it was.

    Raises:
        InputError: the plan cannot be read, or the pipeline cannot do what it wants.
        RuntimeError: the pipeline is traced or accelerated already; :func:`attnscope.disable` takes
            away what has no handle any more.

    Example:
        >>> speedup = accelerate(pipe, "m=10,k=5")
        >>> pipe("an orange cat", num_inference_steps=25)
        >>> speedup.disable()
    """
    return Acceleration(Trace(pipe, plan=plan).__enter__())
