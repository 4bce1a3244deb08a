"""What does speed cost in quality? Images of every arm of a benchmark, and speed beside how good they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from attnscope.analyses.latency import BASELINE, Arm, Settings
from attnscope.prompts import Prompt, image_seed
from attnscope.runs import Run


def sample(
    pipe: Any,
    arms: Sequence[Arm],
    settings: Settings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    run: Run,
    *,
    batch_size: int,
    on_image: Callable[[int], None] = lambda count: None,
    on_halving: Callable[[int], None] = lambda size: None,
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
        batch_size: images made at once; halved where memory runs out.
        on_image: called with the number of images that are there, first those of before.
        on_halving: called with the new batch size.
        options: further keywords of the pipeline.

    Returns:
        A table as of :func:`attnscope.analyses.ablation.images_of`, the baseline being its ``S``.
    """
    from attnscope.analyses.ablation import FULL, OWN
    from attnscope.batches import in_batches
    from attnscope.calling import call_options, frames
    from attnscope.runs import write_whole

    rows: list[dict[str, Any]] = []
    for arm in arms:
        folder = run.path / "images" / arm.key
        folder.mkdir(parents=True, exist_ok=True)
        paths = {prompt.prompt_id: folder / f"{prompt.prompt_id:05d}.png" for prompt in prompts}
        pairs = list(zip(prompts, given, strict=True))
        left = [pair for pair in pairs if not paths[pair[0].prompt_id].exists()]

        def work(batch: Sequence[tuple[Prompt, Any]], arm: Arm = arm) -> Sequence[Any]:
            keywords = call_options(
                pipe, seeds=[image_seed(settings.seed, prompt.prompt_id) for prompt, _ in batch],
                steps=settings.steps, guidance=settings.guidance, height=settings.height,
                width=settings.width, **options,
            )  # fmt: skip
            with arm.on(pipe) as call:
                made = call([item for _, item in batch], **keywords)
            images: Sequence[Any] = getattr(made, "images", None) or made.frames
            return images

        on_image(len(pairs) - len(left))
        for batch, images in in_batches(left, batch_size, work, on_halving=on_halving):
            for (prompt, _), image in zip(batch, images, strict=True):
                write_whole(paths[prompt.prompt_id], frames(image)[0].save)
            on_image(len(batch))
        about = {"model": settings.model, "scheduler": settings.scheduler or OWN,
                 "steps": settings.steps, "noise_scale": 1.0, "seed": settings.seed, "arm": arm.name,
                 "key": arm.key, "trajectory": FULL if arm.name == BASELINE else arm.name,
                 "gate": None, "interval": None, "reused_steps": 0}  # fmt: skip
        rows += [
            {
                **about,
                "prompt_id": number,
                "frame": 0,
                "path": path.relative_to(run.path).as_posix(),
            }
            for number, path in paths.items()
        ]
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def speed_and_quality(arms: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Speed beside quality.

    Args:
        arms: of :func:`attnscope.analyses.speedups.summarise`.
        quality: of :func:`attnscope.analyses.summaries.summarise`, of the same arms.

    Returns:
        A row per arm and measure: ``arm``, ``measure``, ``value``, ``low``, ``high``, ``n``,
        ``features``, ``reference``, ``difference`` to the baseline with ``difference_low`` and
        ``difference_high``, ``speedup``, ``speedup_low``, ``speedup_high``.
    """
    columns = ["arm", "measure", "value", "low", "high", "n", "features", "reference",
               "difference", "difference_low", "difference_high"]  # fmt: skip
    speeds = arms[["arm", "speedup", "speedup_low", "speedup_high"]]
    return quality[columns].merge(speeds, on="arm", how="left")
