"""A plan that says of every module what it does when, over log-SNR, and the file that it stands in.

``attnscope tune`` finds such plans. What holds at a noise level holds for other numbers of steps, too,
and for other schedulers: :meth:`Timetable.placed` says what each of their steps does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.kinds import ACTING
from attnscope.plans.base import ORDERS, Action, AnySite, Branch, Kept, Plan
from attnscope.plans.options import Levels

if TYPE_CHECKING:
    from attnscope.plans.trajectory import Trajectory

SCHEMA, SCHEMAS = 1, (1, 2)
"""Of the files: that of most, and all that are read. 2 is of plans that forecast by second differences,
which a version that knows 1 alone would carry out by first ones."""
UNIFORM = "uniform.json"
"""The file of the best schedule that is set by hand, beside those of plans that were found and as fast as they."""
COMPUTE, REUSE, FORECAST = "#", ".", "~"
LETTERS = {COMPUTE: Action.STORE, REUSE: Action.REUSE, FORECAST: Action.FORECAST}
"""What a module does at a step."""
BRANCHES: dict[str, Kept] = {"b": "both", "c": "cond", "u": "uncond"}
"""Which guidance branches run at a step."""
_TEXT = re.compile(r"(?P<path>.+\.json)(@(?P<digest>[0-9a-f]{8}))?")
_CLOSE = 1e-6
"""Noise levels that differ by less, in nats, are the same."""


@dataclass(frozen=True)
class Timetable(Plan):
    """What every module, and guidance, does at every step of the run that it was found on.

    Args:
        log_snr: of x_t at the steps of that run in nats, rising.
        rows: a row a module: its kind, its name and a letter a step (:data:`LETTERS`).
        guidance: a letter a step (:data:`BRANCHES`).
        directions: how much of the last guidance counts at every step where the conditional branch
            runs alone; empty is none.
        differences: by which modules forecast: 1, along a line, or 2, along a parabola.
        source: the file that it was read from, and a digest of it.
        about: what else the file says: the model, how it was found, what was measured.

    Raises:
        InputError: rows are not as long as there are steps, noise levels fall or are none, a letter
            is none, a module's first step does not compute, one module has two rows or stands
            within another, or forecasts are by other differences.
    """

    name: ClassVar[str] = "timetable"
    averages: ClassVar[bool] = False
    log_snr: tuple[float, ...]
    rows: tuple[tuple[str, str, str], ...]
    guidance: str
    directions: tuple[float, ...] = ()
    source: str = ""
    differences: int = 1
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        steps = len(self.log_snr)
        lengths = {len(letters) for *_, letters in self.rows} | {len(self.guidance)}
        if self.directions:
            lengths.add(len(self.directions))
        if lengths != {steps}:
            raise InputError(f"{self} has rows of {sorted(lengths)} steps for {steps} noise levels")
        rising = all(a <= b for a, b in pairwise(self.log_snr))
        if not steps or not rising or any(level != level for level in self.log_snr):
            raise InputError(f"{self} has noise levels that do not rise from step to step")
        if isinstance(self.differences, bool) or self.differences not in ORDERS:
            raise InputError(
                f"{self} forecasts by differences {self.differences!r}: choose 1, along a line, or 2, along a "
                "parabola"
            )
        _check_letters(self, "guidance", self.guidance, BRANCHES)
        for kind, name, letters in self.rows:
            stale = next(
                (n for n, x in enumerate(fresh(letters, self.guidance)) if x != letters[n]), None
            )
            if stale is not None:
                raise InputError(
                    f"{self}: {name} reuses at step {stale} what it computed without the guidance "
                    "branch that comes back there: let it compute"
                )
            if kind not in ACTING:
                raise InputError(
                    f"{self}: {name} is of no kind {kind!r} (choose {', '.join(ACTING)})"
                )
            _check_letters(self, name, letters, LETTERS)
            if letters[0] != COMPUTE:
                raise InputError(f"{self}: {name} reuses at its first step, before it computed any")
        if _begun(self.guidance, self.directions) != self.guidance:
            raise InputError(f"{self} goes on with guidance before any step had both branches")
        names = set(self._letters)
        if len(names) < len(self.rows):
            twice = Counter(name for _, name, _ in self.rows).most_common(1)[0][0]
            raise InputError(f"{self} has two rows of {twice}")
        for name in names:
            outer = names & ancestors(name)
            if outer:
                raise InputError(f"{self} names {name} and, around it, {min(outer)}: name one")

    @cached_property
    def _letters(self) -> dict[str, str]:
        return {name: letters for _, name, letters in self.rows}

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of its modules."""
        return tuple(dict.fromkeys(kind for kind, *_ in self.rows))

    @property
    def modules(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that have a row."""
        return tuple(self._letters)

    @property
    def kinds_named(self) -> Mapping[str, str]:
        """Those of its rows."""
        return {name: kind for kind, name, _ in self.rows}

    @property
    def own_steps(self) -> int:
        """Those of the run that it was found on."""
        return len(self.log_snr)

    def action(self, site: AnySite, step: int) -> Action:
        """What the module's row says; one without a row computes."""
        letters = self._letters.get(getattr(site, "name", ""))
        return Action.COMPUTE if letters is None else LETTERS[letters[step]]

    def order(self, site: AnySite) -> int:
        """By which differences its modules forecast."""
        return self.differences

    def keeps(self, step: int) -> Kept:
        """Which guidance branches run at a step."""
        return BRANCHES[self.guidance[step]]

    def direction(self, step: int) -> float:
        """How much of the last guidance counts where the conditional branch runs alone."""
        return self.directions[step] if self.directions else 0.0

    def over(self, steps: int, *, kept: Branch = "uncond", levels: Levels = None) -> Trajectory:
        """The plan at the noise levels of other steps; of its own where they are not told.

        Raises:
            UnknownLevelsError: those of the steps are not known, and there are not as many as its own.
        """
        from attnscope.plans.trajectory import Trajectory

        placed = self.placed(levels)
        known = placed.log_snr if placed.own_steps == steps else None
        return Trajectory(placed, steps, kept, known)

    def placed(self, levels: Levels) -> Timetable:
        """The plan at the noise levels of other steps.

        A module computes at the first step that has passed the middle between a step at which it
        computed and the one before that. So its output is never older, in nats, than where the plan
        was found, but for the length of one step; in between, a step does as the one of its noise
        level did. Guidance comes back at the first step that has passed where it did, and where a
        branch comes back that did not run when a module computed last, the module computes.

        Args:
            levels: log-SNR at every step in nats; ``None`` and its own leave it as it is.
        """
        if levels is None or _same(levels, self.log_snr):
            return self
        bounds = _bounds(self.log_snr)
        cells = [max(0, sum(bound <= level for bound in bounds) - 1) for level in levels]
        directions = tuple(self.directions[cell] for cell in cells) if self.directions else ()
        guidance = _begun(_guided(self.guidance, cells), directions)
        rows = tuple(
            (kind, name, fresh(_placed(letters, bounds, cells, levels), guidance))
            for kind, name, letters in self.rows
        )
        return replace(
            self, log_snr=tuple(levels), rows=rows, guidance=guidance, directions=directions
        )

    def document(self) -> dict[str, Any]:
        """What its file says."""
        modules: dict[str, dict[str, str]] = {}
        for kind, name, letters in self.rows:
            modules.setdefault(kind, {})[name] = letters
        said = {
            "attnscope_plan": SCHEMA if self.differences == 1 else 2,
            "letters": {COMPUTE: "compute", REUSE: "reuse", FORECAST: "forecast",
                        "b": "both branches", "c": "conditional alone", "u": "unconditional alone"},
            **self.about,
            "steps": len(self.log_snr),
            "log_snr": list(self.log_snr),
            "guidance": self.guidance,
        }  # fmt: skip
        if self.directions:
            said["directions"] = list(self.directions)
        if self.differences != 1:
            said["differences"] = self.differences
        return said | {"modules": modules}

    def write(self, path: Path) -> Timetable:
        """Write its file.

        Returns:
            The plan as it reads back, with the file as its source.
        """
        from attnscope import documents  # which needs pandas, and no help does

        text = documents.text(self.document()) + "\n"
        write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
        return read(path)

    def __str__(self) -> str:
        return self.source or self.name


def ancestors(name: str) -> set[str]:
    """The dotted names of the modules that a module stands in."""
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts))}


