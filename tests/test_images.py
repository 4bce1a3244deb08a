import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import attnscope
from attnscope import metrics
from attnscope.errors import InputError
from attnscope.figures.generation import read_image
from attnscope.images import open_image, open_rgb, to_rgb
from attnscope.metrics.features import Extractor, image_paths
from attnscope.runs.prompts import read_images

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def half_red(width=32, height=16):
    """Red in its upper half, below blue and white: no turn of it looks the same."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[: height // 2] = RED
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    return Image.fromarray(pixels)


def turned(image, path, orientation):
    """Write an image as a camera does that was held otherwise, and says so."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(Image.Transpose[back[orientation]]) if orientation > 1 else image
    options = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    options |= {"lossless": True} if path.suffix == ".webp" else {}
    stored.save(path, exif=exif, **options)


def error(image, right):
    return np.abs(np.asarray(image, float) - np.asarray(right, float)).mean()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_images_stand_as_the_camera_was_held(tmp_path, name, orientation):
    turned(half_red(), tmp_path / name, orientation)
    assert open_rgb(tmp_path / name).size == (32, 16)
    assert error(open_rgb(tmp_path / name), half_red()) < 2
    assert error(open_image(tmp_path / name, (32, 16)), half_red()) < 2


def saved(image, path, **options):
    image.save(path, **options)
    return path


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    grey = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    right = np.repeat((grey / 257)[..., None], 3, -1)
    path = saved(Image.fromarray(grey), tmp_path / "grey.png")
    assert error(open_rgb(path), right) < 0.5
    assert abs(np.asarray(open_rgb(path)).mean() - 127) < 1
    assert error(open_rgb(saved(Image.fromarray(grey), tmp_path / "grey.tif")), right) < 0.5
    big = tmp_path / "grey.pgm"
    big.write_bytes(b"P5 32 32 65535\n" + grey.astype(">u2").tobytes())
    assert error(open_rgb(big), right) < 0.5
    clear = saved(Image.fromarray(grey), tmp_path / "clear.png", transparency=int(grey[0, 5]))
    assert np.asarray(open_rgb(clear))[0, 5].tolist() == list(WHITE)
    assert error(open_rgb(clear), right) < 1


def test_floats_are_read_from_0_to_1_and_other_ranges_are_refused(tmp_path):
    grey = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    path = saved(Image.fromarray(grey), tmp_path / "grey.tif")
    assert error(open_rgb(path), np.repeat(255 * grey[..., None], 3, -1)) < 0.5
    for worse in (255 * grey, grey - 0.5, np.full_like(grey, np.nan)):
        Image.fromarray(worse).save(path)
        with pytest.raises(InputError, match=r"grey\.tif.* values from .* not from 0 to 1"):
            open_rgb(path)
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(path)
    with pytest.raises(InputError, match=r"grey\.tif.* 32-bit .* 8 or 16"):
        open_rgb(path)


def see_through(mode):
    """A red or black dot, left; the right half can be seen through, over black."""
    image = Image.new("RGBA", (32, 16), (0, 0, 0, 0))
    image.paste(RED, (0, 0, 16, 16))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "name", "left"),
    [
        ("RGBA", "a.png", RED),
        ("RGBA", "a.webp", RED),
        ("LA", "a.png", (76, 76, 76)),
        ("RGBA", "a.gif", RED),
        ("PA", "a.png", RED),
    ],
)
def test_what_can_be_seen_through_stands_on_white(tmp_path, mode, name, left):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = see_through(mode if mode != "PA" else "RGBA")
    if mode == "PA":
        image = image.quantize(8)
    path = saved(image, tmp_path / name, **options)
    pixels = np.asarray(open_rgb(path))
    assert pixels[8, 4].tolist() == list(left)
    assert pixels[8, 28].tolist() == list(WHITE)
    assert np.asarray(open_image(path, (32, 16)))[8, 28].tolist() == list(WHITE)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_one_colour_that_is_declared_transparent_is_white(tmp_path, mode):
    image = Image.new("L", (16, 16), 255)
    image.paste(0, (0, 0, 8, 16))
    colour = (0, 0, 0) if mode == "RGB" else 0
    image = image.convert(mode)
    if mode == "P":
        colour = image.getpixel((0, 0))
    path = saved(image, tmp_path / "a.png", transparency=colour)
    assert np.asarray(open_rgb(path)).min() == 255


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    path = saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), tmp_path / "a.png")
    assert error(open_rgb(path), np.full((8, 8, 3), (255, 127, 127))) < 0.5


