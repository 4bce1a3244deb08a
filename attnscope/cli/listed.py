"""Commands that are listed at once and imported when one of them is called."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any

import typer

from attnscope.cli.grouping import Command


class Listed:
    """A command as far as a list of commands shows it; asked for anything else, it is imported.

    The command is what its own file ``attnscope/cli/NAME.py`` has by that name: a function, or a
    ``typer.Typer`` with commands of its own.

    Args:
        name: what one types.
        short_help: the first paragraph of its help.
        example: what may follow the name; commands of its own bring theirs.
    """

    hidden = deprecated = False
    rich_help_panel = None

    def __init__(self, name: str, short_help: str, example: str = "") -> None:
        self.name, self.short_help, self._example = name, short_help, example

    def get_short_help_str(self, limit: int = 45) -> str:
        """What a shell shows beside the name."""
        return self.short_help

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask for these
            raise AttributeError(name)
        return getattr(self._command, name)

    @cached_property
    def _command(self) -> Any:
        """The command itself, of which typer's parser makes all else."""
        found = getattr(import_module(f"attnscope.cli.{self.name}"), self.name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
            epilog = f"Example: attnscope {self.name} {self._example}"
            alone.command(self.name, cls=Command, epilog=epilog)(found)
            found = alone
        return typer.main.get_command(found)
