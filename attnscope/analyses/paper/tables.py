"""The tables of the paper. Numbers and captions are those of arXiv:2404.02747v3."""

from __future__ import annotations

from attnscope.analyses.paper.items import Item
from attnscope.analyses.paper.parts import Part
from attnscope.analyses.paper.published import models_of, plans_of
from attnscope.analyses.paper.stand_ins import SMALL

_TIMED = ("--frontier", "--rivals", "none", "--repeats", "3")
_JUDGED = ("--frontier", "--rivals", "none", "--repeats", "1")
_VIDEO = "No model of videos is in the box: tiny ones of random weights stand in, of whose images nothing is tested."
_OPENSORA = "OpenSora is no pipeline of diffusers; Latte, whose architecture is alike, stands in for it here."


def _benches(
    table: str, *options: str, dataset: str = "coco", images: int = 10000, limit: int = 24,
    only: tuple[str, ...] = (), but: tuple[str, ...] = (), asks: str = "",
) -> tuple[Part, ...]:  # fmt: skip
    """A benchmark for every model of a table, by the plans that it prints."""
    return tuple(
        Part("bench", model, options, plans=plans_of(table, model), images=images, dataset=dataset,
             limit=limit, asks=asks)
        for model in models_of(table)
        if model not in but and (not only or model in only)
    )  # fmt: skip


def _video(table: str, model: str) -> Part:
    """A benchmark of a model of videos, ten of every prompt."""
    dataset = "images" if model == "svd" else "opensora"
    steps = () if model == "svd" else ("--steps", "250")
    return Part(
        "bench", model, _TIMED, embedded=(*SMALL, *steps), plans=plans_of(table, model), images=10,
        dataset=dataset, limit=2,
    )  # fmt: skip


def _ablation(model: str, *options: str, arms: int, dataset: str = "coco") -> Part:
    return Part("ablate", model, options, own=(), images=10000, arms=arms, dataset=dataset)


