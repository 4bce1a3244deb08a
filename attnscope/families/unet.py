"""Stable Diffusion 1, 2 and XL and their like: a U-Net that looks at text by cross-attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family, inputs_not_known
from attnscope.families.tokenizers import one_tokenizer, only_tokenizer
from attnscope.families.values import CallSizes, Noise, TextKeys

_CONDITIONING = {
    "addition_embed_type": (None, "text", "text_time"),
    "encoder_hid_dim_type": (None, "text_proj"),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
}
"""What else a U-Net may be told, as far as it is known what that is."""
_OF_IF = 77
"""Tokens that DeepFloyd IF reads of T5, whatever its tokenizer allows."""


class UNet(Family):
    """U-Nets of images."""

    denoisers = ("UNet2DConditionModel",)
    pipelines = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
    never_batched = Family.never_batched | {"ip_adapter_masks"}
    null_text = "Stable Diffusion 1, 2 or XL"
    tgate_loaders = {
        "StableDiffusionPipeline": "TgateSDLoader",
        "StableDiffusionXLPipeline": "TgateSDXLLoader",
    }
    tgate_deepcache_loaders = {
        "StableDiffusionPipeline": "TgateSDDeepCacheLoader",
        "StableDiffusionXLPipeline": "TgateSDXLDeepCacheLoader",
    }
    rivals = frozenset({"DeepCache", "tomesd"})

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Latents and text; what SDXL and LCMs are told besides."""
        config = denoiser.config
        for option, allowed in _CONDITIONING.items():
            if config[option] not in allowed:
                raise inputs_not_known(f"UNet2DConditionModel with {option}={config[option]!r}")
        width = config.encoder_hid_dim or config.cross_attention_dim
        made = {
            "sample": noise(config.in_channels, on.rows, on.columns),
            "encoder_hidden_states": noise(on.tokens, width),
        }
        if config.addition_embed_type == "text_time":
            ids = 6 * config.addition_time_embed_dim
            pooled = config.projection_class_embeddings_input_dim - ids
            made["added_cond_kwargs"] = {"text_embeds": noise(pooled), "time_ids": noise(6)}
        if config.time_cond_proj_dim:
            made["timestep_cond"] = noise(config.time_cond_proj_dim)
        return made

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """That of CLIP; in XL those of both side by side, and of its refiner the second's alone.

        DeepFloyd IF pads T5's to a length of its own.
        """
        parts = getattr(pipe, "components", {})
        names = ("tokenizer", "tokenizer_2")
        if all(parts.get(name) is not None for name in names):
            length = int(pipe.tokenizer.model_max_length)
            return (TextKeys(length, names, ("prompt", "prompt_2")),)
        if type(pipe).__name__.startswith("IF"):
            return (TextKeys(_OF_IF, ("tokenizer",), ("prompt",)),)
        return (one_tokenizer(pipe, only_tokenizer(pipe), called),)

    def adds_text_keys(self, config: Any) -> bool:
        """In DeepFloyd IF; Kandinsky's has an image there, alone or before the text."""
        return config.encoder_hid_dim_type in (None, "text_proj")

    def pipeline(self, denoiser: Any, parts: Mapping[str, Any], levels: int) -> Any:
        """That of Stable Diffusion, or of XL where the denoiser takes the image's size."""
        import diffusers

        if denoiser.config.addition_embed_type == "text_time":
            return diffusers.StableDiffusionXLPipeline(
                unet=denoiser, text_encoder_2=None, tokenizer_2=None, add_watermarker=False, **parts
            )
        return diffusers.StableDiffusionPipeline(
            unet=denoiser,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **parts,
        )
