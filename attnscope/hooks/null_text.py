"""The encoding of "" in the place of the prompt's, for the trajectories S^F_m and S^L_m.

Null text is the encoding of "", not whatever the unconditional branch holds: SDXL uses zeros there,
and a user's negative prompt is not null.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.families import known
from attnscope.sites.denoiser import Denoiser


class NullText:
    """Puts the encoding of "" into calls of a pipeline's denoiser.

    Args:
        pipe: a Stable Diffusion 1, 2 or XL pipeline, or PixArt, with its text encoder.
        denoiser: of the pipeline.

    Raises:
        InputError: it is another, or its text encoder is not there.
    """

    def __init__(self, pipe: Any, denoiser: Denoiser) -> None:
        name = type(pipe).__name__
        if denoiser.family.null_text is None or not hasattr(pipe, "encode_prompt"):
            allowed = ", or ".join(family.null_text for family in known() if family.null_text)
            raise InputError(f"null text is not known for {name}: choose {allowed}")
        if pipe.text_encoder is None:
            raise InputError(f'{name} has no text encoder, which has to encode "" for null text')
        self._pipe = pipe
        self._encode_prompt = pipe.encode_prompt  # as it is before a Trace listens to it
        config: Any = denoiser.module.config
        self._pooled = getattr(config, "addition_embed_type", None) == "text_time"
        self._encoded: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def forget(self) -> None:
        """Encode anew at the next call: the text encoder may have changed."""
        self._encoded.clear()

    def put(self, kwargs: dict[str, Any], rows: slice) -> dict[str, Any]:
        """The keywords of a denoiser's call with some rows reading "".

        Args:
            kwargs: of the call; they stay as they are.
            rows: of the conditional branch.

        Raises:
            InputError: the prompt was encoded to another length than "".
        """
        states = kwargs["encoder_hidden_states"]
        encoded = self._encode(states)
        changed = {**kwargs, "encoder_hidden_states": _put(states, encoded[0], rows)}
        if self._pooled:
            added = kwargs["added_cond_kwargs"]
            pooled = _put(added["text_embeds"], encoded[2], rows)
            changed["added_cond_kwargs"] = {**added, "text_embeds": pooled}
        mask = kwargs.get("encoder_attention_mask")
        if mask is not None:
            changed["encoder_attention_mask"] = _put(mask, encoded[1], rows)
        return changed

    def _encode(self, states: Tensor) -> tuple[Any, ...]:
        pipe = self._pipe
        weights = getattr(pipe, "_cross_attention_kwargs", None) or {}
        settings = {
            "clip_skip": getattr(pipe, "_clip_skip", None),
            "lora_scale": weights.get("scale"),
            "max_sequence_length": states.shape[1],
            "clean_caption": False,
        }
        key = (*settings.values(), states.device, states.dtype)
        if key not in self._encoded:
            known = inspect.signature(self._encode_prompt).parameters
            with torch.no_grad():
                self._encoded[key] = self._encode_prompt(
                    prompt="",
                    device=states.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=False,
                    **{name: value for name, value in settings.items() if name in known},
                )
        return self._encoded[key]


def _put(states: Tensor, encoded: Tensor, rows: slice) -> Tensor:
    if encoded.shape[1:] != states.shape[1:]:
        raise InputError(
            f'"" is encoded to {list(encoded.shape[1:])} and the prompt to {list(states.shape[1:])}: '
            "null text needs prompts of the usual length"
        )
    changed = states.clone()
    changed[rows] = encoded.to(states)
    return changed
