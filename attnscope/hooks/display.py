"""How a ``Trace``, an acceleration and an observer show what they are: one line, and a table in notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.html_tables import as_table

if TYPE_CHECKING:
    from attnscope.hooks.trace import Trace


def as_line(name: str, trace: Trace) -> str:
    """One line in angle brackets, as Python shows what cannot be typed in.

    Args:
        name: what it is called.
        trace: its ``Trace``.
    """
    facts = "; ".join(f"{fact} {value}" for fact, value in _facts(trace).items())
    return f"<{_title(name, trace)}: {facts}>"


def as_html(name: str, trace: Trace) -> str:
    """The same as an HTML table.

    Args:
        name: what it is called.
        trace: its ``Trace``.
    """
    return as_table(_title(name, trace), _facts(trace))


def _title(name: str, trace: Trace) -> str:
    return f"{name} of {type(trace.pipe).__name__}"


def _facts(trace: Trace) -> dict[str, str]:
    """What it does, whether it is on, and how many runs there were, of which not all are kept."""
    observers = ", ".join(type(observer).__name__ for observer in trace.observers)
    return {
        "plan": str(trace.plan),
        **({"observers": observers} if observers else {}),
        "now": "on" if trace.is_on else "off",
        "runs": str(trace.runs[-1].index + 1 if trace.runs else 0),
    }