def test_inks_are_turned_into_light(tmp_path):
    path = saved(
        Image.new("CMYK", (16, 16), (0, 255, 255, 0)),
        tmp_path / "a.jpg",
        quality=100,
        subsampling=0,
    )
    assert error(open_rgb(path), np.full((16, 16, 3), RED)) < 2


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_of_an_animation_the_first_picture_counts(tmp_path, name):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLACK, WHITE)]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert error(open_rgb(tmp_path / name), frames[0]) < 1


def test_an_image_in_memory_is_read_in_the_same_way():
    assert np.asarray(to_rgb(see_through("RGBA")))[8, 28].tolist() == list(WHITE)
    grey = Image.fromarray(np.full((16, 16), 32767, np.uint16))
    assert np.unique(np.asarray(to_rgb(grey))).tolist() == [127]
    right = half_red()
    assert np.array_equal(np.asarray(to_rgb(right)), np.asarray(right))


def test_features_and_measures_see_what_people_see(tmp_path):
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    white = Image.new("RGB", (64, 64), WHITE)
    reader = Extractor("reader")
    right = reader.extract([white]).values
    assert np.array_equal(reader.extract([saved(clear, tmp_path / "a.png")]).values, right)
    assert np.array_equal(reader.extract([clear]).values, right)
    assert metrics.psnr([clear], [white]).tolist() == [float("inf")]
    assert np.array_equal(read_image(str(tmp_path / "a.png")), np.asarray(white))


def test_a_damaged_image_is_one_clear_error(tmp_path, monkeypatch):
    whole = saved(half_red(256, 256), tmp_path / "a.png").read_bytes()
    for name, data in {"half.png": whole[:300], "none.png": b"", "text.png": b"text",
                       "bits.png": whole[:60] + b"\xff" * 20 + whole[80:]}.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}' cannot be read as an image"):
            open_rgb(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"a\.png' cannot be read as an image"):
        open_rgb(tmp_path / "a.png")


def test_nonsense_where_the_orientation_should_stand_is_passed_over(tmp_path):
    path = saved(
        half_red(), tmp_path / "a.jpg", exif=b"Exif\0\0nonsense", quality=100, subsampling=0
    )
    assert error(open_rgb(path), half_red()) < 2
    exif = Image.Exif()
    exif[0x0112] = 77
    saved(half_red(), path, exif=exif, quality=100, subsampling=0)
    assert error(open_rgb(path), half_red()) < 2


def test_all_images_of_a_folder_are_seen_and_hidden_files_are_not(tmp_path):
    for name in ("b.png", "a.JPG", "c.gif", "d.tiff", "e.bmp", "f.webp"):
        half_red().save(tmp_path / name)
    (tmp_path / "._b.png").write_bytes(b"what a Mac leaves beside b.png")
    names = ["a.JPG", "b.png", "c.gif", "d.tiff", "e.bmp", "f.webp"]
    assert [path.name for path in image_paths(tmp_path)] == names
    assert [prompt.text for prompt in read_images(tmp_path)] == names


def test_one_place_opens_images():
    sources = Path(attnscope.__file__).parent.rglob("*.py")
    opening = re.compile(r"Image\.open\(|imread\(|load_image\(|\.convert\(\"RGB\"\)")
    found = {path.name for path in sources if opening.search(path.read_text("utf-8"))}
    assert found == {"images.py"}
