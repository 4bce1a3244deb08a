"""A figure or table of the paper beside its printed values."""

from __future__ import annotations

from collections.abc import Iterator

from attnscope.pages.parts import Note, Part, Section, Table
from attnscope.pages.registry import shows
from attnscope.runs.folder import Run


@shows("paper")
def sections(run: Run) -> Iterator[Section]:
    """What the paper prints, what was measured, and which claims hold."""
    table, claims = run.read_table("beside"), run.read_table("claims")
    models = (
        "the paper's models" if run.settings["own"] else f"{run.settings['model']} in their place"
    )
    parts: list[Part] = [Note(f"Measured on {models}.")]
    if len(table):
        note = "Changes from the baseline: ratios of MACs and latency, differences of all else."
        forms = dict.fromkeys(("published", "here"), ".5g")
        forms |= dict.fromkeys(("published_change", "change", "low", "high"), ".3g")
        parts.append(
            Table("Beside the paper", table, {"verdict": "as the paper says"}, forms, note=note)
        )
    if len(claims):
        forms = dict.fromkeys(("value", "low", "high"), ".3g")
        parts.append(Table("Claims: above zero if right", claims, forms=forms))
    yield Section(str(run.settings["name"]), parts)
