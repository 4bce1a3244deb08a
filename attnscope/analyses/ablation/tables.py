"""The tables of an ablation, from the parts that its arms left."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from attnscope.analyses.ablation.arms import AblationSettings, Arm, arms_of
from attnscope.errors import InputError
from attnscope.runs.folder import Run
from attnscope.tables import concatenate


def images_of(run: Run, settings: AblationSettings) -> pd.DataFrame:
    """Every image of a run: the columns of its arm, then ``prompt_id``, ``frame`` and ``path``.

    Raises:
        InputError: some are missing.
    """
    tables = []
    for arm in arms_of(settings):
        count = len(run.known(f"{arm.key}/images"))
        if count != settings.limit:
            raise InputError(
                f"{str(run.path)!r} has {count} of {settings.limit} images of {arm.name}: give the "
                "same command again"
            )
        table = concatenate(run.read_parts(f"{arm.key}/images"))
        table = table.drop_duplicates(["prompt_id", "frame"])
        tables.append(_with_arm(table.sort_values(["prompt_id", "frame"]), arm))
    return pd.concat(tables, ignore_index=True)


def noise_of(run: Run, settings: AblationSettings) -> pd.DataFrame:
    """The predicted noise of every arm per step and branch (the paper's Figure 3a).

    Returns:
        The columns of the arm, ``step``, ``timestep``, ``log_snr`` (of x_t), ``branch``, and over
        the prompts the averages ``mean``, ``norm`` and ``rms`` with the standard deviations
        ``mean_sd``, ``norm_sd`` and ``rms_sd``. Empty for schedulers without a known way from
        predictions to noise.
    """
    tables = []
    for arm in arms_of(settings):
        found = run.read_parts(f"{arm.key}/noise")
        if not found:
            continue
        table = concatenate(found).drop_duplicates(["prompt_id", "step", "branch"])
        groups = table.groupby(["step", "timestep", "log_snr", "branch"], observed=True)
        values = groups[["mean", "norm", "rms"]]
        spread = values.std(ddof=1).add_suffix("_sd")
        tables.append(_with_arm(values.mean().join(spread).reset_index(), arm))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def pictures_of(run: Run, settings: AblationSettings) -> pd.DataFrame:
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
