"""Images of a page: what they look like there, and how much room they take."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from attnscope.errors import InputError
from attnscope.pages.pictures import Album, Picture, Sheet


def read(printed):
    head, data = printed.uri.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def noise(size, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (size, size, channels), np.uint8)


def test_small_images_lose_nothing():
    pixels = noise(32)
    sheet = Sheet([Picture(pixels, "")])
    album = Album([sheet])
    assert (np.asarray(read(album.of(sheet)).convert("RGB")) == pixels).all()
    assert (album.of(sheet).width, album.of(sheet).height, album.of(sheet).small) == (32, 32, True)
    assert album.note == ""


def test_frames_stand_on_their_sheet_row_by_row():
    frames = [np.full((8, 12, 3), 30 * n, np.uint8) for n in range(5)]
    sheet = Sheet([Picture(frame, "") for frame in frames])
    assert (sheet.columns, sheet.rows) == (3, 2)
    image = read(Album([sheet]).of(sheet)).convert("RGB")
    assert image.size == (36, 16)
    for n in range(5):
        assert image.getpixel((n % 3 * 12 + 6, n // 3 * 8 + 4)) == (30 * n,) * 3


def test_what_is_seen_through_stays_so():
    pixels = noise(8, channels=4)
    pixels[..., 3] = 128
    sheet = Sheet([Picture(pixels, "")] * 2)
    image = read(Album([sheet]).of(sheet))
    assert image.mode == "RGBA"
    assert image.getpixel((3, 3))[3] == 128


def test_images_are_made_as_small_as_the_page_needs():
    sheets = [Sheet([Picture(noise(512, n), "")]) for n in range(6)]
    plenty, little = Album(sheets), Album(sheets, budget=60_000)
    assert plenty.of(sheets[0]).width == 512
    sizes = [len(little.of(sheet).uri) * 3 / 4 for sheet in sheets]
    assert sum(sizes) < 60_500
    assert little.of(sheets[0]).width in (96, 160)
    assert f"{little.of(sheets[0]).width} pixels at most" in little.note


def test_large_images_have_no_more_pixels_than_a_screen_shows():
    sheet = Sheet([Picture(np.zeros((600, 2400, 3), np.uint8), "")])
    album = Album([sheet])
    assert (album.of(sheet).width, album.of(sheet).height) == (1024, 256)
    frames = Sheet([Picture(np.zeros((600, 2400, 3), np.uint8), "")] * 2)
    assert Album([frames]).of(frames).width == 320


def test_a_page_without_images_has_an_album_without_images():
    assert Album([]).note == ""


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.png' of the run is gone or is no image any more"):
        Album([Sheet([Picture(tmp_path / "gone.png", "")])])
