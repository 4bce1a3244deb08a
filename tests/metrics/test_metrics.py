"""Images against references, sets against sets, images against text."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
import toys
from PIL import Image
from scipy import linalg
from transformers import CLIPModel, CLIPTokenizer

from attnscope.errors import InputError
from attnscope.metrics import clip_score, fid, frame_consistency, kid, lpips, psnr, ssim
from attnscope.metrics.feature_sets import FeatureSet, Statistics
from attnscope.metrics.images import load_lpips

_TORCHVISION = importlib.util.find_spec("torchvision") is not None


def _set(values, name="reader", protocol="64 x 64"):
    return FeatureSet(np.asarray(values, np.float32), name, protocol)


def _normal(count, width=8, *, seed=0, mean=0.0, scale=1.0):
    return _set(np.random.default_rng(seed).normal(mean, scale, (count, width)))


def _correlated(count, width=8, *, seed):
    generator = np.random.default_rng(seed)
    return _set(generator.normal(size=(count, width)) @ generator.normal(size=(width, width)))


def _images(count, size=64, *, seed=0):
    generator = np.random.default_rng(seed)
    return list(generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def _sqrtm_fid(first, second):
    """Heusel et al. 2017, equation 6, as everybody's reference computes it."""
    a, b = first.values.astype(np.float64), second.values.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b).real
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)


