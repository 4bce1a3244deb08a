"""How large the page of a run of many prompts is.

    python benchmarks/page_size.py --prompts 64 --size 512

The runs are made up: images whose spectrum falls off as that of photographs does (amplitude as one over
frequency) over a smooth gradient of colours, another one for every prompt and arm; maps are blurred noise.
``attnscope report`` then makes the page from the folder, as from any other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reported

MOST = 15_000_000
"""Bytes that a page may have."""
STEPS = 25
PROMPT = "a large red circle left of a small blue star on a beige background"
WORDS = ("<start>", *PROMPT.split(), "<end>")


def main() -> None:
    """Make runs up, report them, print how large their pages are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    options = parser.parse_args()
    texts = [
        f"a photograph of a thing of number {n} in the light of a morning"
        for n in range(options.prompts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in made(Path(folder), texts, options.size):
            page = path / "report.html"
            command = ["-m", "attnscope", "report", str(path), "--out", str(page)]
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            size = page.stat().st_size
            verdict = "under" if size < MOST else "OVER"
            print(
                f"{name}: {options.prompts} prompts at {options.size} px: {size} bytes, {verdict} {MOST}"
            )


def made(folder: Path, texts: list[str], size: int) -> list[tuple[str, Path]]:
    """Runs of three commands."""
    pictures = Pictures(size)
    reported.image = pictures.write
    reported.WORDS = WORDS
    reported.generate(folder / "generate", texts)
    reported.ablate(folder / "ablate", texts)
    reported.maps(folder / "maps", texts, steps=STEPS, side=16)
    return [(name, folder / name) for name in ("generate", "ablate", "maps")]


class Pictures:
    """Images like photographs, one a prompt and arm; those of steps are blurred.

    Args:
        size: pixels a side.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        row = np.fft.fftfreq(size)[:, None]
        self._amplitude = 1 / np.maximum(np.hypot(row, np.fft.rfftfreq(size)), 1 / size)
        self._known: dict[str, Image.Image] = {}

    def write(self, path: Path, color: object, size: int = 0) -> Path:
        """Write the image of a file that a run names; color and size are of smaller ones."""
        path.parent.mkdir(parents=True, exist_ok=True)
        stem, _, step = path.stem.partition("-")
        image = self._of(f"{path.parent.name}/{stem}")
        if step.isdigit():
            image = image.filter(ImageFilter.GaussianBlur(self._size / 64 / (1 + int(step))))
        image.save(path, compress_level=1)
        return path

    def _of(self, name: str) -> Image.Image:
        if name not in self._known:
            self._known = {name: self._made(np.random.default_rng(list(name.encode())))}
        return self._known[name]

    def _made(self, random: np.random.Generator) -> Image.Image:
        phases = np.exp(2j * np.pi * random.random((3, *self._amplitude.shape)))
        texture = np.fft.irfft2(phases * self._amplitude, s=(self._size, self._size))
        texture /= texture.std(axis=(1, 2), keepdims=True)
        along = np.linspace(-1, 1, self._size)
        slopes = random.normal(size=(2, 3, 1, 1)) * 40
        gradient = slopes[0] * along[:, None] + slopes[1] * along
        pixels = np.clip(128 + gradient + 25 * texture.mean(0) + 25 * texture, 0, 255)
        return Image.fromarray(np.moveaxis(pixels, 0, -1).astype(np.uint8))


if __name__ == "__main__":
    main()
