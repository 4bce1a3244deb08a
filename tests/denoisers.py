"""Tiny denoisers with random weights, one per family, and what each is called on.

Every entry of :data:`DENOISERS` makes a denoiser and the keywords of one call of it, the latents
first. Where text stands in a sequence of its own it is longer than the image, as it is in practice
for small images: 9 tokens of text, 4 of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.versions import release

TEXT = 9
"""Tokens of the text."""
Made = tuple[nn.Module, dict[str, Any]]


def make(name: str) -> Made:
    """A denoiser of :data:`DENOISERS` in its evaluation mode and the keywords of one call."""
    torch.manual_seed(0)
    denoiser, given = DENOISERS[name]()
    with torch.no_grad():  # gates are made shut, and would let nothing through
        for parameter in denoiser.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return denoiser.eval().requires_grad_(False), given


def latents_name(given: dict[str, Any]) -> str:
    """The keyword of the latents: the first one."""
    return next(iter(given))


def moved(given: dict[str, Any]) -> dict[str, Any]:
    """The keywords of the same call with other latents, those of sound as well."""
    names = {latents_name(given), "audio_hidden_states"} & set(given)
    return given | {name: _map(lambda x: x + torch.randn_like(x), given[name]) for name in names}


class Loop:
    """The smallest pipeline around a denoiser: guidance in one batch, and an Euler step.

    Args:
        name: of :data:`DENOISERS`, whose every tensor is the batch if it has one row.
        guided: whether an unconditional branch, which reads zeros, stands before the other.
    """

    def __init__(self, name: str, *, guided: bool = False) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler

        self.transformer, self.given = make(name)
        self.guided = guided
        self.scheduler = FlowMatchEulerDiscreteScheduler()

    def maybe_free_model_hooks(self) -> None:
        """The last act of a pipeline's call."""

    def encode_prompt(self) -> tuple[Tensor, Tensor]:
        """What both branches read, which tells a Trace which of them is which."""
        prompt_embeds = self.given["encoder_hidden_states"]
        negative_prompt_embeds = torch.zeros_like(prompt_embeds)
        return prompt_embeds, negative_prompt_embeds

    def __call__(self, steps: int = 4, *, grow_at: int | None = None) -> Tensor:
        """Denoised latents; ``grow_at`` is the step at which the image becomes twice as high."""
        name = latents_name(self.given)
        listed = isinstance(self.given[name], list)  # Z-Image's
        latents = torch.stack(self.given[name]) if listed else self.given[name]
        if self.guided and "encoder_hidden_states" in self.given:
            self.encode_prompt()
        self.scheduler.set_timesteps(steps)
        for step, timestep in enumerate(self.scheduler.timesteps):
            if step == grow_at:
                latents = torch.cat([latents, latents], dim=-2)
            call = {**self.given, name: list(latents) if listed else latents}
            call = self._doubled(call) if self.guided else call
            out = self.transformer(call.pop(name), **call)
            predicted = out[0] if isinstance(out, tuple) else out.sample
            predicted = torch.stack(predicted) if listed else predicted
            if self.guided:
                null, text = predicted.chunk(2)
                predicted = null + 5.0 * (text - null)
            latents = self.scheduler.step(predicted, timestep, latents).prev_sample
        self.maybe_free_model_hooks()
        return latents

    @staticmethod
    def _doubled(call: dict[str, Any]) -> dict[str, Any]:
        def double(key: str, value: Any) -> Any:
            if not isinstance(value, Tensor) or len(value) != 1:
                return value
            null = torch.zeros_like(value) if key == "encoder_hidden_states" else value
            return torch.cat([null, value])

        return {key: double(key, value) for key, value in call.items()}


def _map(function: Callable[[Tensor], Tensor], tensors: Any) -> Any:
    return [function(x) for x in tensors] if isinstance(tensors, list) else function(tensors)


def _ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.long)


def _ids(tokens: int, axes: int) -> Tensor:
    return torch.arange(tokens).float()[:, None].repeat(1, axes)


def flux(text: int = TEXT) -> Made:
    """Flux: 4 tokens of the image, and text of any length."""
    from diffusers import FluxTransformer2DModel

    denoiser = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, text, 32),
        "pooled_projections": torch.randn(1, 32),
        "timestep": torch.ones(1),
        "img_ids": _ids(4, 3),
        "txt_ids": torch.zeros(text, 3),
    }


