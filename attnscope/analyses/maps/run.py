"""A run of ``attnscope maps``: maps of every prompt as a file, and numbers about them as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnscope.analyses.maps.beside import BESIDE, Beside, asked_for
from attnscope.analyses.maps.memory import foreseen
from attnscope.analyses.maps.words import Group, groups_of
from attnscope.analyses.opening import make_left, open_for, scheduler_of
from attnscope.errors import InputError
from attnscope.images import as_png
from attnscope.models.calling import default_batch_size, frames
from attnscope.models.schedulers import levels_of
from attnscope.observers import named_maps
from attnscope.plans.text_form import parse
from attnscope.runs.columns import FINAL
from attnscope.runs.crew import ALONE, Crew, Made
from attnscope.runs.folder import Run
from attnscope.runs.holding import one_at_a_time
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.runs.sampling import Sampling
from attnscope.tables import concatenate

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnscope.models.chosen import ChosenModel
    from attnscope.observers.clean_images import CleanEstimates

_PARTS = {
    "pictures": ("prompt_id", "step", "frame"),
    "distances": ("prompt_id", "step", "branch", "site"),
}
"""Tables that grow with every batch, beside the main one, and what tells their rows apart."""


@dataclass(frozen=True, kw_only=True)
class MapsSettings(Sampling):
    """What decides the maps, besides how images are sampled.

    Args:
        captions: where they come from.
        prompts_digest: of the captions.
        plan: that is carried out, in its text form.
        words: and phrases that have maps; ``None`` is every word.
        looked_at: 0-based steps; ``None`` is all.
        sites: pattern of site names, or ``None`` for all.
        heads: whether every site and head has maps of its own.
        features: pattern of the names of sites whose outputs are shown by their principal components, or
            ``None`` for none.
        points: (x, y) of the image, from 0 to 1 of its width and height, from which it is seen where the
            image looks, or ``None`` for none.
    """

    captions: str
    prompts_digest: str
    plan: str
    words: tuple[str, ...] | None
    looked_at: tuple[int, ...] | None
    sites: str | None
    heads: bool
    features: str | None = field(default=None, metadata={"later": True})
    points: tuple[named_maps.Point, ...] | None = field(default=None, metadata={"later": True})


@one_at_a_time
def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: MapsSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> Run:
    """Watch where prompts of a run are attended to, as far as that is not there yet.

    Args:
        path: the run directory; it is made with the first batch.
        chosen: the model, which is loaded if something is to be made.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        crew: who makes the batches, and which of them.
        progress: told how far it is, and what the maps take.

    Returns:
        The run, with the tables ``prompts``, ``words``, ``pictures``, ``distances`` and ``attention``,
        and a file of maps a prompt; where they are asked for, ``features`` and ``points`` with files of
        theirs. Of a share of the batches, the parts of these tables.

    Raises:
        InputError: the directory holds another run, the model has no attention to text or none of the
            sites, a word is not in a prompt, or there is not the memory for the maps of an image.
    """
    from attnscope.analyses.checks import check_plan, check_sites, check_steps
    from attnscope.observers.attention_maps import TEXT_KINDS

    if Run.check(path, "maps", settings, crew.share) and Run(path).has_table("attention"):
        run = Run(path)
        finish(run)
        return run
    pipe = chosen.pipe
    check_sites(pipe, TEXT_KINDS, settings.sites)
    for kind in asked_for(settings):
        kind.check(pipe, settings)
    texts, options = [prompt.text for prompt in prompts], chosen.described.options
    check_plan(pipe, parse(settings.plan), settings.steps, texts, **options)
    steps = check_steps(pipe, settings.steps)
    if beyond := [step for step in settings.looked_at or () if not 0 <= step < steps]:
        raise InputError(f"steps {beyond} are not of this run: choose 0 to {steps - 1}")
    groups = [groups_of(pipe, prompt.text, settings.words, **options) for prompt in prompts]
    memory = foreseen(pipe, settings, groups, steps)
    size = batch_size
    if memory is not None:
        progress.say(memory.told)
        size = size or memory.batch(default_batch_size(pipe, chosen.device))
    kept = open_for(
        "maps", path, settings, chosen, prompts, size, progress, table="attention",
        about=scheduler_of(chosen), crew=crew,
    )  # fmt: skip
    asked = list(zip(prompts, given, groups, strict=True))
    work = Looking(chosen, settings, steps)
    make_left(kept, crew, asked, work, f"{chosen.name}: maps")
    run = kept.run
    run.write_table("prompts", table_of(prompts))
    run.write_table("words", _words(prompts, groups))
    if crew.share.is_whole:
        finish(run)
    return run


def finish(run: Run) -> None:
    """Write the tables of a run whose batches are all there.

    Args:
        run: with the tables ``prompts`` and ``words``, and parts of all others.

    Raises:
        InputError: something is missing of a batch.
    """
    run.check_complete("attention")
    for name, keys in (_PARTS | {kind.table: kind.keys for kind in BESIDE}).items():
        run.finish_table(name, partial(_once, keys))
    run.finish_table("attention", concatenate)


def _once(keys: Sequence[str], parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of parts; of a batch that was cut short some rows may be there twice."""
    table = concatenate(parts)
    return table.drop_duplicates([key for key in keys if key in table], keep="last")


_Asked = tuple[Prompt, Any, tuple[Group, ...]]


@dataclass(frozen=True)
class Looking:
    """Makes the maps of a batch; a :class:`attnscope.runs.crew.Work`.

    Args:
        model: that is watched.
        settings: of the run.
        steps: that it has.
    """

    model: ChosenModel
    settings: MapsSettings
    steps: int

    def __call__(self, pipe: Any, items: Sequence[_Asked], number: int) -> Made:
        """Watch, and say what is to be written."""
        seen = _seen(pipe, self.settings, items, self.steps, self.model.described.options)
        return _left(items, seen)


@dataclass(frozen=True)
class _Seen:
    """What came of a batch."""

    made: Sequence[Any]
    maps: named_maps.Maps
    attention: pd.DataFrame
    distances: pd.DataFrame
    estimates: dict[tuple[int, int], Image]
    beside: Sequence[Beside]


def _seen(
    pipe: Any, settings: MapsSettings, batch: Sequence[_Asked], steps: int, options: dict[str, Any]
) -> _Seen:
    from attnscope.hooks.trace import Trace
    from attnscope.observers.attention_maps import TEXT_KINDS, AttentionMaps
    from attnscope.observers.steps import StepDistance

    watching = AttentionMaps(
        [groups for _, _, groups in batch],
        steps=settings.looked_at,
        each="head" if settings.heads else "model",
        heads=settings.heads,
        sites=settings.sites,
    )
    moving = StepDistance(TEXT_KINDS, settings.sites)
    estimates = _estimates(pipe, settings.looked_at or range(steps), len(batch))
    beside = [kind(settings, steps) for kind in asked_for(settings)]
    others = [*([estimates] if estimates else []), *(one.observer for one in beside)]
    observers = [watching, moving, *others]
    ids = [prompt.prompt_id for prompt, _, _ in batch]
    with Trace(pipe, plan=settings.plan, observers=observers) as trace:
        made = settings.call(pipe, [given for _, given, _ in batch], ids, **options)
    levels = dict(enumerate(levels_of(pipe.scheduler) or ()))
    tables = []
    for observer in (watching, moving):
        table = trace.records(observer)
        sample = table.pop("sample").to_numpy()
        table = table.drop(columns="run")
        table.insert(0, "prompt_id", np.array(ids)[sample])
        table.insert(4, "log_snr", table["step"].map(levels).astype(float))
        tables.append(table)
    for one in beside:
        one.see(trace)
    pictures = estimates.images(pipe) if estimates else {}
    return _Seen(made, watching.maps(), tables[0], tables[1], pictures, beside)


def _estimates(pipe: Any, steps: Sequence[int], samples: int) -> CleanEstimates | None:
    """What shows the image on the way; ``None`` where there is no known way to it."""
    from attnscope.models.predictions import check_prediction
    from attnscope.observers.clean_images import CleanEstimates, decodes

    try:
        check_prediction(pipe.scheduler)
    except InputError:
        return None
    return CleanEstimates(tuple(steps), range(samples)) if decodes(pipe) else None


def _left(batch: Sequence[_Asked], seen: _Seen) -> Made:
    """Files first, then the table ``attention``, which says that they are there."""
    files: dict[str, bytes] = {}
    rows = []
    levels = seen.attention.drop_duplicates("step").set_index("step")
    log_snr = dict(zip(seen.attention["step"], seen.attention["log_snr"], strict=True))
    for place, (prompt, _, groups) in enumerate(batch):
        number = f"{prompt.prompt_id:05d}"
        own = seen.maps.of(place)
        files[f"maps/{number}.safetensors"] = named_maps.packed(
            own, prompt=prompt.text, kinds=[group.kind for group in groups],
            timesteps=[float(levels["timestep"][step]) for step in own.steps],
        )  # fmt: skip
        for frame, image in enumerate(frames(seen.made[place])):
            name = f"images/{number}" + (f"-{frame:03d}" if frame else "") + ".png"
            files[name] = as_png(image)
            rows.append((prompt.prompt_id, FINAL, frame, name))
        for (sample, step), image in seen.estimates.items():
            if sample == place:
                name = f"estimates/{number}-{step:03d}.png"
                files[name] = as_png(image)
                rows.append((prompt.prompt_id, step, 0, name))
    pictures = pd.DataFrame(rows, columns=["prompt_id", "step", "frame", "path"])
    pictures["maps"] = [f"maps/{number:05d}.safetensors" for number in pictures["prompt_id"]]
    prompts = [prompt for prompt, _, _ in batch]
    parts: dict[str, pd.DataFrame] = {}
    for one in seen.beside:
        files_beside, rows_beside = one.left(prompts, log_snr)
        files |= files_beside
        if rows_beside is not None:
            parts[one.table] = rows_beside
    parts |= {"pictures": pictures, "distances": seen.distances, "attention": seen.attention}
    return Made(files, parts, said=_told(seen.maps))


def _words(prompts: Sequence[Prompt], groups: Sequence[Sequence[Group]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (prompt.prompt_id, place, group.name, group.kind, group.encoder, list(group.positions))
            for prompt, own in zip(prompts, groups, strict=True)
            for place, group in enumerate(own)
        ],
        columns=["prompt_id", "place", "word", "kind", "encoder", "positions"],
    )


def _told(maps: named_maps.Maps) -> str:
    """What the axes of the maps of an image are."""
    own = maps.values[0]
    sizes = " x ".join(
        f"{size} {axis}" for size, axis in zip(own.shape, maps.axes[1:], strict=True)
    )
    return f"maps of an image: {sizes}, in half precision"
