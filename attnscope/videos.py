"""Videos as people see them: the frames of a run as one GIF a video, and as MP4 where it can be written."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
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
    first, *others = _checked(frames)

    def write(partial: Path) -> None:
        first.save(
            partial, format="GIF", save_all=True, append_images=others, duration=round(1000 / rate),
            loop=0,
        )  # fmt: skip

    write_whole(path, write)


def write_mp4(frames: Sequence[Image], path: Path, *, rate: float = FRAMES_A_SECOND) -> None:
    """Write a video as H.264, by the ffmpeg that ``imageio-ffmpeg`` brings.

    Args:
        frames: in order, all of one size with an even height and width.
        path: of the MP4.
        rate: frames a second.

    Raises:
        InputError: there are fewer than two frames, their sizes differ or are odd, or the package is not installed.
    """
    size = _checked(frames)[0].size
    if any(frame.size != size for frame in frames) or not _is_even(size):
        raise InputError(
            f"an MP4 takes frames of one size, its sides even, not {size[0]}x{size[1]}: write a GIF"
        )
    if not writes_mp4():
        raise InputError(
            "an MP4 needs imageio-ffmpeg: pip install 'attnscope[videos]', or write a GIF"
        )
    import imageio_ffmpeg

    from attnscope.images import to_rgb

    def write(partial: Path) -> None:
        sink = imageio_ffmpeg.write_frames(str(partial), size, fps=rate, macro_block_size=2)
        sink.send(None)
        for frame in frames:
            sink.send(to_rgb(frame).tobytes())
        sink.close()

    write_whole(path, write)


def writes_mp4() -> bool:
    """Whether what writes them is installed."""
    return find_spec("imageio_ffmpeg") is not None


def _is_even(size: tuple[int, int]) -> bool:
    return not any(side % 2 for side in size)


def _checked(frames: Sequence[Image]) -> Sequence[Image]:
    if len(frames) < 2:
        raise InputError(f"a video has two frames or more, not {len(frames)}")
    return frames


def gifs_of(folder: Path, images: pd.DataFrame, by: str) -> list[Path]:
    """The videos of a run, each written beside its first frame; those that are there are left.

    An MP4 goes beside each GIF where ``imageio-ffmpeg`` is installed.

    Args:
        folder: the run directory.
        images: a row per frame: the column ``by``, ``prompt_id``, ``frame`` and ``path`` in the directory.
        by: the column that tells videos of the same prompt apart.

    Returns:
        The GIFs; none where no image has a second frame.
    """
    from attnscope.images import open_rgb

    written = []
    for _, video in images.sort_values("frame").groupby([by, "prompt_id"], sort=False):
        if len(video) < 2:
            continue
        path = (folder / str(video["path"].iloc[0])).with_suffix(".gif")
        kinds = {path: write_gif} | ({path.with_suffix(".mp4"): write_mp4} if writes_mp4() else {})
        if left := {file: write for file, write in kinds.items() if not file.exists()}:
            frames = [open_rgb(folder / str(name)) for name in video["path"]]
            for file, write in left.items():
                if write is write_gif or _is_even(frames[0].size):
                    write(frames, file)
        written.append(path)
    return written