def _mmd(x, y):
    """The unbiased estimate of the squared MMD with the kernel (x.y / width + 1)^3."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def kernel(a, b):
        return np.array([[(p @ q / len(p) + 1) ** 3 for q in b] for p in a])

    def without_diagonal(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    return without_diagonal(kernel(x, x)) + without_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()


def test_a_set_has_no_fid_to_itself():
    images = _correlated(200, seed=0)
    assert fid(images, images) == pytest.approx(0, abs=1e-6)
    few = _normal(20, 64)  # fewer images than features: a covariance without full rank
    assert fid(few, few) == pytest.approx(0, abs=1e-4)


def test_fid_of_a_shifted_set_is_the_square_of_the_shift():
    images = _normal(500)
    shift = np.linspace(-1, 2, 8, dtype=np.float32)
    shifted = _set(images.values + shift)
    assert fid(shifted, images) == pytest.approx(float((shift**2).sum()), rel=1e-4)


def test_fid_of_a_scaled_set_is_what_gaussians_say():
    images = _normal(500)
    mean = images.values.mean(0)
    scaled = _set((images.values - mean) * 3 + mean)
    expected = (3 - 1) ** 2 * np.trace(np.cov(images.values, rowvar=False))
    assert fid(scaled, images) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("counts", [(300, 300), (300, 120), (30, 500)])
def test_fid_is_what_the_matrix_square_root_says(counts):
    first, second = (_correlated(count, seed=seed) for seed, count in enumerate(counts))
    assert fid(first, second) == pytest.approx(_sqrtm_fid(first, second), rel=1e-6)
    assert fid(first, second) == pytest.approx(fid(second, first), rel=1e-6)


def test_saved_statistics_give_the_same_fid(tmp_path):
    images, reference = _correlated(100, seed=0), _correlated(200, seed=1)
    Statistics.of(reference).save(tmp_path / "reference.npz")
    loaded = Statistics.load(tmp_path / "reference.npz")
    assert fid(images, loaded) == fid(images, reference)


def test_fewer_images_have_a_larger_fid_and_an_unbiased_kid():
    images, reference = _normal(4000), _normal(4000, seed=1)
    parts = np.split(np.arange(4000), 40)
    assert min(fid(images[part], reference) for part in parts) > fid(images, reference)
    kernel = [kid(images[part], reference[part], subsets=10)[0] for part in parts]
    assert abs(np.mean(kernel)) < 4 * np.std(kernel, ddof=1) / np.sqrt(len(parts))


def test_kid_is_the_unbiased_polynomial_mmd():
    images, reference = _normal(40, 4, mean=0.5), _normal(30, 4, seed=1)
    mean, deviation = kid(images, reference, subsets=2000)
    error = deviation / math.sqrt(2000)
    expected = _mmd(images.values, reference.values)
    assert mean == pytest.approx(expected, abs=4 * error)
    assert 4 * error < 0.1 * expected


def test_kid_is_the_same_every_time_and_leaves_random_numbers_alone():
    images, reference = _normal(40), _normal(40, seed=1)
    torch.manual_seed(3)
    first = kid(images, reference)
    drawn = torch.rand(1)
    assert kid(images, reference) == first
    torch.manual_seed(3)
    assert torch.rand(1) == drawn


@pytest.mark.parametrize("distance", [fid, kid])
def test_sets_of_other_features_or_resizing_are_refused(distance):
    values = np.random.default_rng(0).normal(size=(10, 4))
    with pytest.raises(InputError, match="features cannot be compared: reader and inception"):
        distance(_set(values), _set(values, name="inception"))
    with pytest.raises(InputError, match="resizing cannot be compared: 64 x 64 and 256 x 256"):
        distance(_set(values), _set(values, protocol="256 x 256"))


def test_sets_that_are_too_small_are_counted():
    with pytest.raises(InputError, match="2 images or more on each side, not 1"):
        fid(_normal(1), _normal(10))
    with pytest.raises(InputError, match="4 images or more on each side, not 3"):
        kid(_normal(10), _normal(3))


def test_psnr_and_ssim_are_what_their_definitions_say():
    first, second = _images(1, 11), _images(1, 11, seed=1)
    a, b = first[0] / 255, second[0] / 255
    assert psnr(first, second)[0] == pytest.approx(-10 * np.log10(((a - b) ** 2).mean()), rel=1e-5)
    assert psnr(first, first)[0] == math.inf
    assert ssim(first, first)[0] == pytest.approx(1)
    flat = [np.full((32, 32, 3), 200, np.uint8)]
    assert ssim(flat, flat)[0] == pytest.approx(1, abs=1e-9)
    assert abs(ssim(_images(1), _images(1, seed=1))[0]) < 0.1


def test_frame_consistency_is_the_mean_distance_of_adjacent_frames():
    frames = _images(4, 16)
    video = np.stack(frames).astype(np.float64) / 255
    distances = [
        np.linalg.norm(after - before) / math.sqrt(before.size)
        for before, after in itertools.pairwise(video)
    ]
    assert frame_consistency(frames) == pytest.approx(np.mean(distances), rel=1e-6)
    assert frame_consistency([Image.fromarray(frames[0])] * 3) == 0
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    assert frame_consistency([black, white, black]) == pytest.approx(1)


def test_one_frame_is_no_video():
    with pytest.raises(InputError, match="not 1"):
        frame_consistency(_images(1))


@pytest.fixture(autouse=True)
def no_lpips_of_another_test():
    yield
    load_lpips.cache_clear()


@pytest.mark.skipif(_TORCHVISION, reason="torchvision is installed")
def test_lpips_without_torchvision_says_what_to_install():
    with pytest.raises(InputError, match="pip install torchvision"):
        lpips(_images(1), _images(1))


@pytest.fixture
def random_alexnet(monkeypatch):
    """torchmetrics' own distance and its weights over AlexNet's layers with random weights."""
    torch.manual_seed(0)
    nn = torch.nn
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )
    functional = "torchmetrics.functional.image.lpips"
    monkeypatch.setattr(f"{functional}._get_tv_model_features", lambda net, pretrained: layers)
    monkeypatch.setattr("torchmetrics.image.lpip._TORCHVISION_AVAILABLE", True)
    return layers.eval()


@torch.inference_mode()
def test_lpips_is_the_weighted_distance_of_unit_features(random_alexnet):
    (image,), (reference,) = _images(1), _images(1, seed=1)
    models = Path(torchmetrics.functional.image.lpips.__file__).parent / "lpips_models"
    weights = torch.load(models / "alex.pth", map_location="cpu", weights_only=True)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # ImageNet's
    expected = 0.0
    x, y = (
        ((torch.from_numpy(each) / 255 - mean) / deviation).permute(2, 0, 1)[None]
        for each in (image, reference)
    )
    tapped = iter(range(5))
    for layer in random_alexnet:
        x, y = layer(x), layer(y)
        if isinstance(layer, torch.nn.ReLU):
            apart = (x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)) ** 2
            weight = weights[f"lin{next(tapped)}.model.1.weight"]
            expected += float((apart * weight).sum(1).mean())
    assert lpips([image], [reference])[0] == pytest.approx(expected, rel=5e-3)


@pytest.mark.usefixtures("random_alexnet")
def test_lpips_is_one_value_per_image_and_grows_with_the_damage():
    images = _images(3)
    halfway = [
        ((image.astype(int) + other) // 2).astype(np.uint8)
        for image, other in zip(images, _images(3, seed=1), strict=True)
    ]
    none, some, all_ = (lpips(images, others) for others in (images, halfway, _images(3, seed=1)))
    assert none.shape == (3,)
    assert none.dtype == np.float64
    np.testing.assert_allclose(none, 0, atol=1e-6)
    assert (some > 0).all()
    assert (some < all_).all()
    np.testing.assert_allclose(lpips(images[1:2], halfway[1:2]), some[1:2], rtol=1e-5)


def test_lpips_without_its_weights_says_what_to_do(monkeypatch):
    def offline(net, pretrained):
        raise OSError("no network")

    functional = "torchmetrics.functional.image.lpips"
    monkeypatch.setattr(f"{functional}._get_tv_model_features", offline)
    monkeypatch.setattr("torchmetrics.image.lpip._TORCHVISION_AVAILABLE", True)
    with pytest.raises(InputError, match=r"weights of LPIPS \(alex\) cannot be fetched"):
        lpips(_images(1), _images(1))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return toys.clip(tmp_path_factory.mktemp("clip"))


@torch.inference_mode()
def test_clip_score_is_the_cosine_of_the_two_embeddings(clip):
    images = _images(6, 32)
    texts = ["a red circle", "a blue square on a gray background", "a star", *toys.PROMPTS, ""]
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), CLIPTokenizer.from_pretrained(clip)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    expected = []
    for image, text in zip(images, texts, strict=True):
        pixels = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / deviation
        seen = model.visual_projection(model.vision_model(pixels[None]).pooler_output)[0]
        tokens = torch.tensor([tokenizer(text)["input_ids"]])
        read = model.text_projection(model.text_model(tokens).pooler_output)[0]
        expected.append(100 * max(float(seen @ read / seen.norm() / read.norm()), 0))
    scores = clip_score(images, texts, clip)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert scores.dtype == np.float64
    assert scores.std() > 0.1


def test_clip_score_does_not_depend_on_the_batch(clip, monkeypatch):
    images, texts = _images(5, 48), [*toys.PROMPTS, "a star", "red", "a small star"]
    together = clip_score(images, texts, clip)
    monkeypatch.setattr("attnscope.metrics.text._BATCH", 2)
    np.testing.assert_allclose(clip_score(images, texts, clip), together, atol=1e-3)


def test_texts_that_clip_cuts_are_counted(clip):
    texts = ["a star " * 30, "a star"]
    with toys.warns("1 of 2 texts are longer than the 24 tokens"):
        scores = clip_score(_images(2, 32), texts, clip)
    with toys.warns("1 of 1 texts"):
        again = clip_score(_images(2, 32)[:1], ["a star " * 40], clip)
    assert scores[0] == pytest.approx(again[0], abs=1e-3)


def test_what_is_no_clip_is_refused(tmp_path):
    with pytest.raises(InputError, match="no CLIP at"):
        clip_score(_images(1), ["a star"], str(tmp_path))
    with pytest.raises(
        InputError, match="'nobody/clip' is not on this machine, and `offline=True`"
    ):
        clip_score(_images(1), ["a star"], "nobody/clip", offline=True)
    toys.stable_diffusion(tmp_path / "t").text_encoder.save_pretrained(tmp_path / "text")
    with pytest.raises(InputError, match="is no CLIP but a 'clip_text_model'"):
        clip_score(_images(1), ["a star"], str(tmp_path / "text"))


def test_a_text_is_needed_for_every_image(clip):
    with pytest.raises(ValueError, match="2 images and 1 texts"):
        clip_score(_images(2), ["a star"], clip)
