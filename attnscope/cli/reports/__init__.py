"""What the commands print when all is done, from run directories alone: without torch.

A report is a function that is decorated with :func:`reports`; files are found by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from attnscope.runs.folder import Run

Report = Callable[..., None]
"""Takes a run, and whether to print its directory only (``quiet``) or JSON (``as_json``)."""
_KNOWN: dict[str, Report] = {}
R = TypeVar("R", bound=Callable[..., Any])


def reports(command: str) -> Callable[[R], R]:
    """Make a function the one that draws and prints a command's runs."""

    def register(report: R) -> R:
        _KNOWN[command] = report
        return report

    return register


def report_of(run: Run) -> Report:
    """What draws and prints a run.

    Raises:
        InputError: nothing does.
    """
    from attnscope.errors import InputError

    for file in iter_modules(__path__):
        import_module(f"{__name__}.{file.name}")
    if run.command not in _KNOWN:
        raise InputError(f"{str(run.path)!r} holds a run of '{run.command}', which has no figures")
    return _KNOWN[run.command]
