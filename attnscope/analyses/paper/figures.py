"""The figures of the paper. Numbers and captions are those of arXiv:2404.02747v3."""

from __future__ import annotations

from attnscope.analyses.paper.items import Item
from attnscope.analyses.paper.parts import Part
from attnscope.analyses.paper.prompts import PROMPTS
from attnscope.analyses.paper.stand_ins import SMALL

_TIMED = ("--rivals", "none", "--repeats", "3")
_SAMPLES = 6
"""Captions of a grid of samples on a stand-in."""

_CONVERGENCE = Part(
    "convergence", "sd21", ("--kinds", "cross"), own=("--scheduler", "dpm"), images=1000, dataset="coco",
    limit=32,
)  # fmt: skip
"""Of cross-attention; Figure 2 draws it for all modules at once, Figure A3 for single ones."""


def _ablated(images: int, arms: int, *options: str) -> Part:
    """An ablation of SD-2.1."""
    own = ("--scheduler", "dpm")
    return Part("ablate", "sd21", options, own, images=images, arms=arms, dataset="coco")


def _grid(model: str, plans: str, prompts: str = "", *options: str) -> Part:
    """Images of several plans."""
    return Part(
        "generate", model, options, plans=tuple(plans.split(";")), prompts=PROMPTS.get(prompts, ()),
        limit=_SAMPLES,
    )  # fmt: skip


