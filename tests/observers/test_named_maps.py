"""Files of maps."""

from __future__ import annotations

import numpy as np
import pytest

from attnscope.errors import InputError
from attnscope.observers import named_maps
from attnscope.observers.named_maps import Maps

AXES = ("sample", "step", "site", "head", "word", "height", "width")


def _maps():
    values = np.random.default_rng(0).random((2, 3, 2, 4, 5, 6, 7)).astype(np.float32)
    values[1, :, :, :, 3:] = np.nan
    return Maps(values, AXES, (0, 4, 9), ("a.attn2", "b.attn2"), (tuple("vwxyz"), tuple("abc")))


def test_a_file_holds_the_maps_and_what_was_told(tmp_path):
    own = _maps().of(1)
    assert own.values.shape == (1, 3, 2, 4, 3, 6, 7)
    path = tmp_path / "m.safetensors"
    path.write_bytes(named_maps.packed(own, prompt="<b>\n\x1b[1m", kinds=["word"] * 3))
    read, about = named_maps.read(path)
    np.testing.assert_allclose(read.values, own.values, atol=1e-3)
    assert (read.axes, read.steps, read.sites, read.words) == (
        AXES, (0, 4, 9), ("a.attn2", "b.attn2"), (tuple("abc"),),
    )  # fmt: skip
    assert about["prompt"] == "<b>\n\x1b[1m"


def test_means_leave_out_what_is_missing():
    maps = _maps()
    maps.values[0, :, 0, 2:] = np.nan  # a site with two heads
    mean = maps.mean("site", "head", "frame")
    assert mean.axes == ("sample", "step", "word", "height", "width")
    np.testing.assert_allclose(
        mean.values[0], np.nanmean(maps.values[0].reshape(3, 8, 5, 6, 7), axis=1), rtol=1e-6
    )
    assert np.isnan(mean.values[1, :, 3:]).all()
    assert maps.mean("frame") is maps


def test_what_holds_no_maps_is_told(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match="is gone or holds no maps"):
        named_maps.read(path)
    path.write_bytes(b"no maps at all")
    with pytest.raises(InputError, match="is gone or holds no maps"):
        named_maps.read(path)
    save_file({"maps": np.zeros((2, 3), np.float16)}, path)
    with pytest.raises(InputError, match="is gone or holds no maps"):
        named_maps.read(path)
    told = {"axes": '["word", "colour"]', "steps": "[]", "sites": "[]", "words": "[]"}
    save_file({"maps": np.zeros((2, 3), np.float16)}, path, told)
    with pytest.raises(InputError, match="under the axes"):
        named_maps.read(path)
