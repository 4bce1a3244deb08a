"""From what was typed to what images are judged by, checked before any image is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnscope.errors import InputError

if TYPE_CHECKING:
    from attnscope.analyses.judging import Judges, Reference
    from attnscope.features import Extractor
    from attnscope.prompts import Prompt

_RENDERED, _FEWEST = 5000, 1000
_FEATURES = ("auto", "none", "inception", "efficientnet-lite0", "reader")


def chosen_judges(
    features: str,
    weights: Path | None,
    reference: Path | None,
    clip: str | None,
    lpips: bool,
    models: Sequence[str],
    prompts: Sequence[Prompt],
    *,
    device: str,
) -> Judges:
    """What ``--features``, ``--reference``, ``--clip`` and ``--lpips`` come to.

    Raises:
        InputError: features without a reference or the other way round, or unreadable references.
    """
    from attnscope.analyses.judging import Judges
    from attnscope.features import Extractor
    from attnscope.metrics import clip_score
    from attnscope.metrics import lpips as perceptual_distance

    if features not in _FEATURES:
        raise InputError(f"no such --features: {features!r} (choose {', '.join(_FEATURES)})")
    if clip is not None:
        clip_score([], [], clip)
    if lpips:
        perceptual_distance([], [])
    world = _embedded_world(models, prompts)
    if features == "auto":
        other = "none" if reference is None else "efficientnet-lite0"
        features = "reader" if world is not None and reference is None else other
    if features == "none":
        if reference is not None:
            raise InputError("--reference is for FID and KID, which --features none leaves out")
        return Judges(reader=world, clip=clip, lpips=lpips, device=device)
    if reference is None and world is None:
        raise InputError(
            f"--features {features} needs something to compare with: give --reference FOLDER"
        )
    extractor = Extractor(features, weights)
    found = _reference(extractor, reference, len(prompts), device)
    return Judges(extractor, found, reader=world, clip=clip, lpips=lpips, device=device)


def _reference(extractor: Extractor, path: Path | None, count: int, device: str) -> Reference:
    from attnscope.analyses.judging import Reference, scenes_reference
    from attnscope.features import Statistics, image_paths

    if path is None:
        rendered = _RENDERED if extractor.name == "reader" else max(count, _FEWEST)
        return scenes_reference(extractor, rendered, count, device=device)
    if path.suffix == ".npz":
        return Reference(Statistics.load(path), path.name)
    return Reference(extractor.extract(image_paths(path), device=device), path.name)


def _embedded_world(models: Sequence[str], prompts: Sequence[Prompt]) -> Path | None:
    """Where the reader is, if all models are of the embedded world and all captions tell scenes."""
    from attnscope.pipelines import describe
    from attnscope.shapes.scenes import parse

    folders = [Path(describe(model).source) for model in models]
    if not all((folder / "reader.safetensors").is_file() for folder in folders):
        return None
    try:
        for prompt in prompts:
            parse(prompt.text)
    except ValueError:
        return None
    return folders[0]
