# ruff: noqa: RUF001 -- Greek names of models
"""What a tiny self of every pipeline does under each use of attnscope: the rows of ``docs/support.md``.

``python tests/supported.py`` writes them into the document; ``test_supported.py`` holds it to them.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import toys
import toys_other

import attnscope
from attnscope import Action
from attnscope.errors import InputError
from attnscope.kinds import KINDS

PAGE = Path(__file__).parent.parent / "docs" / "support.md"
BEGIN, END = "<!-- made by tests/supported.py -->", "<!-- end -->"
USES = ("watch", "maps of words", "reuse attention", "reuse blocks", "drop a branch")
STEPS = 4


@dataclass(frozen=True)
class Row:
    """A pipeline.

    Args:
        name: as people know it.
        make: from a folder for its tokenizer to the pipeline.
        call: makes images of it, of :data:`STEPS` steps.
    """

    name: str
    make: Callable[[Path], Any]
    call: Callable[[Any], torch.Tensor]


def _toy(pipe: Any) -> Any:
    return toys.call(pipe, prompts=2, steps=STEPS)


ROWS = (
    Row("Stable Diffusion 1, 2", toys.stable_diffusion, _toy),
    Row("Stable Diffusion XL", toys.stable_diffusion_xl, _toy),
    Row("SDXL with LCM", toys.lcm_sdxl, _toy),
    Row("PixArt-α", toys.pixart, _toy),
    Row("PixArt-α with LCM", toys.lcm_pixart, _toy),
    Row("PixArt-Σ", toys.pixart_sigma, _toy),
    Row("Stable Diffusion 3", lambda _: toys.sd3(), partial(toys.call_sd3, num_inference_steps=STEPS)),
    Row("Stable Diffusion 3.5", lambda _: toys.sd3(dual=True), partial(toys.call_sd3, num_inference_steps=STEPS)),
    Row("Flux", lambda _: toys.flux(), partial(toys.call_flux, steps=STEPS)),
    Row("Stable Video Diffusion", toys.stable_video_diffusion, _toy),
    Row("Wan (text-to-video)", lambda _: toys.wan(), partial(toys.call_wan, steps=STEPS)),
    Row("ModelScope text-to-video", toys_other.text_to_video, toys_other.call_text_to_video),
    Row("I2VGen-XL", toys_other.i2vgen, toys_other.call_i2vgen),
    Row("AnimateDiff with ControlNet", toys_other.animatediff_controlnet, toys_other.call_animatediff),
    Row("LTX-Video", lambda _: toys_other.ltx(), toys_other.call_ltx),
    Row("CogVideoX", lambda _: toys_other.cogvideox(), toys_other.call_cogvideox),
)  # fmt: skip


@dataclass(frozen=True)
class _Reuses(attnscope.Plan):
    """Modules of some kinds are reused from step 2 on."""

    kinds: tuple[str, ...]

    def action(self, site: Any, step: int) -> Action:
        if site.kind not in self.kinds:
            return Action.COMPUTE
        return (Action.COMPUTE, Action.STORE, Action.REUSE)[min(step, 2)]


def _tensor(made: Any) -> torch.Tensor:
    return made if isinstance(made, torch.Tensor) else torch.as_tensor(made)


def watched(row: Row, pipe: Any) -> str:
    """Every step has distances, and the latents are what they are without."""
    plain = _tensor(row.call(pipe))
    observer = attnscope.StepDistance(KINDS)
    with attnscope.Trace(pipe, observers=[observer]):
        same = torch.equal(plain, _tensor(row.call(pipe)))
    return "yes" if same and len(observer.table()) else "wrong"


def mapped(row: Row, pipe: Any) -> str:
    """Text has maps of finite probabilities, and the latents are what they are without."""
    plain, observer = _tensor(row.call(pipe)), attnscope.AttentionMaps()
    with attnscope.Trace(pipe, observers=[observer]):
        same = torch.equal(plain, _tensor(row.call(pipe)))
    values = torch.from_numpy(observer.maps().values)
    right = bool(torch.isfinite(values).all()) and 0 < float(values.sum(2).max()) <= 1.001
    return "yes" if same and right else "wrong"


def acted(row: Row, pipe: Any, plan: attnscope.Plan) -> str:
    """The plan changes latents, computes less, and leaves the pipeline as it was."""
    with attnscope.Trace(pipe) as plain:
        without = _tensor(row.call(pipe))
    with attnscope.Trace(pipe, plan=plan) as trace:
        made = _tensor(row.call(pipe))
    guided = plain.runs[-1].guided_steps
    if plan.ever_drops() and not guided:
        return "one branch"
    less = trace.calls()["reused"].sum() > 0 or trace.runs[-1].guided_steps < guided
    restored = torch.equal(without, _tensor(row.call(pipe)))
    finite = bool(torch.isfinite(made).all())
    return "yes" if less and restored and finite and not torch.equal(without, made) else "wrong"


def dropped(row: Row, pipe: Any) -> str:
    """As :func:`acted`; where a pipeline calls its denoiser once a branch, none is dropped."""
    return acted(row, pipe, attnscope.GuidanceCutoff(2))


CHECKS: dict[str, Callable[[Row, Any], str]] = {
    "watch": watched,
    "maps of words": mapped,
    "reuse attention": lambda row, pipe: acted(row, pipe, _Reuses(("cross", "self", "joint"))),
    "reuse blocks": lambda row, pipe: acted(row, pipe, _Reuses(("block",))),
    "drop a branch": dropped,
}


def tried(row: Row, use: str) -> tuple[str, str]:
    """``yes``, ``one branch``, ``refused`` or ``wrong``; and what an error says."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = row.make(Path(folder))
        try:
            return CHECKS[use](row, pipe), ""
        except InputError as error:
            return "refused", str(error)
        except RuntimeError as error:
            return "wrong", f"{type(error).__name__}: {error}"


def line(row: Row) -> tuple[str, list[str]]:
    """A row of the table, and what its refusals say."""
    cells, notes = [], []
    for use in USES:
        found, why = tried(row, use)
        cells.append(found)
        if why:
            notes.append(f"- {row.name}, {use}: {why}")
    return f"| {row.name} | {' | '.join(cells)} |", notes


def written(text: str, made: str) -> str:
    """The document with what was made in its place."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write the table into the document."""
    made = [line(row) for row in ROWS]
    table = [f"| pipeline | {' | '.join(USES)} |", "|---" * (1 + len(USES)) + "|"]
    table += [found for found, _ in made]
    refusals = [note for _, notes in made for note in notes]
    told = "\n".join([*table, "", "What is refused says why:", "", *refusals])
    PAGE.write_text(written(PAGE.read_text(), told))


if __name__ == "__main__":
    main()