FIGURES = (
    Item(
        "figure1a",
        "Where the latency of PixArt-α goes at 1024² in 25 steps: attention and the rest, and what T-GATE leaves of it.",
        "Attention is the bottleneck: 46.65 of 61.50 s; T-GATE takes 34 % less time, with self-attention 47 %.",
        (Part("bench", "pixart", _TIMED, plans=("baseline", "m=10", "m=10,k=5")),),
        drawn=("breakdown",),
    ),
    Item(
        "figure1b",
        "Images of PixArt-α without T-GATE, with it on cross-attention, and on both.",
        "T-GATE hardly changes the images.",
        (_grid("pixart", "baseline;m=10;m=10,k=5", "1"),),
        note="The paper names no m and k here; these are the ones whose savings Figure 1a prints.",
        drawn=("plans",),
    ),
    Item(
        "figure2",
        "L2 distance between cross-attention outputs of consecutive steps, SD-2.1, DPM-Solver, 25 steps, mean over 1,000 captions of MS-COCO and all modules.",
        "Cross-attention converges to a fixed point within 5 to 10 steps.",
        (_CONVERGENCE,),
        note="The curve's values are not printed. Whether all else converges as well: docs/controls.md.",
        drawn=("figure2",),
    ),
    Item(
        "figure3a",
        "Mean of the predicted noise at every step, SD-2.1, of S, S^F and S^L.",
        "Denoising has converged after 25 steps.",
        (_ablated(1, 4, "--gate", "10"),),
        note="The curve's values are not printed.",
        drawn=("noise",),
    ),
    Item(
        "figure3b",
        "The image that SD-2.1 holds at steps 1 to 25 with text throughout (S), in the first 10 steps (S^F) and after them (S^L).",
        "Without text after step 10 the image stays the same; without it before, it does not.",
        (_ablated(1, 4, "--gate", "10"),),
        note="The paper's prompt is in Table A14; an ablation takes it from a text file of one line.",
        drawn=("pictures",),
    ),
    Item(
        "figure3c",
        "FID of SD-2.1 on the whole validation set of MS-COCO: S, S^F, S^L, and without guidance.",
        "S^F is no worse than S; S^L is worse than even images without guidance.",
        (_ablated(30000, 4, "--gate", "10"),),
        drawn=("arms",),
    ),
    Item(
        "figure4",
        "The image that SD-2.1 holds on the way with self-attention computed (S), reused late (S^F) and early (S^L), m=10, k=5.",
        "Reusing self-attention early changes the image little, reusing it late much.",
        (_ablated(1, 6, "--attention", "self", "--gate", "10", "--interval", "5"),),
        note="The paper's prompt is in Table A14.",
        drawn=("pictures",),
    ),
    Item(
        "figure5",
        "The schedule of T-GATE: what self- and cross-attention do at every step.",
        "None: it explains the method.",
        (Part("plan", options=("--tgate", "m=10,k=5", "--steps", "25")),),
    ),
    Item(
        "figure6",
        "Images of PixArt-α (m=15; m=15, k=5) and SDXL (m=10; m=10, k=5) with and without T-GATE.",
        "Differences are nearly imperceptible.",
        (
            _grid("pixart", "baseline;m=15;m=15,k=5", "6a"),
            _grid("sdxl", "baseline;m=10;m=10,k=5", "6b"),
        ),
        drawn=("plans",),
    ),
    Item(
        "figureA1",
        "Images of SDXL by four T-GATE plans, ordered by latency.",
        "Latency falls from row to row and images hardly change.",
        (_grid("sdxl", "baseline;m=10;m=5;m=10,k=3;m=10,k=5"),),
        note="The figure has m=5 second; by the paper's own Table 2 it is the fastest of them (27.9 s against 31.6 and 32.2 s). Table A14 names no prompts for it.",
        drawn=("plans",),
    ),
    Item(
        "figureA2",
        "Images of PixArt-α by six T-GATE plans, ordered by latency.",
        "Latency falls from row to row and images hardly change.",
        (_grid("pixart", "baseline;m=15;m=10;m=15,k=3;m=10,k=3;m=15,k=5;m=10,k=5"),),
        note="Table A14 names no prompts for it.",
        drawn=("plans",),
    ),
    Item(
        "figureA3",
        "The curve of Figure 2 for single modules of SD-2.1: down, middle and up blocks.",
        "Cross-attention converges in every block.",
        (_CONVERGENCE,),
        note="All modules at once are the heat map.",
        drawn=("heatmap", "figureA3"),
    ),
    Item(
        "figureA4",
        "What up_blocks.1 … attn2 of SD-2.1 returns at steps 1, 2, 4, 6, 8, 10, 13, 16, 19 and 22, as feature maps.",
        "Feature maps settle early and stay.",
        (
            Part(
                "maps",
                "sd21",
                ("--at", "0,1,3,5,7,9,12,15,18,21"),
                own=("--features", "up_blocks.1.attentions.2.*attn2"),
                embedded=("--features", "up_blocks.1*attn2"),
                prompts=PROMPTS["A4"],
            ),
        ),
        drawn=("feature_maps",),
    ),
    Item(
        "figureA5",
        "Images of SD-2.1 without T-GATE, with m=10, and with m=5.",
        "The larger the gate, the closer are the images to those without T-GATE.",
        (_grid("sd21", "baseline;m=10;m=5", "A5"),),
        drawn=("plans",),
    ),
    Item(
        "figureA6",
        "The image of an LCM after each of its four steps, without and with T-GATE, and the difference pixel by pixel.",
        "The difference is invisible.",
        (
            Part(
                "generate",
                "lcm-sdxl",
                ("--each-step",),
                plans=("baseline", "m=1"),
                prompts=PROMPTS["A6"],
                limit=4,
            ),
        ),
        note="The paper names no gate here; m=1 is the first of its Table 3.",
        drawn=("stages",),
    ),
    Item(
        "figureA7",
        "Images of PixArt-α for captions of T2I-CompBench, without T-GATE, on cross-attention, and on both.",
        "The more is saved, the farther are images from those without T-GATE; artefacts are rare.",
        (_grid("pixart", "baseline;m=15;m=15,k=3", "A7"),),
        note="The paper names no m and k here; these are those of its Tables A9 and A11.",
        drawn=("plans",),
    ),
    Item(
        "figureA8",
        "Frames 5 to 25 of SVD from one image of SDXL, without T-GATE and by five plans.",
        "None is stated; the frames look alike.",
        (
            Part(
                "generate",
                "svd",
                plans=(
                    "baseline",
                    "m=5",
                    "tgate-spatial:m=5,k=3",
                    "m=10",
                    "tgate-spatial:m=10,k=3",
                    "tgate-spatial:m=10,k=5",
                ),
                embedded=SMALL,
                images=1,
                dataset="images",
                limit=1,
            ),
        ),
        note="No model of videos is in the box: a tiny one of random weights stands in, and its frames say nothing.",
        drawn=("frames",),
    ),
    Item(
        "figureA9",
        "Images of PixArt-α by T-GATE that reuses the mean of both branches' cross-attention, the unconditional one's, the conditional one's.",
        "Which of them is reused matters little.",
        (_grid("pixart", "baseline;m=15;anchored:m=15,keep=uncond;anchored:m=15,keep=cond"),),
        note="Table A14 names no prompts for it.",
        drawn=("plans",),
    ),
    Item(
        "figureA10",
        "Images of PixArt-α in 25, 50 and 100 steps with m at 3/5 and k at 1/5 of them.",
        "m and k as fixed parts of the steps serve any number of steps.",
        tuple(
            _grid("pixart", f"baseline;m={m};m={m},k={k}", "A10", "--steps", str(steps))
            for steps, m, k in ((25, 15, 5), (50, 30, 10), (100, 60, 20))
        ),
        note="The text has 'm and k'; of 25 steps that is m=15, k=5.",
        drawn=("plans",),
    ),
)
"""In the paper's order."""
