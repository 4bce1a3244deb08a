"""How much faster does a plan make a pipeline, what earned it, and what else could a user pick?

All arms take turns in one process, in an order that changes with every repetition, after warm-ups;
every ratio is taken within a repetition, so what slows the machine down for a while slows both
sides. The *ideal* is what the plan's arithmetic says if time were proportional to
multiply-accumulates, the products inside attention included (:mod:`attnscope.cost`). Where the
time goes (the paper's Figure 1a) is measured in a pass of its own, since a stopwatch at every site
costs time itself.
"""

from __future__ import annotations

import contextlib
import gc
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.cost import SAVINGS, Alone, Cost, Counts, Saving, cost_of, savings
from attnscope.errors import InputError
from attnscope.plan import Baseline, GuidanceCutoff, Plan, parse
from attnscope.prompts import Prompt, image_seed
from attnscope.rivals import RIVALS, Call, Rival

if TYPE_CHECKING:
    from attnscope.instruments import PeakMemory, Stopwatch
    from attnscope.runs import Run

BASELINE, INACTIVE, WATCHED = "baseline", "inactive Trace", "StepDistance on all sites"
"""Arms that change nothing in the images."""
ALL = "all together"
"""Of an attribution: the whole plan."""
PARTS = ("cross", "self", "joint", "other", "outside")
"""Where the time goes: attention by kind, the rest of the denoiser, and what is outside of it."""
_PASSES = 3
_BY_VALUES = "what it skips depends on the values, which are random here"


@dataclass(frozen=True)
class Settings:
    """What decides the times.

    Args:
        model: short name, hub id or folder.
        weights: fingerprint of its weights, or ``random``.
        plan: in its text form.
        steps: denoising steps.
        guidance: guidance scale.
        height: in pixels.
        width: in pixels.
        batch: images at a time.
        repeats: repetitions after the warm-up.
        rivals: what the plan is measured against, each with its version.
        watched: whether watching is measured too.
        decoded: whether the autoencoder's part counts.
        scheduler: short name; ``None`` is the model's own.
        dtype: of the weights.
        device: its name.
        threads: of the CPU.
        seed: of noise and values.
        captions: where those of the images for the frontier come from; empty without.
        prompts_digest: of these.
        limit: how many.
    """

    model: str
    weights: str | None
    plan: str
    steps: int
    guidance: float
    height: int
    width: int
    batch: int
    repeats: int
    rivals: tuple[tuple[str, str | None], ...]
    watched: bool
    decoded: bool
    scheduler: str | None
    dtype: str
    device: str
    threads: int
    seed: int = 0
    captions: str = ""
    prompts_digest: str = ""
    limit: int = 0


@dataclass(frozen=True)
class Arm:
    """One way to run the pipeline.

    Args:
        name: what to call it.
        plan: what is carried out; of a rival, what it is told of a plan.
        part: the part of the plan under test that this is, alone.
        rival: who does it, if not we.
        traced: whether a ``Trace`` is on the pipeline.
        observed: whether it watches all sites.
    """

    name: str
    plan: Plan
    part: Saving | None = None
    rival: Rival | None = None
    traced: bool = True
    observed: bool = False

    @property
    def key(self) -> str:
        """A name for folders."""
        return re.sub(r"[^\w.+=-]+", "-", self.name)

    @contextlib.contextmanager
    def on(self, pipe: Any) -> Iterator[Call]:
        """The arm at work, as a user has it: switched on once, whatever number of calls follow.

        Raises:
            InputError: it cannot run on the pipeline.
        """
        from attnscope.observers import StepDistance
        from attnscope.trace import Trace

        if self.rival is not None:
            with self.rival.on(pipe, self.plan) as call:
                yield call
        elif self.traced:
            with Trace(pipe, plan=self.plan, observers=[StepDistance()] if self.observed else []):
                yield pipe
        else:
            yield pipe

    def ideal(self, cost: Cost) -> float:
        """The speed-up if time were proportional to multiply-accumulates; NaN if not known.

        Args:
            cost: of the plan under test.
        """
        if self.rival is not None and not self.rival.by_plan:
            return float("nan")
        steps = cost.trajectory.steps
        return cost_of(
            cost.counts, self.plan, steps, guided=cost.guided, batch=cost.batch
        ).speedup()


