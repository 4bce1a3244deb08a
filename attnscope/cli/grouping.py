"""Groups of options: a command names a dataclass, its command line has an option per field."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

MEASURE, MODEL, CAPTIONS = "What to measure", "Model", "Captions"
SAMPLING, QUALITY, WORKERS, OUTPUT = "Sampling", "Quality", "Workers", "Output"
PANELS = (MEASURE, MODEL, CAPTIONS, SAMPLING, QUALITY, WORKERS, OUTPUT)
"""What the help of a command sorts its options under, in this order."""


class _Shown:
    """How help looks: paragraphs fill their lines, and flags show no type.

    Flags, ``--help`` among them, are given or not: there is no value to name.
    """

    def __init__(self, *args: Any, help: str | None = None, **kwargs: Any) -> None:
        paragraphs = (help or "").split("\n\n")
        filled = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        super().__init__(*args, help=filled, **kwargs)  # type: ignore[call-arg]  # of the command

    def get_params(self, ctx: Any) -> list[Any]:
        """All arguments and options."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the command
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class Command(_Shown, TyperCommand):
    """A command of ``attnscope``."""


class Commands(_Shown, TyperGroup):
    """``attnscope`` itself, or commands of it under one name."""

    listed: ClassVar[tuple[Any, ...]] = ()
    """Commands that are imported late (:class:`attnscope.cli.listed.Listed`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for command in self.listed:
            self.add_command(command)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options that belong together; those of a subclass stand before those that it inherits."""

    panel: ClassVar[str]

    @classmethod
    def parameters(cls) -> Iterator[inspect.Parameter]:
        """A parameter per field, under the panel of its group unless it says another one."""
        hints = get_type_hints(cls, include_extras=True)
        for field in sorted(fields(cls), key=lambda field: cls._depth(field.name)):
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=_under(cls.panel, hints[field.name]),
            )

    def given(self) -> list[str]:
        """The names of the options that were not left as they are."""
        left = type(self)()
        return [name for name, value in vars(self).items() if value != getattr(left, name)]

    @classmethod
    def _depth(cls, name: str) -> int:
        """How far down among the bases a field is said first."""
        saying = [name in vars(kind).get("__annotations__", {}) for kind in cls.__mro__]
        return len(saying) - saying[::-1].index(True)


def _under(panel: str, annotation: Any) -> Any:
    """An annotation whose option is shown under a panel, if it does not say under which."""
    kind, *about = get_args(annotation) or (annotation,)
    placed = []
    for item in about:
        if isinstance(item, OptionInfo):
            item = copy(item)
            item.rich_help_panel = item.rich_help_panel or panel
        placed.append(item)
    return Annotated[(kind, *placed)] if placed else annotation


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Spread the groups among a command's parameters over its command line.

    Args:
        command: a parameter whose type is a :class:`Group` stands for all options of the group;
            options of its own are shown under :data:`MEASURE`.

    Returns:
        A function that typer reads, with options sorted by :data:`PANELS`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Group]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if isinstance(kind, type) and issubclass(kind, Group):
            groups[name] = kind
            parameters += kind.parameters()
        else:
            own = _under(MEASURE, kind)
            parameters.append(
                parameter.replace(annotation=own, kind=inspect.Parameter.KEYWORD_ONLY)
            )
    parameters.sort(key=_place)

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by typer
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def _place(parameter: inspect.Parameter) -> int:
    """Where the panel of a parameter stands; arguments come first."""
    for item in get_args(parameter.annotation)[1:]:
        if isinstance(item, OptionInfo):
            return PANELS.index(str(item.rich_help_panel))
    return -1
