"""What stands for the paper's models on a machine without their weights.

For models of images one in the box, which is trained. No model of videos is in the box: for one of them
stands a tiny pipeline of its architecture with random weights, which is written into the run directory.
What it makes says nothing of quality; how long it takes and what it keeps can be told.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from attnscope import documents

RUN = "$RUN"
"""In command lines the run directory of ``attnscope paper``."""
SVD, LATTE = f"{RUN}/svd-random", f"{RUN}/latte-random"
RANDOM = frozenset({SVD, LATTE})
"""Stand-ins with random weights."""
STAND_INS = {
    "sd15": "shapes",
    "sd21": "shapes",
    "sdxl": "shapes",
    "ssd1b": "shapes",
    "pixart": "shapes-dit",
    "pixart-sigma": "shapes-dit",
    "lcm-sdxl": "shapes-lcm",
    "lcm-pixart": "shapes-lcm",
    "svd": SVD,
    "opensora": LATTE,
}
"""For one of the paper's a U-Net, a transformer, one of few steps in the box; or random weights."""
GIVEN = {"images": ("--images", f"{RUN}/images"), "opensora": ("--captions", f"{RUN}/captions.txt")}
"""What they are given, by the paper's data set: rendered scenes to begin with, and captions of scenes."""
MOST = 8
"""Of what they are given: more would say no more."""
SIDE, FRAMES = 64, 8
"""Of their videos: height and width in pixels, frames of Stable Video Diffusion's."""
SMALL = ("--height", str(SIDE), "--width", str(SIDE))
"""Options for that size."""
_LATTE_FRAMES = 16  # which its pipeline makes where it is told nothing
_FILE = Path(__file__).with_suffix(".json")
"""The configurations of their denoisers."""


def shown(model: str) -> str:
    """A stand-in as people are told of it."""
    if model not in RANDOM:
        return model
    return f"{model.removeprefix(f'{RUN}/').removesuffix('-random')} of random weights"


def placed(word: str, run: Path) -> str:
    """A word of a command line with the run directory in the place of its variable."""
    return word.replace(RUN, str(run), 1) if word.startswith(f"{RUN}/") else word


def prepare(words: frozenset[str], run: Path) -> None:
    """Write what command lines name in the run directory and what is not there yet.

    Args:
        words: of the command lines.
        run: the run directory.
    """
    for model in sorted(RANDOM & words):
        folder = Path(placed(model, run))
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            _MAKERS[model](folder)
    if GIVEN["images"][1] in words:
        _write_images(Path(placed(GIVEN["images"][1], run)))
    if GIVEN["opensora"][1] in words:
        _write_captions(Path(placed(GIVEN["opensora"][1], run)))


def _config(name: str) -> dict[str, Any]:
    """Of a denoiser, whose sizes go with :data:`SIDE` and the numbers of frames."""
    found: dict[str, dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))
    return found[name]


def _write_svd(folder: Path) -> None:
    """Stable Video Diffusion's, tiny."""
    from attnscope.models import random_weights
    from attnscope.models.architectures import Architecture

    config = _config("svd")
    found = Architecture(
        "svd", config["_class_name"], documents.text(config), "here", SIDE, SIDE, 1, FRAMES
    )
    random_weights.save(found, folder)


def _write_latte(folder: Path) -> None:
    """Latte's, tiny, which reads captions by the text encoder of the transformer in the box."""
    from transformers import T5EncoderModel

    from attnscope import versions
    from attnscope.models import random_weights
    from attnscope.models.architectures import Architecture
    from attnscope.models.names import MODELS

    texts = Path(MODELS["shapes-dit"].source)
    encoder = T5EncoderModel.from_pretrained(texts / "text_encoder")
    config = _config("latte") | {"caption_channels": encoder.config.d_model}
    found = Architecture(
        "latte",
        config["_class_name"],
        documents.text(config),
        "here",
        SIDE,
        SIDE,
        120,
        _LATTE_FRAMES,
    )
    random_weights.save(
        found, folder, text_encoder=encoder,
        tokenizer=versions.fast_tokenizer(texts / "tokenizer", "T5Tokenizer"),
    )  # fmt: skip


_MAKERS = {SVD: _write_svd, LATTE: _write_latte}


def _write_images(folder: Path) -> None:
    """Rendered scenes."""
    import numpy as np
    from PIL import Image

    from attnscope.files import write_whole
    from attnscope.images import as_png
    from attnscope.shapes.scenes import generate, render

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, scene in enumerate(islice(generate("test", 0), MOST)):
        png = as_png(Image.fromarray(render(scene, rng)))
        write_whole(folder / f"{number:02d}.png", partial(Path.write_bytes, data=png))


def _write_captions(path: Path) -> None:
    """Captions of the same scenes."""
    from attnscope.files import write_whole
    from attnscope.shapes.scenes import caption, generate

    lines = [caption(scene) for scene in islice(generate("test", 0), MOST)]
    write_whole(path, lambda unfinished: unfinished.write_text("\n".join(lines) + "\n", "utf-8"))
