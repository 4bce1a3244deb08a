"""What a model's attention costs and what a plan saves, in multiply-accumulates (MACs).

Counts are those of one call of the denoiser on one row of its batch, from shapes alone. A step of a
plan costs, for each row that runs (two with guidance, one without or after the gate), everything
outside attention and the attention sites that compute; a site that reuses costs nothing.

Two conventions stand side by side: ``full`` counts everything, ``paper`` leaves out the two matrix
products inside scaled-dot-product attention (queries with keys, weights with values), as the tool
did that made the tables of "Faster Diffusion via Temporal Attention Decomposition".

What a plan does to the counts is arithmetic and needs no torch; :func:`counts_of` builds the
denoiser without weights and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar, Literal

from attnscope.errors import InputError
from attnscope.plan import (
    Action,
    AnySite,
    Baseline,
    Kept,
    Plan,
    Text,
    Trajectory,
    check_kinds,
    made,
    parse,
)

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.architectures import Architecture

Convention = Literal["full", "paper"]
CONVENTIONS: tuple[Convention, ...] = ("paper", "full")
PARTS = (
    "convolution",
    # the kinds of attnscope.sites, which needs torch
    *(f"{k} {what}" for k in ("self", "cross", "joint") for what in ("projections", "products")),
    "feed-forward",
    "rest",
)
"""``projections`` make queries, keys, values and the output; ``products`` are the two inside
attention; ``rest`` is every other linear map: embeddings of time and text, the projections around
transformer blocks, modulations."""

Saving = Literal["guidance", "cross", "self", "joint"]
SAVINGS: dict[Saving, str] = {
    "guidance": "guidance cut-off",
    "cross": "cross-attention reuse",
    "self": "self-attention reuse",
    "joint": "joint attention reuse",
}
"""The ways in which a plan saves."""


@dataclass(frozen=True)
class SiteCost:
    """What one attention site costs in one call on one row.

    Args:
        name: as of :class:`attnscope.Site`, like the three that follow.
        kind: ``cross``, ``self`` or ``joint``.
        block: the stage it belongs to.
        index: position in the order of data flow.
        projections: MACs of its linear maps.
        products: MACs of its two matrix products.
        parameters: how many it has.
        outputs: elements of its output, which is what reuse keeps.
    """

    name: str
    kind: str
    block: str
    index: int
    projections: int
    products: int
    parameters: int
    outputs: int

    @property
    def parts(self) -> dict[str, int]:
        """MACs by part."""
        return {
            f"{self.kind} projections": self.projections,
            f"{self.kind} products": self.products,
        }

    def macs(self, convention: Convention) -> int:
        """All of the site."""
        return summed(self.parts, convention)


@dataclass(frozen=True)
class Counts:
    """What one call of a denoiser costs on one row of its batch.

    Args:
        sites: attention, site by site.
        elsewhere: MACs outside attention by part: ``convolution``, ``feed-forward``, ``rest``.
        parameters: of the whole denoiser.
        modules: MACs, products left out, by the name of the module that computes them.
    """

    sites: tuple[SiteCost, ...]
    elsewhere: Mapping[str, int]
    parameters: int
    modules: Mapping[str, int]

    @cached_property
    def parts(self) -> dict[str, int]:
        """MACs by part, in the order of :data:`PARTS`, those that the denoiser has."""
        parts = Counter(self.elsewhere)
        for site in self.sites:
            parts.update(site.parts)
        return {part: parts[part] for part in PARTS if parts[part]}

    def macs(self, convention: Convention = "full") -> int:
        """All of the call."""
        return summed(self.parts, convention)

    def of_kind(self, kind: str, convention: Convention = "full") -> int:
        """All attention of a kind."""
        return sum(site.macs(convention) for site in self.sites if site.kind == kind)


@dataclass(frozen=True)
class Cost:
    """What a plan costs for a number of steps.

    Args:
        counts: of one call on one row.
        trajectory: the plan made for the steps.
        guided: whether the model runs with guidance, so two branches where the plan keeps both.
        batch: images at a time.
    """

    counts: Counts
    trajectory: Trajectory
    guided: bool = True
    batch: int = 1

    def rows(self, step: int) -> int:
        """Rows of the denoiser's batch at a step."""
        return self.batch * (len(self.trajectory.branches(step)) if self.guided else 1)

    @cached_property
    def steps(self) -> tuple[dict[str, int], ...]:
        """MACs by part at every step."""
        computed = [Counter(self.counts.elsewhere) for _ in range(self.trajectory.steps)]
        for site in self.counts.sites:
            for parts, action in zip(computed, self.trajectory.actions(site), strict=True):
                if action is not Action.REUSE:
                    parts.update(site.parts)
        return tuple(
            {part: self.rows(step) * parts[part] for part in self.counts.parts}
            for step, parts in enumerate(computed)
        )

    @cached_property
    def parts(self) -> dict[str, int]:
        """MACs by part over all steps."""
        return {part: sum(step[part] for step in self.steps) for part in self.counts.parts}

    def macs(self, convention: Convention = "full") -> int:
        """All of the run."""
        return summed(self.parts, convention)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Elements that are kept for reuse when a step is over, for every step (Table A13)."""
        kept = [0] * self.trajectory.steps
        for site in self.counts.sites:
            rows, last = 0, self.trajectory.last_reuses(site)
            for step, action in enumerate(self.trajectory.actions(site)):
                if action is Action.STORE:
                    rows = self.rows(step)
                elif action is Action.REUSE:  # the mean over branches, once one was dropped
                    rows = 0 if step in last else min(rows, self.rows(step))
                kept[step] += rows * site.outputs
        return tuple(kept)

    @cached_property
    def baseline(self) -> Cost:
        """The same run with everything computed."""
        everything = Trajectory(Baseline(), self.trajectory.steps)
        return Cost(self.counts, everything, self.guided, self.batch)

    def speedup(self, convention: Convention = "full") -> float:
        """How much faster the plan is if time is proportional to MACs."""
        return self.baseline.macs(convention) / self.macs(convention)

    def table(self) -> pd.DataFrame:
        """Columns ``step``, ``rows``, ``part``, ``macs``."""
        import pandas as pd

        rows = [
            (step, self.rows(step), part, macs)
            for step, parts in enumerate(self.steps)
            for part, macs in parts.items()
        ]
        return pd.DataFrame(rows, columns=["step", "rows", "part", "macs"])


@dataclass(frozen=True)
class Within(Plan):
    """A part of another plan: all of it, but for what a subclass leaves out.

    Args:
        plan: the whole plan.
    """

    plan: Plan

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the whole plan."""
        return self.plan.kinds

    @property
    def gate(self) -> int:
        """That of the whole plan."""
        gate: int = getattr(self.plan, "gate", 0)
        return gate

    def action(self, site: AnySite, step: int) -> Action:
        """What the whole plan says."""
        return self.plan.action(site, step)

    def keeps(self, step: int) -> Kept:
        """What the whole plan says."""
        return self.plan.keeps(step)

    def text(self, step: int) -> Text:
        """What the whole plan says; the text costs nothing."""
        return self.plan.text(step)


