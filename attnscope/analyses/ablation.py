"""Where does attention matter? The paper's ablations: section 3.2, appendix B, Tables A1-A5, A7.

For cross-attention the prompt gives way to the encoding of "" from step m on (S^F_m), or until step
m (S^L_m). For self-attention outputs are reused from m on (S^F) or before m (S^L), alone and with
cross-attention gated at m. All arms make the same prompts from the same initial noise.

``arms`` says what is made, ``sample`` makes an arm's images and leaves every finished batch on
disk, ``images_of`` and ``noise_of`` read them back. How good they are is for
:mod:`attnscope.analyses.judging`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL.Image import Image

from attnscope.errors import InputError
from attnscope.plan import (
    Baseline,
    Combined,
    CrossReuse,
    GuidanceCutoff,
    NullTextEarly,
    NullTextLate,
    Plan,
    SelfReuseEarly,
    SelfReuseLate,
    TGate,
    parse,
)
from attnscope.prompts import Prompt, image_seed
from attnscope.runs import Run, write_whole
from attnscope.schedulers import step_count
from attnscope.tables import concatenate

if TYPE_CHECKING:
    from attnscope.estimates import CleanEstimates
    from attnscope.observers import NoiseMean

ATTENTION = ("cross", "self")
"""What can be ablated."""
FULL, UNGUIDED, GATED = "S", "no guidance", "gate"
"""The trajectory that nothing is taken from, the weak baseline, and cross-attention gated alone."""
OWN = "own"
"""Stands for a model's own scheduler."""
PICTURED = 4
"""Of how many prompts the images on the way are kept."""
_PICTURED_PARTS = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)


@dataclass(frozen=True)
class Subject:
    """A model to ablate, and how it is sampled.

    Args:
        model: short name, hub id or folder.
        weights: fingerprint of its weights.
        dtype: of the weights.
        guidance: guidance scale of the guided arms.
        steps: numbers of denoising steps.
        schedulers: short names; ``None`` is the model's own.
        own_steps: how many steps the model's own scheduler makes of each of ``steps``; empty for as
            many.
        height: in pixels; ``None`` is that of :class:`Settings`.
        width: in pixels; ``None`` is that of :class:`Settings`.
    """

    model: str
    weights: str | None
    dtype: str
    guidance: float
    steps: tuple[int, ...]
    schedulers: tuple[str | None, ...]
    own_steps: tuple[int, ...] = ()
    height: int | None = None
    width: int | None = None

    def made(self, scheduler: str | None, steps: int) -> int:
        """How many steps a scheduler makes of those it is asked for."""
        if scheduler is None and self.own_steps:
            return self.own_steps[self.steps.index(steps)]
        return step_count(scheduler, steps)


@dataclass(frozen=True)
class Settings:
    """What decides an ablation's images.

    Args:
        subjects: the models.
        captions: where they come from.
        prompts_digest: of the captions.
        limit: how many.
        attention: ``cross`` or ``self``.
        gates: m, in steps (``10``) or as a part of them (``40%``).
        intervals: k; of self-attention alone.
        seeds: of the noise.
        noise_scales: factors on the noise levels that a scheduler visits.
        height: in pixels, of all subjects; ``None`` where theirs differ, or is each model's own.
        width: in pixels, likewise. One of the two alone means a square.
    """

    subjects: tuple[Subject, ...]
    captions: str
    prompts_digest: str
    limit: int
    attention: str
    gates: tuple[str, ...]
    intervals: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    noise_scales: tuple[float, ...] = (1.0,)
    height: int | None = None
    width: int | None = None

    def size(self, model: str) -> tuple[int | None, int | None]:
        """Height and width in pixels of a subject's images; ``None`` is its pipeline's own."""
        subject = next(subject for subject in self.subjects if subject.model == model)
        own = subject.height, subject.width
        return (self.height, self.width) if own == (None, None) else own


@dataclass(frozen=True)
class Cell:
    """What arms have in common that may be compared with each other.

    Args:
        model: as it was named.
        scheduler: short name; ``own`` is the model's own.
        steps: denoising steps, as many as the scheduler makes.
        noise_scale: factor on the noise levels that the scheduler visits.
        seed: of the noise.
    """

    model: str
    scheduler: str
    steps: int
    noise_scale: float
    seed: int


