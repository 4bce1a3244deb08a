"""What ``attnscope convergence --controls`` prints beside the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnscope.runs.folder import Run

_TITLES = {
    "step": "from step to step",
    "step_per_nat": "the same per nat",
    "final": "to the last step",
    "caption": "to another caption",
    "branches": "between branches",
}


def report_controls(run: Run) -> None:
    """Print the trained model's curves beside those of random weights, and write all of them."""
    from attnscope.analyses.convergence.controls import summary
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
