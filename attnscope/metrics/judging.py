"""How good are the images of a run, arm by arm?

Per image: what the reader sees of the caption (on the embedded world), CLIP score, what answers to
questions about it come to, and the distance to the image of the same prompt and seed without the intervention. Per arm: features, for FID and
KID. What arms come to is for :mod:`attnscope.metrics.summaries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.metrics.measures import Seen, takers
from attnscope.metrics.questions.asking import forget
from attnscope.runs.columns import OF_ABLATION, Comparison
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.reading import reading

if TYPE_CHECKING:
    from attnscope.metrics.feature_sets import FeatureSet, Statistics
    from attnscope.metrics.features import Extractor
    from attnscope.metrics.questions.asking import Asking
    from attnscope.shapes.reader import Reader

_AT_ONCE = 64


@dataclass(frozen=True)
class Reference:
    """What sets of images are compared with.

    Args:
        features: of its images, or their mean and covariance, which is enough for FID.
        source: where they come from.
        others: features of other images from the same source, as many as an arm has. What they score
            is what perfect images would: FID of few images is far from zero.
    """

    features: FeatureSet | Statistics
    source: str
    others: FeatureSet | None = None


@dataclass(frozen=True)
class Judges:
    """What images are judged by; ``None`` is not judged.

    Args:
        extractor: of features for FID and KID.
        reference: what they are compared with.
        reader: folder of the embedded world's model, where its reader is.
        clip: a CLIP for the CLIP score, as hub id or folder.
        lpips: whether LPIPS is wanted.
        device: a torch device.
        offline: whether to use only what is on this machine.
        asking: questions about the images, and who answers them.
    """

    extractor: Extractor | None = None
    reference: Reference | None = None
    reader: Path | None = None
    clip: str | None = None
    lpips: bool = False
    device: str = "cpu"
    offline: bool = False
    asking: Asking | None = None

    @cached_property
    def loaded_reader(self) -> Reader:
        """The reader, loaded once for all batches of images."""
        from attnscope.shapes.reader import load_reader

        assert self.reader is not None
        return load_reader(self.reader)


def scenes_reference(
    extractor: Extractor, count: int, others: int, *, seed: int = 1, device: str = "cpu"
) -> Reference:
    """Freshly rendered held-out scenes: the true distribution of the embedded world.

    Args:
        extractor: of features.
        count: how many to compare with.
        others: how many more to show what perfect images would score.
        seed: of scenes and positions; other than that of the captions.
        device: a torch device.
    """
    from attnscope.shapes.scenes import generate, render

    rng = np.random.default_rng([seed, 1])
    scenes = islice(generate("test", seed), count + others)
    features = extractor.extract([render(scene, rng) for scene in scenes], device=device)
    return Reference(
        features[np.arange(count)],
        f"{count:,} rendered held-out scenes",
        features[np.arange(count, count + others)],
    )


def judge(
    run: Run,
    images: pd.DataFrame,
    texts: Mapping[int, str],
    judges: Judges,
    *,
    compared: Comparison = OF_ABLATION,
    progress: Progress = SILENT,
) -> tuple[pd.DataFrame, dict[str, FeatureSet]]:
    """Measure every image.

    Args:
        run: where the images are; features are kept there.
        images: a row per image: ``arm``, its ``key``, the columns of ``compared``, ``prompt_id``,
            ``frame`` and ``path`` in the run directory.
        texts: caption by ``prompt_id``.
        judges: what to measure.
        compared: which arm's images the distances are to.
        progress: told of every arm that is done.

    Returns:
        ``images`` with ``text`` and a column per measure of single images (of a video, ``frames``
        stands at its first), and features by key of the arm, if there is an extractor. Where questions
        are asked, the run has the tables ``answers`` and ``categories`` afterwards
        (:mod:`attnscope.metrics.questions.asking`).

    Raises:
        InputError: an image is gone or damaged, kept features or answers are damaged, or a question cannot be answered.
    """
    forget(run)
    tables, features = [], {}
    answers: list[pd.DataFrame] = []
    for _, cell in images.groupby(list(compared.cell), sort=False):
        full = cell[compared.is_baseline(cell)]
        for key, table in cell.groupby("key", sort=False):
            own = compared.is_baseline(table).iloc[0]
            tables.append(_measured(run, table, None if own else full, texts, judges, answers))
            if judges.extractor is not None:
                features[str(key)] = _features(
                    run, str(key), table, judges.extractor, judges.device
                )
            progress.advance()
    images = pd.concat(tables, ignore_index=True)
    if judges.asking is not None:
        judges.asking.write(run, images, pd.concat(answers, ignore_index=True))
    return images, features


def _features(
    run: Run, key: str, table: pd.DataFrame, extractor: Extractor, device: str
) -> FeatureSet:
    """Features of an arm, taken once and kept in the run directory."""
    from attnscope.metrics.feature_sets import FeatureSet

    path = run.path / "features" / extractor.name / f"{key}.npy"
    if path.exists():
        with reading(path, run.command):
            kept = np.load(path)
        return FeatureSet(kept, extractor.name, extractor.protocol)
    features = extractor.extract([run.path / name for name in table["path"]], device=device)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: np.save(partial, features.values))
    return features


def _measured(
    run: Run,
    table: pd.DataFrame,
    full: pd.DataFrame | None,
    texts: Mapping[int, str],
    judges: Judges,
    answers: list[pd.DataFrame],
) -> pd.DataFrame:
    """An arm's images with a column per measure; prompt by prompt, so that memory holds few.

    Args:
        run: where they are.
        table: of the arm.
        full: the table of S, in the same order; ``None`` if this is S.
        texts: caption by ``prompt_id``.
        judges: what to measure.
        answers: to questions; those about these images are added.
    """
    parts = []
    for _, part in table.groupby(np.arange(len(table)) // _AT_ONCE):
        references = None if full is None else _open(run, _partners(full, part))
        images = _open(run, part["path"])
        captions = [texts[number] for number in part["prompt_id"]]
        own = None
        if judges.asking is not None:
            own = judges.asking.answers(run, part, images, captions)
            answers.append(own)
        seen = Seen(images, captions, judges, references, own)
        parts.append(_measured_part(seen, part))
    measured = pd.concat(parts)
    if table["frame"].max() > 0:
        videos = table.groupby("prompt_id")["path"]
        for take in takers("videos"):
            taken = {number: take(_open(run, paths)) for number, paths in videos}
            for name in next(iter(taken.values())):
                values = {number: of_video[name] for number, of_video in taken.items()}
                measured[name] = measured["prompt_id"].map(values).where(measured["frame"] == 0)
    return measured


def _partners(full: pd.DataFrame, part: pd.DataFrame) -> list[str]:
    """The paths of S's images of the same prompts and frames, in the order of ``part``."""
    keys = ["prompt_id", "frame"]
    return list(part[keys].merge(full[[*keys, "path"]], on=keys, how="left")["path"])


def _measured_part(seen: Seen, table: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Any] = {"text": seen.captions}
    for take in takers("captions"):
        columns |= take(seen)
    if seen.references is not None:
        for take in takers("pairs"):
            columns |= take(seen)
    return table.assign(**columns)


def _open(run: Run, paths: Iterable[str]) -> list[Image.Image]:
    from attnscope.images import open_rgb

    opened = []
    for path in paths:
        try:
            opened.append(open_rgb(run.path / path))
        except InputError as error:
            raise InputError(f"{error}: it is gone or damaged, choose another `out`") from error
    return opened