def flux2() -> Made:
    """Flux 2: text and image are put together before its single blocks."""
    from diffusers import Flux2Transformer2DModel

    denoiser = Flux2Transformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
        "img_ids": _ids(4, 4),
        "txt_ids": torch.zeros(TEXT, 4),
        "guidance": torch.ones(1),
    }


def flux3() -> Made:
    """Flux 3: text and reference images have blocks of their own."""
    from diffusers import Flux3Transformer2DModel

    denoiser = Flux3Transformer2DModel(
        in_channels=4, cond_in_channels=4, num_layers=1, num_single_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        timestep_channels=16, axes_dims_rope=(4, 4, 4, 4),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
        "img_ids": _ids(4, 4),
        "txt_ids": torch.zeros(TEXT, 4),
        "image_cond_hidden_states": torch.randn(1, 6, 4),
        "image_cond_ids": _ids(6, 4),
    }


def bria() -> Made:
    """Bria: its blocks return the text first, which diffusers' own record has the other way."""
    from diffusers.models.transformers.transformer_bria import BriaTransformer2DModel

    denoiser = BriaTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=None,
        axes_dims_rope=[0, 4, 12],
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
        "img_ids": _ids(4, 3),
        "txt_ids": torch.zeros(TEXT, 3),
    }


def chroma() -> Made:
    """Chroma: Flux's blocks, in no record of diffusers."""
    from diffusers import ChromaTransformer2DModel

    denoiser = ChromaTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32, approximator_layers=1, approximator_num_channels=16,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
        "img_ids": _ids(4, 3),
        "txt_ids": torch.zeros(TEXT, 3),
        "attention_mask": torch.ones(1, TEXT + 4, dtype=torch.bool),
    }


def auraflow() -> Made:
    """AuraFlow: joint blocks, then single ones on text and image in one sequence."""
    from diffusers import AuraFlowTransformer2DModel

    denoiser = AuraFlowTransformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1,
        attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16,
        joint_attention_dim=32, out_channels=4, pos_embed_max_size=16,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
    }


def sd3(image_prompt: bool = False) -> Made:
    """Stable Diffusion 3, with an IP-Adapter if wanted."""
    from diffusers import SD3Transformer2DModel
    from diffusers.models.embeddings import IPAdapterTimeImageProjection

    denoiser = SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=32, caption_projection_dim=16,
        pooled_projection_dim=16, out_channels=4, dual_attention_layers=(0,),
    )  # fmt: skip
    given = {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "pooled_projections": torch.randn(1, 16),
        "timestep": torch.ones(1),
    }
    if image_prompt:
        denoiser.image_proj = IPAdapterTimeImageProjection(
            embed_dim=8, output_dim=16, hidden_dim=16, depth=1, dim_head=8, heads=2,
            num_queries=3, timestep_in_dim=16, timestep_flip_sin_to_cos=True,
        )  # fmt: skip
        given["joint_attention_kwargs"] = {"ip_adapter_image_embeds": torch.randn(1, 5, 8)}
    return denoiser, given


def qwen() -> Made:
    """Qwen-Image: its blocks return the text first, its attention the image."""
    from diffusers import QwenImageTransformer2DModel

    denoiser = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 16),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "encoder_hidden_states_mask": _ones(1, TEXT),
        "timestep": torch.ones(1),
        "img_shapes": [(1, 2, 2)],
        **({"txt_seq_lens": [TEXT]} if release("diffusers") < (0, 37) else {}),
    }


def cogvideox() -> Made:
    """CogVideoX: its blocks return the video first; the feed-forward sees text and video."""
    from diffusers import CogVideoXTransformer3DModel

    denoiser = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4,
        time_embed_dim=8, text_embed_dim=32, num_layers=1, sample_width=4, sample_height=4,
        sample_frames=1, patch_size=2, temporal_compression_ratio=4, max_text_seq_length=TEXT,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 1, 4, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
    }


def mochi() -> Made:
    """Mochi."""
    from diffusers import MochiTransformer3DModel

    denoiser = MochiTransformer3DModel(
        patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        pooled_projection_dim=16, in_channels=4, out_channels=None, text_embed_dim=32,
        time_embed_dim=4, activation_fn="swiglu", max_sequence_length=16,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "timestep": torch.ones(1),
        "encoder_attention_mask": torch.ones(1, TEXT, dtype=torch.bool),
    }


