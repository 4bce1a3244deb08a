"""Tiny pipelines of further families: videos, other orders of branches, both branches in one call."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    ControlNetModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    I2VGenXLPipeline,
    I2VGenXLUNet,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MotionAdapter,
    OmniGenPipeline,
    OmniGenTransformer2DModel,
    TextToVideoSDPipeline,
    TextToVideoZeroPipeline,
    UNet3DConditionModel,
)
from PIL import Image
from toys import _TEXT, _quiet, _unet, _vae, shapes_tokenizer
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)


def _text(folder):
    return CLIPTextModel(CLIPTextConfig(**_TEXT)), shapes_tokenizer(folder)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def text_to_video(folder) -> TextToVideoSDPipeline:
    """ModelScope's pipeline, which folds frames into the batch for its scheduler."""
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    encoder, tokenizer = _text(folder)
    scheduler = DDIMScheduler(clip_sample=False)
    return _quiet(TextToVideoSDPipeline(_vae(), encoder, tokenizer, unet, scheduler))


def call_text_to_video(pipe, *, frames=2, guidance=5.0, steps=4, prompt="a red circle", **options):
    return pipe(
        prompt, height=32, width=32, num_frames=frames, num_inference_steps=steps,
        guidance_scale=guidance, generator=_generator(), output_type="latent", **options,
    ).frames  # fmt: skip


def i2vgen(folder) -> I2VGenXLPipeline:
    """I2VGen-XL, which folds frames into the batch, too, and is shown an image."""
    torch.manual_seed(0)
    unet = I2VGenXLUNet(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        num_attention_heads=None,
        norm_num_groups=2,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, projection_dim=32, num_hidden_layers=2, num_attention_heads=4,
        image_size=32, intermediate_size=37, patch_size=8,
    )  # fmt: skip
    encoder, tokenizer = _text(folder)
    pipe = I2VGenXLPipeline(
        vae=_vae(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        image_encoder=CLIPVisionModelWithProjection(vision),
        feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
    )
    return _quiet(pipe)


def call_i2vgen(pipe, *, frames=2, guidance=5.0, steps=4):
    pixels = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    torch.manual_seed(0)  # the image's latents are drawn without the generator
    return pipe(
        "a red circle", Image.fromarray(pixels), height=32, width=32, num_frames=frames,
        num_inference_steps=steps, guidance_scale=guidance, target_fps=8, clip_skip=None,
        generator=_generator(), output_type="latent",
    ).frames  # fmt: skip


def animatediff_controlnet(folder) -> AnimateDiffControlNetPipeline:
    """AnimateDiff with a ControlNet, to which every frame is a row."""
    torch.manual_seed(0)
    unet = _unet(cross_attention_dim=32)
    adapter = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
    )
    encoder, tokenizer = _text(folder)
    pipe = AnimateDiffControlNetPipeline(
        vae=_vae(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        motion_adapter=adapter,
        controlnet=ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8)),
        scheduler=DDIMScheduler(clip_sample=False),
    )
    for block in pipe.controlnet.controlnet_down_blocks:  # they begin at zero
        torch.nn.init.normal_(block.weight, std=0.3)
    return _quiet(pipe)


def call_animatediff(pipe, *, frames=3, guidance=5.0, steps=4, **options):
    frame = Image.fromarray(np.full((32, 32, 3), 90, np.uint8))
    return pipe(
        "a red circle", height=32, width=32, num_frames=frames, conditioning_frames=[frame] * frames,
        num_inference_steps=steps, guidance_scale=guidance, generator=_generator(),
        output_type="latent", **options,
    ).frames  # fmt: skip


def ltx() -> LTXPipeline:
    """LTX-Video: both branches in one call, under ``cache_context("cond_uncond")``."""
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=32,
    )
    layers = (1, 1, 1, 1, 1)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=layers,
        decoder_layers_per_block=layers,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    scheduler = FlowMatchEulerDiscreteScheduler()
    return _quiet(LTXPipeline(scheduler, vae, None, None, transformer))


def call_ltx(pipe, *, guidance=5.0, steps=4):
    states = torch.randn(2, 8, 32, generator=_generator(7))
    mask = torch.ones(1, 8)
    return pipe(
        prompt_embeds=states[:1], prompt_attention_mask=mask, negative_prompt_embeds=states[1:],
        negative_prompt_attention_mask=mask, height=32, width=32, num_frames=9,
        num_inference_steps=steps, guidance_scale=guidance, generator=_generator(),
        output_type="latent",
    ).frames  # fmt: skip


def cogvideox() -> CogVideoXPipeline:
    """CogVideoX: joint attention, both branches in one call under ``"cond_uncond"``."""
    torch.manual_seed(0)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=2,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=8,
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return _quiet(CogVideoXPipeline(None, None, vae, transformer, DDIMScheduler()))


def call_cogvideox(pipe, *, guidance=5.0, steps=4):
    states = torch.randn(2, 8, 32, generator=_generator(7))
    return pipe(
        prompt_embeds=states[:1], negative_prompt_embeds=states[1:], height=16, width=16,
        num_frames=8, num_inference_steps=steps, guidance_scale=guidance, generator=_generator(),
        max_sequence_length=8, output_type="latent",
    ).frames  # fmt: skip


class _Processor:
    """What OmniGen makes of prompts: token ids, places and a mask, conditional rows first.

    The one of diffusers needs torchvision.
    """

    max_image_size = 1024

    def __init__(self, tokenizer, **options):
        self.tokenizer = tokenizer

    def __call__(self, prompts, images, *, height, width, num_images_per_prompt, **options):
        texts = [text for text in prompts for _ in range(num_images_per_prompt)]
        texts = [*texts, *("" for _ in texts)]
        ids = self.tokenizer(texts, padding="max_length", max_length=6, truncation=True).input_ids
        length = 6 + 1 + (height // 2 // 2) * (width // 2 // 2)
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.ones(len(ids), length, length),
            "position_ids": torch.arange(length).repeat(len(ids), 1),
            "input_pixel_values": [],
            "input_image_sizes": {},
        }


def omnigen(folder, monkeypatch) -> OmniGenPipeline:
    """OmniGen: text tokens in the sequence, and the conditional branch first in its batch."""
    from diffusers.pipelines.omnigen import pipeline_omnigen

    monkeypatch.setattr(pipeline_omnigen, "OmniGenMultiModalProcessor", _Processor, raising=False)
    torch.manual_seed(0)
    transformer = OmniGenTransformer2DModel(
        hidden_size=16,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=32,
        num_layers=2,
        in_channels=4,
        time_step_dim=4,
        rope_scaling={"long_factor": [1, 1], "short_factor": [1, 1]},
        pad_token_id=0,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1)
    tokenizer = shapes_tokenizer(folder)
    return _quiet(OmniGenPipeline(transformer, scheduler, _vae(), tokenizer))


def call_omnigen(pipe, *, guidance=3.0, steps=4, prompt="a red circle"):
    return pipe(
        prompt, height=16, width=16, num_inference_steps=steps, guidance_scale=guidance,
        generator=_generator(), output_type="latent",
    ).images  # fmt: skip


def text_to_video_zero(folder) -> TextToVideoZeroPipeline:
    """Text2Video-Zero, which goes on with a copy of its scheduler."""
    torch.manual_seed(0)
    encoder, tokenizer = _text(folder)
    pipe = TextToVideoZeroPipeline(
        _vae(), encoder, tokenizer, _unet(), DDIMScheduler(clip_sample=False), None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    return _quiet(pipe)