@dataclass(frozen=True)
class Alone(Within):
    """One of the ways in which a plan saves, alone: what it is worth by itself.

    Args:
        plan: the whole plan, also in its text form.
        saving: which part of it stays: ``guidance``, ``cross``, ``self`` or ``joint``.

    Raises:
        InputError: there is no such plan or way.
    """

    name: ClassVar[str] = "alone"
    saving: Saving

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", parse(self.plan))
        if self.saving not in SAVINGS:
            raise InputError(f"no such saving: {self.saving!r} (choose {', '.join(SAVINGS)})")

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one kind of attention, if the plan acts on it."""
        return tuple(kind for kind in self.plan.kinds if kind == self.saving)

    def keeps(self, step: int) -> Kept:
        """What the whole plan says, if this is about guidance."""
        return super().keeps(step) if self.saving == "guidance" else "both"

    def __str__(self) -> str:
        return f"{self.plan}, {SAVINGS[self.saving]} alone"


def counts_of(
    model: str = "shapes",
    *,
    height: int | None = None,
    width: int | None = None,
    tokens: int | None = None,
    frames: int | None = None,
) -> Counts:
    """Count one call of a model's denoiser on one row, without weights and without memory.

    Args:
        model: short name (see :func:`attnscope.architectures.names`), hub id or folder.
        height: in pixels; ``None`` is the model's own, as for all that follow.
        width: in pixels; ``None`` with a height given is square.
        tokens: of the text.
        frames: of the latents of a video.

    Raises:
        InputError: the model is not known, or it does not take the size.
    """
    from attnscope import architectures, counting

    architecture = architectures.find(model).resized(height, width, tokens, frames)
    return counting.count_architecture(architecture)


def cost_of(
    counts: Counts, plan: Plan | str, steps: int, *, guided: bool = True, batch: int = 1
) -> Cost:
    """What a plan costs over a number of steps.

    Args:
        counts: of one call on one row.
        plan: as a plan or in its text form.
        steps: how often the denoiser is called.
        guided: whether the model runs with guidance.
        batch: images at a time.

    Raises:
        InputError: there is no such plan, it is longer than the steps, or one of one's own answers
            something that is no action, branch or text.
    """
    trajectory = made(parse(plan), steps)
    for site in counts.sites:
        trajectory.actions(site)  # what is wrong is said here and not where a number is asked for
    return Cost(counts, trajectory, guided, batch)


def savings(plan: Plan, counts: Counts, *, guided: bool = True) -> tuple[Saving, ...]:
    """The ways in which a plan may save on a denoiser.

    Raises:
        InputError: its kinds, or what it answers of guidance, are none.
    """
    check_kinds(plan)
    here = {site.kind for site in counts.sites}.intersection(plan.kinds)
    dropped = {"guidance"} if guided and plan.ever_drops() else set()
    return tuple(saving for saving in SAVINGS if saving in here | dropped)


def attribution(cost: Cost) -> pd.DataFrame:
    """What saves how much: guidance cut-off, cross-attention reuse, self-attention reuse.

    A branch that is dropped saves all that it would have computed; reuse saves what the branches
    that still run would have computed. Counted so, the parts sum to what the plan saves, unlike those
    of ``attnscope bench``, whose ``attribution`` is what each part saves of the time when it runs alone.

    Returns:
        Columns ``convention``, ``saving`` (the last row is ``all``), ``saved`` (MACs),
        ``of_baseline`` (part of what the run costs without the plan), ``share`` (of all that is
        saved), ``speedup`` (ideal, of this part alone on the whole run).
    """
    import pandas as pd

    plan, steps = cost.trajectory.plan, cost.trajectory.steps
    ways = savings(plan, cost.counts, guided=cost.guided)
    alone = {
        way: cost_of(cost.counts, Alone(plan, way), steps, guided=cost.guided, batch=cost.batch)
        for way in ways
    }
    rows = []
    for convention in CONVENTIONS:
        whole = cost.baseline.macs(convention)
        total = whole - cost.macs(convention)
        for way in ways:
            saved = _saved(cost, way, convention)
            share, speedup = saved / total if total else 0.0, alone[way].speedup(convention)
            rows.append((convention, SAVINGS[way], saved, saved / whole, share, speedup))
        share, speedup = 1.0 if total else 0.0, cost.speedup(convention)
        rows.append((convention, "all", total, total / whole, share, speedup))
    columns = ["convention", "saving", "saved", "of_baseline", "share", "speedup"]
    return pd.DataFrame(rows, columns=columns)


def scaling(
    model: str | Architecture,
    *,
    sizes: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
) -> pd.DataFrame:
    """What one call on one row costs at other resolutions and lengths of the text (Table A6).

    Resolutions are taken with the model's own number of tokens, lengths with its own resolution;
    what is given twice is taken once.

    Args:
        model: as of :func:`counts_of`, or an architecture at a size of one's own.
        sizes: heights in pixels, the aspect ratio stays; ``None`` is half to four times the model's.
        tokens: ``None`` is 1 to 4096 times the model's, as in the paper.

    Returns:
        Columns ``axis`` (``resolution`` or ``tokens``), ``height``, ``width``, ``tokens``,
        ``part``, ``macs``.

    Raises:
        InputError: as of :func:`counts_of`.
    """
    import pandas as pd

    from attnscope import architectures, counting

    own = architectures.find(model) if isinstance(model, str) else model
    ratio = own.width / own.height
    cases = [("resolution", height, own.fitting(height * ratio), own.tokens)
             for height in sizes or [own.fitting(own.height * f) for f in (0.5, 1, 1.5, 2, 3, 4)]]  # fmt: skip
    cases += [("tokens", own.height, own.width, length)
              for length in tokens or [own.tokens * 4**power for power in range(7)]]  # fmt: skip
    parts = []
    for axis, height, width, length in dict.fromkeys(cases):  # small sizes fit to the same one
        counts = counting.count_architecture(own.resized(height, width, length))
        table = pd.DataFrame(counts.parts.items(), columns=["part", "macs"])
        parts.append(table.assign(axis=axis, height=height, width=width, tokens=length))
    columns = ["axis", "height", "width", "tokens", "part", "macs"]
    return pd.concat(parts, ignore_index=True)[columns]


def crossover(table: pd.DataFrame, convention: Convention = "full") -> float | None:
    """From how many tokens on cross-attention costs more than everything else together.

    Both are straight lines over the number of tokens, so two lengths settle it, wherever they are.

    Args:
        table: of :func:`scaling`.
        convention: which MACs are compared.

    Returns:
        The number of tokens, 1 or more; ``None`` if it never does.

    Raises:
        ValueError: the table has fewer than two lengths.
    """
    chosen = table[(table["axis"] == "tokens") & counted(table["part"], convention)]
    of_cross = chosen["part"].str.startswith("cross ")
    cross = chosen[of_cross].groupby("tokens")["macs"].sum()
    excess = cross.subtract(chosen[~of_cross].groupby("tokens")["macs"].sum(), fill_value=0)
    if len(excess) < 2:
        raise ValueError("the crossover takes two lengths of the text: give scaling() more tokens")
    (first, last), (low, high) = excess.index[[0, -1]], excess.iloc[[0, -1]]
    slope = (high - low) / (last - first)
    if slope <= 0:
        return 1.0 if slope == 0 <= low else None
    return max(1.0, float(first - low / slope))


def counted(parts: pd.Series[str], convention: Convention) -> pd.Series[bool]:
    """Which parts a convention counts."""
    return parts.map(partial(_counts, convention)).astype(bool)


def _saved(cost: Cost, saving: Saving, convention: Convention) -> int:
    """MACs that a plan saves in one of its ways; those of all ways sum to what it saves."""
    steps = range(cost.trajectory.steps)
    if saving == "guidance":
        dropped = sum(cost.baseline.rows(step) - cost.rows(step) for step in steps)
        return dropped * cost.counts.macs(convention)
    return sum(
        cost.rows(step) * site.macs(convention)
        for site, step in _reused(cost)
        if site.kind == saving
    )


def _reused(cost: Cost) -> Iterator[tuple[SiteCost, int]]:
    for site in cost.counts.sites:
        for step, action in enumerate(cost.trajectory.actions(site)):
            if action is Action.REUSE:
                yield site, step


def summed(parts: Mapping[str, int], convention: Convention) -> int:
    """All parts that a convention counts."""
    return sum(macs for part, macs in parts.items() if _counts(convention, part))


def _counts(convention: Convention, part: str) -> bool:
    """The paper leaves out the products inside attention."""
    return convention == "full" or not part.endswith("products")
