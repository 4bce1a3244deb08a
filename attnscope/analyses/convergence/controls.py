"""Does attention converge, or does everything? Controls for the paper's Figure 2.

The paper's section 3.1 concludes from shrinking distances between consecutive steps that
cross-attention converges. Distances shrink also because a scheduler's steps shrink, in whatever is
measured. :class:`Controlling` puts what a critical reader asks for beside them, in one table.

What is measured, the column ``measure``:

- ``step``: C_i from C_{i-1}, the paper's curve.
- ``final``: C_i from C_n, the output at the last step. A curve of consecutive distances may fall
  while an output still wanders far, and a plan that reuses an output until the end makes just this
  error. It takes a second pass over the same seeds.
- ``caption``: C_i for an image's own caption from C_i for another one, at the same latents, in the
  conditional branch, which alone is given a caption. It says how much of an output depends on what
  the text says, and so what a distance is to be called small against.
- ``branches``: C_i of the conditional branch from that of the unconditional one, and, as the kind
  ``prediction``, the two predictions of noise and the two estimates of x_0.

On what, the column ``kind``: attention, whole blocks and feed-forwards around it, and the latents
x_t, which follow the scheduler more than anything.

With what, the column ``arm``:

- ``trained``: the model.
- ``other-caption``: captions shuffled against images. The denoiser is given the latents of an image
  and the caption of the next one that differs, at every step of the image's own trajectory
  (:func:`attnscope.analyses.convergence.interventions.same_latents`). If a wrong caption's output converges as the
  right one's does, convergence is no sign that text and image have come to agree.
- ``random``: the same architecture with weights that were never trained, from the same noise
  (``step`` and ``branches`` alone).
- ``random-replayed``: the same random weights, given the latents of the trained model's trajectory.
  What falls here falls because the latents come to rest, with no knowledge of text or image.

Distances of ``step`` stand also per nat of log-SNR (:func:`attnscope.models.predictions.log_snr`) that
lies between the two steps, which takes the size of the scheduler's steps out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnscope.analyses.convergence.measure import ConvergenceSettings
from attnscope.errors import InputError
from attnscope.runs.crew import Made
from attnscope.runs.prompts import Prompt

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel

MEASURES = ("step", "final", "caption", "branches")
_BESIDE = ("feed-forward", "block", "latent")
"""What attention is compared with."""
GATE = 0.4
"""Part of the steps after which a summary looks: the paper's m = 10 of 25."""

_VALUES = ("l2", "rms", "relative", "cosine")
_COLUMNS = (
    "arm", "measure", "prompt_id", "image", "seed", "branch", "step", "timestep", "log_snr",
    "log_snr_change", "site", "kind", "block", *_VALUES, "l2_per_nat", "relative_per_nat",
)  # fmt: skip
_CATEGORICAL = ("arm", "measure", "branch", "site", "kind", "block")


def checked_items(
    pipe: Any, prompts: Sequence[Prompt], inputs: Sequence[Any]
) -> list[tuple[Prompt, Any, Any]]:
    """What is measured on: every prompt with its input and the next one that differs.

    Args:
        pipe: the pipeline.
        prompts: what stands for each input in the table.
        inputs: one per prompt: its text, or an image for a video model.

    Raises:
        InputError: log-SNR is not defined for the scheduler, its predictions cannot be converted to
            noise, or there are no two different captions.
    """
    from attnscope.models.predictions import check_noise_levels, check_prediction

    check_noise_levels(pipe.scheduler)
    check_prediction(pipe.scheduler)
    return list(zip(prompts, inputs, _others(inputs), strict=True))


@dataclass(frozen=True)
class Controlling:
    """Makes the rows of a batch; a :class:`attnscope.runs.crew.Work`.

    It takes as long as making every image seven times, and calls the pipeline on twice the batch where
    two captions are compared. There is a row per arm, measure, prompt, branch, step and site with the
    columns ``arm``, ``measure``, ``prompt_id``, ``image``, ``seed``, ``branch`` (``both`` where two are
    compared, ``guided`` for the latents), ``step``, ``timestep``, ``log_snr`` (in nats),
    ``log_snr_change`` (since the step before; missing where it is 0 or infinite), ``site``, ``kind``,
    ``block``, ``l2``, ``rms``, ``relative``, ``cosine``, and of the measure ``step`` ``l2_per_nat`` and
    ``relative_per_nat``.

    Args:
        model: that is measured.
        settings: of the run; its pattern of sites narrows attention alone.
    """

    model: ChosenModel
    settings: ConvergenceSettings

    def __call__(self, pipe: Any, items: Sequence[Any], number: int) -> Made:
        """Measure it."""
        work = _Batch(pipe, self.settings, self.model.described.options)
        return Made(parts={"controls": work.measure(items)})


