import ast
import importlib
import inspect
import itertools
import pkgutil
import textwrap

import denoisers
import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_flux import FluxTransformerBlock
from older import newest_only
from torch import nn

from attnscope import FeatureMaps, StepDistance, Trace, find_sites
from attnscope.sites.around import find_around, stream, stream_of
from attnscope.sites.attention import Site

IMAGE = 4
"""Tokens of the image in every tiny denoiser here; the text has 9."""
TWO_STREAMS = {
    "auraflow": "joint_transformer_blocks.0",
    "bria": "transformer_blocks.0",
    "chroma": "transformer_blocks.0",
    "cogvideox": "transformer_blocks.0",
    "flux": "transformer_blocks.0",
    "flux2": "transformer_blocks.0",
    "hidream": "double_stream_blocks.0.block",
    "hunyuan-image": "transformer_blocks.0",
    "hunyuan-video": "transformer_blocks.0",
    "hunyuan-video-1.5": "transformer_blocks.0",
    "mochi": "transformer_blocks.0",
    "qwen": "transformer_blocks.0",
    "sd3": "transformer_blocks.0",
}
"""Denoisers whose text is a stream of its own, with a block where both streams leave."""
SPLIT_AGAIN = {
    "bria": "single_transformer_blocks.0",
    "flux": "single_transformer_blocks.0",
    "flux3": "single_transformer_blocks.0",
    "hunyuan-image": "single_transformer_blocks.0",
    "hunyuan-video": "single_transformer_blocks.0",
}
"""Blocks that put both streams together and part them again."""


def seen(name, kind, *, loop=None):
    """What an observer is shown of one kind in a run of one step, by site."""
    maps = FeatureMaps("*", [0], kinds=[kind])
    loop = loop or denoisers.Loop(name)
    with Trace(loop, observers=[maps]) as trace:
        loop(steps=1)
    return dict(zip(trace.records()["site"].astype(str), trace.records()["output"], strict=True))


@pytest.mark.parametrize("name", TWO_STREAMS)
def test_of_two_streams_the_images_is_watched_though_the_text_is_longer(name):
    block = TWO_STREAMS[name]
    assert len(seen(name, "block")[block]) == IMAGE
    attention = [maps for site, maps in seen(name, "joint").items() if site.startswith(block)]
    assert [len(maps) for maps in attention] == [IMAGE]


@pytest.mark.parametrize("name", SPLIT_AGAIN)
def test_a_block_that_parts_one_sequence_again_is_watched_by_its_image(name):
    tokens = IMAGE + 6 if name == "flux3" else IMAGE  # and those of its reference image
    assert len(seen(name, "block")[SPLIT_AGAIN[name]]) == tokens


@pytest.mark.parametrize("text", [1, 2, 9])
def test_the_images_stream_is_found_whether_the_text_is_shorter_or_longer(monkeypatch, text):
    monkeypatch.setitem(denoisers.DENOISERS, "flux", lambda: denoisers.flux(text))
    assert [len(maps) for maps in seen("flux", "block").values()] == [IMAGE, IMAGE]


@pytest.mark.parametrize("name", ["flux", "bria", "chroma"])
def test_the_images_stream_is_found_though_the_text_is_as_long(monkeypatch, name):
    monkeypatch.setattr(denoisers, "TEXT", IMAGE)
    monkeypatch.setitem(denoisers.DENOISERS, "flux", lambda: denoisers.flux(IMAGE))
    loop = denoisers.Loop(name)
    handed_on = []
    following = loop.transformer.single_transformer_blocks[0]

    def keep(module, args, kwargs):
        states = kwargs["hidden_states"]
        handed_on.append(states[:, -IMAGE:])  # Chroma's have the text in front by then

    following.register_forward_pre_hook(keep, with_kwargs=True)
    watched = seen(name, "block", loop=loop)["transformer_blocks.0"]
    assert torch.equal(torch.from_numpy(watched), handed_on[0][0])


@pytest.mark.parametrize("name", ["ltx2", "kandinsky6"])
def test_of_video_and_sound_the_video_is_watched(name):
    block = {"ltx2": "transformer_blocks.0", "kandinsky6": "visual_transformer_blocks.0"}[name]
    assert len(seen(name, "block")[block]) == IMAGE  # the sound has 6 tokens


def test_one_sequence_of_text_and_image_is_watched_whole():
    assert len(seen("flux", "joint")["single_transformer_blocks.0.attn"]) == IMAGE + 9
    assert len(seen("auraflow", "block")["single_transformer_blocks.0"]) == IMAGE + 9 + 8
    assert len(seen("lumina2", "block")["layers.0"]) == IMAGE + 9


def test_distances_of_blocks_are_those_of_the_image():
    loop = denoisers.Loop("flux")
    blocks = (loop.transformer.transformer_blocks[0], loop.transformer.single_transformer_blocks[0])
    outputs = {block: [] for block in blocks}
    for block, keep in outputs.items():
        block.register_forward_hook(lambda *args, keep=keep: keep.append(args[-1][1].clone()))
    with Trace(loop, observers=[StepDistance(kinds=["block"])]) as trace:
        loop(steps=3)
    measured = trace.records().groupby("site", observed=True)["l2"].apply(list)
    for block, name in zip(
        blocks, ("transformer_blocks.0", "single_transformer_blocks.0"), strict=True
    ):
        expected = [(b - a).norm().item() for a, b in itertools.pairwise(outputs[block])]
        assert measured[name] == pytest.approx(expected, rel=1e-5)


