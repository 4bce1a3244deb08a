"""Maps of words, against a softmax that is held whole."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import toys
from torch.nn import functional

import attnscope
from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.models import random_weights
from attnscope.observers import AttentionMaps, probabilities
from attnscope.sites.attention import Site
from attnscope.sites.grids import Layout

STEPS = 3
WIDE = {"height": 32, "width": 48}


@dataclass(frozen=True)
class Word:
    name: str
    positions: tuple[int, ...]


def _call_toy(pipe, **options):
    return toys.call(pipe, prompts=2, steps=STEPS, **options)


def _flux(pipe, **options):
    return toys.call_flux(pipe, steps=STEPS, **options)


MODELS = {
    "sd": (toys.stable_diffusion, _call_toy, 24, 2),
    "sdxl": (toys.stable_diffusion_xl, _call_toy, 24, 2),
    "pixart": (toys.pixart, _call_toy, 8, 2),
    "sd3": (lambda folder: toys.sd3(), toys.call_sd3, 9, 2),
    "sd3.5": (lambda folder: toys.sd3(dual=True), toys.call_sd3, 9, 2),
    "flux": (lambda folder: toys.flux(), _flux, 5, 1),
}
"""How a pipeline is made and called, tokens of its text, guidance branches."""


@pytest.fixture(params=MODELS)
def model(request, tokenizer_folder):
    make, call, tokens, branches = MODELS[request.param]
    return request.param, make(tokenizer_folder), call, tokens, branches


class Materialised:
    """Every attention of a denoiser as a softmax that is held whole, by plain hooks and patches."""

    def __init__(self, pipe, monkeypatch):
        self.found = defaultdict(list)  # by site, a softmax a call
        self._running = []
        denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
        self.sites = {site.name: site.kind for site in attnscope.find_sites(denoiser)}
        for name in self.sites:
            module = denoiser.get_submodule(name)
            module.register_forward_pre_hook(lambda *_, name=name: self._running.append(name))
            module.register_forward_hook(lambda *_: self._running.pop() and None)
        own = functional.scaled_dot_product_attention

        def whole(query, key, value, attn_mask=None, **kwargs):
            if self._running:
                scores = query.double() @ key.double().mT / math.sqrt(query.shape[-1])
                if attn_mask is not None:
                    scores = scores + attn_mask
                self.found[self._running[-1]].append(scores.softmax(-1))
            return own(query, key, value, attn_mask=attn_mask, **kwargs)

        monkeypatch.setattr(functional, "scaled_dot_product_attention", whole)

    def of_text(self, text, leads):
        """[step][site] -> [rows, heads, image, text], in the order of steps."""
        made = [{} for _ in range(STEPS)]
        for site, calls in self.found.items():
            if self.sites[site] == "self":
                continue
            for step, found in enumerate(calls):
                if self.sites[site] == "joint":
                    keys = found.shape[-1]
                    words = slice(0, text) if leads else slice(keys - text, keys)
                    image = slice(text, keys) if leads else slice(0, keys - text)
                    made[step][site] = found[:, :, image, words]
                else:
                    made[step][site] = found
        return made


def _expected(made, rows, sizes):
    """Averaged over heads and sites, bilinearly at the largest size: [step, row, word, h, w]."""
    large = max(sizes[found.shape[-2]] for found in made[0].values())
    steps = []
    for by_site in made:
        total = 0
        for found in by_site.values():
            maps = found[rows].mean(1).mT  # [rows, text, image]
            height, width = sizes[maps.shape[-1]]
            maps = maps.reshape(*maps.shape[:2], height, width)
            total = total + functional.interpolate(maps, large, mode="bilinear")
        steps.append(total / len(by_site))
    return torch.stack(steps).numpy()


def sizes(name):
    height, width = WIDE["height"] // 2, WIDE["width"] // 2  # latents
    if name in ("sd", "sdxl"):
        return {
            (height // 2**n) * (width // 2**n): (height // 2**n, width // 2**n) for n in range(4)
        }
    return {height // 2 * (width // 2): (height // 2, width // 2)}


def test_maps_are_those_of_a_softmax_that_is_held_whole(model, monkeypatch):
    name, pipe, call, tokens, branches = model
    plain = call(pipe, **WIDE)
    observer = AttentionMaps()
    with attnscope.Trace(pipe, observers=[observer]):
        watched = call(pipe, **WIDE)
    assert torch.equal(plain, watched)
    materialised = Materialised(pipe, monkeypatch)
    call(pipe, **WIDE)
    made = materialised.of_text(tokens, leads=name == "flux")
    rows = slice(2, 4) if branches == 2 else slice(0, 2)
    expected = _expected(made, rows, sizes(name))
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "word", "height", "width")
    assert maps.values.shape == (2, STEPS, tokens, *expected.shape[-2:])
    np.testing.assert_allclose(maps.values, expected.transpose(1, 0, 2, 3, 4), atol=1e-5)
    total = maps.values.sum(2)
    if name in ("sd", "sdxl", "pixart"):
        np.testing.assert_allclose(total, 1, atol=1e-5)
    else:
        assert (total < 1).all()


@pytest.mark.parametrize("trace", [{"observers": [AttentionMaps()]}, {"plan": "reweight:words=a"}])
def test_a_model_that_starts_from_an_image_has_no_words(trace, tokenizer_folder):
    pipe = toys.stable_video_diffusion(tokenizer_folder)
    with (
        pytest.raises(InputError, match=r"no text.*|words are not known"),
        attnscope.Trace(pipe, **trace),
    ):
        _call_toy(pipe)


def test_in_half_precision_maps_are_those_of_the_same_queries_and_keys(model, monkeypatch):
    name, pipe, call, tokens, branches = model
    pipe.to(torch.bfloat16)
    materialised = Materialised(pipe, monkeypatch)
    plain = call(pipe, **WIDE)
    expected = _expected(
        materialised.of_text(tokens, leads=name == "flux"),
        slice(2, 4) if branches == 2 else slice(0, 2),
        sizes(name),
    )
    observer = AttentionMaps()
    with attnscope.Trace(pipe, observers=[observer]):
        assert torch.equal(call(pipe, **WIDE), plain)
    np.testing.assert_allclose(observer.maps().values, expected.transpose(1, 0, 2, 3, 4), atol=1e-2)


def test_chunks_change_nothing(model, monkeypatch):
    _, pipe, call, _, _ = model
    found = []
    for size in (probabilities.CHUNK, 50):
        monkeypatch.setattr(probabilities, "CHUNK", size)
        observer = AttentionMaps(each="head", heads=True)
        with attnscope.Trace(pipe, observers=[observer]):
            call(pipe)
        found.append((observer.maps().values, observer.table()))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    for column in ("mass", "peak", "spread", "entropy"):
        np.testing.assert_allclose(found[0][1][column], found[1][1][column], rtol=1e-4, atol=1e-6)


def test_two_prompts_have_the_maps_that_each_has_alone(sd):
    """A batch rounds otherwise than an image alone, and that grows from step to step: one step is looked at."""
    words = [[Word("a", (1,)), Word("red circle", (3, 4))], [Word("blue", (3,))]]

    def maps(prompts, words, per_prompt):
        generators = [torch.Generator().manual_seed(n) for n in range(len(prompts) * per_prompt)]
        observer = AttentionMaps(words)
        with attnscope.Trace(sd, observers=[observer]):
            sd(prompts, num_inference_steps=1, num_images_per_prompt=per_prompt, output_type="latent",
               generator=generators, height=32, width=32)  # fmt: skip
        return observer.maps()

    both = maps(list(toys.PROMPTS), words, 1)
    assert both.words == (("a", "red circle"), ("blue",))
    first = maps([toys.PROMPTS[0]], words[:1], 1)
    np.testing.assert_allclose(both.values[0], first.values[0], atol=1e-5)
    assert np.isnan(both.values[1][:, 1]).all()
    assert not np.isnan(both.values[1][:, 0]).any()
    twice = maps(list(toys.PROMPTS), words, 2)
    assert twice.words == (words_of := ("a", "red circle"), words_of, ("blue",), ("blue",))
    np.testing.assert_allclose(twice.values[0], first.values[0], atol=1e-5)


def test_a_word_is_paid_what_its_tokens_are_paid_together(sd):
    words = [[Word("all", tuple(range(24))), Word("some", (2, 5))]]
    alone, merged = AttentionMaps(), AttentionMaps(words)
    with attnscope.Trace(sd, observers=[alone, merged]):
        toys.call(sd, steps=2)
    tokens, found = alone.maps().values, merged.maps().values
    np.testing.assert_allclose(found[:, :, 0], 1, atol=1e-5)
    np.testing.assert_allclose(found[:, :, 1], tokens[:, :, [2, 5]].sum(2), atol=1e-6)
    table = merged.table()
    assert list(table["word"].unique()) == ["all", "some"]
    np.testing.assert_allclose(table[table["word"] == "all"]["mass"], 1, atol=1e-5)


def test_numbers_of_the_table_are_those_of_the_maps(sd):
    observer = AttentionMaps(each="head", heads=True)
    with attnscope.Trace(sd, observers=[observer]) as trace:
        toys.call(sd, steps=2)
    table, maps = trace.records(), observer.maps()
    assert maps.axes == ("sample", "step", "site", "head", "word", "height", "width")
    site = next(iter(maps.sites))
    own = table[(table["site"] == site) & (table["step"] == 1) & (table["head"] == 0)]
    tokens = own["mass"].to_numpy()
    there = maps.values[0, 1, maps.sites.index(site), 0]
    np.testing.assert_allclose(tokens, there.mean((-2, -1)), rtol=1e-3)
    assert (own["peak"] >= own["mass"]).all()
    assert (own["spread"] > 0).all()
    assert own["entropy"].nunique() == 1
    assert 0 < own["entropy"].iloc[0] <= math.log(24)


@pytest.mark.parametrize("every", [2, None])
def test_steps_are_averaged(sd, every):
    single, some = AttentionMaps(), AttentionMaps(every=every)
    with attnscope.Trace(sd, observers=[single, some]):
        toys.call(sd, steps=4)
    whole, found = single.maps(), some.maps()
    if every is None:
        assert found.steps == (0,)
        np.testing.assert_allclose(found.values[:, 0], whole.values.mean(1), atol=1e-6)
    else:
        assert found.steps == (0, 2)
        np.testing.assert_allclose(found.values[:, 1], whole.values[:, 2:].mean(1), atol=1e-6)


def test_chosen_steps_alone_are_looked_at(sd):
    observer = AttentionMaps(steps=[1, 3])
    with attnscope.Trace(sd, observers=[observer]):
        toys.call(sd, steps=4)
    assert observer.maps().steps == (1, 3)
    assert set(observer.table()["step"]) == {1, 3}


def test_of_a_video_every_frame_has_a_map(monkeypatch):
    found = toys.latte_architecture()
    pipe = random_weights.build(found)
    pipe.set_progress_bar_config(disable=True)
    given = random_weights.call_keywords(pipe, found, steps=STEPS, guidance=5.0)
    observer = AttentionMaps()
    with attnscope.Trace(pipe, observers=[observer]):
        pipe(**given)
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "word", "frame", "height", "width")
    assert maps.values.shape == (1, STEPS, 5, 3, *maps.values.shape[-2:])
    np.testing.assert_allclose(maps.values.sum(2), 1, atol=1e-5)
    materialised = Materialised(pipe, monkeypatch)
    pipe(**given)
    calls = [
        found for site, found in materialised.found.items() if materialised.sites[site] == "cross"
    ]
    whole = torch.stack([found[1] for found in calls]).mean(
        (0, 2)
    )  # [branches * frames, image, text]
    expected = whole[3:].movedim(-1, 0).reshape(5, 3, *maps.values.shape[-2:])
    np.testing.assert_allclose(maps.values[0, 1], expected, atol=1e-5)


def test_of_text_the_words_look_at_the_image(monkeypatch):
    pipe = toys.flux()
    words = [[Word("first", (0, 1)), Word("last", (4,))]] * 2
    materialised = Materialised(pipe, monkeypatch)
    toys.call_flux(pipe, steps=STEPS)
    observer = AttentionMaps(words, of_text=True)
    with attnscope.Trace(pipe, observers=[observer]):
        toys.call_flux(pipe, steps=STEPS)
    maps = observer.maps()
    expected = torch.stack(
        [calls[1] for calls in materialised.found.values()]
    )  # [site, rows, heads, …]
    image = expected.mean((0, 2))[:, :5, 5:]
    np.testing.assert_allclose(maps.values[:, 1, 0].reshape(2, -1), image[:, :2].mean(1), atol=1e-5)
    np.testing.assert_allclose(maps.values[:, 1, 1].reshape(2, -1), image[:, 4], atol=1e-5)


def test_under_a_plan_maps_end_where_attention_is_reused(sd):
    observer = AttentionMaps()
    with attnscope.Trace(sd, plan="m=2,k=1", observers=[observer]):
        toys.call(sd, steps=4)
    assert observer.maps().steps == (0, 1)


def test_the_other_branch_has_maps_of_its_own(sd):
    cond, uncond = AttentionMaps(), AttentionMaps(branch="uncond")
    with attnscope.Trace(sd, observers=[cond, uncond]):
        toys.call(sd, steps=2)
    assert not np.allclose(cond.maps().values, uncond.maps().values)
    assert set(uncond.table()["branch"]) == {"uncond"}


def test_attention_that_looks_at_no_text_is_refused():
    with pytest.raises(InputError, match="choose cross or joint"):
        AttentionMaps(kinds=["self"])
    looks_nowhere = [Site("blocks.0.attn", "self", "blocks.0", 0)]
    with pytest.raises(InputError, match="this model has no attention to text"):
        AttentionMaps().engage(looks_nowhere)


def test_under_autocast_maps_are_in_float32(sd):
    observer = AttentionMaps()
    with torch.autocast("cpu", torch.bfloat16), attnscope.Trace(sd, observers=[observer]):
        toys.call(sd, steps=1)
    np.testing.assert_allclose(observer.maps().values.sum(2), 1, atol=1e-5)


def test_a_query_that_everything_is_hidden_from_pays_nothing():
    query = torch.randn(1, 1, 4, 3)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[:, :, 1:] = True  # the first token of the text is padding
    attention = Attention(query, query, mask, 1.0, slice(2, 4), slice(0, 2), slice(2, 4))
    groups = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    found = probabilities.reduced(attention, slice(0, 1), groups, heads=False, of_text=True)
    assert not any(part.isnan().any() for part in found)
    assert found.maps[0, 0, 0].sum() == 0


def test_the_text_has_maps_beside_an_image_prompt(sd):
    sd.unet._load_ip_adapter_weights([toys.ip_adapter(sd.unet)])
    embeds = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(3))
    observer = AttentionMaps()
    with attnscope.Trace(sd, observers=[observer]):
        toys.call(sd, steps=1, ip_adapter_image_embeds=[embeds])
    maps = observer.maps()
    assert maps.values.shape[2] == 24
    np.testing.assert_allclose(maps.values.sum(2), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "tokens", "apart", "grid"),
    [
        (Layout((1, 16, 4, 60, 104), channels=16), 4 * 30 * 52, 1, (4, 30, 52)),  # Wan
        (Layout((2, 4, 3, 8, 8), channels=4), 16, 3, (1, 4, 4)),  # Latte, a frame at a time
        (Layout((2, 4, 4, 8, 8), channels=4), 16, 4, (1, 4, 4)),
        (Layout((2, 14, 8, 12, 20), channels=8), 6 * 10, 14, (1, 6, 10)),  # SVD
        (Layout((1, 4, 9, 15), channels=4), 5 * 8, 1, (1, 5, 8)),  # halves round up
    ],
)  # fmt: skip
def test_tokens_are_laid_out_as_the_latents_are(layout, tokens, apart, grid):
    assert layout.grid(tokens, "a site", apart) == grid


@pytest.mark.parametrize("how", ["plain", "sliced"])
def test_attention_that_goes_another_way_is_an_error_that_names_the_fix(sd, how):
    from diffusers.models.attention_processor import AttnProcessor

    if how == "plain":
        sd.unet.set_attn_processor(AttnProcessor())
    else:
        sd.enable_attention_slicing()
    with (
        pytest.raises(InputError, match="set_attn_processor"),
        attnscope.Trace(sd, observers=[AttentionMaps()]),
    ):
        toys.call(sd, steps=1)
    assert toys.call(sd, steps=1) is not None  # the pipeline is what it was


def test_wrong_input_is_told(sd):
    def run(observer):
        with attnscope.Trace(sd, observers=[observer]):
            toys.call(sd, steps=2, prompts=2)

    with pytest.raises(InputError, match=r"steps=\[7\] are not steps of this run"):
        run(AttentionMaps(steps=[7]))
    with pytest.raises(InputError, match="words are given for 3 prompts, and 2 images"):
        run(AttentionMaps([[Word("a", (1,))]] * 3))
    with pytest.raises(InputError, match="the text has 24 tokens"):
        run(AttentionMaps([[Word("far", (99,))]] * 2))
    with pytest.raises(InputError, match="does not look at the image"):
        run(AttentionMaps(of_text=True))
    with pytest.raises(InputError, match="every=0"):
        AttentionMaps(every=0)
    with pytest.raises(InputError, match="no maps yet"):
        AttentionMaps().maps()


def test_side_by_side_with_daam_the_maps_agree(monkeypatch):
    """DAAM (Tang et al. 2022, section 3): every head and site upscaled bicubically, then averaged over
    heads, sites and steps; a word's map is the mean over its tokens. Here it is bilinear, so that words
    still sum to one, and the sum over tokens.
    """
    pipe = attnscope.load("shapes")
    pipe.set_progress_bar_config(disable=True)
    text = "a large red circle left of a small blue star on a beige background"

    def run():
        generator = torch.Generator().manual_seed(0)
        pipe(text, num_inference_steps=STEPS, guidance_scale=3.0, generator=generator)

    tokens = 24
    words = [[Word("circle", (4,)), Word("blue star", (9, 10)), Word("all", tuple(range(tokens)))]]
    observer = AttentionMaps(words, every=None)
    with attnscope.Trace(pipe, observers=[observer]):
        run()
    ours = observer.maps().values[0, 0]
    materialised = Materialised(pipe, monkeypatch)
    run()
    side = ours.shape[-1]
    heads = []
    for by_site in materialised.of_text(tokens, leads=True):
        for found in by_site.values():
            own = math.isqrt(found.shape[2])
            maps = found[1].mT.reshape(-1, tokens, own, own)
            large = functional.interpolate(maps, (side, side), mode="bicubic")
            heads.append(large.clamp(min=0).mean(0))
    theirs = torch.stack(heads).mean(0).numpy()
    for word, daam in ((0, theirs[4]), (1, theirs[[9, 10]].mean(0) * 2)):
        assert np.corrcoef(ours[word].ravel(), daam.ravel())[0, 1] > 0.995
        assert np.abs(ours[word] - daam).mean() < 0.03 * daam.max()
        np.testing.assert_allclose(
            ours[word], daam, atol=0.2 * daam.max()
        )  # bicubic peaks are higher
    np.testing.assert_allclose(ours[2], 1, atol=1e-5)


def test_memory_on_the_device_is_bounded_and_told():
    """Twenty prompts of the embedded model, all steps and sites: what is held of maps, and at a time."""
    pipe = attnscope.load("shapes")
    pipe.set_progress_bar_config(disable=True)
    prompts, steps, tokens = [toys.PROMPTS[0]] * 20, 4, 24
    held = []

    class Watched(AttentionMaps):
        def attend(self, *args):
            super().attend(*args)
            held.append(self.held)

    kept, mean = Watched(), AttentionMaps(every=None)
    with attnscope.Trace(pipe, observers=[kept, mean]):
        pipe(prompts, num_inference_steps=steps, guidance_scale=3.0, output_type="latent",
             generator=[torch.Generator().manual_seed(n) for n in range(20)])  # fmt: skip
    bound = kept.nbytes(pipe, steps=steps, words=tokens, batch=20)
    assert max(held) == bound == 4 * 20 * tokens * steps * sum(n * n for n in (16, 8))
    assert mean.nbytes(pipe, steps=steps, words=tokens, batch=20) * steps == bound
    assert kept.maps().nbytes == steps * 20 * tokens * 16**2 * 4
    assert mean.maps().nbytes == 20 * tokens * 16**2 * 4
    assert kept.held == 0  # nothing is left on the device


@pytest.mark.parametrize("each", ["model", "site", "head"])
def test_memory_is_foreseen(model, each):
    _, pipe, call, tokens, _ = model
    held = []

    class Watched(AttentionMaps):
        def attend(self, *args):
            super().attend(*args)
            held.append(self.held)

    observer = Watched(each=each, every=2)
    with attnscope.Trace(pipe, observers=[observer]):
        call(pipe, **WIDE)
    assert max(held) == observer.nbytes(pipe, steps=STEPS, words=tokens, batch=2, **WIDE)
