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
_VIDEO_UNET = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "sample_size": SIDE // 8,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "cross_attention_dim": 32,
    "num_attention_heads": [4, 8],
    "num_frames": FRAMES,
    "projection_class_embeddings_input_dim": 96,
    "addition_time_embed_dim": 32,
}
_LATTE = {
    "_class_name": "LatteTransformer3DModel",
    "num_attention_heads": 4,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "cross_attention_dim": 32,
    "sample_size": SIDE // 8,
    "patch_size": 2,
    "video_length": _LATTE_FRAMES,
    "attention_bias": True,
    "num_embeds_ada_norm": 1000,
    "activation_fn": "gelu-approximate",
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
}


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


def _write_svd(folder: Path) -> None:
    """Stable Video Diffusion's, tiny."""
    from attnscope.models import random_weights
    from attnscope.models.architectures import Architecture

    config = json.dumps(_VIDEO_UNET)
    found = Architecture(
        "svd", str(_VIDEO_UNET["_class_name"]), config, "here", SIDE, SIDE, 1, FRAMES
    )
    random_weights.save(found, folder)


def _write_latte(folder: Path) -> None:
    """Latte's, tiny, which reads captions by the text encoder of the transformer in the box."""
    from transformers import T5EncoderModel, T5Tokenizer

    from attnscope.models import random_weights
    from attnscope.models.architectures import Architecture
    from attnscope.models.names import MODELS

    texts = Path(MODELS["shapes-dit"].source)
    encoder = T5EncoderModel.from_pretrained(texts / "text_encoder")
    config = json.dumps(_LATTE | {"caption_channels": encoder.config.d_model})
    found = Architecture(
        "latte", str(_LATTE["_class_name"]), config, "here", SIDE, SIDE, 120, _LATTE_FRAMES
    )
    random_weights.save(
        found, folder, text_encoder=encoder,
        tokenizer=T5Tokenizer.from_pretrained(texts / "tokenizer"),
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
        write_whole(folder / f"{number:02d}.png", partial(_write_bytes, png))


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _write_captions(path: Path) -> None:
    """Captions of the same scenes."""
    from attnscope.files import write_whole
    from attnscope.shapes.scenes import caption, generate

    lines = [caption(scene) for scene in islice(generate("test", 0), MOST)]
    write_whole(path, lambda unfinished: unfinished.write_text("\n".join(lines) + "\n", "utf-8"))
