"""Shards of a run, made in directories of their own, become the run that one worker would have made."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.files import make_folder, write_whole
from attnscope.runs.about import COMPUTING
from attnscope.runs.contents import CONTENTS, is_finished
from attnscope.runs.cut import cut
from attnscope.runs.folder import Run, refuse_difference, refuse_what_is_no_run
from attnscope.runs.holding import held, hold
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt

if TYPE_CHECKING:
    from attnscope.metrics.choosing import Quality

_MATTER = (*COMPUTING, "device", "threads")
"""What is known of a machine that may change the last bits of a result."""
_LEARNED = ("quality", "pictured")
"""What ``run.json`` says that a shard may add to a run of which all batches are there."""


@dataclass(frozen=True)
class Judging:
    """What merging needs where images are judged.

    Args:
        device: a torch device.
        offline: whether to use only what is on this machine.
    """

    device: str = "cpu"
    offline: bool = False

    def quality(self, run: Run, models: Sequence[str], prompts: Sequence[Prompt]) -> Quality:
        """By what the shards say that images are to be judged.

        Raises:
            InputError: they do not say.
        """
        from attnscope.metrics.choosing import Quality

        if "quality" not in run.about:
            raise InputError(
                f"{str(run.path)!r} does not say what its images are judged by: its shard did not come to "
                "its end, so give its command again"
            )
        return Quality.again(
            run.about["quality"], models, prompts, device=self.device, offline=self.offline
        )


@dataclass(frozen=True)
class _Kind:
    """How runs of a command are joined.

    Args:
        counted: what is counted into batches one after the other, each by a name, which of a table is that of
            its parts, and by the ``prompt_id`` of all that is there; what is in one list is counted on, in
            another from 0.
        finish: writes the tables of a run that has all batches.
    """

    counted: Callable[[Run], list[list[tuple[str, set[int]]]]]
    finish: Callable[[Run, Judging, Progress], None]


def merge(
    runs: Sequence[Run], out: Path, *, judging: Judging | None = None, progress: Progress = SILENT
) -> Run:
    """Join shards to one run, and finish it: its tables are those of a run that was made in one place.

    Args:
        runs: all shards of a run, in any order; they are left as they are.
        out: the directory of the run; a merge that was stopped goes on, and one that came to its end takes
            what shards have learned since, such as how images are to be judged.
        judging: what is needed where images are judged.
        progress: told how far it is.

    Raises:
        InputError: they do not belong together, some are missing or not finished, or the directory holds
            something else.
    """
    ordered = _checked(runs)
    first = ordered[0]
    kind = _KINDS[first.command]
    _refuse_gaps(ordered, kind)
    if out.resolve() in {run.path.resolve() for run in ordered}:
        raise InputError(f"`out` {str(out)!r} is one of the shards: choose another")
    if (out / "run.json").exists():
        known = Run(out)
        refuse_difference(out, known, first.command, first.settings)
        if "merged" not in known.about:
            raise InputError(f"`out` {str(out)!r} holds a run that was not merged: choose another")
        if _is_of(known, ordered):
            return known
    else:
        refuse_what_is_no_run(out)
    make_folder(out)
    with held(out):
        hold(out)
        # Said first, so that a merge that is stopped can be told from what is somebody's.
        merged = Run.joined(out, ordered)
        _copy(ordered, merged, progress)
        kind.finish(merged, judging or Judging(), progress)
        # A main table alone may be of a merge that was stopped while it judged.
        merged.note("finished", True)
    return merged


def _is_of(merged: Run, ordered: Sequence[Run]) -> bool:
    """Whether a merge came to its end, and the shards have learned nothing since."""
    first = ordered[0]
    return (
        bool(merged.about.get("finished"))
        and is_finished(merged)
        and all(merged.about.get(name) == first.about.get(name) for name in _LEARNED)
        and all(
            merged.has_table(name)
            for name in CONTENTS[first.command].batches
            if any(run.has_parts(name) for run in ordered)
        )
    )


def is_done(shard: Run) -> bool:
    """Whether a shard has all of its batches, so that it waits for the others alone.

    Args:
        shard: of a run.
    """
    kind = _KINDS.get(shard.command)
    if kind is None or not shard.has_table("prompts"):
        return False
    counted = kind.counted(shard)
    if not counted:  # its images are files, and it says at its end what they are of
        return "pictured" in shard.about
    return all(
        wanted <= known
        for number, _, wanted, known in _batches(counted, *_cut_of(shard))
        if shard.share.has(number)
    )


def _checked(runs: Sequence[Run]) -> list[Run]:
    """The shards in their order.

    Raises:
        InputError: they do not belong together.
    """
    if not runs:
        raise InputError("there are no runs to merge: name the directories of all shards")
    first = runs[0]
    for run in runs:
        if run.share.is_whole:
            raise InputError(f"{str(run.path)!r} is no shard of a run: it was made without `shard`")
        if run.command not in _KINDS:
            raise InputError(
                f"{str(run.path)!r} holds a run of '{run.command}', which is not merged"
            )
        _refuse_other(first, run)
    ordered = sorted(runs, key=lambda run: run.share.number)
    for before, run in pairwise(ordered):
        if before.share == run.share:
            raise InputError(
                f"{str(before.path)!r} and {str(run.path)!r} are both shard {run.share}: name one of them"
            )
    there = {run.share.number for run in runs}
    missing = [str(n) for n in range(1, first.share.of + 1) if n not in there]
    if missing:
        raise InputError(
            f"of {first.share.of} shards, {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
            "missing: name all directories"
        )
    return ordered


def _refuse_other(first: Run, run: Run) -> None:
    """Refuse a shard of another run than the first, or that was cut, made or to be judged otherwise."""
    names = sorted({*first.settings, *run.settings})
    facts: list[tuple[str, Any, Any]] = [
        ("the command", first.command, run.command),
        *((name, first.settings.get(name), run.settings.get(name)) for name in names),
        ("shards", first.share.of, run.share.of),
        ("batch size", first.cut, run.cut),
        *((name, sorted(_values(first, name)), sorted(_values(run, name))) for name in _MATTER),
        ("quality", first.about.get("quality"), run.about.get("quality")),
        ("captions", first.about.get("pictured"), run.about.get("pictured")),
    ]
    for name, one, other in facts:
        if one != other:
            raise InputError(
                f"{str(first.path)!r} and {str(run.path)!r} do not belong together: {name} is "
                f"{_told(one)} and {_told(other)}"
            )


def _values(run: Run, name: str) -> set[str]:
    """All values that are known of a machine, those of later included."""
    machines = [
        run.about.get("machine", {}),
        *(one["machine"] for one in run.about.get("later", ())),
    ]
    # one GPU is as good as another of a machine
    return {str(machine[name]).partition(":")[0] for machine in machines if name in machine}


def _told(value: Any) -> str:
    return (" and ".join(map(str, value)) or "unknown") if isinstance(value, list) else repr(value)


def _refuse_gaps(ordered: Sequence[Run], kind: _Kind) -> None:
    """Refuse shards in which batches are missing, or that have the same ones."""
    for run in ordered:
        if not run.has_table("prompts"):
            raise InputError(
                f"shard {run.share} in {str(run.path)!r} is not finished: give its command again"
            )
    ids, size = _cut_of(ordered[0])
    told: dict[int, list[int]] = {}
    there: dict[str, int] = {}
    for run in ordered:
        counted = kind.counted(run)
        for missing in (
            file for listed in counted for name, _ in listed for file in run.broken(name).values()
        ):
            raise InputError(
                f"shard {run.share} in {str(run.path)!r} lacks {missing!r}: restore it, or give its command "
                "again, which makes the batch again"
            )
        for number, name, wanted, known in _batches(counted, ids, size):
            mine = run.share.has(number)
            if mine and not wanted <= known:
                told.setdefault(run.share.number, []).append(number)
            if (
                wanted & known
                and there.setdefault(f"{name} {number}", run.share.number) != run.share.number
            ):
                raise InputError(
                    f"batch {number} is in shards {there[f'{name} {number}']} and {run.share.number}: one of "
                    "the directories holds what is not of it"
                )
    for share, numbers in told.items():
        run = ordered[share - 1]
        shown = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
        raise InputError(
            f"shard {run.share} in {str(run.path)!r} lacks {len(numbers)} of its batches ({shown}): give "
            "its command again"
        )


def _cut_of(run: Run) -> tuple[list[int], int]:
    """The ``prompt_id`` of all prompts of a run, and how many make a batch."""
    ids = [int(number) for number in run.read_table("prompts")["prompt_id"]]
    return ids, run.cut or len(ids)


def _batches(
    counted: list[list[tuple[str, set[int]]]], ids: Sequence[int], size: int
) -> Iterator[tuple[int, str, set[int], set[int]]]:
    """Number and name of every batch, its prompts, and those that are there of all."""
    for listed in counted:
        number = 0
        for name, known in listed:
            for batch in cut(ids, size):
                yield number, name, set(batch), known
                number += 1


def _copy(ordered: Sequence[Run], merged: Run, progress: Progress) -> None:
    """Copy what shards left, but for what says what they are; of what several have, that of the first.

    What an earlier merge copied is left alone as long as it is the same, by its size and time of change or
    by its content; the tables that it made are made again.
    """
    from attnscope.metrics.choosing import JUDGED  # which a list of runs does not need

    contents = CONTENTS[merged.command]
    if contents.batches:
        (merged.path / JUDGED).unlink(missing_ok=True)
        for name in contents.tables:
            if not any(run.has_table(name) for run in ordered):
                merged.drop_table(name)
        # A shard may have made a batch otherwise since.
        for path in (merged.path / "parts").rglob("*.parquet"):
            if not any((run.path / path.relative_to(merged.path)).exists() for run in ordered):
                path.unlink()
    taken = {Path("run.json")}
    with progress.stretch("shards", len(ordered)):
        for run in ordered:
            for path in sorted(run.path.rglob("*")):
                own = path.relative_to(run.path)
                if path.is_dir() or path.name.startswith(".") or own in taken:
                    continue
                taken.add(own)
                place = merged.path / own
                if not place.exists() or not filecmp.cmp(path, place):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(place, partial(shutil.copy2, path))
            progress.advance()


def _prompts(run: Run) -> list[Prompt]:
    table = run.read_table("prompts")
    return [Prompt(int(n), text) for n, text in zip(table["prompt_id"], table["text"], strict=True)]


def _parts(*names: str) -> Callable[[Run], list[list[tuple[str, set[int]]]]]:
    """Tables, each counted from 0; one that no shard has was not asked for."""

    def counted(run: Run) -> list[list[tuple[str, set[int]]]]:
        return [[(name, run.known(name))] for name in names]

    return counted


def _convergence(run: Run) -> list[list[tuple[str, set[int]]]]:
    """The controls count only if they were begun."""
    controls = run.known("controls")
    return _parts("records")(run) + ([[("controls", controls)]] if controls else [])


def _ablation(run: Run) -> list[list[tuple[str, set[int]]]]:
    from attnscope.analyses.ablation.arms import AblationSettings, arms_of

    arms = arms_of(AblationSettings.of(run.settings))
    tables = [f"{arm.key}/images" for arm in arms]
    return [[(table, run.known(table)) for table in tables]]


def _tuning(run: Run) -> list[list[tuple[str, set[int]]]]:
    from attnscope.analyses.tuning.calibration import measured_of

    return [measured_of(run)]


def _finish_convergence(run: Run, judging: Judging, progress: Progress) -> None:
    from attnscope.analyses.convergence.run import finish

    finish(run)


def _finish_generate(run: Run, judging: Judging, progress: Progress) -> None:
    from attnscope.analyses import judged
    from attnscope.analyses.generation import finish

    finish(run)
    if "quality" in run.about:
        quality = judging.quality(run, [run.settings["model"]], _prompts(run))
        judges = quality.judges()
        with quality.judging(run.path):
            judged.write(run, judges, progress)


def _finish_plans(run: Run, judging: Judging, progress: Progress) -> None:
    from attnscope.analyses.grid.run import finish

    finish(run)


def _finish_maps(run: Run, judging: Judging, progress: Progress) -> None:
    from attnscope.analyses.maps.run import finish

    finish(run)


def _finish_ablation(run: Run, judging: Judging, progress: Progress) -> None:
    from attnscope.analyses.ablation.arms import AblationSettings
    from attnscope.analyses.ablation.run import finish

    settings = AblationSettings.of(run.settings)
    quality = judging.quality(run, [subject.model for subject in settings.subjects], _prompts(run))
    finish(run, settings, quality, quality.judges(), progress)


def _finish_bench(run: Run, judging: Judging, progress: Progress) -> None:
    from attnscope.analyses.bench.arms import ONLY_WATCH
    from attnscope.analyses.bench.frontier import known_of, table_of_images
    from attnscope.analyses.bench.run import finish

    prompts, digest = _prompts(run), run.about["pictured"]
    times = run.read_table("arms").dropna(subset=["seconds"])
    arms = []
    for arm in [arm for arm in times["arm"] if arm not in ONLY_WATCH]:
        count = len(known_of(run, digest, arm, prompts))
        if count == len(prompts):
            arms.append(arm)
        else:
            progress.failed(arm, f"the shards have {count} of {len(prompts)}")
    quality = judging.quality(run, [run.settings["model"]], prompts)
    images = table_of_images(run, arms, prompts, digest)
    finish(run, images, quality, quality.judges(), prompts, progress)


_KINDS: dict[str, _Kind] = {
    "ablate": _Kind(_ablation, _finish_ablation),
    "bench": _Kind(lambda run: [], _finish_bench),
    "convergence": _Kind(_convergence, _finish_convergence),
    "generate": _Kind(_parts("images"), _finish_generate),
    "generate-plans": _Kind(_parts("images"), _finish_plans),
    "maps": _Kind(_parts("attention"), _finish_maps),
    "tune": _Kind(_tuning, lambda run, judging, progress: None),  # its command goes on
}
"""By command."""