@dataclass(frozen=True)
class Arm:
    """One trajectory of an ablation.

    Args:
        cell: what it shares with the arms it is compared with.
        asked: the number of steps that the pipeline is asked for; Heun's and PNDM's are more.
        trajectory: ``S``, ``S^F``, ``S^L``, with ``+gate`` where cross-attention is gated too,
            ``gate`` where it alone is, and ``no guidance``.
        gate: m; ``None`` where there is none.
        interval: k; ``None`` where there is none.
        plan: in its text form.
        guidance: guidance scale.
    """

    cell: Cell
    asked: int
    trajectory: str
    gate: int | None
    interval: int | None
    plan: str
    guidance: float

    @property
    def name(self) -> str:
        """What to call it among the arms of its cell: ``S^F m=10 k=5``."""
        letters = {"m": self.gate, "k": self.interval}
        values = [f"{letter}={value}" for letter, value in letters.items() if value is not None]
        return " ".join([self.trajectory, *values])

    @property
    def reused_steps(self) -> int:
        """Steps in which self-attention reuses what it returned before."""
        table = parse(self.plan).over(self.cell.steps).table(["self"])
        return int(((table["row"] == "self") & (table["what"] == "reuse")).sum())

    @property
    def is_idle(self) -> bool:
        """Whether it is to reuse and finds nothing to reuse."""
        return self.interval is not None and not self.reused_steps

    @property
    def key(self) -> str:
        """A name for folders, unique in a run."""
        cell = self.cell
        parts = [Path(cell.model).name, cell.scheduler, f"n{cell.steps}", f"seed{cell.seed}"]
        parts += [] if cell.noise_scale == 1 else [f"noise{cell.noise_scale:g}"]
        return re.sub(r"[^\w.+=-]+", "-", "-".join([*parts, self.name.replace("^", "")]))


def arms_of(settings: Settings) -> list[Arm]:
    """Every arm; those of one cell stand together, ``S`` first.

    Arms that are to reuse and find nothing to reuse are left out (see :func:`idle`): they would be S
    under another name.

    Raises:
        InputError: a gate lies beyond the last step, nothing is ever reused, two arms are the same, or
            two models have the same folder name.
    """
    made = [arm for arm in _all_arms(settings) if not arm.is_idle]
    if settings.attention == "self" and all(arm.interval is None for arm in made):
        raise InputError(
            f"{idle(settings)[0]} reuses nothing: choose --interval 2 or more, and gates from 4 on"
        )
    if len({arm.key for arm in made}) < len(made):
        raise InputError(
            "two arms are the same: give every model, gate, interval, number of steps, scheduler, "
            "noise scale and seed once, and folders different names"
        )
    return made


def idle(settings: Settings) -> list[str]:
    """Names of arms that would reuse nothing, such as S^L with a gate before its warm-up is over."""
    return list(dict.fromkeys(arm.name for arm in _all_arms(settings) if arm.is_idle))


def _all_arms(settings: Settings) -> Iterator[Arm]:
    for subject in settings.subjects:
        for scheduler, steps, scale, seed in product(
            subject.schedulers, subject.steps, settings.noise_scales, settings.seeds
        ):
            real = subject.made(scheduler, steps)
            cell = Cell(subject.model, scheduler or OWN, real, scale, seed)
            for trajectory, plan, gate, interval in _trajectories(settings, subject, real):
                plan.over(real)
                guidance = 1.0 if trajectory == UNGUIDED else subject.guidance
                yield Arm(cell, steps, trajectory, gate, interval, str(plan), guidance)


def _trajectories(
    settings: Settings, subject: Subject, steps: int
) -> Iterator[tuple[str, Plan, int | None, int | None]]:
    """Name, plan, gate and interval."""
    guided = subject.guidance > 1
    yield FULL, Baseline(), None, None
    if settings.attention == "cross":
        if guided:
            yield UNGUIDED, Baseline(), None, None
        for gate in [gate_of(text, steps) for text in settings.gates]:
            yield "S^F", NullTextLate(gate), gate, None
            yield "S^L", NullTextEarly(gate), gate, None
        return
    for gate in [gate_of(text, steps) for text in settings.gates]:
        gated = (CrossReuse(gate), *([GuidanceCutoff(gate, "model's")] if guided else []))
        yield GATED, TGate(gate), gate, None
        for interval in settings.intervals:
            late = SelfReuseLate(gate, interval)
            yield "S^F", late, gate, interval
            yield "S^L", SelfReuseEarly(gate, interval), gate, interval
            yield "S^F+gate", Combined((*gated, late)), gate, interval
            yield "S^L+gate", TGate(gate, interval), gate, interval


