"""How well an image agrees with its caption: by a CLIP, and by the embedded world's reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.metrics.measures.base import Measure, Seen, measures
from attnscope.runs.columns import READ

if TYPE_CHECKING:
    from numpy.typing import NDArray


@measures("captions", clip=Measure("CLIP score", higher=True, form=".2f", leading=3, panel=3))
def clip(seen: Seen) -> dict[str, Any]:
    """CLIP score, if a CLIP was chosen."""
    from attnscope.metrics import clip_score

    judges = seen.judges
    if judges.clip is None:
        return {}
    scores = clip_score(
        seen.images, seen.captions, judges.clip, device=judges.device, offline=judges.offline
    )
    return {"clip": scores}


@measures(
    "captions",
    size=Measure("size", higher=True, part_of="attributes"),
    fill=Measure("fill", higher=True, part_of="attributes"),
    color=Measure("color", higher=True, part_of="attributes"),
    shape=Measure("shape", higher=True, part_of="attributes"),
    attributes=Measure("attributes", higher=True, leading=5, part_of="all"),
    relation=Measure("relation", higher=True, leading=6, part_of="all", share=True),
    background=Measure("background", higher=True, part_of="all", share=True),
    all=Measure("all as asked", higher=True, leading=4, panel=1, share=True),
)
def reading(seen: Seen) -> dict[str, NDArray[Any]]:
    """What the reader sees of every caption, by the names of :data:`attnscope.runs.columns.READ`."""
    if seen.judges.reader is None:
        return {}
    import numpy as np
    import torch

    from attnscope.shapes.reader import agreement
    from attnscope.shapes.scenes import scene_of

    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in seen.images]))
    read = seen.judges.loaded_reader.read(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    agreed = agreement(read, [scene_of(caption) for caption in seen.captions]).double().numpy()
    return dict(zip(READ, agreed.T, strict=True))
