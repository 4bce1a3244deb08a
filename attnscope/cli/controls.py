"""What ``attnscope convergence --controls`` measures and says beyond the rest of the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnscope.analyses.convergence.measure import Settings
    from attnscope.models.chosen import ChosenModel
    from attnscope.runs.folder import Run
    from attnscope.runs.prompts import Prompt


def measure_controls(
    run: Run,
    chosen: ChosenModel,
    settings: Settings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    size: int | None,
    quiet: bool,
) -> None:
    """Write the table ``controls`` of a convergence run, if it is not there yet."""
    from attnscope.analyses.convergence.controls import measure
    from attnscope.cli.console import messages, progress
    from attnscope.models.calling import default_batch_size

    if run.has_table("controls"):
        return
    pipe = chosen.pipe
    with progress(f"{chosen.name}: controls", len(prompts), quiet=quiet) as advance:
        table = measure(
            pipe, settings, prompts, given,
            batch_size=size or default_batch_size(pipe, chosen.device),
            done=run.read_parts("controls"), on_batch=advance,
            on_part=lambda part: run.write_part("controls", part),
            on_halving=lambda n: messages.print(f"out of memory: going on with batches of {n}"),
            **chosen.described.options,
        )  # fmt: skip
    run.finish_table("controls", table)
