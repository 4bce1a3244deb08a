"""How good are the images of an ablation, and which differences are larger than their interval?

Per image: what the reader sees of the caption (on the embedded world), CLIP score, and the distance
to the image of the same prompt and seed without the intervention. Per set: FID and KID to
references. A value has a 95 % interval: for measures per image by bootstrap over prompts; for
measures of sets from disjoint subsets, since a bootstrapped FID is biased upward. Differences to
the arm ``S`` are paired: prompt by prompt, or subset by subset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from attnscope.analyses.ablation import FULL
from attnscope.errors import InputError
from attnscope.intervals import LEVEL, Interval, bootstrap, of_parts, paired
from attnscope.measures import CELL, MEASURES, READ, REFERENCE
from attnscope.runs import Run, write_whole

if TYPE_CHECKING:
    from attnscope.features import Extractor, FeatureSet, Statistics

_PARTS = 5
_SMALLEST_PART = 20
_ARM = [*CELL, "arm", "key", "trajectory", "gate", "interval"]
_OF_SEED = ("seed", "key")


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
    """

    extractor: Extractor | None = None
    reference: Reference | None = None
    reader: Path | None = None
    clip: str | None = None
    lpips: bool = False
    device: str = "cpu"

    def about(self) -> dict[str, Any]:
        """What decides the measures, in plain values."""
        basis = None if self.reference is None else str(self.reference.features.basis)
        return {
            "features": None if self.extractor is None else self.extractor.name,
            "reference": None if self.reference is None else [self.reference.source, basis],
            "reader": self.reader is not None,
            "clip": self.clip,
            "lpips": self.lpips,
        }


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


