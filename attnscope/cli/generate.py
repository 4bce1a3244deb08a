"""``attnscope generate``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.cli import options as o

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from attnscope.prompts import Prompt
    from attnscope.runs import Run

_DEFAULT_LIMIT = 8
_COMPARED_BATCHES = 4


def generate(
    typed: Annotated[list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to draw.")] = None,
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    compare: Annotated[bool, typer.Option("--compare", help="Make the same images without the plan too.")] = False,
    model: o.Model = "shapes",
    captions: o.Captions = None,
    images: o.Images = None,
    column: o.Column = None,
    limit: o.Limit = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the model's.")] = None,
    scheduler: o.Scheduler = None,
    guidance: o.Guidance = None,
    seed: o.Seed = 0,
    batch_size: o.BatchSize = "auto",
    height: o.Height = None,
    width: o.Width = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/generate-…")] = None,
    offline: o.Offline = False,
    allow_pickle: o.AllowPickle = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Make images, by T-GATE or another plan, and say what was computed, reused and gained.

    Without prompts: the embedded model on 8 held-out captions. It knows coloured shapes and nothing
    else; words that a model does not know are named.
    """
    from attnscope.analyses.generation import Settings
    from attnscope.analyses.generation import generate as make
    from attnscope.calling import default_batch_size
    from attnscope.cli import inputs
    from attnscope.cli.console import messages, progress, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.models import is_of_shapes
    from attnscope.plan import Baseline
    from attnscope.runs import Run, default_path

    plan = inputs.chosen_plan(tgate, other) or Baseline()
    if compare and plan == Baseline():
        raise InputError("--compare needs a plan to compare with: give --tgate or --plan")
    chosen = inputs.ChosenModel(
        model, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    described = chosen.described
    inputs.check_size(height, width)
    inputs.check_guidance(guidance)
    size = inputs.batch_size(batch_size)
    if limit is None and captions is None and not typed and is_of_shapes(described):
        limit = _DEFAULT_LIMIT
    prompts, given, source = inputs.read(
        described,
        captions,
        images,
        column,
        limit,
        seed,
        (height, width),
        typed or (),
    )
    inputs.warn_of_world([described], prompts)
    with quiet_libraries():
        weights = chosen.weights
        tall, wide = chosen.size(height, width)
        settings = Settings(
            model=model,
            weights=weights,
            captions=source,
            prompts_digest=inputs.digest(prompts, given),
            plan=str(plan),
            compare=compare,
            steps=steps or described.steps,
            scheduler=chosen.scheduler,
            guidance=described.guidance if guidance is None else guidance,
            seed=seed,
            height=tall,
            width=wide,
            dtype=chosen.dtype,
        )
        path = out or default_path("generate", model, settings)
        if not Run.check(path, "generate", settings) or not Run(path).has_table("images"):
            pipe = chosen.pipe
            inputs.check_plan(pipe, plan, settings.steps)
            inputs.warn_of_text(pipe, prompts)
            size = min(size or default_batch_size(pipe, chosen.device), len(prompts))
            if compare:  # several batches, so that the arms can take turns in going first
                size = min(size, -(-len(prompts) // _COMPARED_BATCHES))

            # With the first image, so a failure before it leaves nothing behind.
            def open_run() -> Run:
                return Run.open(
                    path, "generate", settings,
                    device=chosen.device, batch_size=size, scheduler=type(pipe.scheduler).__name__,
                )  # fmt: skip

            def halved(count: int) -> None:
                nonlocal size
                size = count
                messages.print(f"out of memory: going on with batches of {count}")

            with progress(f"{model}: images", len(prompts), quiet=quiet or as_json) as advance:
                made = make(
                    pipe, settings, prompts, given, batch_size=size, save=_Saver(open_run),
                    on_batch=advance,
                    on_halving=halved,
                    **described.options,
                )  # fmt: skip
            run = open_run()
            run.write_table("prompts", inputs.table(prompts))
            run.write_table("calls", made.calls)
            run.write_table("times", made.times)
            run.write_table("images", made.images)
    report(Run(path), quiet=quiet, as_json=as_json)


class _Saver:
    """Writes images as PNG with their settings inside."""

    def __init__(self, open_run: Callable[[], Run]) -> None:
        self._open_run = open_run

    @cached_property
    def _run(self) -> Run:
        return self._open_run()

    def __call__(self, arm: str, prompt: Prompt, frame: int, image: Image) -> str:
        from PIL.PngImagePlugin import PngInfo

        from attnscope import __version__, documents
        from attnscope.analyses.generation import PLANNED
        from attnscope.prompts import image_seed
        from attnscope.runs import write_whole

        settings = dict(self._run.settings)
        if arm != PLANNED:
            settings["plan"] = "baseline"
        about = {
            "prompt": prompt.text,
            "prompt_id": prompt.prompt_id,
            "image_seed": image_seed(settings["seed"], prompt.prompt_id),
            "frame": frame,
            **settings,
            "height": image.height,
            "width": image.width,
            "scheduler_class": self._run.about["machine"].get("scheduler"),
        }
        info = PngInfo()
        info.add_itxt("Description", prompt.text)
        info.add_text("Software", f"attnscope {__version__}")
        info.add_itxt("attnscope", documents.text(about, indent=None))
        folder = self._run.path / ("images" if arm == PLANNED else arm)
        folder.mkdir(exist_ok=True)
        number = f"{prompt.prompt_id:05d}" + (f"-{frame:03d}" if frame else "")
        path = folder / f"{number}.png"
        write_whole(path, lambda partial: image.save(partial, pnginfo=info))
        return path.relative_to(self._run.path).as_posix()


def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw a generate run's figures and print what was computed, reused and gained."""
    from attnscope.analyses.generation import speed_up
    from attnscope.cli.console import results, show_json, show_table
    from attnscope.figures.generation import MOST_COLUMNS
    from attnscope.figures.saving import save_figures

    images, calls, times = (run.read_table(name) for name in ("images", "calls", "times"))
    figures = save_figures(run)
    planned = times[times["arm"] == "plan"].iloc[0]
    ratios = speed_up(times)
    if as_json:
        show_json(
            {
                "run": run.path,
                "plan": run.settings["plan"],
                "calls": calls,
                "steps": int(planned["steps"]),
                "guided_steps": int(planned["guided_steps"]),
                "times": times,
                "speed_up": ratios,
                "images": images,
                "figures": figures,
            }
        )
        return
    if quiet:
        print(run.path)
        return
    about = f"{run.settings['model']}{_size(images)}, {run.settings['plan']}"
    title = f"{about}: calls of attention modules"
    show_table(calls, title)
    results.print(f"guided steps: {planned['guided_steps']} of {planned['steps']}")
    for line in _times(times, ratios, images):
        results.print(line)
    results.print(f"images: {run.path / 'images'}", soft_wrap=True)
    results.print(f"run directory: {run.path}", soft_wrap=True)
    for figure in figures:
        results.print(f"figure: {figure} and .pdf", soft_wrap=True)
    if images["prompt_id"].nunique() > MOST_COLUMNS and len(ratios):
        results.print(f"the comparison shows the first {MOST_COLUMNS} prompts")


def _size(images: pd.DataFrame) -> str:
    """The size that was made; runs of before do not say."""
    if "width" not in images:
        return ""
    first = images.iloc[0]
    return f" at {first['width']}x{first['height']}"


def _times(times: pd.DataFrame, ratios: pd.Series[float], images: pd.DataFrame) -> list[str]:
    per_image = times.groupby("arm")[["seconds", "images"]].sum()
    seconds = per_image["seconds"] / per_image["images"]
    lines = [f"time: {seconds['plan']:.3g} s an image, the first call's start-up included"]
    if len(ratios):
        lines = [
            f"time: {seconds['plan']:.3g} s an image with the plan, "
            f"{seconds['baseline']:.3g} s without"
        ]
        spread = f" (of {len(ratios)} batches, {ratios.min():.2f} to {ratios.max():.2f})"
        lines.append(
            f"speed-up: {ratios.median():.2f}" + (spread if len(ratios) > 1 else " (one batch)")
        )
        ours = images[images["arm"] == "plan"]
        same = ours["psnr"] == float("inf")
        changed = ours[~same]
        if len(changed):
            lines.append(
                f"to the baseline's images: PSNR {changed['psnr'].mean():.1f} dB, "
                f"SSIM {changed['ssim'].mean():.3f} (means of {len(changed)})"
            )
        if same.any():
            lines.append(f"{same.sum()} of {len(ours)} images are the baseline's to the bit")
    return lines