def hunyuan_video() -> Made:
    """HunyuanVideo, whose text passes a refiner with attention first."""
    from diffusers import HunyuanVideoTransformer3DModel

    denoiser = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=2, patch_size_t=1,
        guidance_embeds=True, text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "encoder_attention_mask": _ones(1, TEXT),
        "pooled_projections": torch.randn(1, 8),
        "timestep": _ones(1),
        "guidance": torch.ones(1),
    }


def hunyuan_video_15() -> Made:
    """HunyuanVideo 1.5."""
    from diffusers import HunyuanVideo15Transformer3DModel

    denoiser = HunyuanVideo15Transformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1,
        num_refiner_layers=1, patch_size=1, patch_size_t=1, text_embed_dim=16,
        text_embed_2_dim=8, image_embed_dim=12, rope_axes_dim=(2, 2, 4), target_size=16,
        task_type="t2v",
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 1, 2, 2),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "encoder_attention_mask": _ones(1, TEXT),
        "encoder_hidden_states_2": torch.randn(1, 4, 8),
        "encoder_attention_mask_2": _ones(1, 4),
        "image_embeds": torch.zeros(1, 2, 12),
        "timestep": torch.ones(1),
    }


def hunyuan_image() -> Made:
    """HunyuanImage."""
    from diffusers import HunyuanImageTransformer2DModel

    denoiser = HunyuanImageTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=(1, 1), text_embed_dim=16,
        rope_axes_dim=(4, 4),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 2, 2),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "encoder_attention_mask": _ones(1, TEXT),
        "timestep": torch.ones(1),
    }


def lumina2() -> Made:
    """Lumina 2: refiners of the text and of the noise, then both in one sequence."""
    from diffusers import Lumina2Transformer2DModel

    denoiser = Lumina2Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, hidden_size=24, num_layers=1,
        num_refiner_layers=1, num_attention_heads=3, num_kv_heads=1, multiple_of=2,
        axes_dim_rope=(4, 2, 2), axes_lens=(32, 32, 32), cap_feat_dim=32,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "timestep": torch.ones(1),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
        "encoder_attention_mask": _ones(1, TEXT),
    }


def z_image() -> Made:
    """Z-Image, which is built as Lumina 2 is."""
    from diffusers import ZImageTransformer2DModel

    denoiser = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[64, 32, 32],
    )  # fmt: skip
    with torch.no_grad():  # they are made without values
        denoiser.x_pad_token.zero_()
        denoiser.cap_pad_token.zero_()
    return denoiser, {
        "x": [torch.randn(4, 1, 4, 4)],
        "t": torch.ones(1),
        "cap_feats": [torch.randn(TEXT, 16)],
    }


def kandinsky3() -> Made:
    """Kandinsky 3, which pools its text by attention for the time embedding."""
    from diffusers import Kandinsky3UNet

    denoiser = Kandinsky3UNet(
        in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3,
        block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=16,
    )  # fmt: skip
    return denoiser, {
        "sample": torch.randn(1, 4, 4, 4),
        "timestep": torch.ones(1),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "encoder_attention_mask": torch.ones(1, TEXT),
    }


def kandinsky5() -> Made:
    """Kandinsky 5: blocks of the text, then those of the video, which look at the text."""
    from diffusers import Kandinsky5Transformer3DModel

    denoiser = Kandinsky5Transformer3DModel(
        in_visual_dim=4, in_text_dim=16, in_text_dim2=8, time_dim=16, out_visual_dim=4,
        patch_size=(1, 2, 2), model_dim=32, ff_dim=32, num_text_blocks=1, num_visual_blocks=1,
        axes_dims=(4, 6, 6),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 1, 4, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "timestep": torch.ones(1),
        "pooled_projections": torch.randn(1, 8),
        "visual_rope_pos": [torch.arange(1), torch.arange(2), torch.arange(2)],
        "text_rope_pos": torch.arange(TEXT),
    }


