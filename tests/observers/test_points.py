"""Where points of the image look, against a softmax that is held whole."""

import numpy as np
import pytest
import torch
import toys
from test_attention_maps import MODELS, STEPS, WIDE, Materialised, sizes
from torch.nn import functional

import attnscope
from attnscope import PointAttention
from attnscope.errors import InputError
from attnscope.observers import probabilities

POINTS = ((0.3, 0.5), (0.8, 0.1), (0.0, 0.0), (1.0, 1.0))


@pytest.fixture(params=MODELS)
def model(request, tokenizer_folder):
    make, call, tokens, branches = MODELS[request.param]
    return request.param, make(tokenizer_folder), call, tokens, branches


def whole(materialised, name, text, rows):
    """[step, row, point, h, w] at the largest size, averaged over heads and sites."""
    steps, sites = [], [s for s, kind in materialised.sites.items() if kind != "cross"]
    tall = [n for site in sites if (n := materialised.found[site][0].shape[-1]) in sizes(name)]
    large = sizes(name)[max(tall)] if tall else max(sizes(name).values())
    for step in range(STEPS):
        total = 0
        for site in sites:
            found = materialised.found[site][step][rows].mean(1)
            if materialised.sites[site] == "joint":
                image = slice(text, None) if name == "flux" else slice(None, -text)
                found = found[:, image, image]
            height, width = sizes(name)[found.shape[-1]]
            maps = found.reshape(-1, height, width, height, width)
            own = [
                maps[:, min(int(y * height), height - 1), min(int(x * width), width - 1)]
                for x, y in POINTS
            ]
            total = total + functional.interpolate(torch.stack(own, 1), large, mode="bilinear")
        steps.append(total / len(sites))
    return torch.stack(steps).numpy()


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_points_look_where_a_softmax_that_is_held_whole_says(model, monkeypatch, dtype, off):
    name, pipe, call, tokens, branches = model
    pipe.to(dtype)
    plain = call(pipe, **WIDE)
    observer = PointAttention(POINTS)
    with attnscope.Trace(pipe, observers=[observer]):
        watched = call(pipe, **WIDE)
    assert torch.equal(plain, watched)
    materialised = Materialised(pipe, monkeypatch)
    call(pipe, **WIDE)
    expected = whole(materialised, name, tokens, slice(2, 4) if branches == 2 else slice(0, 2))
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "point", "height", "width")
    assert maps.points == POINTS
    assert not maps.words
    np.testing.assert_allclose(maps.values, expected.transpose(1, 0, 2, 3, 4), atol=off)


def test_no_more_queries_are_computed_than_there_are_points(model, monkeypatch):
    _, pipe, call, _, _ = model
    own, asked = probabilities._probabilities, []

    def counting(attention, rows, heads, queries):
        found = own(attention, rows, heads, queries)
        asked.append(found.shape[2])
        return found

    monkeypatch.setattr(probabilities, "_probabilities", counting)
    with attnscope.Trace(pipe, observers=[PointAttention(POINTS)]):
        call(pipe, **WIDE)
    assert set(asked) == {len(POINTS)}


def test_chunks_change_nothing(model, monkeypatch):
    _, pipe, call, _, _ = model
    found = []
    for size in (probabilities.CHUNK, 50):
        monkeypatch.setattr(probabilities, "CHUNK", size)
        observer = PointAttention(POINTS, each="head", heads=True)
        with attnscope.Trace(pipe, observers=[observer]):
            call(pipe)
        found.append((observer.maps().values, observer.table()))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    for column in ("mass", "peak", "spread", "entropy"):
        np.testing.assert_allclose(found[0][1][column], found[1][1][column], rtol=1e-4, atol=1e-6)


def test_the_table_says_how_much_each_point_looks_at_the_image(model):
    name, pipe, call, _, _ = model
    observer = PointAttention(POINTS, each="head", heads=True)
    with attnscope.Trace(pipe, observers=[observer]) as trace:
        call(pipe)
    table, maps = trace.records(), observer.maps()
    assert set(table["branch"]) == {"cond"}
    assert list(zip(table["x"], table["y"], strict=True))[:4] == list(POINTS)
    alone = table[table["kind"] == "self"]
    np.testing.assert_allclose(alone["mass"], 1, atol=1e-5)
    np.testing.assert_allclose(alone["entropy"], alone["spread"], rtol=1e-4, atol=1e-5)
    if name in ("sd3", "sd3.5", "flux"):
        with_text = table[table["kind"] == "joint"]
        assert (with_text["mass"] < 1).all()
        assert (with_text["entropy"] > 0).all()
    own = table[(table["site"] == maps.sites[0]) & (table["sample"] == 1) & (table["step"] == 2)]
    own = own[(own["head"] == 1) & (own["point"] == 3)]
    assert own["peak"].item() == pytest.approx(maps.values[1, 2, 0, 1, 3].max(), rel=1e-5)


