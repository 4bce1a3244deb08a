"""Stable Video Diffusion: a U-Net over space and time that starts from an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family
from attnscope.families.values import CallSizes, Noise


class VideoUNet(Family):
    """U-Nets of videos.

    The image is also concatenated to the latents, with zeros for the unconditional branch, so that
    T-GATE keeps the conditional one.
    """

    denoisers = ("UNetSpatioTemporalConditionModel",)
    pipelines = ("StableVideoDiffusionPipeline",)
    starts_from_images = True
    makes_videos = True
    guidance = 3.0
    keeps = "cond"
    tgate_loaders = {"StableVideoDiffusionPipeline": "TgateSVDLoader"}

    def latents_a_side(self, config: Mapping[str, Any]) -> int:
        """As often as it halves them, since it does not pad odd halves."""
        return int(2 ** (len(config["block_out_channels"]) - 1))

    def tokens(self, called: Mapping[str, Any], encoder: Mapping[str, Any]) -> int:
        """One, which is the image's."""
        return 1

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Latents of all frames, the image, and the ids of frame rate, motion and noise."""
        config = denoiser.config
        ids = config.projection_class_embeddings_input_dim // config.addition_time_embed_dim
        return {
            "sample": noise(on.frames, config.in_channels, on.rows, on.columns),
            "encoder_hidden_states": noise(on.tokens, config.cross_attention_dim),
            "added_time_ids": noise(ids),
        }

    def pipeline(self, denoiser: Any, parts: Mapping[str, Any], levels: int) -> Any:
        """With an encoder of images, which it calls, and the scheduler of its authors."""
        import diffusers
        from transformers import (
            CLIPImageProcessor,
            CLIPVisionConfig,
            CLIPVisionModelWithProjection,
        )

        autoencoder = diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=(32,) * levels,  # its decoder norms by 32 groups
            down_block_types=("DownEncoderBlock2D",) * levels,
            latent_channels=4,
        )
        encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=4,
                image_size=224,
                patch_size=56,
                projection_dim=denoiser.config.cross_attention_dim,
            )
        )
        return diffusers.StableVideoDiffusionPipeline(
            unet=denoiser,
            vae=autoencoder.eval(),
            image_encoder=encoder.eval(),
            feature_extractor=CLIPImageProcessor(),
            scheduler=diffusers.EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                prediction_type="v_prediction", interpolation_type="linear", steps_offset=1,
                timestep_type="continuous", timestep_spacing="leading", use_karras_sigmas=True,
                sigma_min=0.002, sigma_max=700.0,
            ),
        )  # fmt: skip

    def guidance_keywords(self, guidance: float) -> dict[str, float]:
        """From the least at the first frame to the scale at the last."""
        return {"min_guidance_scale": min(1.0, guidance), "max_guidance_scale": guidance}
