"""The untrained parts of the shapes model: a Stable Diffusion pipeline in miniature.

Everything is a plain diffusers or transformers class, so the trained folder loads with
``StableDiffusionPipeline.from_pretrained`` and without attnscope.

The noise schedule is Stable Diffusion's, rescaled to zero terminal signal-to-noise ratio (Lin et
al. 2024, "Common Diffusion Noise Schedules and Sample Steps Are Flawed", algorithm 1) and then
shifted to the resolution of the latents: log SNR + 2 ln(64 / 16) (Hoogeboom et al. 2023, "simple
diffusion", section 3.1). At 16x16 latents the same noise destroys more than at 64x64; without the
shift, decisions fall at other steps than in large models.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from attnscope import documents
from attnscope.shapes.scenes import RESOLUTION, vocabulary

LATENT_CHANNELS = 4
LATENT_SIDE = 16
MAX_TOKENS = 24
TEXT_WIDTH = 128
TRAIN_TIMESTEPS = 1000
TERMINAL_SIGMA = 100.0
"""Noise level of the last timestep after the shift: finite, so that every scheduler can start."""

_START, _END = "<|startoftext|>", "<|endoftext|>"


def autoencoder() -> AutoencoderKL:
    """64x64 images to 16x16x4 latents; 0.65 M parameters."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=RESOLUTION,
        mid_block_add_attention=False,
    )


def unet() -> UNet2DConditionModel:
    """The denoiser: 7 self- and 7 cross-attention sites at two resolutions; 4.3 M parameters."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(2, 4),
        norm_num_groups=16,
    )


def text_encoder(tokenizer: CLIPTokenizerFast) -> CLIPTextModel:
    """A CLIP text model of four layers and width 128; 0.9 M parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tokenizer(folder: Path) -> CLIPTokenizerFast:
    """A CLIP tokenizer in which every word of a caption is one token and any text tokenises.

    Args:
        folder: where its ``vocab.json`` and ``merges.txt`` are written.
    """
    symbols = list(_byte_symbols())
    merges: list[tuple[str, str]] = []
    for word in vocabulary():
        pieces = _encode([*word[:-1], word[-1] + "</w>"], merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    tokens = symbols + [symbol + "</w>" for symbol in symbols]
    tokens += [first + second for first, second in merges] + [_START, _END]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(documents.text(vocab, indent=None), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizerFast(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS
    )


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes that byte-level BPE uses (GPT-2, CLIP)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def _encode(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding: the earliest merge that applies, again and again."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while len(pieces) > 1:
        pairs = list(itertools.pairwise(pieces))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        at = pairs.index(best)
        pieces = [*pieces[:at], best[0] + best[1], *pieces[at + 2 :]]
    return pieces


def shifted_betas(shift: float) -> NDArray[np.float64]:
    """Stable Diffusion's betas with (almost) zero terminal SNR and noise levels divided by ``shift``.

    Args:
        shift: factor between the noise levels; 4 matches 16x16 latents to 64x64 ones, 1 keeps
            Stable Diffusion's.

    Returns:
        float64 ``[1000]``.
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, TRAIN_TIMESTEPS) ** 2
    signal = np.sqrt(np.cumprod(1 - betas))
    terminal = 1 / np.sqrt(1 + (shift * TERMINAL_SIGMA) ** 2)
    signal = (signal - signal[-1]) * (signal[0] - terminal) / (signal[0] - signal[-1]) + terminal
    snr = shift**2 * signal**2 / (1 - signal**2)
    alphas_cumprod = snr / (1 + snr)
    alphas = np.concatenate([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return 1 - alphas


def scheduler(shift: float = 4.0) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ (2M) over the shifted schedule, for a model that predicts velocity."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        trained_betas=[float(f"{beta:.6g}") for beta in shifted_betas(shift)],
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )
