"""A page: one file with everything in it."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attnscope import __version__
from attnscope.pages import about
from attnscope.pages.comparison import compared
from attnscope.pages.parts import Section
from attnscope.pages.pictures import Album, Sheet
from attnscope.pages.registry import sections_of
from attnscope.runs.folder import Run


@dataclass(frozen=True)
class Block:
    """A run on a page, or what several have in common.

    Args:
        title: of it.
        sections: in order.
        facts: the few that stand above them.
        path: of the run; empty of several.
    """

    title: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = field(default=())
    path: str = ""


def report(runs: Sequence[Run], *, back: str = "") -> str:
    """A page of one run, or of several compared, as HTML.

    Args:
        runs: finished ones, of one command.
        back: the address of an index that the page belongs to.

    Raises:
        InputError: a run is not finished, they are of several commands, or a file of one is gone.
    """
    for run in runs:
        about.check_finished(run)
    blocks = [_block(run) for run in runs]
    if len(runs) > 1:
        blocks.insert(0, Block(f"{len(runs)} runs compared", compared(runs)))
    title = about.title_of(runs[0]) if len(runs) == 1 else f"{len(runs)} runs of {runs[0].command}"
    return rendered(title, blocks, back=back)


def rendered(title: str, blocks: Sequence[Block], *, back: str = "") -> str:
    """Blocks as HTML.

    Args:
        title: of the page.
        blocks: in order; those of runs and of whatever else is made of parts.
        back: see :func:`report`.

    Raises:
        InputError: an image is gone.
    """
    album = Album(sheet for block in blocks for sheet in _sheets(block.sections))
    return template("page.html", title=title, blocks=blocks, album=album, back=back)


def template(name: str, **values: Any) -> str:
    """A template with its values, with the style and the script that all pages have."""
    script, style = _static("report.js"), _static("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    count = itertools.count(1)

    def serial() -> str:
        return f"n{next(count)}"

    return _environment().get_template(name).render(
        version=__version__, script=Markup(script), style=Markup(style), digest=digest, serial=serial,
        **values,
    )  # fmt: skip


def _block(run: Run) -> Block:
    sections = [*sections_of(run), about.prompts(run), about.what_was_run(run)]
    told = [section for section in sections if section is not None]
    return Block(about.title_of(run), told, about.leading(run), str(run.path))


def _sheets(sections: Iterable[Section]) -> Iterable[Sheet]:
    for section in sections:
        yield from section.sheets()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("attnscope.pages"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


@cache
def _static(name: str) -> str:
    return resources.files("attnscope.pages").joinpath("static", name).read_text("utf-8")
