"""Images of files as people see them: upright, on white, in 8 bits."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from attnscope.errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Of the files in a folder that are images, in any case."""
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_SIXTEEN_BITS = 65535
_SCALED_BY_PILLOW = ("PNG", "PPM")
"""Formats whose 16 bits may come as mode I with values up to 65535."""


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, by name; files that begin with a dot are nobody's images.

    Raises:
        InputError: the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"images folder {str(folder)!r} does not exist")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )


def open_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """An image in RGB, scaled and cut at the sides to ``(width, height)``; see :func:`open_rgb`.

    Raises:
        InputError: the file is no image.
    """
    return ImageOps.fit(open_rgb(path), size)


def open_rgb(path: Path) -> Image.Image:
    """An image of a file in RGB, as :func:`to_rgb` makes it; of an animation the first picture.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except InputError as error:
        raise InputError(f"{str(path)!r} cannot be read as an image: {error}") from error
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise InputError(f"{str(path)!r} cannot be read as an image") from error


def as_png(image: Image.Image, info: PngInfo | None = None) -> bytes:
    """An image as the bytes of a PNG file, as :meth:`PIL.Image.Image.save` writes it.

    Args:
        image: of any mode that PNG knows.
        info: text that stands in the file.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def is_readable(path: Path) -> bool:
    """Whether a file is an image by its structure; its pixels are not read."""
    try:
        with Image.open(path) as image:
            image.verify()
    except (*_DAMAGED, Image.DecompressionBombError):
        return False
    return True


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as people see it: as the camera was held, on white, with 8 bits a channel.

    PIL's own ``convert("RGB")`` leaves a photograph lying on its side, makes black of what can be
    seen through, and cuts 16 bits at 255, which leaves white.

    Raises:
        InputError: its values have no known range.
    """
    image = _eight_bits(_upright(image), image.format)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:  # what is said about it is nonsense, its pixels are not
        return image


def _eight_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    """An image of other values as grey in 8 bits; any other comes back as it is."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"it has values from {low:g} to {high:g}, not from 0 to 1: save it in 8 bits"
            )
        return Image.fromarray(np.round(values * 255).astype(np.uint8))
    if image.mode == "I" and file_format not in _SCALED_BY_PILLOW:
        raise InputError("it has 32-bit values, whose white is not known: save it in 8 or 16 bits")
    grey = np.round(values.astype(float) * (255 / _SIXTEEN_BITS)).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)