def test_feed_forwards_of_the_text_alone_are_left_out():
    for name, left in (("qwen", "img_mlp"), ("flux", "ff"), ("sd3", "ff"), ("hidream", "ff_i")):
        denoiser, _ = denoisers.make(name)
        found = find_around(denoiser, find_sites(denoiser))
        assert {s.name.rpartition(".")[2] for s in found if s.kind == "feed-forward"} == {left}


def test_the_feed_forward_of_cosmos_is_that_of_what_is_generated():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = Attention(8)
            self.mlp, self.mlp_moe_gen = nn.Linear(8, 8), nn.Linear(8, 8)

    denoiser = nn.Module()
    denoiser.layers = nn.ModuleList([Layer()])
    found = find_around(denoiser, find_sites(denoiser))
    assert [s.name for s in found] == ["layers.0.mlp_moe_gen", "layers.0", "x_t"]


def returned_names(kind):
    """The names that the last tuple which a class returns is made of, and its first argument."""
    forward = kind.forward if issubclass(kind, nn.Module) else kind.__call__
    tree = ast.parse(textwrap.dedent(inspect.getsource(forward)))
    tuples = [
        node.value.elts
        for node in ast.walk(tree)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)
    ]
    return [getattr(element, "id", None) for element in tuples[-1]] if tuples else []


def classes_of_diffusers(wanted):
    folder = importlib.import_module("diffusers.models.transformers")
    names = [info.name for info in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}.")]
    for name in (*names, "diffusers.models.attention", "diffusers.models.attention_processor"):
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and kind.__module__ == name and wanted(kind):
                yield kind


def test_the_place_of_the_images_stream_is_what_the_source_of_every_block_says():
    checked = set()
    for kind in classes_of_diffusers(lambda kind: issubclass(kind, nn.Module)):
        returned = returned_names(kind)
        if {"hidden_states", "encoder_hidden_states"} <= set(returned):
            assert stream_of(kind).place == returned.index("hidden_states"), kind
            checked.add(kind.__name__)
    assert {"FluxTransformerBlock", "JointTransformerBlock", "CogVideoXBlock"} <= checked
    assert len(checked) >= 20  # diffusers 0.35 has so many, later ones more


@newest_only
def test_attention_returns_the_image_first_in_every_processor():
    returned = {
        kind.__name__: returned_names(kind)
        for kind in classes_of_diffusers(lambda kind: "Attn" in kind.__name__ and "__call__" in vars(kind))
        if not issubclass(kind, nn.Module)
    }  # fmt: skip
    pairs = {name: names[0] for name, names in returned.items() if len(names) > 1}
    first = {"hidden_states", "hidden_states_i", "img_attn_output"}
    assert {name for name, leading in pairs.items() if leading not in first} == {
        "Cosmos3AttnProcessor"
    }
    assert len(pairs) > 15


def test_the_stream_of_cosmos_is_the_generated_one():
    class Cosmos3PackedMoTAttention(nn.Module):
        def forward(self, und_seq, gen_seq): ...

    text, image = torch.zeros(4, 8), torch.ones(4, 8)
    site, module = Site("attn", "joint", "layers.0", 0), Cosmos3PackedMoTAttention()
    assert stream(site, (text, image), module, (text, image), {}) is image
    assert stream(site, (text[:2], image), module, (text[:2], image), {}) is image
    assert (
        stream(site, (text, image[:2]), module, (), {"und_seq": text, "gen_seq": image[:2]}).numel()
        == 16
    )


def test_a_block_that_nobody_knows_is_watched_by_what_is_shaped_as_its_input():
    class Custom(nn.Module):
        def forward(self, x, text): ...

    image, text = torch.zeros(1, 4, 8), torch.zeros(1, 9, 8)
    site, module = Site("block", "block", "block", 0), Custom()
    assert stream(site, (text, image), module, (image, text), {}) is image
    assert stream(site, (image, text), module, (image, text), {}) is image
    assert stream(site, (text, image), module, (), {"x": image, "text": text}) is image
    pair = torch.zeros(1, 5, 8), torch.zeros(1, 3, 8)
    assert stream(site, pair, module, (image, text), {}) is pair[0]
    assert stream(site, (None, *pair), module, (image, text), {}) is pair[0]
    assert stream(site, (None, *pair[::-1]), module, (image, text), {}) is pair[1]
    with pytest.raises(RuntimeError, match="no tensor but a dict"):
        stream(site, {}, module, (image,), {})


def test_a_class_derived_from_a_known_one_is_known():
    class Derived(FluxTransformerBlock):
        pass

    assert stream_of(Derived).place == 1
    assert stream_of(nn.Module).place == 0
