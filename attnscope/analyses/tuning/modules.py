"""The modules that a plan is searched for, and the groups in which they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attnscope.errors import InputError
from attnscope.plans.timetable import COMPUTE, Timetable, ancestors, fresh
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser

FINE = ("self", "cross", "joint", "feed-forward", "resnet", "sampler")
"""Kinds of modules that stand within no other of these: what is measured one by one."""


@dataclass(frozen=True)
class Group:
    """Modules of a kind and a stage, which are stale together.

    Args:
        kind: theirs.
        block: their stage, such as ``down_blocks.0``.
        names: of the modules, in the order of data flow.
    """

    kind: str
    block: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """Kind and stage."""
        return f"{self.kind} {self.block}"


def outermost(denoiser: Denoiser) -> tuple[Site, ...]:
    """The largest modules that a plan may act on: of a U-Net transformers, residual blocks and samplers.

    Args:
        denoiser: of a pipeline.

    Raises:
        InputError: there are none.
    """
    acting = [site for site in (*denoiser.sites, *denoiser.around) if site.kind != "latent"]
    names = {site.name for site in acting}
    found = tuple(site for site in acting if not ancestors(site.name) & names)
    if not found:
        raise InputError(f"{denoiser.class_name} has no modules that a plan could act on")
    return tuple(sorted(found, key=lambda site: site.index))


def groups_of(sites: Sequence[Site]) -> tuple[Group, ...]:
    """Modules by stage and kind, in the order of data flow."""
    found: dict[tuple[str, str], list[str]] = {}
    for site in sites:
        found.setdefault((site.kind, site.block), []).append(site.name)
    return tuple(Group(kind, block, tuple(names)) for (kind, block), names in found.items())


def fine_groups(denoiser: Denoiser) -> tuple[Group, ...]:
    """Attention, feed-forwards, residual blocks and samplers by stage and kind."""
    acting = (*denoiser.sites, *denoiser.around)
    return groups_of([site for site in acting if site.kind in FINE])


def timetable(
    groups: Sequence[Group],
    levels: tuple[float, ...],
    letters: str | Sequence[str],
    *,
    guidance: str | None = None,
    directions: tuple[float, ...] = (),
    **about: object,
) -> Timetable:
    """A plan of groups; all of them compute where a guidance branch comes back.

    Args:
        groups: of modules.
        levels: log-SNR of x_t at every step.
        letters: a letter a step of all groups, or of each; see :mod:`attnscope.plans.timetable`.
        guidance: a letter a step; ``None`` leaves it alone.
        directions: as of :class:`~attnscope.plans.timetable.Timetable`.
        about: what the file is to say of it.
    """
    each = [letters] * len(groups) if isinstance(letters, str) else letters
    branches = guidance or "b" * len(levels)
    rows = tuple(
        (group.kind, name, fresh(row, branches))
        for group, row in zip(groups, each, strict=True)
        for name in group.names
        if set(fresh(row, branches)) != {COMPUTE}
    )
    return Timetable(
        log_snr=levels,
        rows=rows,
        guidance=branches,
        directions=directions if any(directions) else (),
        about=about,
    )


def carried(plan: Timetable, onto: Sequence[Site]) -> Timetable:
    """A plan for a model of the same family with other blocks: by kind and place in the data flow.

    Every module does what the module of its kind does that stands at the nearest place, counted from the
    first of them (0) to the last (1), within the same part of a U-Net (down, middle, up). What the other
    model has of kinds that the plan does not act on computes.

    Args:
        plan: found on another model.
        onto: the outermost modules of this one, in the order of data flow.

    Raises:
        InputError: this model has no module of a kind that the plan acts on.
    """
    rows = []
    for kind, part in sorted({(site.kind, _part(site.name)) for site in onto}):
        own = [row for row in plan.rows if row[0] == kind and _part(row[1]) == part]
        own = own or [row for row in plan.rows if row[0] == kind]
        there = [site for site in onto if site.kind == kind and _part(site.name) == part]
        if not own:
            continue
        for number, site in enumerate(there):
            where = number / max(1, len(there) - 1) * (len(own) - 1)
            rows.append((kind, site.name, own[round(where)][2]))
    if not rows:
        raise InputError(f"{plan} acts on {' and '.join(plan.kinds)}, of which this model has none")
    return replace(
        plan, rows=tuple(rows), source="", about=dict(plan.about) | {"carried": str(plan)}
    )


def _part(name: str) -> str:
    """Down, middle or up of a U-Net; of others nothing."""
    first = name.partition("_")[0]
    return first if first in ("down", "mid", "up") else ""