TABLES = (
    Item(
        "table1",
        "MACs, latency and FID of PixArt-α on MJHQ-10k, and CLIP score of OpenSora, by T-GATE plans.",
        "T-GATE saves up to half of the latency; with m=15 FID even falls, with m=10 it rises a little.",
        (
            *_benches("table1", *_TIMED, dataset="mjhq", only=("pixart",)),
            _video("table1", "opensora"),
        ),
        needs=("a CLIP for OpenSora (--clip)",),
        note=f"{_VIDEO} {_OPENSORA}",
        drawn=("frontier",),
    ),
    Item(
        "table2",
        "MACs, latency and FID of SD-1.5, SD-2.1 and SDXL on MS-COCO, and CLIP score of SVD, by T-GATE plans.",
        "T-GATE saves up to half of the latency, and FID falls with every plan.",
        (*_benches("table2", *_TIMED, but=("svd",)), _video("table2", "svd")),
        needs=("a CLIP for SVD (--clip)",),
        note=f"{_VIDEO} The paper's plans of SVD reuse spatial self-attention alone (tgate-spatial).",
        drawn=("frontier",),
    ),
    Item(
        "table3",
        "MACs, latency and FID of the LCMs of SDXL and PixArt-α in few steps, by T-GATE with m=1 and m=2.",
        "Even of four steps T-GATE saves some, at about the same FID.",
        (
            *_benches("table3", *_TIMED, "--steps", "4"),
            Part(
                "bench",
                "lcm-sdxl",
                (*_TIMED, "--plan", "baseline", "--steps", "6,8"),
                images=10000,
                arms=2,
                dataset="coco",
            ),
        ),
        drawn=("frontier",),
    ),
    Item(
        "table4",
        "T-GATE beside Adaptive Guidance, which stops guidance early, on SDXL and PixArt-α.",
        "T-GATE is faster than Adaptive Guidance at about the same FID.",
        _benches("table4", *_TIMED),
        drawn=("frontier",),
    ),
    Item(
        "table5",
        "T-GATE beside DeepCache, and both at once, on SDXL.",
        "DeepCache is faster, T-GATE has the lower FID, and both at once are the fastest.",
        (
            Part(
                "bench",
                "sdxl",
                ("--frontier", "--rivals", "deepcache,tgate+deepcache", "--repeats", "3"),
                plans=("baseline", "m=5,k=3"),
                images=10000,
                dataset="coco",
            ),
        ),
        needs=("the packages DeepCache and tgate",),
        drawn=("frontier",),
    ),
    Item(
        "table6",
        "FID of SDXL by three schedulers, without T-GATE, on cross-attention, and on both.",
        "T-GATE's FID is stable whichever scheduler there is.",
        (
            Part(
                "bench",
                "sdxl",
                (*_JUDGED, "--scheduler", "euler,ddim,dpm"),
                plans=("baseline", "m=5", "m=5,k=3"),
                images=10000,
                dataset="coco",
            ),
        ),
        drawn=("frontier",),
    ),
    Item(
        "tableA1",
        "FID of SD-2.1 with text in the first 3, 5 and 10 of 25 steps only.",
        "From a gate of 5 on FID without late text is lower than with it.",
        (_ablation("sd21", "--gates", "3,5,10", "--scheduler", "dpm", arms=8),),
        drawn=("arms",),
    ),
    Item(
        "tableA2",
        "FID of S, S^F and S^L on SD-2.1 in 15, 25, 50 and 100 steps.",
        "S^F is a little better than S and S^L far worse, however many steps there are.",
        (
            _ablation(
                "sd21", "--steps", "15,25,50", "--gate", "40%", "--scheduler", "dpm", arms=12
            ),
            _ablation("sd21", "--steps", "100", "--gate", "25", "--scheduler", "dpm", arms=4),
        ),
        drawn=("arms",),
    ),
    Item(
        "tableA3",
        "FID of S, S^F and S^L on SD-2.1 by three schedulers, 50 steps, m=20.",
        "S^F is a little better than S and S^L far worse, whichever scheduler there is.",
        (
            _ablation(
                "sd21", "--schedulers", "euler,dpm,ddim", "--steps", "50", "--gate", "20", arms=12
            ),
        ),
        drawn=("arms",),
    ),
    Item(
        "tableA4",
        "FID of S, S^F and S^L on SD-1.5, SD-2.1 and SDXL, 25 steps, m=10.",
        "S^F is a little better than S and S^L far worse, whichever model there is.",
        tuple(
            _ablation(model, "--gate", "10", "--scheduler", "dpm", arms=4)
            for model in ("sd15", "sd21", "sdxl")
        ),
        drawn=("arms",),
    ),
    Item(
        "tableA5",
        "FID of PixArt-α on MJHQ-10k with self-attention reused late (S^F) and early (S^L), cross-attention gated.",
        "Reusing self-attention late costs far more than reusing it early.",
        (
            _ablation(
                "pixart",
                "--attention",
                "self",
                "--gates",
                "10,15",
                "--intervals",
                "3,5",
                arms=11,
                dataset="mjhq",
            ),
            _ablation(
                "pixart",
                "--attention",
                "self",
                "--gate",
                "10",
                "--interval",
                "3",
                "--steps",
                "20",
                arms=6,
                dataset="mjhq",
            ),
        ),
        note="The paper's S with an m is cross-attention gated at it; the first two rows of S^F and S^L are those with the gate.",
        drawn=("arms",),
    ),
    Item(
        "tableA6",
        "MACs of one call of SD-2.1 without guidance at 768², 1024² and 2048² with 1 to 4,096 times the tokens, and with T-GATE.",
        "Without cross-attention, cost does not grow with the text.",
        (Part("cost paper"),),
    ),
    Item(
        "tableA7",
        "FID of PixArt-α on MJHQ-10k and of SDXL on MS-COCO by three seeds.",
        "The seed changes FID by less than T-GATE does.",
        _benches("tableA7", *_JUDGED, "--seeds", "0,1,2", limit=20),
        drawn=("frontier",),
    ),
    Item(
        "tableA8",
        "FID and latency of ToMe on SD-2.1 and of SSD-1B, with and without T-GATE.",
        "T-GATE makes both faster and does not raise their FID.",
        (
            Part(
                "bench",
                "sd21",
                ("--frontier", "--rivals", "tome,tgate+tome", "--repeats", "3"),
                plans=("baseline", "m=10"),
                images=10000,
                dataset="coco",
            ),
            Part(
                "bench", "ssd1b", _TIMED, plans=("baseline", "m=10"), images=10000, dataset="coco"
            ),
        ),
        needs=("the packages tomesd and tgate",),
        drawn=("frontier",),
    ),
    Item(
        "tableA9",
        "DPG-Bench of PixArt-α and SDXL by T-GATE: answers of mPLUG-Large to questions on a prompt.",
        "Alignment falls by a few points of a hundred.",
        _benches("tableA9", *_JUDGED, dataset="dpg", images=1065, asks="scenes"),
        needs=("who answers (--vqa MODEL)",),
        note="The paper's answers are mPLUG-Large's, which transformers does not load: name who answers. On a stand-in questions in DPG-Bench's form are made of the scene and the world's own reader answers them.",
        drawn=("frontier",),
    ),
    Item(
        "tableA10",
        "T2I-CompBench of SD-2.1 by T-GATE.",
        "Alignment falls by a point or two of a hundred in every category.",
        _benches("tableA10", *_JUDGED, dataset="compbench", images=900, asks="compbench"),
        needs=("who answers (--vqa Salesforce/blip-vqa-base)", "spaCy for noun phrases"),
        note="On a stand-in the world's own reader answers: texture is fill, spatial is where two things stand.",
        drawn=("frontier",),
    ),
    Item(
        "tableA11",
        "CLIP score of SDXL on MS-COCO and PixArt-α on MJHQ by T-GATE.",
        "CLIP score falls by about one of 34.",
        _benches("tableA11", *_JUDGED),
        needs=("a CLIP (--clip)",),
        note="On a stand-in, where no CLIP is, captions drawn as asked stand beside it.",
        drawn=("frontier",),
    ),
    Item(
        "tableA12",
        "L2 distance between adjacent frames of OpenSora and SVD by T-GATE.",
        "Videos stay about as steady.",
        (_video("tableA12", "opensora"), _video("tableA12", "svd")),
        note=f"{_VIDEO} {_OPENSORA}",
    ),
    Item(
        "tableA13",
        "Peak memory of SDXL and PixArt-α with and without T-GATE.",
        "T-GATE costs next to no memory: 16 of 8,515 MB and 2 of 13,705 MB.",
        tuple(
            Part(
                "bench",
                model,
                ("--rivals", "none", "--repeats", "3"),
                plans=plans_of("tableA13", model),
            )
            for model in ("sdxl", "pixart")
        ),
    ),
    Item(
        "tableA14",
        "The prompts of the figures.",
        "None.",
        note="attnscope types them for the paper's models; a stand-in draws captions of its own world.",
    ),
)
"""In the paper's order."""
