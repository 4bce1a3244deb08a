"""``attnscope plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o
from attnscope.cli.choices import choice
from attnscope.cli.grouping import MODEL, OUTPUT, SAMPLING, grouped
from attnscope.cli.places import PICTURES, check_file
from attnscope.models.schedulers import SCHEDULERS
from attnscope.plans.formats import FORMATS

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel
    from attnscope.plans.base import Plan
    from attnscope.plans.trajectory import Trajectory

_STEPS = 25


@grouped
def plan(
    file: Annotated[str | None, typer.Argument(metavar="[plan.json]", help="The file of a plan, or any plan as --plan takes it.", show_default="the paper's")] = None,
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    model: Annotated[str | None, typer.Option(help="Whose noise levels the steps have; no weights are loaded.", metavar="<name>", rich_help_panel=MODEL)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.", show_default=f"the file's, the model's, or {_STEPS}", rich_help_panel=SAMPLING)] = None,
    scheduler: Annotated[str | None, choice(SCHEDULERS, help="Solver of --model.", show_default="the model's", rich_help_panel=SAMPLING)] = None,
    out: Annotated[Path | None, typer.Option(help="Also draw it as a PNG or PDF: the paper's Figure 5; with --to a .json or .py.", rich_help_panel=OUTPUT)] = None,
    to: Annotated[str | None, choice(FORMATS, help="Write a plan's file as the configuration of another package instead.", rich_help_panel=OUTPUT)] = None,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Show what a plan does at every step, as a picture in the terminal.

    Without a plan: the paper's T-GATE, m=10 and k=5 of 25 steps. A plan that goes by noise levels is
    placed on the steps of --model.
    """
    from attnscope.cli.console import results, show_json
    from attnscope.cli.schedules import show

    _check_out(out, to, as_json)
    asked, trajectory = _made(_asked(file, tgate, other), model, steps, scheduler)
    if to is not None:
        _write(trajectory, to, model, out)
        return
    table = trajectory.table()
    if out is not None:  # first, so that nothing was shown where it cannot be written
        from attnscope.figures.saving import save
        from attnscope.figures.schedule import schedule

        save(lambda: schedule(table), out)
    if as_json:
        about = getattr(asked, "about", {})
        told: dict[str, Any] = {}
        if trajectory.levels is not None:
            told["log_snr"] = trajectory.levels
        told |= {"about": about} if about else {}
        show_json({"plan": str(asked), "steps": trajectory.steps, **told, "schedule": table})
    else:
        show(asked, trajectory, table, on=", ".join(filter(None, (model, scheduler))))
    if out is not None and not as_json:
        results.print(f"figure: {out}", soft_wrap=True)


def _check_out(out: Path | None, to: str | None, as_json: bool) -> None:
    """Refuse what cannot be written."""
    from attnscope.errors import InputError

    if to is not None and to not in FORMATS:
        raise InputError(f"no such format: --to {to!r} (choose {', '.join(FORMATS)})")
    if to is not None and as_json:
        raise InputError("--json tells what is shown, and --to writes it for others: give one")
    endings = PICTURES if to is None else FORMATS[to].endings
    if out is not None:
        check_file("--out", out, endings)


def _asked(file: str | None, tgate: str | None, other: str | None) -> Plan | None:
    """The plan that was asked for, in one of the ways."""
    from attnscope.cli.parsing import chosen_plan
    from attnscope.errors import InputError

    if file is None:
        return chosen_plan(tgate, other)
    if tgate is not None or other is not None:
        raise InputError(f"give {file!r} or {'--tgate' if tgate else '--plan'}, not both")
    return chosen_plan(None, file)


def _made(
    asked: Plan | None, model: str | None, steps: int | None, scheduler: str | None
) -> tuple[Plan, Trajectory]:
    """The plan, and what it is at the steps."""
    from attnscope.errors import InputError
    from attnscope.plans.reuse import paper_plan
    from attnscope.plans.trajectory import made

    own = None if asked is None else asked.own_steps
    if model is None:
        if scheduler is not None:
            raise InputError(f"--scheduler {scheduler} is of a model: give --model, too")
        number, levels = steps or own or _STEPS, None
    else:
        chosen = _model(model, scheduler)
        wanted = steps or own or chosen.described.steps
        number, levels = chosen.steps_made(wanted), chosen.levels(wanted)
    plan = asked or paper_plan(number)
    return plan, made(plan, number, levels=levels)


def _model(name: str, scheduler: str | None) -> ChosenModel:
    """The model, of which no more than its scheduler is looked at."""
    from attnscope.models.chosen import ChosenModel

    return ChosenModel(
        name, scheduler=scheduler, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )


def _write(trajectory: Trajectory, to: str, model: str | None, out: Path | None) -> None:
    """Write the plan in another's form, to a file or to stdout."""
    from attnscope.files import write_whole

    ending = ".json" if out is None else out.suffix.lower()
    text = FORMATS[to].text(trajectory.plan, _modules(model), ending)
    if out is None:
        print(text, end="")
    else:
        write_whole(out, lambda partial: partial.write_text(text, encoding="utf-8"))
        print(out)


def _modules(model: str | None) -> dict[str, str]:
    """All that a plan may act on in a model, from its architecture alone."""
    if model is None:
        return {}
    from attnscope.models import architectures, building
    from attnscope.sites.denoiser import Denoiser

    found = Denoiser(building.build(architectures.find(model, offline=True)))
    return {site.name: site.kind for site in (*found.sites, *found.around) if site.index >= 0}
