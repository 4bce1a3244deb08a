"""What ``attnscope convergence --controls`` measures and says beyond the rest of the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnscope.analyses.convergence import Settings
    from attnscope.cli.inputs import ChosenModel
    from attnscope.prompts import Prompt
    from attnscope.runs import Run

_TITLES = {
    "step": "from step to step",
    "step_per_nat": "the same per nat",
    "final": "to the last step",
    "caption": "to another caption",
    "branches": "between branches",
}


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
    from attnscope.analyses.controls import measure
    from attnscope.calling import default_batch_size
    from attnscope.cli.console import messages, progress

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


def report_controls(run: Run) -> None:
    """Print the trained model's curves beside those of random weights, and write all of them."""
    from attnscope.analyses.controls import summary
    from attnscope.cli.console import results, show_table

    table = summary(run.read_table("controls"))
    run.write_csv("controls", table)
    trained = table[table["arm"] == "trained"].drop(columns=["arm", "gate_sd"])
    random = table[table["arm"] == "random-replayed"][["measure", "kind", "gate"]]
    shown = trained.merge(
        random.rename(columns={"gate": "gate, random weights"}), how="left", on=["measure", "kind"]
    )
    order = list(_TITLES)
    shown = shown.sort_values("measure", kind="stable", key=lambda names: names.map(order.index))
    shown["measure"] = shown["measure"].map(_TITLES)
    shown["measure"] = shown["measure"].where(~shown["measure"].duplicated(), "")
    title = (
        "controls: relative distances of outputs at the first step, at the gate (after 40% of the "
        "steps) and at the last; nats are of log-SNR"
    )
    show_table(shown, title, dict.fromkeys(shown.columns[2:], ".3f"))
    results.print(f"every arm: {run.path / 'controls.csv'}", soft_wrap=True)
