"""Images as a run keeps them: files that say how they were made, and rows that say where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from attnscope.models.calling import frames
from attnscope.runs.prompts import Prompt, image_seed


@dataclass(frozen=True)
class Picture:
    """An image of a prompt, or a frame of its video.

    Args:
        prompt: that it is of.
        frame: of the video, from 0.
        image: in RGB.
    """

    prompt: Prompt
    frame: int
    image: Image

    @property
    def file(self) -> str:
        """Its file, by ``prompt_id`` and frame."""
        return (
            f"{self.prompt.prompt_id:05d}" + (f"-{self.frame:03d}" if self.frame else "") + ".png"
        )

    def row(self, path: str) -> dict[str, Any]:
        """What tables of images say of it: what it is of, ``path``, ``height`` and ``width`` in pixels.

        Args:
            path: of its file in the run directory.
        """
        return {
            "prompt_id": self.prompt.prompt_id,
            "frame": self.frame,
            "text": self.prompt.text,
            "path": path,
            "height": self.image.height,
            "width": self.image.width,
        }

    def as_png(self, settings: Mapping[str, Any], scheduler: str) -> bytes:
        """The bytes of a PNG that says how it was made.

        Args:
            settings: of the run, with the ``plan`` that made it.
            scheduler: class of the pipeline's.
        """
        from PIL.PngImagePlugin import PngInfo

        from attnscope import __version__, documents
        from attnscope.images import as_png

        about = {
            "prompt": self.prompt.text,
            "prompt_id": self.prompt.prompt_id,
            "image_seed": image_seed(settings["seed"], self.prompt.prompt_id),
            "frame": self.frame,
            **settings,
            "height": self.image.height,
            "width": self.image.width,
            "scheduler_class": scheduler,
        }
        info = PngInfo()
        info.add_itxt("Description", self.prompt.text)
        info.add_text("Software", f"attnscope {__version__}")
        info.add_itxt("attnscope", documents.text(about, indent=None))
        return as_png(self.image, info)


def pictures_of(prompt: Prompt, made: Any) -> list[Picture]:
    """What a pipeline made of a prompt: one image, or the frames of a video."""
    return [Picture(prompt, frame, image) for frame, image in enumerate(frames(made))]


def distances(ours: Sequence[Image], theirs: Sequence[Image]) -> Iterator[dict[str, float]]:
    """How far images are from others: ``psnr`` in dB and ``ssim``, one after the other."""
    from attnscope.metrics import psnr, ssim

    for decibels, similarity in zip(psnr(ours, theirs), ssim(ours, theirs), strict=True):
        yield {"psnr": decibels, "ssim": similarity}