def kandinsky6() -> Made:
    """Kandinsky 6: as 5, for sound as well."""
    from diffusers import Kandinsky6Transformer3DModel

    denoiser = Kandinsky6Transformer3DModel(
        in_visual_dim=4, out_visual_dim=4, in_text_dim=16, in_text_dim2=8, time_dim=16,
        patch_size=(1, 2, 2), model_dim=32, ff_dim=32, num_text_blocks=1, num_visual_blocks=1,
        axes_dims=(4, 6, 6), visual_cond=False, in_audio_dim=4, out_audio_dim=4,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 1, 4, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "pooled_projections": torch.randn(1, 8),
        "timestep": torch.ones(1),
        "audio_hidden_states": torch.randn(1, 6, 4),
    }


def krea2() -> Made:
    """Krea 2, which fuses layers of its text encoder by attention."""
    from diffusers import Krea2Transformer2DModel

    denoiser = Krea2Transformer2DModel(
        in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16,
        num_text_layers=2, text_num_attention_heads=2, text_num_key_value_heads=2,
        text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 2, 2),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 2, 16),
        "timestep": torch.ones(1),
        "position_ids": torch.zeros(TEXT + 4, 3),
    }


def bria_fibo2() -> Made:
    """Bria Fibo 2, whose perceiver reads the text; its layers take both in one sequence."""
    from diffusers import BriaFibo2Transformer2DModel

    denoiser = BriaFibo2Transformer2DModel(
        in_channels=4, patch_size=2, dim=128, n_layers=2, n_refiner_layers=1, n_heads=4,
        cap_feat_dim=16, injection_layer_ids=(1,), perceiver_num_layers=1, min_num_gist_tokens=2,
        max_num_gist_tokens=4, gist_step=2, gist_min_text_len=2, gist_max_text_len=16,
        axes_dims=(8, 12, 12), axes_lens=(64, 32, 32),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "timestep": torch.ones(1),
        "encoder_hidden_states": torch.randn(1, 2, TEXT, 16),
    }


def i2vgen() -> Made:
    """I2VGen-XL, which encodes the image it starts from by attention over its frames."""
    from diffusers import I2VGenXLUNet

    denoiser = I2VGenXLUNet(
        sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"), block_out_channels=(4, 8),
        layers_per_block=1, norm_num_groups=2, cross_attention_dim=32, attention_head_dim=4,
    )  # fmt: skip
    return denoiser, {
        "sample": torch.randn(1, 4, 2, 8, 8),
        "timestep": torch.ones(1),
        "fps": _ones(1),
        "image_latents": torch.randn(1, 4, 2, 8, 8),
        "image_embeddings": torch.randn(1, 32),
        "encoder_hidden_states": torch.randn(1, TEXT, 32),
    }


def hidream() -> Made:
    """HiDream: joint attention in a class that does not say so."""
    from diffusers import HiDreamImageTransformer2DModel

    denoiser = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1,
        attention_head_dim=8, num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=16,
        num_routed_experts=2, num_activated_experts=2, axes_dims_rope=(4, 2, 2),
        max_resolution=(32, 32), llama_layers=(0, 1),
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "timesteps": torch.ones(1),
        "encoder_hidden_states_t5": torch.randn(1, 3, 32),
        "encoder_hidden_states_llama3": torch.randn(2, 1, 3, 16),
        "pooled_embeds": torch.randn(1, 16),
    }


def omnigen() -> Made:
    """OmniGen: the text comes as token ids, in one sequence with the image."""
    from diffusers import OmniGenTransformer2DModel

    denoiser = OmniGenTransformer2DModel(
        in_channels=4, patch_size=2, hidden_size=16, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=32, num_layers=1, pad_token_id=0, vocab_size=100, time_step_dim=4,
        rope_scaling={"long_factor": [1.0] * 4, "short_factor": [1.0] * 4},
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "timestep": torch.ones(1),
        "input_ids": torch.arange(TEXT)[None],
        "input_img_latents": [],
        "input_image_sizes": {},
        "attention_mask": torch.ones(1, TEXT + 1 + 4, TEXT + 1 + 4),
        "position_ids": torch.arange(TEXT + 1 + 4)[None],
    }


def lumina() -> Made:
    """Lumina-Next, whose attention returns a dimension of heads."""
    from diffusers import LuminaNextDiT2DModel
    from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina

    denoiser = LuminaNextDiT2DModel(
        sample_size=4, patch_size=2, in_channels=4, hidden_size=24, num_layers=2,
        num_attention_heads=3, num_kv_heads=3, multiple_of=16, norm_eps=1e-5,
        learn_sigma=False, qk_norm=True, cross_attention_dim=16,
    )  # fmt: skip
    torch.nn.init.ones_(denoiser.pad_token)  # diffusers leaves it as memory was: now and then zero
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4, 4),
        "timestep": torch.ones(1),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "encoder_mask": torch.ones(1, TEXT),
        "image_rotary_emb": get_2d_rotary_pos_embed_lumina(8, 8, 8),
        "cross_attention_kwargs": {},
    }


