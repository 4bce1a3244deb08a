"""The run directory: settings, the machine they ran on, tables, figures.

Every file is written beside its place and moved there, so it is whole or it is not there. What
decides the result (settings) is kept apart from what does not (device, batch size), and only the
former is compared when a directory is used again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attnscope import documents
from attnscope.errors import InputError
from attnscope.files import PREFIX, is_folder, make_folder, ours, write_whole
from attnscope.html_tables import as_table
from attnscope.runs.about import now, read_about, this_machine, write_about
from attnscope.runs.columns import of_the_old_reading
from attnscope.runs.contents import CONTENTS
from attnscope.runs.cut import WHOLE, Share
from attnscope.runs.holding import hold
from attnscope.runs.reading import files_named, read_whole

_LONGEST_NAME = 120
"""Bytes of a model's name in that of its run; systems allow 255 in all."""
_OF_A_SHARD = ("shard", "machine", "created", "later")


class Run:
    """A run directory.

    Args:
        path: the directory; it must hold a ``run.json``.

    Raises:
        InputError: it does not, or not a readable one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about = read_about(path)
        self.command: str = self.about["command"]
        self.settings: dict[str, Any] = self.about["settings"]

    @classmethod
    def open(
        cls,
        path: Path,
        command: str,
        settings: Any,
        *,
        share: Share = WHOLE,
        cut: int | None = None,
        **machine: Any,
    ) -> Run:
        """Make a run directory, or go on in one of the same command and settings.

        What is known of the machine is that of the beginning; where it is another one when the run
        goes on (a smaller batch, another device or version), the difference is added under ``later``.

        Args:
            path: the directory.
            command: what is run.
            settings: a dataclass of plain values that decides the result.
            share: which of the batches are made here.
            cut: the size of the batches that a new run is cut into; :attr:`cut` tells it.
            machine: what else is worth knowing: device, batch size, model revision.

        Raises:
            InputError: the directory holds a run of other settings or another share of it, is a file
                or not empty, or another process writes into it.
        """
        here = {**this_machine(), **machine}
        if cls.check(path, command, settings, share):
            hold(path)
            run = cls(path)
            run.note_machine(here)
            return run
        make_folder(path)
        hold(path)
        about = {
            "command": command,
            "settings": plain_settings(settings),
            "machine": here,
            "created": now(),
        }
        about |= {} if cut is None else {"cut": {"batch_size": cut}}
        about |= {} if share.is_whole else {"shard": {"number": share.number, "of": share.of}}
        write_about(path, about)
        return cls(path)

    @classmethod
    def joined(cls, path: Path, shards: Sequence[Run]) -> Run:
        """Say in a directory that it is the run which shards are of.

        Args:
            path: the directory.
            shards: all of them, in their order.
        """
        about = {k: v for k, v in shards[0].about.items() if k not in ("shard", "later")}
        about["merged"] = [
            {name: shard.about[name] for name in _OF_A_SHARD if name in shard.about}
            for shard in shards
        ]
        write_about(path, about)
        return cls(path)

    def note_machine(self, machine: Mapping[str, Any]) -> None:
        """Add what is another machine's than before, if anything is.

        Args:
            machine: what is known of it, such as the batch size that fits there.
        """
        known = dict(self.about.get("machine", {}))
        for change in self.about.get("later", []):
            known |= change["machine"]
        changed = {name: value for name, value in machine.items() if known.get(name) != value}
        if changed:
            self.about.setdefault("later", []).append({"machine": changed, "since": now()})
            write_about(self.path, self.about)

    @classmethod
    def check(cls, path: Path, command: str, settings: Any, share: Share = WHOLE) -> bool:
        """Whether a directory holds this very run; ``False`` if :meth:`open` would make it.

        Raises:
            InputError: the directory holds a run of other settings or another share of it, or is a file
                or not empty.
        """
        if (path / "run.json").exists():
            run = cls(path)
            refuse_difference(path, run, command, plain_settings(settings))
            if run.share != share:
                raise InputError(
                    f"`out` {str(path)!r} holds {_shown(run.share)} and not {_shown(share)}: choose another"
                )
            return True
        refuse_what_is_no_run(path)
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir():
            raise InputError(
                f"`out` {str(path)!r} stands in {str(above)!r}, which is a file: choose another"
            )
        return False

    @property
    def share(self) -> Share:
        """Which of the batches are made in this directory."""
        return Share(**self.about["shard"]) if self.about.get("shard") else WHOLE

    @property
    def cut(self) -> int | None:
        """The size of the batches that the run is cut into, which it keeps to when it goes on.

        Runs of before recorded the size of the first batch that fitted; ``None`` where there is none.
        """
        size: int | None = self.about.get("cut", {}).get("batch_size")
        return size or self.about.get("machine", {}).get("batch_size")

    def note(self, name: str, value: Any) -> None:
        """Say something more in ``run.json``.

        Args:
            name: of what is said.
            value: of plain values.
        """
        value = documents.plain(value)
        if self.about.get(name) != value:
            self.about[name] = value
            write_about(self.path, self.about)

    def note_cut(self, size: int) -> int:
        """Cut a run that was not cut yet; returns :attr:`cut`."""
        if self.cut is None:
            self.note("cut", {"batch_size": size})
        return self.cut or size

    def _repr_html_(self) -> str:
        tables = sorted(path.stem for path in self.path.glob("*.parquet"))
        about = {"command": self.command, "directory": str(self.path), "tables": ", ".join(tables)}
        known = ("model", "plan", "steps", "guidance", "seed", "captions")
        about |= {name: str(self.settings[name]) for name in known if name in self.settings}
        return as_table("Run", about)

    def has_table(self, name: str) -> bool:
        """Whether a table was written."""
        return self._table(name).exists()

    def drop_table(self, name: str) -> None:
        """Remove a table, if there is one."""
        self._table(name).unlink(missing_ok=True)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as Parquet."""
        write_whole(self._table(name), lambda partial: table.to_parquet(partial, index=False))

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        """Write a small table for people."""
        path = self.path / f"{name}.csv"
        write_whole(path, lambda partial: table.to_csv(partial, index=False))

    def read_table(self, name: str) -> pd.DataFrame:
        """Read a table.

        Raises:
            InputError: this run has no such table, or a damaged one, or its images were judged when
                ``relation`` meant something else.
        """
        if not self.has_table(name):
            if not self.share.is_whole:
                raise InputError(
                    f"{str(self.path)!r} is {_shown(self.share)} and has no table {name!r}: join all of them "
                    "by 'attnscope merge'"
                )
            raise InputError(
                f"{str(self.path)!r} has no table {name!r}: the run did not finish; "
                f"give the same '{self.command}' command again"
            )
        table = read_whole(self._table(name), self.command)
        if of_the_old_reading(table):
            option = " with `frontier`" if self.command == "bench" else ""
            raise InputError(
                f"{str(self.path)!r} was judged when 'relation' meant the axis alone, whichever thing "
                f"stood where: give the same '{self.command}' command{option} again, which judges the "
                "images that are there anew"
            )
        return table

    def write_part(self, name: str, table: pd.DataFrame, number: int | None = None) -> None:
        """Keep what there is of a table so far, batch by batch, until :meth:`finish_table`.

        Args:
            name: of the table; it may have folders.
            table: the part.
            number: by which parts are ordered, such as the ``prompt_id`` of its first row; ``None`` is
                behind all others.
        """
        if number is None:
            number = max(map(_number, self._parts(name)), default=-1) + 1
        path = self._part(name, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda partial: table.to_parquet(partial, index=False))

    def has_parts(self, name: str) -> bool:
        """Whether :meth:`write_part` kept anything of a table."""
        return bool(self._parts(name))

    def read_parts(self, name: str) -> list[pd.DataFrame]:
        """What :meth:`write_part` kept, in its order.

        Raises:
            InputError: one of them is damaged.
        """
        return [read_whole(path, self.command) for path in self._parts(name)]

    def numbered_parts(self, name: str) -> dict[int, pd.DataFrame]:
        """The same, by the number that each was written under.

        Raises:
            InputError: one of them is damaged.
        """
        return {_number(path): read_whole(path, self.command) for path in self._parts(name)}

    def known(self, name: str) -> set[int]:
        """The ``prompt_id`` of all that is there of a table, in one piece or in parts.

        A part counts if all of its batch is there: parts of other tables, and the files that they name.

        Args:
            name: of the table whose part is a batch's last.
        """
        return self._known(name, self.broken(name))

    def _known(self, name: str, broken: Collection[int] = ()) -> set[int]:
        parts = [path for path in self._parts(name) if _number(path) not in broken]
        parts += [self._table(name)] if self.has_table(name) else []
        tables = [read_whole(path, self.command, ["prompt_id"]) for path in parts]
        return {int(number) for table in tables for number in table["prompt_id"]}

    def broken(self, name: str) -> dict[int, str]:
        """What is missing of batches that were written whole: somebody removed it, or did not copy it.

        Args:
            name: of the table whose part is a batch's last.

        Returns:
            By the number of a batch's parts, the first file that is not there, or empty, as a machine that lost
            its power may leave it.

        Raises:
            InputError: a part is damaged.
        """
        broken = {}
        tables = [name, *(other for other in self._beside(name) if not self.has_table(other))]
        for number in map(_number, self._parts(name)):
            parts = [self._part(one, number) for one in tables]
            files = [
                file for part in parts if part.exists() for file in files_named(part, self.command)
            ]
            wanted = [*parts, *(self.path / file for file in files)]
            if missing := [file for file in wanted if not _has_content(file)]:
                broken[number] = missing[0].relative_to(self.path).as_posix()
        return broken

    def forget(self, name: str, numbers: Collection[int]) -> None:
        """Remove what is left of batches, so that they are made again.

        Args:
            name: of the table whose part is a batch's last.
            numbers: of the batches' parts.
        """
        for one in (name, *self._beside(name)):
            self.drop_parts(one, numbers)

    def check_complete(self, name: str) -> None:
        """Refuse to finish a table of which something is missing; one that is there was complete.

        Args:
            name: of the table whose part is a batch's last.

        Raises:
            InputError: something is.
        """
        if self.has_table(name):
            return
        again = f"give the same '{self.command}' command again, which makes what is missing"
        for missing in self.broken(name).values():
            raise InputError(f"{str(self.path)!r} lacks {missing!r}: restore it, or {again}")
        wanted = {int(number) for number in self.read_table("prompts")["prompt_id"]}
        if left := wanted - self._known(name):
            raise InputError(
                f"{str(self.path)!r} lacks {len(left)} of {len(wanted)} prompts, the first {min(left)}: {again}"
            )

    def finish_table(self, name: str, joined: Callable[[list[pd.DataFrame]], pd.DataFrame]) -> None:
        """Write a table out of its parts, which are not needed any more; nothing if there are none.

        A table that is there was written when all of its parts were, so those that are left are only to be
        removed: a process that was killed did not come to it.

        Args:
            name: of the table.
            joined: makes one table of the parts.
        """
        if not self.has_table(name) and self._parts(name):
            self.write_table(name, joined(self.read_parts(name)))
        self.drop_parts(name)

    def drop_parts(self, name: str, numbers: Collection[int] | None = None) -> None:
        """Remove parts of a table.

        Args:
            name: of the table.
            numbers: of the parts; ``None`` is all.
        """
        for path in self._parts(name):
            if numbers is None or _number(path) in numbers:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other parts, or none at all
            (self.path / "parts").rmdir()

    def _beside(self, name: str) -> list[str]:
        """Tables whose parts are written before those of another, batch by batch."""
        contents = CONTENTS.get(self.command)
        if contents is None:
            return []
        folder, slash, table = name.rpartition("/")
        beside = {other: folder + slash + other for other in contents.batches.get(table, ())}
        return [
            of for other, of in beside.items() if other not in contents.partly or self._parts(of)
        ]

    def _parts(self, name: str) -> list[Path]:
        found = (self.path / "parts").glob(f"{name}-*.parquet")
        return sorted(found, key=_number)

    def _part(self, name: str, number: int) -> Path:
        return self.path / "parts" / f"{name}-{number:05d}.parquet"

    def _table(self, name: str) -> Path:
        return self.path / f"{name}.parquet"


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _number(part: Path) -> int:
    """Under which a part was written."""
    return int(part.stem.rpartition("-")[2])