def at_gate(arms: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """The table of arms with ``log_snr``: of x_t at the first step from the gate on.

    Args:
        arms: from :func:`summarise`.
        noise: from :func:`attnscope.analyses.ablation.noise_of`; may be empty.

    Returns:
        With NaN where there is no gate, or no step after it.
    """
    if noise.empty:
        return arms.assign(log_snr=np.nan)
    levels = noise.drop_duplicates([*CELL, "step"])[[*CELL, "step", "log_snr"]]
    levels = levels.rename(columns={"step": "gate"}).astype({"gate": "Int64"})
    return arms.merge(levels, on=[*CELL, "gate"], how="left")


def over_seeds(arms: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of every measure over seeds (the paper's Table A7).

    Args:
        arms: from :func:`summarise`.

    Returns:
        The columns of the arm without ``seed`` and ``key``, ``measure``, ``value``, ``low`` and ``high``
        (one standard deviation to each side), ``n`` (seeds), ``features``, ``reference``; the same of
        the difference to S. Empty for one seed.
    """
    from attnscope.intervals import over_seeds as spread

    if arms["seed"].nunique() < 2:
        return arms.head(0)
    keys = [name for name in [*_ARM, "measure", "features", "reference"] if name not in _OF_SEED]
    rows = []
    for values, group in arms.groupby(keys, sort=False, dropna=False):
        value, difference = spread(list(group["value"])), spread(list(group["difference"]))
        rows.append(_row("", value, difference) | dict(zip(keys, values, strict=True)))
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def judge(
    run: Run,
    images: pd.DataFrame,
    texts: Mapping[int, str],
    judges: Judges,
    *,
    on_arm: Callable[[int], None] = lambda count: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure every image and every arm.

    Args:
        run: where the images are; features are kept there.
        images: from :func:`attnscope.analyses.ablation.images_of`.
        texts: caption by ``prompt_id``.
        judges: what to measure.
        on_arm: called with 1 when an arm is done.

    Returns:
        ``images`` with a column per measure of single images (of a video, ``frames`` stands at its
        first), and the table of arms from :func:`summarise`.
    """
    tables, features = [], {}
    for _, cell in images.groupby(list(CELL), sort=False):
        full = _open(run, cell[cell["trajectory"] == FULL])
        for key, table in cell.groupby("key", sort=False):
            made = _open(run, table)
            references = None if table["trajectory"].iloc[0] == FULL else full
            tables.append(_measured(table, made, references, texts, judges))
            if judges.extractor is not None:
                features[str(key)] = _features(run, str(key), made, judges)
            on_arm(1)
    measured = pd.concat(tables, ignore_index=True)
    return measured, summarise(measured, features, judges.reference)


def summarise(
    images: pd.DataFrame,
    features: Mapping[str, FeatureSet] | None = None,
    reference: Reference | None = None,
) -> pd.DataFrame:
    """From images to arms.

    Args:
        images: with a column per measure of single images.
        features: of all images of an arm, by its key and in its order.
        reference: what features are compared with.

    Returns:
        A row per arm and measure: the columns of the arm, ``measure``, ``value``, ``low``, ``high``,
        ``n`` (images that count), ``spread`` (how the interval was found), ``features`` and
        ``reference`` (of measures of sets), and, paired with S of the same cell, ``difference``,
        ``difference_low`` and ``difference_high``.
    """
    rows = []
    for _, cell in images.groupby(list(CELL), sort=False):
        full = cell[cell["trajectory"] == FULL]
        keys = list(cell["key"].unique())
        about = {key: dict(cell.loc[cell["key"] == key, _ARM].iloc[0]) for key in keys}
        for key in keys:
            table = cell[cell["key"] == key]
            for name in [name for name in MEASURES if name in table and table[name].notna().any()]:
                values, baseline = table[name].to_numpy(float), full[name].to_numpy(float)
                row = _row(name, bootstrap(values), paired(values, baseline))
                how = {"spread": "bootstrap", "features": "", "reference": ""}
                rows.append(about[key] | row | how)
        if features and reference is not None:
            sets = {key: features[key] for key in keys}
            if reference.others is not None:
                sets |= {REFERENCE: reference.others}
                shared = {name: about[keys[0]][name] for name in CELL}
                empty = dict.fromkeys(("gate", "interval"))
                names = dict.fromkeys(("arm", "key", "trajectory"), REFERENCE)
                about[REFERENCE] = shared | names | empty
            rows += [
                about[key] | row for key, row in _of_sets(sets, str(full["key"].iloc[0]), reference)
            ]
    summary = pd.DataFrame(rows)
    own = summary["trajectory"] == FULL
    summary.loc[own, ["difference", "difference_low", "difference_high"]] = np.nan
    return summary.astype({"gate": "Int64", "interval": "Int64"})


def _of_sets(
    sets: Mapping[str, FeatureSet], full: str, reference: Reference
) -> Iterator[tuple[str, dict[str, Any]]]:
    """FID and KID of every set with intervals from disjoint subsets, the same for all.

    Args:
        sets: by key, all of the same length.
        full: key of S.
        reference: what they are compared with.
    """
    from attnscope.features import FeatureSet
    from attnscope.metrics import fid, kid

    target = reference.features
    measures: dict[str, Callable[[FeatureSet], float]] = {"fid": lambda made: fid(made, target)}
    if isinstance(target, FeatureSet):
        references = target
        measures["kid"] = lambda made: kid(made, references)[0]
    parts = _parts(len(sets[full]))
    for name, measure in measures.items():
        whole = {key: measure(made) for key, made in sets.items()}
        split = {
            key: np.array([measure(made[part]) for part in parts]) for key, made in sets.items()
        }
        for key, made in sets.items():
            count = len(made)
            value = of_parts(split[key], whole[key], count)
            difference = of_parts(split[key] - split[full], whole[key] - whole[full], count)
            how = {
                "spread": f"{len(parts)} disjoint subsets" if parts else "none: too few",
                "features": f"{made.name}, {made.protocol}",
                "reference": reference.source,
            }
            yield key, _row(name, value, difference) | how


def _row(measure: str, value: Interval, difference: Interval) -> dict[str, Any]:
    return {
        "measure": measure,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def _parts(count: int) -> list[NDArray[np.int64]]:
    """Places of disjoint subsets, the same for every arm; none where they would be too small."""
    parts = min(_PARTS, count // _SMALLEST_PART)
    if parts < 2:
        return []
    return np.array_split(np.random.default_rng(0).permutation(count), parts)


def _open(run: Run, table: pd.DataFrame) -> list[Image.Image]:
    """All frames, in the order of the table.

    Raises:
        InputError: an image is gone or is none any more.
    """
    from attnscope.features import open_rgb

    opened = []
    for path in table["path"]:
        try:
            opened.append(open_rgb(run.path / path))
        except InputError as error:
            raise InputError(f"{error}: it is gone or damaged, choose another --out") from error
    return opened


def _features(run: Run, key: str, images: Sequence[Image.Image], judges: Judges) -> FeatureSet:
    """Features of an arm, taken once and kept in the run directory."""
    from attnscope.features import FeatureSet

    extractor = judges.extractor
    assert extractor is not None
    path = run.path / "features" / extractor.name / f"{key}.npy"
    if path.exists():
        return FeatureSet(np.load(path), extractor.name, extractor.protocol)
    features = extractor.extract(images, device=judges.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: np.save(partial, features.values))
    return features


def _measured(
    table: pd.DataFrame,
    images: Sequence[Image.Image],
    references: Sequence[Image.Image] | None,
    texts: Mapping[int, str],
    judges: Judges,
) -> pd.DataFrame:
    """An arm's images with a column per measure.

    Args:
        table: of the arm.
        images: its frames.
        references: the frames of S in the same order; ``None`` if this is S.
        texts: caption by ``prompt_id``.
        judges: what to measure.
    """
    from attnscope import metrics

    captions = [texts[number] for number in table["prompt_id"]]
    columns: dict[str, Any] = {"text": captions}
    if judges.clip is not None:
        columns["clip"] = metrics.clip_score(images, captions, judges.clip, device=judges.device)
    if judges.reader is not None:
        columns |= _reading(images, captions, judges.reader)
    if references is not None:
        columns["psnr"] = _finite(metrics.psnr(images, references))
        columns["ssim"] = metrics.ssim(images, references)
        if judges.lpips:
            columns["lpips"] = metrics.lpips(images, references, device=judges.device)
    measured = table.assign(**columns)
    if table["frame"].max() > 0:
        places = measured.groupby("prompt_id").indices
        distances = {
            number: metrics.frame_consistency([images[place] for place in own])
            for number, own in places.items()
        }
        measured["frames"] = measured["prompt_id"].map(distances).where(measured["frame"] == 0)
    return measured


def _reading(
    images: Sequence[Image.Image], captions: Sequence[str], folder: Path
) -> dict[str, NDArray[np.float64]]:
    """What the reader sees of every caption: the part of an image's things that agree."""
    import torch

    from attnscope.shapes.reader import HEADS, load_reader, matches
    from attnscope.shapes.scenes import parse

    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    read = load_reader(folder).read(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    agreed = matches(read, [parse(caption) for caption in captions]).double().numpy()
    heads = pd.DataFrame(agreed, columns=[name.split("_")[0] for name in HEADS])
    columns = {name: heads[[name]].mean(axis=1).to_numpy() for name in READ[:-1]}
    return {**columns, "all": (heads.min(axis=1) == 1).to_numpy(float)}


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the infinite PSNR of an image that is S's to the bit."""
    return np.where(np.isinf(values), np.nan, values)


def larger_than_chance(arms: pd.DataFrame) -> list[str]:
    """Which differences to S are larger than their interval, in words.

    The last line says how many would be if nothing differed: one in twenty.

    Args:
        arms: from :func:`summarise`.
    """
    lines, compared = [], 0
    varying = [name for name in CELL if arms[name].nunique() > 1]
    told_of = arms[~arms["trajectory"].isin([FULL, REFERENCE])]
    for _, group in told_of.groupby("key", sort=False):
        first = group.iloc[0]
        where = ", ".join(f"{name} {first[name]}" for name in varying)
        told: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
        for row in group.to_dict("records"):
            measure = MEASURES[row["measure"]]
            low, high = row["difference_low"], row["difference_high"]
            if np.isnan(low):
                continue
            compared += 1
            if low <= 0 <= high:
                told["not told apart"].append(measure.label)
                continue
            verdict = "better" if (low > 0) == measure.higher else "worse"
            value, *ends = (f"{x:+{measure.form}}" for x in (row["difference"], low, high))
            told[verdict].append(f"{measure.label} {value} [{', '.join(ends)}]")
        if any(told.values()):
            lines.append(f"{first['arm']}{f' ({where})' if where else ''} against S")
        lines += [f"  {verdict}: {', '.join(names)}" for verdict, names in told.items() if names]
    if compared:
        chance = (1 - LEVEL) * compared
        lines.append(f"of {compared} differences chance alone would put {chance:.0f} beyond theirs")
    return lines