def _others(inputs: Sequence[Any]) -> list[Any]:
    """For every input the next one that differs, as in a circle."""
    found = []
    for place, own in enumerate(inputs):
        rest = [*inputs[place + 1 :], *inputs[:place]]
        other = next((item for item in rest if item is not own and item != own), None)
        if other is None:
            raise InputError(
                "`controls` shuffles captions against images, and there are no two different "
                f"captions among {len(inputs)} (choose a `limit` of 2 or more)"
            )
        found.append(other)
    return found


class _Batch:
    """Measures all arms on a batch of prompts."""

    def __init__(self, pipe: Any, settings: ConvergenceSettings, options: dict[str, Any]) -> None:
        from attnscope.sites.attention import select_sites
        from attnscope.sites.denoiser import Denoiser

        self.pipe, self.settings, self.options = pipe, settings, options
        denoiser = Denoiser.of(pipe)
        chosen = select_sites(denoiser.sites, kinds=settings.kinds, pattern=settings.sites)
        self.kinds = (*settings.kinds, *_BESIDE)
        self.modules = tuple(kind for kind in self.kinds if kind != "latent")
        beside = [site for site in denoiser.around if site.kind in _BESIDE]
        self.names = [site.name for site in (*chosen, *beside)]

    def measure(self, batch: Sequence[tuple[Prompt, Any, Any]]) -> pd.DataFrame:
        """The rows of all arms."""
        from torch import Tensor

        from attnscope.analyses.convergence.interventions import (
            latents_kept,
            latents_replayed,
            random_weights,
        )

        kept: list[Tensor] = []
        given = [own for _, own, _ in batch]
        trained = self._watch(batch, "trained", given, first=latents_kept(self.pipe, kept))
        captions = self._two_captions(batch)
        with random_weights(self.pipe, self.settings.seed):
            random = self._watch(batch, "random", given)
            with latents_replayed(self.pipe, kept):
                replayed = self._watch(
                    batch, "random-replayed", given, first=contextlib.nullcontext()
                )
        return _tidy([*trained, *captions, *random, *replayed])

    def _watch(
        self,
        batch: Sequence[tuple[Prompt, Any, Any]],
        arm: str,
        given: Sequence[Any],
        first: contextlib.AbstractContextManager[None] | None = None,
    ) -> list[pd.DataFrame]:
        """One pass; with ``first`` a pass inside of it comes before, over the same seeds."""
        from attnscope.hooks.trace import Trace
        from attnscope.observers.branches import BranchDistance
        from attnscope.observers.final import FinalDistance
        from attnscope.observers.predictions import PredictionDistance
        from attnscope.observers.steps import StepDistance

        step = StepDistance(self.kinds, self.names)
        final = FinalDistance(self.kinds, self.names)
        branches = BranchDistance(self.modules, self.names)
        predictions = PredictionDistance()
        observers = [step, branches, predictions, *([final] if first else [])]
        with Trace(self.pipe, observers=observers) as trace:
            if first:
                with first:
                    self._call(given, batch)
            self._call(given, batch)
            predicted = trace.records(predictions)
            predicted["site"] = predicted.pop("prediction").astype(str)
            tables = {
                "step": [trace.records(step)],
                "final": [trace.records(final)] if first else [],
                "branches": [
                    trace.records(branches).assign(branch="both"),
                    predicted.assign(branch="both", kind="prediction", block="prediction"),
                ],
            }
            levels = self._levels(trace)
        return [
            self._joined(table[table["run"] == int(first is not None)], batch, levels, arm, name)
            for name, several in tables.items()
            for table in several
            if len(table)
        ]

    def _two_captions(self, batch: Sequence[tuple[Prompt, Any, Any]]) -> list[pd.DataFrame]:
        """One pass over every image's own caption and, at the same latents, another one."""
        from attnscope.analyses.convergence.interventions import same_latents
        from attnscope.hooks.trace import Trace
        from attnscope.observers.captions import CaptionDistance
        from attnscope.observers.steps import StepDistance

        count = len(batch)
        apart = CaptionDistance(count, self.modules, self.names)
        step = StepDistance(self.modules, self.names)
        given = [*(own for _, own, _ in batch), *(other for _, _, other in batch)]
        with (
            same_latents(self.pipe, count),
            Trace(self.pipe, observers=[apart, step]) as trace,
        ):
            self._call(given, batch)
            between, paces = trace.records(apart), trace.records(step)
            levels = self._levels(trace)
        paces = paces[paces["sample"] >= count]
        paces = paces.assign(sample=paces["sample"] - count)
        # The unconditional branch is given the same text for both.
        between, paces = (table[table["branch"] != "uncond"] for table in (between, paces))
        return [
            self._joined(between, batch, levels, "trained", "caption"),
            self._joined(paces, batch, levels, "other-caption", "step"),
        ]

    def _call(self, given: Sequence[Any], batch: Sequence[tuple[Prompt, Any, Any]]) -> None:
        ids = _ids(batch) * (len(given) // len(batch))
        self.settings.call(self.pipe, given, ids, output_type="latent", **self.options)

    def _levels(self, trace: Any) -> pd.DataFrame:
        """Log-SNR of every step and its change since the one before."""
        from attnscope.models.predictions import log_snr

        levels = log_snr(self.pipe.scheduler, trace.runs[-1].timesteps())
        with np.errstate(invalid="ignore"):
            change = np.diff(levels, prepend=np.nan)
        change[(change == 0) | ~np.isfinite(change)] = np.nan
        return pd.DataFrame({"log_snr": levels, "log_snr_change": change})

    def _joined(
        self,
        table: pd.DataFrame,
        batch: Sequence[tuple[Prompt, Any, Any]],
        levels: pd.DataFrame,
        arm: str,
        name: str,
    ) -> pd.DataFrame:
        """An observer's rows with what they are of."""
        seeds = np.array(self.settings.seeds(_ids(batch)), dtype=np.uint64)
        numbers = np.array(_ids(batch))
        sample = table["sample"].to_numpy()
        of_step = levels.iloc[table["step"].to_numpy()].reset_index(drop=True)
        table = table.reset_index(drop=True).assign(
            arm=arm, measure=name, prompt_id=numbers[sample], image=0, seed=seeds[sample],
            log_snr=of_step["log_snr"], log_snr_change=of_step["log_snr_change"],
        )  # fmt: skip
        for value in ("l2", "relative"):
            rate = table[value] / table["log_snr_change"].abs() if name == "step" else np.nan
            table[f"{value}_per_nat"] = rate
        return table[list(_COLUMNS)]


def _ids(batch: Sequence[tuple[Prompt, Any, Any]]) -> list[int]:
    return [prompt.prompt_id for prompt, _, _ in batch]


def _tidy(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    numbers = ("log_snr", "log_snr_change", *_VALUES, "l2_per_nat", "relative_per_nat")
    small = dict.fromkeys(numbers, "float32")
    text = dict.fromkeys(_CATEGORICAL, "object")
    table = pd.concat([part.astype(small | text) for part in tables], ignore_index=True)
    return table.astype(dict.fromkeys(_CATEGORICAL, "category"))


def summary(controls: pd.DataFrame) -> pd.DataFrame:
    """Every curve at its first step, at the paper's gate and at its last step.

    Args:
        controls: of a run, from :class:`Controlling`.

    Returns:
        One row per ``arm``, ``measure`` (``step`` twice: the second, ``step_per_nat``, is per nat of
        log-SNR), ``kind`` (predictions by name): the mean over prompts of ``relative``, after
        branches and sites were averaged, as ``first``, ``gate`` (after 40% of the steps) and
        ``last``, and ``gate_sd``, its standard deviation over prompts. For the kind ``prediction``
        it is 1 - cos, as Adaptive Guidance has it.
    """
    controls = controls.astype(dict.fromkeys(_CATEGORICAL, object))
    predicted = controls["kind"] == "prediction"
    controls["value"] = controls["relative"].where(~predicted, controls["cosine"])
    controls.loc[predicted, "kind"] = "1 - cos of " + controls.loc[predicted, "site"]
    rates = controls[controls["measure"] == "step"].assign(measure="step_per_nat")
    rates["value"] = rates["relative_per_nat"]
    gate = round(GATE * (int(controls["step"].max()) + 1))
    rows: list[dict[str, Any]] = []
    both = pd.concat([controls, rates]).dropna(subset="value")
    for (arm, name, kind), group in both.groupby(["arm", "measure", "kind"], sort=False):
        curves = group.groupby(["prompt_id", "image", "step"])["value"].mean().unstack("step")
        mean = curves.mean()
        rows.append(
            {
                "arm": arm,
                "measure": name,
                "kind": kind,
                "first": mean.iloc[0],
                "gate": mean.get(gate),
                "gate_sd": curves[gate].std() if gate in curves else None,
                "last": mean.iloc[-1],
            }
        )
    return pd.DataFrame(rows)
