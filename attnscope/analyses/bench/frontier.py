"""What does speed cost in quality? Images of every arm of a benchmark, and speed beside how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attnscope.analyses.bench.arms import BASELINE, BenchSettings, Contender, reason_of
from attnscope.metrics.summaries import DIFFERENCE, FAMILY
from attnscope.runs.columns import Comparison
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt

COMPARED = Comparison(cell=("model",), column="arm", baseline=BASELINE)
"""Every arm with the pipeline as it is."""


def sample_arms(
    pipe: Any,
    arms: Sequence[Contender],
    settings: BenchSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    run: Run,
    *,
    digest: str,
    batch_size: int,
    progress: Progress = SILENT,
    **options: Any,
) -> pd.DataFrame:
    """Images of all arms, of the same prompts and seeds, for the measures of quality.

    Args:
        pipe: the pipeline; it is left as it was.
        arms: those that run.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each.
        run: where the images go; what is there is not made again.
        digest: of the prompts: images of others may be there, too.
        batch_size: images made at once; halved where memory runs out.
        progress: told how many images are there, first those of before, and of an optional arm that
            makes none, while others go on.
        options: further keywords of the pipeline.

    Returns:
        A row per image (of a video, per frame): ``model``, ``arm``, ``key`` (which names files),
        ``prompt_id``, ``frame`` and ``path`` in the run directory.
    """
    from attnscope.files import write_whole
    from attnscope.models.calling import check_made, frames, images_of
    from attnscope.runs.batches import in_batches

    rows: list[dict[str, Any]] = []
    pairs = list(zip(prompts, given, strict=True))
    for arm in arms:
        key = f"{digest}-{arm.key}"
        folder = run.path / "images" / key
        folder.mkdir(parents=True, exist_ok=True)

        def work(batch: Sequence[tuple[Prompt, Any]], arm: Contender = arm) -> Sequence[Any]:
            ids = [prompt.prompt_id for prompt, _ in batch]
            keywords = settings.keywords(pipe, ids, **options)
            with arm.on(pipe) as call:
                made = call([item for _, item in batch], **keywords)
            images: Sequence[Any] = images_of(made)
            check_made(pipe, images, keywords)
            return images

        left = [pair for pair in pairs if not _path(folder, pair[0], 0).exists()]
        progress.advance(len(pairs) - len(left))
        try:
            for batch, images in in_batches(left, batch_size, work, progress=progress):
                for (prompt, _), image in zip(batch, images, strict=True):
                    for frame, picture in reversed(list(enumerate(frames(image)))):
                        write_whole(_path(folder, prompt, frame), picture.save)  # the first last
                progress.advance(len(batch))
        except Exception as error:
            if not arm.optional:
                raise
            progress.failed(arm.name, reason_of(error))
            continue
        about = {"model": settings.model, "arm": arm.name, "key": key}
        rows += [
            {**about, "prompt_id": prompt.prompt_id, "frame": frame,
             "path": path.relative_to(run.path).as_posix()}
            for prompt in prompts
            for frame, path in enumerate(sorted(folder.glob(f"{prompt.prompt_id:05d}-*.png")))
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _path(folder: Path, prompt: Prompt, frame: int) -> Path:
    return folder / f"{prompt.prompt_id:05d}-{frame:03d}.png"


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