def gate_of(text: str, steps: int) -> int:
    """The step of a gate that is given as ``10`` or as ``40%`` of the steps.

    Raises:
        InputError: it is neither.
    """
    number = text.removesuffix("%")
    try:
        value = float(number) if text.endswith("%") else int(number)
    except ValueError as error:
        raise InputError(
            f"gate {text!r} is no step: give a number such as 10, or a part of the steps such as 40%"
        ) from error
    if not text.endswith("%"):
        return int(value)
    if not 0 < value <= 100:
        raise InputError(f"gate {text!r} is out of range: choose a part from 1% to 100%")
    return max(1, round(value / 100 * steps))


def pictured_steps(steps: int) -> list[int]:
    """The steps whose images on the way are kept, the last one among them."""
    return sorted({round(part * (steps - 1)) for part in _PICTURED_PARTS})


def sample_arm(
    pipe: Any,
    arm: Arm,
    settings: Settings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    run: Run,
    *,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda count: None,
    on_halving: Callable[[int], None] = lambda size: None,
    **options: Any,
) -> None:
    """Make the images of an arm that are not there yet.

    A batch counts as done when its table of images is there, which is written last; what a killed
    run left half done is made again.

    Args:
        pipe: the pipeline, with the arm's scheduler.
        arm: what to make.
        settings: of the run.
        prompts: all of the run's.
        given: what the pipeline is given for each: a caption, or an image for a video.
        run: where images and tables go.
        batch_size: images made at once; halved where memory runs out.
        on_batch: called with the number of images that are there, first those of before.
        on_halving: called with the new batch size.
        options: further keywords of the pipeline.

    Raises:
        InputError: the plan does not fit the pipeline, or the scheduler takes no noise levels.
    """
    from attnscope.batches import in_batches
    from attnscope.calling import call
    from attnscope.schedulers import scaled_timesteps
    from attnscope.trace import Trace

    parts = _parts(run, arm)
    done = {number for table in _read(parts, "images") for number in table["prompt_id"]}
    pairs = list(zip(prompts, given, strict=True))
    left = [pair for pair in pairs if pair[0].prompt_id not in done]
    on_batch(len(pairs) - len(left))
    pictured = {prompt.prompt_id for prompt in prompts[:PICTURED]}
    cell = arm.cell
    height, width = settings.size(cell.model)
    if cell.noise_scale != 1:
        options |= {"timesteps": scaled_timesteps(pipe, arm.asked, cell.noise_scale)}

    def work(batch: Sequence[tuple[Prompt, Any]]) -> _Made:
        noise, estimates = _observers(
            pipe,
            cell.steps,
            [place for place, (prompt, _) in enumerate(batch) if prompt.prompt_id in pictured],
        )
        observers = [observer for observer in (noise, estimates) if observer is not None]
        with Trace(pipe, plan=arm.plan, observers=observers) as trace:
            made = call(
                pipe,
                [item for _, item in batch],
                seeds=[image_seed(cell.seed, prompt.prompt_id) for prompt, _ in batch],
                steps=arm.asked,
                guidance=arm.guidance,
                height=height,
                width=width,
                **options,
            )
        return _Made(
            made,
            trace.records(noise) if noise else pd.DataFrame(),
            estimates.images(pipe) if estimates else {},
        )

    for batch, made in in_batches(left, batch_size, work, on_halving=on_halving):
        _write_batch(run, arm, pipe, [prompt for prompt, _ in batch], made)
        on_batch(len(batch))


@dataclass(frozen=True)
class _Made:
    """A batch: its images, its predicted noise, and images on the way by (place, step)."""

    images: Sequence[Any]
    noise: pd.DataFrame
    estimates: dict[tuple[int, int], Image]


def _observers(
    pipe: Any, steps: int, places: Sequence[int]
) -> tuple[NoiseMean | None, CleanEstimates | None]:
    """What watches a batch: nothing where there is no known way from predictions to noise."""
    from attnscope.estimates import CleanEstimates, decodes
    from attnscope.observers import NoiseMean
    from attnscope.predictions import check_noise_levels, check_prediction

    try:
        check_prediction(pipe.scheduler)
        check_noise_levels(pipe.scheduler)
    except InputError:
        return None, None
    pictures = places and decodes(pipe)
    return NoiseMean(), CleanEstimates(pictured_steps(steps), places) if pictures else None