def unet(**options: Any) -> Made:
    """Stable Diffusion's U-Net."""
    from diffusers import UNet2DConditionModel

    denoiser = UNet2DConditionModel(
        **{
            "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1,
            "norm_num_groups": 4, "attention_head_dim": 4, "cross_attention_dim": 16,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), **options,
        }
    )  # fmt: skip
    return denoiser, {
        "sample": torch.randn(1, 4, 8, 8),
        "timestep": torch.ones(1),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
    }


def stable_cascade() -> Made:
    """Stable Cascade, whose attention takes an image of four dimensions."""
    from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet

    denoiser = StableCascadeUNet(
        block_out_channels=(8, 16), conditioning_dim=16, clip_text_pooled_in_channels=16,
        clip_text_in_channels=16, clip_image_in_channels=16, clip_seq=2, down_blocks_repeat_mappers=(1, 1),
        down_num_layers_per_block=(1, 1), up_num_layers_per_block=(1, 1), up_blocks_repeat_mappers=(1, 1),
        num_attention_heads=(2, 2), in_channels=4, out_channels=4, timestep_ratio_embedding_dim=8,
        block_types_per_layer=(("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),) * 2,
        switch_level=None, kernel_size=3, dropout=(0.0, 0.0), self_attn=True,
    )  # fmt: skip
    return denoiser, {
        "sample": torch.randn(1, 4, 4, 4),
        "timestep_ratio": torch.ones(1),
        "clip_text_pooled": torch.randn(1, 1, 16),
        "clip_text": torch.randn(1, TEXT, 16),
        "clip_img": torch.randn(1, 1, 16),
    }


def ltx() -> Made:
    """LTX-Video."""
    from diffusers import LTXVideoTransformer3DModel

    denoiser = LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=16,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "timestep": torch.ones(1),
        "encoder_attention_mask": torch.ones(1, TEXT),
        "num_frames": 1,
        "height": 2,
        "width": 2,
    }


def ltx2() -> Made:
    """LTX-2: video and sound, each of which looks at the other."""
    from diffusers import LTX2VideoTransformer3DModel

    denoiser = LTX2VideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, audio_in_channels=4, audio_out_channels=4,
        audio_num_attention_heads=2, audio_attention_head_dim=4, audio_cross_attention_dim=8,
        num_layers=1, caption_channels=16,
    )  # fmt: skip
    return denoiser, {
        "hidden_states": torch.randn(1, 4, 4),
        "audio_hidden_states": torch.randn(1, 6, 4),
        "encoder_hidden_states": torch.randn(1, TEXT, 16),
        "audio_encoder_hidden_states": torch.randn(1, TEXT, 16),
        "timestep": torch.ones(1),
        "num_frames": 1,
        "height": 2,
        "width": 2,
        "audio_num_frames": 6,
    }


DENOISERS: dict[str, Callable[[], Made]] = {
    "auraflow": auraflow,
    "bria": bria,
    "bria-fibo2": bria_fibo2,
    "chroma": chroma,
    "cogvideox": cogvideox,
    "flux": flux,
    "flux2": flux2,
    "flux3": flux3,
    "hidream": hidream,
    "hunyuan-image": hunyuan_image,
    "hunyuan-video": hunyuan_video,
    "hunyuan-video-1.5": hunyuan_video_15,
    "i2vgen": i2vgen,
    "kandinsky3": kandinsky3,
    "kandinsky5": kandinsky5,
    "kandinsky6": kandinsky6,
    "krea2": krea2,
    "ltx": ltx,
    "ltx2": ltx2,
    "lumina": lumina,
    "lumina2": lumina2,
    "mochi": mochi,
    "omnigen": omnigen,
    "qwen": qwen,
    "sd3": sd3,
    "sd3-ip": lambda: sd3(image_prompt=True),
    "stable-cascade": stable_cascade,
    "unet": unet,
    "z-image": z_image,
}