def is_file(text: str) -> bool:
    """Whether the text form of a plan names a file."""
    return _TEXT.fullmatch(text.strip()) is not None


def is_there(text: str) -> bool:
    """Whether it is the file of a plan that exists."""
    match = _TEXT.fullmatch(text.strip())
    return match is not None and Path(match["path"]).is_file()


def read(source: str | Path) -> Timetable:
    """A plan from its file.

    Args:
        source: a path that ends in ``.json``; with ``@`` and the first eight digits of its SHA-256,
            as tables have it, the file must be the same still.

    Raises:
        InputError: there is no such file, it is another by now, or no plan.
    """
    match = _TEXT.fullmatch(str(source).strip())
    if match is None:
        raise InputError(f"{str(source)!r} is no file of a plan: give one that ends in .json")
    path = Path(match["path"])
    try:
        content = path.read_bytes()
        said = json.loads(content)
    except OSError as error:
        raise InputError(f"cannot read the plan {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no plan: it is not JSON ({error})") from error
    digest = sha256(content).hexdigest()[:8]
    if match["digest"] not in (None, digest):
        raise InputError(
            f"{str(path)!r} is another plan by now: its digest is {digest}, not {match['digest']}"
        )
    if not isinstance(said, dict) or "attnscope_plan" not in said:
        raise InputError(f"{str(path)!r} is no plan: write one by attnscope tune")
    if said["attnscope_plan"] not in SCHEMAS:
        raise InputError(
            f"{str(path)!r} is written as schema {said['attnscope_plan']!r} of plans, and this "
            f"attnscope reads {' and '.join(map(str, SCHEMAS))}: use the version that wrote it, or tune anew"
        )
    return _made(said, f"{path.as_posix()}@{digest}")