def _write_batch(run: Run, arm: Arm, pipe: Any, prompts: Sequence[Prompt], made: _Made) -> None:
    """Images first, the table that says that they are whole last."""
    from attnscope.calling import frames
    from attnscope.predictions import log_snr

    ids = [prompt.prompt_id for prompt in prompts]
    folder = run.path / "images" / arm.key
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for prompt_id, result in zip(ids, made.images, strict=True):
        for frame, image in enumerate(frames(result)):
            name = f"{prompt_id:05d}" + (f"-{frame:03d}" if frame else "")
            write_whole(folder / f"{name}.png", image.save)
            path = (folder / f"{name}.png").relative_to(run.path).as_posix()
            rows.append((prompt_id, frame, path))
    pictures = run.path / "pictures" / arm.key
    pictures.mkdir(parents=True, exist_ok=True)
    for (place, step), image in made.estimates.items():
        write_whole(pictures / f"{ids[place]:05d}-{step:03d}.png", image.save)
    parts = _parts(run, arm)
    if len(made.noise):
        noise = made.noise.drop(columns=["run", "sample"])
        noise.insert(0, "prompt_id", np.array(ids)[made.noise["sample"]])
        # By step: schedules such as Karras' hold a timestep twice, at two noise levels.
        timesteps = noise.drop_duplicates("step").set_index("step")["timestep"].sort_index()
        levels = dict(zip(timesteps.index, log_snr(pipe.scheduler, timesteps), strict=True))
        noise.insert(3, "log_snr", noise["step"].map(levels))
        write_whole(parts / f"noise-{ids[0]:05d}.parquet", noise.to_parquet)
    table = pd.DataFrame(rows, columns=["prompt_id", "frame", "path"])
    write_whole(parts / f"images-{ids[0]:05d}.parquet", table.to_parquet)


def is_finished(run: Run, arm: Arm, count: int) -> bool:
    """Whether an arm has all its images."""
    found = _read(_parts(run, arm), "images")
    return len({number for table in found for number in table["prompt_id"]}) == count


def images_of(run: Run, settings: Settings) -> pd.DataFrame:
    """Every image of a run: the columns of its arm, then ``prompt_id``, ``frame`` and ``path``.

    Raises:
        InputError: some are missing.
    """
    tables = []
    for arm in arms_of(settings):
        found = _read(_parts(run, arm), "images")
        table = concatenate(found).drop_duplicates(["prompt_id", "frame"]) if found else None
        count = 0 if table is None else table["prompt_id"].nunique()
        if table is None or count != settings.limit:
            raise InputError(
                f"{str(run.path)!r} has {count} of {settings.limit} images of {arm.name}: give the "
                "same command again"
            )
        tables.append(_with_arm(table.sort_values(["prompt_id", "frame"]), arm))
    return pd.concat(tables, ignore_index=True)


def noise_of(run: Run, settings: Settings) -> pd.DataFrame:
    """The predicted noise of every arm per step and branch (the paper's Figure 3a).

    Returns:
        The columns of the arm, ``step``, ``timestep``, ``log_snr`` (of x_t), ``branch``, and over
        the prompts the averages ``mean``, ``norm`` and ``rms`` with the standard deviations
        ``mean_sd``, ``norm_sd`` and ``rms_sd``. Empty for schedulers without a known way from
        predictions to noise.
    """
    tables = []
    for arm in arms_of(settings):
        found = _read(_parts(run, arm), "noise")
        if not found:
            continue
        table = concatenate(found).drop_duplicates(["prompt_id", "step", "branch"])
        groups = table.groupby(["step", "timestep", "log_snr", "branch"], observed=True)
        values = groups[["mean", "norm", "rms"]]
        spread = values.std(ddof=1).add_suffix("_sd")
        tables.append(_with_arm(values.mean().join(spread).reset_index(), arm))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def pictures_of(run: Run, settings: Settings) -> pd.DataFrame:
    """The images on the way that were kept: the columns of the arm, ``prompt_id, step, path``."""
    tables = []
    for arm in arms_of(settings):
        folder = run.path / "pictures" / arm.key
        rows = [
            (*map(int, path.stem.split("-")), path.relative_to(run.path).as_posix())
            for path in sorted(folder.glob("[0-9]*.png"))
        ]
        table = pd.DataFrame(rows, columns=["prompt_id", "step", "path"])
        tables.append(_with_arm(table, arm))
    return pd.concat(tables, ignore_index=True)


def _parts(run: Run, arm: Arm) -> Path:
    folder = run.path / "parts" / arm.key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(parts: Path, name: str) -> list[pd.DataFrame]:
    return [pd.read_parquet(path) for path in sorted(parts.glob(f"{name}-*.parquet"))]


def _with_arm(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """A table behind the columns that say which arm it is of."""
    columns = {
        **asdict(arm.cell),
        "arm": arm.name,
        "key": arm.key,
        "trajectory": arm.trajectory,
        "gate": arm.gate,
        "interval": arm.interval,
        "reused_steps": arm.reused_steps,
    }
    table = table.assign(**columns).astype({"gate": "Int64", "interval": "Int64"})
    return table[[*columns, *(name for name in table if name not in columns)]]