def test_sites_are_chosen_and_kept_apart(sd):
    observer = PointAttention(POINTS[:1], each="site", sites="mid*")
    with attnscope.Trace(sd, observers=[observer]):
        toys.call(sd, steps=2)
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "site", "point", "height", "width")
    assert maps.sites == ("mid_block.attentions.0.transformer_blocks.0.attn1",)
    np.testing.assert_allclose(maps.values.sum((-1, -2)), 1, atol=1e-5)
    assert maps.mean("site").axes == ("sample", "step", "point", "height", "width")


def test_a_point_means_the_same_at_every_resolution():
    from attnscope.sites.grids import Layout

    layout = Layout((2, 4, 6, 10))
    device = torch.device("cpu")
    corners = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    assert layout.places(corners, 60, "a", device).tolist() == [0, 9, 50, 59]
    assert layout.places(corners, 15, "a", device).tolist() == [0, 4, 10, 14]
    assert layout.places([(0.31, 0.5)], 60, "a", device).tolist() == [33]
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    ids = torch.stack([rows * 0, rows, columns], -1).reshape(-1, 3)
    packed = Layout((2, 15, 64), ids=ids)
    assert packed.places(corners, 15, "a", device).tolist() == [0, 4, 10, 14]


def test_videos_whose_frames_attend_apart_have_a_map_a_frame(tokenizer_folder):
    pipe = toys.stable_video_diffusion(tokenizer_folder)
    observer = PointAttention(POINTS[:2], each="site")
    with attnscope.Trace(pipe, observers=[observer]):
        toys.call(pipe, prompts=2, steps=2)
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "site", "point", "frame", "height", "width")
    assert maps.values.shape[4] == 3
    assert not any("temporal" in site for site in maps.sites)
    np.testing.assert_allclose(maps.values[:, :, 0].sum((-1, -2)), 1, atol=1e-4)


def test_videos_in_one_sequence_are_looked_at_from_their_first_frame(monkeypatch):
    pipe = toys.wan()
    observer = PointAttention([(0.6, 0.4)], sites="*.0.attn1", steps=[1])
    materialised = Materialised(pipe, monkeypatch)
    with attnscope.Trace(pipe, observers=[observer]):
        toys.call_wan(pipe)
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "point", "frame", "height", "width")
    frames, height, width = maps.values.shape[-3:]
    site = next(name for name in materialised.sites if name.endswith(".0.attn1"))
    at = int(0.4 * height) * width + int(0.6 * width)
    cond = materialised.found[site][2].mean(1)[:, at]  # a call a branch, the conditional one first
    np.testing.assert_allclose(maps.values[:, 0, 0].reshape(len(cond), -1), cond, atol=1e-5)
    assert frames > 1


def test_under_a_plan_there_are_maps_where_self_attention_is_computed(sd):
    observer = PointAttention(POINTS[:1])
    with attnscope.Trace(sd, plan="m=4,k=2,w=0", observers=[observer]):
        toys.call(sd, steps=6)
    assert observer.maps().steps == (0, 2, 3)


def test_steps_are_averaged(sd):
    single, some = PointAttention(POINTS), PointAttention(POINTS, every=2)
    with attnscope.Trace(sd, observers=[single, some]):
        toys.call(sd, steps=4)
    assert some.maps().steps == (0, 2)
    np.testing.assert_allclose(
        some.maps().values[:, 1], single.maps().values[:, 2:].mean(1), atol=1e-6
    )
    assert some.held == 0


@pytest.mark.parametrize("each", ["model", "site", "head"])
def test_memory_is_foreseen(model, each):
    _, pipe, call, _, _ = model
    held = []

    class Watched(PointAttention):
        def attend(self, *args):
            super().attend(*args)
            held.append(self.held)

    observer = Watched(POINTS, each=each, every=2)
    with attnscope.Trace(pipe, observers=[observer]):
        call(pipe, **WIDE)
    assert max(held) == observer.nbytes(pipe, steps=STEPS, batch=2, **WIDE)


def test_wrong_input_is_told(sd, tokenizer_folder):
    for points, message in [
        ([], "give one"),
        ([(1.2, 0.5)], r"1\.2,0\.5 is not in the image: choose x and y from 0 to 1"),
        ([(0.2, float("nan"))], "not in the image"),
        ([(0.2,)], "no point"),
        ([0.2], "no point"),
        ([("a", "b")], "no point"),
    ]:
        with pytest.raises(InputError, match=message):
            PointAttention(points)
    with pytest.raises(InputError, match="choose self or joint"):
        PointAttention(POINTS, kinds=["cross"])
    with pytest.raises(InputError, match="every=0"):
        PointAttention(POINTS, every=0)
    with (
        pytest.raises(InputError, match=r"steps=\[9\] are not steps of this run"),
        attnscope.Trace(sd, observers=[PointAttention(POINTS, steps=[9])]),
    ):
        toys.call(sd)
    alone = {"only_cross_attention": True, "mid_block_type": None}
    blind = toys.stable_diffusion(tokenizer_folder, **alone)
    with (
        pytest.raises(InputError, match="this model has no self-attention"),
        attnscope.Trace(blind, observers=[PointAttention(POINTS)]),
    ):
        pass


def test_points_given_twice_are_one():
    assert PointAttention([(0.5, 0.5), (0.5, 0.5), (0, 1)]).points == ((0.5, 0.5), (0.0, 1.0))
