"""Videos as people see them: the frames of a run as one GIF a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnscope.errors import InputError
from attnscope.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

FRAMES_A_SECOND = 8


def write_gif(frames: Sequence[Image], path: Path, *, rate: float = FRAMES_A_SECOND) -> None:
    """Write a video that is shown over and over.

    Args:
        frames: in order, all of one size.
        path: of the GIF.
        rate: frames a second; a GIF counts in hundredths of a second.

    Raises:
        InputError: there are fewer than two frames.
    """
    if len(frames) < 2:
        raise InputError(f"a video has two frames or more, not {len(frames)}")
    first, *others = frames

    def write(partial: Path) -> None:
        first.save(
            partial, format="GIF", save_all=True, append_images=others, duration=round(1000 / rate),
            loop=0,
        )  # fmt: skip

    write_whole(path, write)


def gifs_of(folder: Path, images: pd.DataFrame, by: str) -> list[Path]:
    """The videos of a run, each written beside its first frame; those that are there are left.

    Args:
        folder: the run directory.
        images: a row per frame: the column ``by``, ``prompt_id``, ``frame`` and ``path`` in the directory.
        by: the column that tells videos of the same prompt apart.

    Returns:
        The files; none where no image has a second frame.
    """
    from attnscope.images import open_rgb

    written = []
    for _, video in images.sort_values("frame").groupby([by, "prompt_id"], sort=False):
        if len(video) < 2:
            continue
        path = (folder / str(video["path"].iloc[0])).with_suffix(".gif")
        if not path.exists():
            write_gif([open_rgb(folder / str(name)) for name in video["path"]], path)
        written.append(path)
    return written
