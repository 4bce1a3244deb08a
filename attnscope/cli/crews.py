"""Who makes the batches of a command: what was typed, to a crew and to who is told how far it is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnscope.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from attnscope.cli.options import OutputOptions, WorkerOptions
    from attnscope.runs.crew import Crew
    from attnscope.runs.folder import Run
    from attnscope.runs.progress import Progress


@dataclass(frozen=True)
class Team:
    """Who works, and who is told; as a context, for as long as they do.

    Args:
        crew: makes batches.
        progress: is told how far it is.
    """

    crew: Crew
    progress: Progress

    def device(self, asked: str) -> str:
        """The device that models are on, as ``--device`` says."""
        return self.crew.device(asked)

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        from attnscope.cli.console import messages

        self.crew.close()
        if kind is KeyboardInterrupt:
            messages.print(
                "stopped: the batches that were made are kept, and the same command goes on after them",
                soft_wrap=True,
            )


def team(asked: WorkerOptions, output: OutputOptions) -> Team:
    """Those who work for a command.

    Raises:
        InputError: options do not go together, or Ray is not installed.
    """
    from attnscope.cli.console import Bars
    from attnscope.runs.crew import Alone
    from attnscope.runs.cut import WHOLE, Share
    from attnscope.runs.events import Events
    from attnscope.runs.on_ray import RayCrew

    share = WHOLE if asked.shard is None else Share.parse(asked.shard)
    if asked.gpus_per_worker is not None and asked.workers is None and asked.ray is None:
        raise InputError("--gpus-per-worker is of --workers or --ray: give one of them, too")
    crew: Crew = Alone(share)
    if asked.workers is not None or asked.ray is not None:
        crew = RayCrew(asked.workers, asked.ray, asked.gpus_per_worker, share)
    progress: Progress = Bars(quiet=output.silent)
    if asked.events is not None:
        progress = Events(progress, asked.events)
    return Team(crew, progress)


def placed(path: Path, crew: Crew) -> Path:
    """Where a run goes if no place was said: shards of it have directories of their own."""
    if crew.share.is_whole:
        return path
    return path.with_name(f"{path.name}-shard-{crew.share.number}-of-{crew.share.of}")


def tell_shards(runs: Sequence[Run], output: OutputOptions) -> None:
    """Print that a shard of every run is there, and what comes next."""
    from attnscope.cli.console import results, show_json, show_places

    if output.as_json:
        documents = [{"run": str(run.path), "shard": str(run.share)} for run in runs]
        show_json(documents if len(runs) > 1 else documents[0])
        return
    for run in runs:
        if output.quiet:
            print(run.path)
            continue
        results.print(
            f"shard {run.share} is there; when all are: attnscope merge RUN… --out DIR",
            soft_wrap=True,
        )
        show_places(run, [])


def tell_joined(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Print that all shards are there of what of a run can be shared out, and what comes next."""
    from attnscope.cli.console import results, show_json, show_places

    if as_json:
        show_json({"run": str(run.path), "finished": False})
        return
    if quiet:
        print(run.path)
        return
    results.print(
        f"all shards are there; the same command with --out {shlex.quote(str(run.path))} and without --shard "
        "goes on from them",
        soft_wrap=True,
    )
    show_places(run, [])