def default_path(command: str, model: str, settings: Any) -> Path:
    """``runs/<command>-<model>-<digest of the settings>``: the same command finds its run again."""
    text = documents.text(plain_settings(settings), indent=None, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = Path(model).resolve().name if is_folder(model) else model.replace("/", "--")
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return Path("runs") / f"{command}-{name}-{digest}"


def key_of(name: str) -> str:
    """The name of an arm or a plan as folders of a run have it."""
    return re.sub(r"[^\w.+=-]+", "-", name)


def plain_settings(settings: Any) -> dict[str, Any]:
    """A settings dataclass as it reads back from JSON.

    A setting that came later, marked by ``metadata={"later": True}``, is left out where it is ``None``,
    so that runs of before are still known by their settings and their names.
    """
    plain: dict[str, Any] = documents.plain(dataclasses.asdict(settings))
    later = {field.name for field in dataclasses.fields(settings) if field.metadata.get("later")}
    return {name: value for name, value in plain.items() if name not in later or value is not None}


def refuse_difference(path: Path, run: Run, command: str, wanted: dict[str, Any]) -> None:
    """Refuse a run in a directory that is of another command or of other settings.

    Raises:
        InputError: it is, and in which of them.
    """
    if run.command != command:
        raise InputError(f"`out` {str(path)!r} holds a run of '{run.command}': choose another")
    names = {*run.settings, *wanted}
    other = sorted(n for n in names if run.settings.get(n) != wanted.get(n))
    if other:
        differences = ", ".join(
            f"{name} is {run.settings.get(name)!r} there and {wanted.get(name)!r} here"
            for name in other
        )
        raise InputError(f"`out` {str(path)!r} holds a run of other settings: {differences}")


def refuse_what_is_no_run(path: Path) -> None:
    """Refuse to make a run where something else is; an empty directory is nothing.

    Raises:
        InputError: it is.
    """
    if path.exists() and (not path.is_dir() or any(map(_is_somebodys, path.iterdir()))):
        raise InputError(f"`out` {str(path)!r} exists and is no run directory: choose another")


def _is_somebodys(path: Path) -> bool:
    """Whether a file is not one that this process writes, or left that was killed before there was a ``run.json``."""
    return not path.name.startswith(PREFIX) and not any(
        path.absolute() in (one, *one.parents) for one in ours
    )


def _shown(share: Share) -> str:
    return "all of the batches" if share.is_whole else f"shard {share}"
