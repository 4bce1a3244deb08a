"""Principal components of what sites return, against numpy's own decomposition of all outputs at once."""

import subprocess
import sys

import numpy as np
import pytest
import toys

import attnscope
from attnscope import FeatureMaps
from attnscope.errors import InputError
from attnscope.observers import components
from attnscope.observers.components import components_of, laid_out, principal_components
from attnscope.sites.denoiser import Denoiser
from attnscope.sites.grids import Layout


def outputs(steps=4, positions=30, channels=6, seed=0):
    generator = np.random.default_rng(seed)
    scales = np.array([5.0, 3.0, 2.0, 0.5, 0.3, 0.1])[:channels]
    mixed = generator.normal(size=(channels, channels))
    return [
        (generator.normal(size=(positions, channels)) * scales + step) @ mixed
        for step in range(steps)
    ]


def test_components_are_those_of_all_steps_together():
    made = outputs()
    found, explained = principal_components(made)
    whole = np.concatenate(made)
    _, sizes, vectors = np.linalg.svd(whole - whole.mean(0), full_matrices=False)
    expected = (whole - whole.mean(0)) @ vectors[:3].T
    got = np.concatenate(found)
    np.testing.assert_allclose(np.abs(got), np.abs(expected), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(explained, (sizes**2 / (sizes**2).sum())[:3], rtol=1e-6)
    assert got.dtype == np.float32


def test_a_position_has_the_same_numbers_at_every_step_at_which_it_returns_the_same():
    made = outputs()
    made[3] = made[0].copy()
    found, _ = principal_components(made)
    np.testing.assert_array_equal(found[0], found[3])
    turned, _ = principal_components(made[::-1])
    np.testing.assert_allclose(found[1], turned[2], rtol=1e-4, atol=1e-4)


def test_the_sign_of_a_component_is_not_left_to_chance(monkeypatch):
    made = outputs()
    found, _ = principal_components(made)
    own = np.linalg.eigh
    for signs in ((-1, 1, 1), (1, -1, -1), (-1, -1, -1)):

        def turned(matrix, signs=signs):
            sizes, vectors = own(matrix)
            vectors[:, -3:] *= signs
            return sizes, vectors

        monkeypatch.setattr(np.linalg, "eigh", turned)
        again, _ = principal_components(made)
        np.testing.assert_array_equal(np.stack(found), np.stack(again))


def test_fewer_channels_than_colours_and_outputs_that_are_all_alike_are_no_error():
    found, explained = principal_components(outputs(channels=2))
    assert explained[2] == 0
    assert sum(explained) == pytest.approx(1)
    assert (np.stack(found)[..., 2] == 0).all()
    found, explained = principal_components([np.ones((4, 5))] * 2)
    assert explained == (0, 0, 0)
    np.testing.assert_allclose(np.stack(found), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "output", "expected"),
    [
        ((2, 4, 6, 10), (60, 7), (1, 6, 10, 7)),
        ((2, 4, 6, 10), (15, 7), (1, 3, 5, 7)),
        ((2, 4, 6, 10), (7, 6, 10), (1, 6, 10, 7)),  # of old U-Nets, channels first
        ((2, 3, 4, 6, 10), (3, 60, 7), (3, 6, 10, 7)),  # frames attend apart
        ((2, 3, 4, 6, 10), (60, 3, 7), (3, 6, 10, 7)),  # over the frames at a position
        ((2, 4, 3, 6, 10), (180, 7), (3, 6, 10, 7)),  # all frames in one sequence
    ],
)
def test_outputs_are_laid_out_as_the_latents_are(shape, output, expected):
    values = np.arange(np.prod(output), dtype=float).reshape(output)
    made = laid_out(values, Layout(shape, channels=4), "a", text_leads=None)
    assert made.shape == expected
    if output in ((60, 7), (180, 7)):
        np.testing.assert_array_equal(made.reshape(output), values)
    if output == (60, 3, 7):
        np.testing.assert_array_equal(made[1, 0, 4], values[4, 1])
    if output == (7, 6, 10):
        np.testing.assert_array_equal(made[0, 2, 3], values[:, 2, 3])


def test_text_in_the_same_sequence_is_left_out():
    values = np.arange(65.0)[:, None] * np.ones(3)
    layout = Layout((2, 4, 6, 10), text=5)
    assert laid_out(values, layout, "a", text_leads=True)[0, 0, 0, 0] == 5
    assert laid_out(values, layout, "a", text_leads=False)[0, -1, -1, 0] == 59
    with pytest.raises(InputError, match="65 tokens of the image at a"):
        laid_out(values, layout, "a", text_leads=None)


@pytest.mark.parametrize("name", ["sd", "sd3.5", "flux", "svd"])
def test_every_site_of_a_model_is_laid_out(name, tokenizer_folder):
    make, call = {
        "sd": (lambda: toys.stable_diffusion(tokenizer_folder), toys.call),
        "sd3.5": (lambda: toys.sd3(dual=True), toys.call_sd3),
        "flux": (toys.flux, lambda pipe: toys.call_flux(pipe, steps=3, height=32, width=48)),
        "svd": (lambda: toys.stable_video_diffusion(tokenizer_folder), toys.call),
    }[name]
    pipe = make()
    with attnscope.Trace(pipe, observers=[FeatureMaps("*", [0, 1])]) as trace:
        call(pipe)
    rows = trace.records()
    rows = rows[(rows["branch"] == "cond") & (rows["sample"] == 0)]
    layout, leads = trace.runs[-1].layout, Denoiser.of(pipe).family.text_leads
    frames = 3 if name == "svd" else 1
    for site, own in rows.groupby("site", observed=True):
        made = {
            step: laid_out(output, layout, site, text_leads=leads)
            for step, output in zip(own["step"], own["output"], strict=True)
        }
        found = components_of(site, made)
        assert made[0].shape[0] == frames
        assert found.values.shape[:2] == (2, 3)
        assert ("frame" in found.axes) == (name == "svd")
        one_token = name == "svd" and site.endswith("attn2")  # so it returns the same everywhere
        assert sum(found.explained) == 0 if one_token else 0 < sum(found.explained) <= 1 + 1e-6
        if name == "flux":
            assert found.values.shape[-2:] == (8, 12)


def test_components_are_read_as_they_were_written(tmp_path):
    made = {step: values.reshape(1, 5, 6, 6) for step, values in enumerate(outputs())}
    found = components_of("up_blocks.0.attn1", made)
    path = tmp_path / "00000.safetensors"
    timesteps = [float("nan"), 1.0, 2.0, 3.0]
    path.write_bytes(components.packed([found], prompt="a circle", timesteps=timesteps))
    (again,), about = components.read(path)
    assert (again.site, again.axes, again.steps) == (found.site, found.axes, found.steps)
    assert again.explained == pytest.approx(found.explained)
    np.testing.assert_array_equal(again.values, found.values)
    assert about["prompt"] == "a circle"
    assert about["timesteps"] == [None, 1, 2, 3]
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no components"):
        components.read(path)
    with pytest.raises(InputError, match="is gone"):
        components.read(tmp_path / "no")


def test_torch_is_not_needed_to_read_them():
    script = (
        "import sys; from attnscope.observers import components, named_maps\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
