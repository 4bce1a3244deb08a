"""Flux 1, 2 and 3: blocks of two streams, then blocks of one sequence of text and image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family
from attnscope.families.tokenizers import one_tokenizer, text_not_known
from attnscope.families.values import TEXT_FIRST, CallSizes, Noise, Template, TextKeys

_PROMPT = "a prompt of which nothing is known"


class Patched(Family):
    """Pipelines make patches of 2x2 latents, of which the denoiser's configuration says nothing."""

    def latents_a_side(self, config: Mapping[str, Any]) -> int:
        """Two, by its pipeline."""
        return 2


class Flux(Patched):
    """The first, which also takes the text's pooled embedding."""

    denoisers = ("FluxTransformer2DModel",)
    latents = {"FluxPipeline": "packed"}
    text_leads = True
    never_batched = Family.never_batched | {"img_ids", "txt_ids"}

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """That of T5; of CLIP's text only the pooled embedding is taken."""
        return (one_tokenizer(pipe, "tokenizer_2", called, "prompt_2"),)

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Patches, text, its pooled embedding, where both stand, and an embedded guidance scale."""
        patches = on.rows // 2 * (on.columns // 2)
        made = {
            "hidden_states": noise(patches, denoiser.config.in_channels),
            "encoder_hidden_states": noise(on.tokens, denoiser.config.joint_attention_dim),
            "pooled_projections": noise(denoiser.config.pooled_projection_dim),
            "img_ids": noise(patches, 3)[0],
            "txt_ids": noise(on.tokens, 3)[0],
        }
        if denoiser.config.guidance_embeds:
            made["guidance"] = noise(1)[:, 0]
        return made


class Flux2(Patched):
    """The record of diffusers has its single blocks the wrong way round."""

    denoisers = ("Flux2Transformer2DModel",)
    text_leads = True
    streams = {"Flux2SingleTransformerBlock": TEXT_FIRST}

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """Those of its language model in the small variants; the large one's are not known."""
        if not type(pipe).__name__.startswith("Flux2Klein"):
            raise text_not_known(
                pipe, "a processor of a language model, of whose use nothing is known"
            )
        return (one_tokenizer(pipe, "tokenizer", called),)

    def template(self, pipe: Any, tokenizer: Any, called: Mapping[str, Any]) -> Template:
        """The tokenizer's own for a turn of a chat."""
        turn = [{"role": "user", "content": _PROMPT}]
        whole = tokenizer.apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        if whole.count(_PROMPT) != 1:
            raise text_not_known(pipe, "a template of a chat that does not hold a prompt once")
        before, after = whole.split(_PROMPT)
        length = one_tokenizer(pipe, "tokenizer", called).length
        return Template(before, after, length, tuple(range(length)))

    def text_read(self, pipe: Any, prompt: str, tokenizer: Any, called: Mapping[str, Any]) -> str:
        """The prompt, which the template leaves as it is.

        Raises:
            InputError: it does not.
        """
        turn = [{"role": "user", "content": prompt}]
        whole = tokenizer.apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        own = self.template(pipe, tokenizer, called)
        if whole != own.before + prompt + own.after:
            raise text_not_known(pipe, f"a template of a chat that changes {prompt!r}")
        return prompt


class Flux3(Family):
    """Single blocks as those of the second."""

    denoisers = ("Flux3Transformer2DModel",)
    streams = {"Flux3SingleTransformerBlock": TEXT_FIRST}
