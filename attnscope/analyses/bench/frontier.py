"""What does speed cost in quality? Images of every arm of a benchmark, and speed beside how good they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses.bench.arms import BASELINE, BenchSettings, Contender, reason_of
from attnscope.images import as_png
from attnscope.metrics.summaries import DIFFERENCE, FAMILY
from attnscope.models.calling import check_made, frames, images_of
from attnscope.runs.batches import is_memory
from attnscope.runs.columns import Comparison
from attnscope.runs.crew import ALONE, Crew, Made, Task
from attnscope.runs.cut import batches_left
from attnscope.runs.folder import Run, key_of
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel, RandomModel

COMPARED = Comparison(cell=("model",), column="arm", baseline=BASELINE)
"""Every arm with the pipeline as it is."""


def sample_arms(
    model: ChosenModel | RandomModel,
    arms: Sequence[Contender],
    settings: BenchSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    run: Run,
    *,
    digest: str,
    batch_size: int,
    crew: Crew = ALONE,
    running: Collection[str] | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Images of all arms, of the same prompts and seeds, for the measures of quality.

    Args:
        model: that makes them; it is left as it was.
        arms: all that make images.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each.
        run: where the images go; what is there is not made again.
        digest: of the prompts: images of others may be there, too.
        batch_size: images made at once; halved where memory runs out.
        crew: who makes the batches, and which of them.
        running: names of the arms that are known to run; ``None`` if all may.
        progress: told how many images are there, first those of before, and of an optional arm that
            makes none, while others go on.

    Returns:
        A row per image (of a video, per frame): ``model``, ``arm``, ``key`` (which names files),
        ``prompt_id``, ``frame`` and ``path`` in the run directory.
    """
    pairs = list(zip(prompts, given, strict=True))
    wanted = [arm for arm in arms if running is None or arm.name in running]
    known = {arm.name: known_of(run, digest, arm.name, prompts) for arm in wanted}
    cut, failed = run.note_cut(batch_size), set[str]()
    size = min(batch_size, cut)
    per_arm = -(-len(pairs) // cut)

    def tasks() -> Iterator[Task]:
        for place, arm in enumerate(arms):
            if arm not in wanted:
                continue
            work = Contending(model, settings, arm, f"{digest}-{arm.key}")
            left = batches_left(pairs, cut, known[arm.name], crew.share, first=place * per_arm)
            for number, batch in left:
                if arm.name not in failed:
                    yield Task(number, batch, work)

    def opening(now: int) -> Run:
        if now < size:
            run.note_machine({"batch_size": now})
        return run

    kept = Kept(progress, run.path, opening, size, cut=cut)
    progress.advance(sum(map(len, known.values())))
    for done in crew.each(tasks(), size=kept.batch_size, progress=kept):
        work = done.task.work
        assert isinstance(work, Contending), "no others were asked for"
        if done.made.failed:
            if work.arm.name not in failed:
                progress.failed(work.arm.name, done.made.failed)
            failed.add(work.arm.name)
            continue
        kept.keep(done.made, done.items[0][0].prompt_id)
        progress.advance(len(done.items))
    names = [arm.name for arm in wanted if arm.name not in failed]
    return table_of_images(run, names, prompts, digest)


def table_of_images(
    run: Run, arms: Iterable[str], prompts: Sequence[Prompt], digest: str
) -> pd.DataFrame:
    """What :func:`sample_arms` returns, of images that are there; arms are named."""
    rows = []
    for arm in arms:
        key = f"{digest}-{key_of(arm)}"
        folder = run.path / "images" / key
        about = {"model": run.settings["model"], "arm": arm, "key": key}
        rows += [
            {**about, "prompt_id": prompt.prompt_id, "frame": frame,
             "path": path.relative_to(run.path).as_posix()}
            for prompt in prompts
            for frame, path in enumerate(sorted(folder.glob(f"{prompt.prompt_id:05d}-*.png")))
        ]  # fmt: skip
    return pd.DataFrame(rows)


def known_of(run: Run, digest: str, arm: str, prompts: Sequence[Prompt]) -> set[int]:
    """Of which prompts an arm's images are there."""
    folder = run.path / "images" / f"{digest}-{key_of(arm)}"
    return {prompt.prompt_id for prompt in prompts if (folder / f"{_stem(prompt, 0)}.png").exists()}


@dataclass(frozen=True)
class Contending:
    """Makes the images of a batch of an arm; a :class:`attnscope.runs.crew.Work`.

    Args:
        model: that makes them.
        settings: of the run.
        arm: what to make.
        key: folder of its images.
    """

    model: ChosenModel | RandomModel
    settings: BenchSettings
    arm: Contender
    key: str

    def __call__(self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int) -> Made:
        """Make them; of an arm that nobody asked for, say why it makes none."""
        try:
            images = self._images(pipe, items)
        except Exception as error:
            if not self.arm.optional or (is_memory(error) and len(items) > 1):
                raise
            return Made(failed=reason_of(error))
        files = {
            f"images/{self.key}/{_stem(prompt, frame)}.png": as_png(picture)
            for (prompt, _), image in zip(items, images, strict=True)
            for frame, picture in reversed(list(enumerate(frames(image))))  # the first last
        }
        return Made(files)

    def _images(self, pipe: Any, items: Sequence[tuple[Prompt, Any]]) -> Sequence[Any]:
        import torch

        ids = [prompt.prompt_id for prompt, _ in items]
        with torch.inference_mode():
            keywords = self.settings.keywords(pipe, ids, **self.model.described.options)
            with self.arm.on(pipe) as call:
                made = call([item for _, item in items], **keywords)
        images: Sequence[Any] = images_of(made)
        check_made(pipe, images, keywords)
        return images


def _stem(prompt: Prompt, frame: int) -> str:
    return f"{prompt.prompt_id:05d}-{frame:03d}"


def speed_and_quality(arms: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Speed beside quality.

    Args:
        arms: of :func:`attnscope.analyses.bench.speedups.by_arm`.
        quality: of :func:`attnscope.metrics.summaries.summarise`, of the same arms.

    Returns:
        A row per arm and measure: ``arm``, ``measure``, ``value``, ``low``, ``high``, ``n``,
        ``prompts``, ``features``, ``reference``, the difference to the baseline with what is told of it
        (``difference`` to ``needed``, ``p_holm`` and ``p_bh``), ``speedup``, ``speedup_low``,
        ``speedup_high``.
    """
    columns = ["arm", "measure", "value", "low", "high", "n", "prompts", "features", "reference",
               *DIFFERENCE, *FAMILY]  # fmt: skip
    speeds = arms[["arm", "speedup", "speedup_low", "speedup_high"]]
    return quality[columns].merge(speeds, on="arm", how="left")
