"""How well images agree with their text, by a CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from attnscope.errors import InputError, reason
from attnscope.images import to_rgb
from attnscope.notices import warn

_BATCH = 64


@torch.inference_mode()
def clip_score(
    images: Sequence[Any],
    texts: Sequence[str],
    model: str,
    *,
    device: str = "cpu",
    offline: bool = False,
) -> NDArray[np.float64]:
    """CLIP score of every image (Hessel et al. 2021): 100 max(cos(E_image, E_text), 0).

    Values of different CLIPs are not comparable. (torchmetrics' own cannot read what transformers 5
    returns, and takes no local folder.)

    Args:
        images: uint8 arrays ``[height, width, 3]`` or PIL images.
        texts: as many.
        model: hub id or folder of a CLIP with its tokenizer and preprocessing.
        device: a torch device.
        offline: use only what is on this machine.

    Returns:
        float64 ``[n]``.

    Raises:
        InputError: there is no CLIP there.
        ValueError: there are not as many texts as images.
    """
    if len(images) != len(texts):
        raise ValueError(f"{len(images)} images and {len(texts)} texts")
    clip, processor = _load(model, offline)
    clip.to(device)
    most = clip.config.text_config.max_position_embeddings
    _warn_of_cut(processor.tokenizer, texts, most)
    scores = []
    for first in range(0, len(images), _BATCH):
        batch = images[first : first + _BATCH]
        given = processor(
            images=[to_rgb(item) if isinstance(item, Image.Image) else item for item in batch],
            text=list(texts[first : first + _BATCH]),
            padding=True,
            truncation=True,
            max_length=most,
            return_tensors="pt",
        ).to(device)
        made = clip(**given)
        cosine = torch.nn.functional.cosine_similarity(made.image_embeds, made.text_embeds)
        scores.append(100 * cosine.double().clamp(min=0).cpu())
    return torch.cat(scores).numpy() if scores else np.empty(0)


@lru_cache(maxsize=1)
def _load(model: str, offline: bool) -> tuple[Any, Any]:
    from transformers import AutoConfig, CLIPModel, CLIPProcessor

    try:
        config = AutoConfig.from_pretrained(
            model, local_files_only=offline, trust_remote_code=False
        )
        kind = config.model_type
        if kind != "clip":
            raise InputError(f"{model!r} is no CLIP but a {kind!r}")
        clip = CLIPModel.from_pretrained(model, local_files_only=offline).eval()
        return clip, CLIPProcessor.from_pretrained(model, local_files_only=offline)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if offline and not Path(model).exists():
            raise InputError(
                f"the CLIP {model!r} is not on this machine, and `offline=True` was given: leave it out, "
                "or give a folder"
            ) from error
        raise InputError(
            f"no CLIP at {model!r}: give a hub id such as openai/clip-vit-base-patch16, or a "
            f"folder ({reason(error)})"
        ) from error


def _warn_of_cut(tokenizer: Any, texts: Sequence[str], most: int) -> None:
    with_all = tokenizer(list(texts), truncation=False)["input_ids"] if len(texts) else []
    cut = sum(len(tokens) > most for tokens in with_all)
    if cut:
        warn(
            f"{cut} of {len(texts)} texts are longer than the {most} tokens that this CLIP takes: "
            "their ends do not count"
        )