def _made(said: dict[str, Any], source: str) -> Timetable:
    own = (
        "attnscope_plan",
        "letters",
        "steps",
        "log_snr",
        "guidance",
        "directions",
        "differences",
        "modules",
    )
    try:
        return Timetable(
            log_snr=tuple(
                -float("inf") if level is None else float(level) for level in said["log_snr"]
            ),
            rows=tuple(
                (str(kind), str(name), str(letters))
                for kind, rows in said["modules"].items()
                for name, letters in rows.items()
            ),
            guidance=str(said["guidance"]),
            directions=tuple(map(float, said.get("directions", ()))),
            differences=said.get("differences", 1),
            source=source,
            about={name: value for name, value in said.items() if name not in own},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source} is no whole plan: {type(error).__name__} {error}") from error


def _check_letters(plan: Timetable, row: str, letters: str, known: Mapping[str, Any]) -> None:
    wrong = sorted({*letters} - {*known})
    if wrong:
        raise InputError(f"{plan}: {row} has the letter {wrong[0]!r} (choose {' '.join(known)})")


def _same(levels: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return len(levels) == len(others) and all(
        a == b or abs(a - b) < _CLOSE for a, b in zip(levels, others, strict=True)
    )


def _bounds(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Where the noise levels of every step begin: in the middle between it and the one before."""
    middles = (
        (before + after) / 2 if isfinite(before) and isfinite(after) else after
        for before, after in pairwise(levels)
    )
    return (float("-inf"), *middles)


def _placed(
    letters: str, bounds: tuple[float, ...], cells: list[int], levels: tuple[float, ...]
) -> str:
    """A module's row at other noise levels."""
    computes = [bound for bound, letter in zip(bounds, letters, strict=True) if letter == COMPUTE]
    found = COMPUTE
    for before, level, cell in zip(levels, levels[1:], cells[1:], strict=False):
        if any(before < bound <= level for bound in computes):
            found += COMPUTE
        elif letters[cell] == COMPUTE:  # it did so at a step before this, of the same noise level
            following = letters[cell + 1 : cell + 2]
            found += following if following in (REUSE, FORECAST) else REUSE
        else:
            found += letters[cell]
    return found


def _guided(guidance: str, cells: list[int]) -> str:
    """Guidance at other noise levels: of each, and both branches where some step was passed at which they came back."""
    back = [
        step
        for step in range(1, len(guidance))
        if guidance[step] == "b" and guidance[step - 1] != "b"
    ]
    found = ""
    for before, cell in zip([-1, *cells], cells, strict=False):
        found += "b" if any(before < step <= cell for step in back) else guidance[cell]
    return found


def fresh(letters: str, guidance: str) -> str:
    """A module's row that computes where a guidance branch comes back that did not run when it did last.

    Args:
        letters: a letter a step.
        guidance: likewise, of :data:`BRANCHES`.
    """
    found, at = "", guidance[:1]
    for letter, branches in zip(letters, guidance, strict=True):
        comes_back = branches != at and at != "b"
        found += COMPUTE if comes_back else letter
        if found[-1] == COMPUTE or branches != "b":  # of what one branch reused, one is left
            at = branches
    return found


def _begun(guidance: str, directions: tuple[float, ...]) -> str:
    """Guidance whose first step has both branches, where it would go on along none that was."""
    first = next((step for step, weight in enumerate(directions) if weight), None)
    return guidance if first is None or "b" in guidance[:first] else f"b{guidance[1:]}"
