"""What was run: settings, versions, machine; and runs of which nothing more is known."""

from __future__ import annotations

from typing import Any

from attnscope.analyses.side_by_side import flat
from attnscope.errors import InputError
from attnscope.pages.parts import Facts, Section, Table
from attnscope.plain import how_many
from attnscope.runs.contents import CONTENTS, is_finished
from attnscope.runs.folder import Run

_LEADING = ("model", "steps", "scheduler", "guidance", "plan", "limit", "seed", "attention")
_WORDS = {"limit": "prompts", "prompts_digest": "digest of the prompts", "dtype": "data type"}


def check_finished(run: Run) -> None:
    """Refuse a run that did not come to its end.

    Raises:
        InputError: it did not, or is a shard.
    """
    if not is_finished(run) and not run.share.is_whole:
        raise InputError(
            f"{str(run.path)!r} is a shard of a run, which pages are not made of: join all of them by "
            "'attnscope merge'"
        )
    if not is_finished(run):
        raise InputError(
            f"{str(run.path)!r} did not come to its end: give the same '{run.command}' command again, "
            "which goes on where it stopped"
        )


def title_of(run: Run) -> str:
    """What a page of a run is called."""
    models = run.settings.get("subjects") or [run.settings]
    named = ", ".join(dict.fromkeys(str(m.get("model", "")) for m in models if isinstance(m, dict)))
    command = f"{run.command[:1].upper()}{run.command[1:]}"
    return f"{command} · {named}" if named else command


def leading(run: Run) -> list[tuple[str, str]]:
    """The few settings that a reader asks for first."""
    settings = dict(run.settings)
    subjects = settings.get("subjects") or []
    if len(subjects) == 1:
        settings = {**subjects[0], **settings}
    found = [(_word(k), _said(settings[k])) for k in _LEADING if settings.get(k) is not None]
    if settings.get("width") and settings.get("height"):
        found.append(("size", f"{settings['width']}x{settings['height']}"))
    return found


def what_was_run(run: Run) -> Section:
    """All settings, the versions and the machine."""
    machine = dict(run.about.get("machine", {}))
    where = [("run directory", str(run.path)), ("begun", str(run.about.get("created", "-")))]
    parts = [
        Facts("Settings", _rows(run.settings)),
        Facts("Run, versions and machine", [*where, *_rows(machine)]),
    ]
    for change in run.about.get("later", []):
        parts.append(Facts(f"Other since {change.get('since', '')}", _rows(change["machine"])))
    return Section("What was run", parts)


def prompts(run: Run) -> Section | None:
    """The captions, if the run has a table of them."""
    if not run.has_table("prompts"):
        return None
    table = run.read_table("prompts")
    return Section("Prompts", [Table(how_many(len(table), "prompt"), table, {"prompt_id": "id"})])


def every_table(run: Run) -> Section:
    """All tables of a run as they are."""
    names = CONTENTS[run.command].tables if run.command in CONTENTS else ()
    tables = [Table(name, run.read_table(name)) for name in names if run.has_table(name)]
    return Section("Tables", tables)


def _rows(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Settings as people write them: lists with commas, a dash where there is none."""
    return [(_word(key), _plainly(value)) for key, value in flat(settings).items()]


def _plainly(value: str) -> str:
    if value == "null":
        return "-"
    if value.startswith("[") and value.endswith("]") and "[" not in value[1:]:
        return value[1:-1].replace('"', "") or "-"
    return value


def _word(key: str) -> str:
    return _WORDS.get(key, key.replace("_", " "))


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
