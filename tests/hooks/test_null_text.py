"""The prompt replaced by the encoding of "", against the embeddings put in by hand."""

import pytest
import torch
import toys
from diffusers import PixArtAlphaPipeline
from transformers import T5Config, T5EncoderModel

from attnscope import NullTextEarly, NullTextLate, StepDistance, Trace
from attnscope.errors import InputError


def encoded(pipe, text):
    """Keywords of the denoiser that carry a text, without guidance."""
    if isinstance(pipe, PixArtAlphaPipeline):
        states, mask, _, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False)
        return {"encoder_hidden_states": states, "encoder_attention_mask": mask}
    result = pipe.encode_prompt(
        text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    if len(result) == 2:
        return {"encoder_hidden_states": result[0]}
    return {"encoder_hidden_states": result[0], "text_embeds": result[2]}


def pixart_with_text(folder):
    """PixArt with a tiny T5 that reads the toy tokenizer's words."""
    torch.manual_seed(0)
    pipe = toys.pixart(folder)
    tokenizer = toys.stable_diffusion(folder).tokenizer
    config = T5Config(vocab_size=1000, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    made = PixArtAlphaPipeline(
        **{**pipe.components, "text_encoder": T5EncoderModel(config).eval(), "tokenizer": tokenizer}
    )
    made.set_progress_bar_config(disable=True)
    return made


BUILDERS = {
    "sd": toys.stable_diffusion,
    "sdxl": toys.stable_diffusion_xl,
    "pixart": pixart_with_text,
}


def call(pipe, guidance=5.0, prompts=1, **options):
    if isinstance(pipe, PixArtAlphaPipeline):
        options |= {
            "use_resolution_binning": False,
            "clean_caption": False,
            "max_sequence_length": 24,
        }
    return pipe(
        list(toys.PROMPTS[:prompts]), num_inference_steps=5, guidance_scale=guidance, height=32,
        width=32, output_type="latent", generator=torch.Generator().manual_seed(0), **options,
    ).images  # fmt: skip


def put_by_hand(pipe, steps, rows):
    """Replace the text of some rows at some steps by a plain hook."""
    null = encoded(pipe, "") if not isinstance(pipe, PixArtAlphaPipeline) else None
    if null is None:
        states, mask, _, _ = pipe.encode_prompt(
            "", do_classifier_free_guidance=False, max_sequence_length=24
        )
        null = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
    denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    count = iter(range(100))

    def hook(module, args, kwargs):
        if next(count) not in steps:
            return None
        kwargs = {**kwargs, "added_cond_kwargs": dict(kwargs.get("added_cond_kwargs") or {})}
        for name, value in null.items():
            home = kwargs["added_cond_kwargs"] if name == "text_embeds" else kwargs
            home[name] = home[name].clone()
            home[name][rows] = value.to(home[name].dtype)
        return args, kwargs

    return denoiser.register_forward_pre_hook(hook, with_kwargs=True)


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize(
    ("plan", "steps"), [(NullTextLate(2), (2, 3, 4)), (NullTextEarly(2), (0, 1))]
)
@pytest.mark.parametrize(
    ("guidance", "prompts", "rows"), [(5.0, 1, [1]), (5.0, 2, [2, 3]), (0.0, 2, [0, 1])]
)
def test_the_conditional_branch_reads_nothing_in_the_chosen_steps(
    family, plan, steps, guidance, prompts, rows, tokenizer_folder
):
    pipe = BUILDERS[family](tokenizer_folder)
    plain = call(pipe, guidance, prompts)
    handle = put_by_hand(pipe, steps, rows)
    theirs = call(pipe, guidance, prompts)
    handle.remove()
    with Trace(pipe, plan=plan) as trace:
        ours = call(pipe, guidance, prompts)
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - plain).abs().max() > 1e-3
    assert trace.runs[0].guided_steps == (5 if guidance else 0)
    assert torch.equal(plain, call(pipe, guidance, prompts))


def test_the_ends_of_the_scale_are_the_baseline_and_the_empty_prompt(sd):
    plain = call(sd)
    with Trace(sd, plan=NullTextEarly(0)):
        assert torch.equal(plain, call(sd))
    with Trace(sd, plan=NullTextLate(5)):
        assert torch.equal(plain, call(sd))
    with Trace(sd, plan=NullTextEarly(5)):
        unread = call(sd, negative_prompt=["a circle"])
    empty = sd(
        "", negative_prompt="a circle", num_inference_steps=5, guidance_scale=5.0, height=32, width=32,
        output_type="latent", generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    assert torch.equal(unread, empty)


def test_null_is_not_what_the_unconditional_branch_of_sdxl_holds(tokenizer_folder):
    """SDXL puts zeros there; the encoding of "" is not zero."""
    pipe = toys.stable_diffusion_xl(tokenizer_folder)
    with Trace(pipe, plan=NullTextEarly(5), observers=[StepDistance()]) as trace:
        call(pipe)
    table = trace.records()
    mean = table.groupby("branch", observed=True)["l2"].mean()
    assert mean["cond"] != mean["uncond"]


def test_pipelines_without_text_are_refused_by_name(tokenizer_folder):
    with pytest.raises(InputError, match="null text is not known for StableVideoDiffusionPipeline"):
        Trace(toys.stable_video_diffusion(tokenizer_folder), plan=NullTextLate(2))
    with pytest.raises(InputError, match="null text is not known for WanPipeline"):
        Trace(toys.wan(), plan=NullTextLate(2))
    with pytest.raises(InputError, match="PixArtAlphaPipeline has no text encoder"):
        Trace(toys.pixart(tokenizer_folder), plan=NullTextLate(2))


def test_a_prompt_of_unusual_length_is_refused(sd):
    states = torch.randn(1, 48, 32)
    with (
        Trace(sd, plan=NullTextLate(1)),
        pytest.raises(InputError, match="prompts of the usual length"),
    ):
        sd(
            prompt_embeds=states, negative_prompt_embeds=states, num_inference_steps=3, height=32,
            width=32, output_type="latent",
        )  # fmt: skip