@dataclass(frozen=True)
class Workload:
    """What every arm is called with.

    Args:
        arguments: makes positional and keyword arguments anew for each call.
        images: that a call makes.
    """

    arguments: Callable[[], tuple[Sequence[Any], dict[str, Any]]]
    images: int = 1

    def of(self, call: Call) -> Callable[[], Any]:
        """A call that takes nothing."""
        args, kwargs = self.arguments()
        return lambda: call(*args, **kwargs)


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Args:
        repetitions: a row per arm and repetition: ``arm``, ``repetition``, ``seconds`` per image,
            ``peak_mb`` of memory.
        arms: of :func:`summarise`.
        parts: a row per arm and part of :data:`PARTS`: ``seconds`` per image and its ``share``.
        attribution: of :func:`attribution`.
    """

    repetitions: pd.DataFrame
    arms: pd.DataFrame
    parts: pd.DataFrame
    attribution: pd.DataFrame


def arms(
    plan: Plan, counts: Counts, *, guided: bool, rivals: Sequence[str] = (), watched: bool = False
) -> list[Arm]:
    """All arms, the baseline first.

    Args:
        plan: under test.
        counts: of one call of the denoiser: which parts the plan has there.
        guided: whether there is guidance to cut off.
        rivals: names of :data:`attnscope.rivals.RIVALS`.
        watched: with a ``Trace`` that does nothing, and with one that watches everything.
    """
    made = [Arm(BASELINE, Baseline(), traced=False)]
    if watched:
        made += [Arm(INACTIVE, Baseline()), Arm(WATCHED, Baseline(), observed=True)]
    if not isinstance(plan, Baseline):
        made.append(Arm(str(plan), plan))
    ways = savings(plan, counts, guided=guided)
    if len(ways) > 1:
        made += [Arm(f"{way} alone", Alone(plan, way), part=way) for way in ways]
    gate = getattr(plan, "gate", 0)
    if guided and gate and not isinstance(plan, GuidanceCutoff):
        adaptive = GuidanceCutoff(gate)
        made.append(Arm(str(adaptive), adaptive))
    made += [Arm(RIVALS[name].name, plan, rival=RIVALS[name]) for name in rivals]
    return made


def measure(
    pipe: Any,
    arms: Sequence[Arm],
    workload: Workload,
    cost: Cost,
    *,
    repeats: int,
    stopwatch: Stopwatch,
    memory: PeakMemory,
    values_matter: bool = True,
    on_call: Callable[[int], None] = lambda count: None,
) -> Measured:
    """Run all arms in turns.

    Args:
        pipe: the pipeline; it is left as it was.
        arms: of :func:`arms`, the baseline first.
        workload: what each is called with.
        cost: of the plan under test, for the ideal.
        repeats: rounds after the warm-up.
        stopwatch: of the pipeline's device.
        memory: of the pipeline's device.
        values_matter: whether the weights are real, so that arms count whose work depends on what
            is computed.
        on_call: called with 1 after every call.

    Raises:
        InputError: the baseline or the plan cannot run. A rival that cannot says so in its row.
    """
    import torch

    reasons: dict[str, str] = {}
    rows: list[dict[str, Any]] = []

    def run(arm: Arm, repetition: int) -> None:
        memory.reset()
        try:
            with arm.on(pipe) as call:
                _, seconds = stopwatch.time(workload.of(call))
            peak = memory.megabytes()
        finally:
            if arm.rival is not None:
                gc.collect()  # its pipeline refers to itself, and must not weigh on the next arm
        if repetition >= 0:
            rows.append({"arm": arm.name, "repetition": repetition,
                         "seconds": seconds / workload.images, "peak_mb": peak})  # fmt: skip

    with torch.inference_mode():
        for repetition in range(-1, repeats):
            order = list(arms)
            random.Random(repetition).shuffle(order)
            for arm in order:
                if arm.name not in reasons:
                    reason = _attempt(arm, run, repetition)
                    if arm.rival is not None and arm.rival.by_values and not values_matter:
                        reason = reason or _BY_VALUES
                    if reason:
                        reasons[arm.name] = reason
                on_call(1)
        running = [arm for arm in arms if arm.name not in reasons]
        parts = [_parts(pipe, arm, workload, stopwatch, min(_PASSES, repeats)) for arm in running
                 if arm.rival is None and not arm.observed]  # fmt: skip
    repetitions = pd.DataFrame(rows)
    repetitions = repetitions[~repetitions["arm"].isin(reasons)].reset_index(drop=True)
    return Measured(
        repetitions,
        summarise(repetitions, arms, cost, reasons),
        pd.concat(parts, ignore_index=True),
        attribution(repetitions, arms, cost),
    )


def _attempt(arm: Arm, run: Callable[[Arm, int], None], repetition: int) -> str:
    """Run an arm; of a rival, why it could not."""
    if arm.rival is None:
        run(arm, repetition)
        return ""
    try:
        run(arm, repetition)
    except InputError as error:
        return str(error)
    except Exception as error:  # others' code may fail in any way, and must not stop the rest
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _parts(
    pipe: Any, arm: Arm, workload: Workload, stopwatch: Stopwatch, passes: int
) -> pd.DataFrame:
    """Where the time goes: means of several calls with a stopwatch at every site."""
    from attnscope.instruments import ModuleTimes
    from attnscope.sites import find_denoiser, find_sites, unwrapped

    denoiser = find_denoiser(pipe)
    kinds: dict[str, list[Any]] = {}
    for site in find_sites(denoiser):
        kinds.setdefault(site.kind, []).append(unwrapped(denoiser).get_submodule(site.name))
    times = ModuleTimes({**kinds, "denoiser": [denoiser]}, stopwatch)
    total = 0.0
    with arm.on(pipe) as call:
        for _ in range(passes):
            with times.on():
                total += stopwatch.time(workload.of(call))[1]
    found = times.seconds()
    inside = found.pop("denoiser")
    found |= {"other": inside - sum(found.values()), "outside": total - inside}
    seconds = {part: found[part] / passes / workload.images for part in PARTS if part in found}
    table = pd.DataFrame(seconds.items(), columns=["part", "seconds"])
    table.insert(0, "arm", arm.name)
    return table.assign(share=table["seconds"] / table["seconds"].sum())


def summarise(
    repetitions: pd.DataFrame, arms: Sequence[Arm], cost: Cost, reasons: Mapping[str, str]
) -> pd.DataFrame:
    """From repetitions to arms.

    Args:
        repetitions: ``arm``, ``repetition``, ``seconds``, ``peak_mb``.
        arms: all that were wanted.
        cost: of the plan under test.
        reasons: why arms did not run, by name.

    Returns:
        A row per arm: ``arm``, ``package`` (of a rival, with its version), ``seconds`` per image
        (median, with the range ``seconds_low`` to ``seconds_high``), ``speedup`` (baseline over arm
        within a repetition: median, with the range ``speedup_low`` to ``speedup_high``), ``ideal``,
        ``of_ideal``, ``extra_mb`` (of the peak of memory, against the baseline's of the same
        repetition), ``note`` (a rival's settings, or why it did not run).
    """
    seconds = repetitions.pivot(index="repetition", columns="arm", values="seconds")
    peaks = repetitions.pivot(index="repetition", columns="arm", values="peak_mb")
    rows = []
    for arm in arms:
        rival, ran = arm.rival, arm.name in seconds
        row: dict[str, Any] = {"arm": arm.name, "package": ""}
        if rival is not None:
            row["package"] = f"{rival.package or 'diffusers'} {rival.version() or ''}".strip()
        if ran:
            gained = seconds[BASELINE] / seconds[arm.name]
            row |= _spread("seconds", seconds[arm.name]) | _spread("speedup", gained)
            row["extra_mb"] = (peaks[arm.name] - peaks[BASELINE]).median()
            row["ideal"] = arm.ideal(cost)
            row["of_ideal"] = row["speedup"] / row["ideal"]
        about = "" if rival is None else rival.about
        rows.append(row | {"note": reasons.get(arm.name, about)})
    return pd.DataFrame(rows).reindex(
        columns=["arm", "package", "seconds", "seconds_low", "seconds_high", "speedup", "speedup_low",
                 "speedup_high", "ideal", "of_ideal", "extra_mb", "note"]
    )  # fmt: skip


def _spread(name: str, values: pd.Series[float]) -> dict[str, float]:
    return {name: values.median(), f"{name}_low": values.min(), f"{name}_high": values.max()}


def attribution(repetitions: pd.DataFrame, arms: Sequence[Arm], cost: Cost) -> pd.DataFrame:
    """What each part of the plan saves alone, and all of them together, in time and in MACs.

    Alone, a reuse saves on both branches throughout; together, part of that is dropped with the
    branch anyhow. So the parts come to more than the whole.

    Returns:
        Columns ``basis`` (``time`` or ``MACs``), ``saving`` (the last is :data:`ALL`), ``saved`` (part of
        the baseline; of time the median of all repetitions, with the range ``low`` to ``high``).
        Empty if the plan has no parts.
    """
    seconds = repetitions.pivot(index="repetition", columns="arm", values="seconds")
    parts = [arm for arm in arms if arm.part is not None]
    whole = Arm(str(cost.trajectory.plan), cost.trajectory.plan)
    rows = []
    for basis in ("time", "MACs"):
        for arm in [*parts, whole] if parts else []:
            saving = SAVINGS[arm.part] if arm.part else ALL
            if basis == "time":
                saved = 1 - seconds[arm.name] / seconds[BASELINE]
                value, low, high = saved.median(), saved.min(), saved.max()
            else:
                value = low = high = 1 - 1 / arm.ideal(cost)
            rows.append((basis, saving, value, low, high))
    return pd.DataFrame(rows, columns=["basis", "saving", "saved", "low", "high"])


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
        batch_size: images made at once.
        on_image: called with the number of images that are there.
        options: further keywords of the pipeline.

    Returns:
        A table as of :func:`attnscope.analyses.ablation.images_of`, the baseline being its ``S``.
    """
    from attnscope.analyses.ablation import FULL, OWN
    from attnscope.pipelines import call_options, frames
    from attnscope.runs import write_whole

    rows: list[dict[str, Any]] = []
    for arm in arms:
        folder = run.path / "images" / arm.key
        folder.mkdir(parents=True, exist_ok=True)
        trajectory = FULL if arm.name == BASELINE else arm.name
        about = {"model": settings.model, "scheduler": settings.scheduler or OWN,
                 "steps": settings.steps, "noise_scale": 1.0, "seed": settings.seed, "arm": arm.name,
                 "key": arm.key, "trajectory": trajectory, "gate": None, "interval": None,
                 "reused_steps": 0}  # fmt: skip
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            paths = [folder / f"{prompt.prompt_id:05d}.png" for prompt in batch]
            if not all(path.exists() for path in paths):
                seeds = [image_seed(settings.seed, prompt.prompt_id) for prompt in batch]
                keywords = call_options(
                    pipe, seeds=seeds, steps=settings.steps, guidance=settings.guidance,
                    height=settings.height, width=settings.width, **options,
                )  # fmt: skip
                with arm.on(pipe) as call:
                    made = call(list(given[start : start + batch_size]), **keywords)
                for path, image in zip(
                    paths, getattr(made, "images", None) or made.frames, strict=True
                ):
                    write_whole(path, frames(image)[0].save)
            rows += [
                {**about, "prompt_id": prompt.prompt_id, "frame": 0,
                 "path": path.relative_to(run.path).as_posix()}
                for prompt, path in zip(batch, paths, strict=True)
            ]  # fmt: skip
            on_image(len(batch))
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def frontier(arms: pd.DataFrame, quality: pd.DataFrame | None) -> pd.DataFrame:
    """Speed beside quality.

    Args:
        arms: of :func:`summarise`.
        quality: of :func:`attnscope.analyses.summaries.summarise`, of the same arms; ``None`` if no
            images were made, which gives an empty table.

    Returns:
        A row per arm and measure: ``arm``, ``measure``, ``value``, ``low``, ``high``, ``n``,
        ``features``, ``reference``, ``difference`` to the baseline with ``difference_low`` and
        ``difference_high``, ``speedup``, ``speedup_low``, ``speedup_high``.
    """
    columns = ["arm", "measure", "value", "low", "high", "n", "features", "reference",
               "difference", "difference_low", "difference_high"]  # fmt: skip
    speeds = arms[["arm", "speedup", "speedup_low", "speedup_high"]]
    if quality is None:
        quality = pd.DataFrame(columns=columns)
    return quality[columns].merge(speeds, on="arm", how="left")


def default_plan(steps: int) -> Plan:
    """The paper's m=10, k=5 of 25 steps, or the same part of others."""
    return parse(f"m={max(1, round(0.4 * steps))},k=5")
