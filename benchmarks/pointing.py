"""Do maps point at what words name, and were they wrong where images are? ``python benchmarks/pointing.py shapes``.

Makes images of held-out captions with maps of every word, site and head, and writes to
``docs/findings/MODEL``: ``pointing.csv`` (by kind of word and step), ``pointing-heads.csv`` (by site and
head), and of images without guidance, many of which are wrong, ``misplaced.csv`` (things in each other's
place) and ``miscolored.csv``. Batches are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import attnscope
from attnscope import plots
from attnscope.analyses.maps import pointing
from attnscope.metrics.intervals import bootstrap, paired
from attnscope.models.calling import call
from attnscope.models.names import SHAPES_FOLDER, describe
from attnscope.models.text_tokens import words_of
from attnscope.observers import AttentionMaps
from attnscope.runs.columns import READ
from attnscope.runs.prompts import image_seed
from attnscope.shapes.reader import HEADS, agreement, encode, load_reader
from attnscope.shapes.scenes import Scene, caption, generate

ROOT = Path(__file__).parents[1]
STEPS = {"shapes": 25, "shapes-dit": 25, "shapes-lcm": 4}
GUIDANCE = {"shapes": 3.0, "shapes-dit": 3.0, "shapes-lcm": 1.0}
FEW = {"shapes": 3, "shapes-dit": 3, "shapes-lcm": 1}
"""Steps of the run that goes wrong often, which has no guidance either: with 25, colours hardly ever do."""
SEED = 7
BATCH = 10
_COLORS = dict(zip(pointing.KINDS, ("#949494", "#de8f05", "#0173b2", "#d55e00"), strict=True))
_REMOVED = {
    "size": "size", "fill": "fill", "color": "color", "shape": "shape",
    "phrase": "all\nfour", "added": "end,\npadding", "both": "all of\nthese",
}  # fmt: skip


def measured(
    pipe: Any,
    reader: Any,
    scenes: Sequence[tuple[int, Scene]],
    steps: int,
    guidance: float,
    options: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A batch: numbers of the mean map by step, and numbers of every site and head over all steps."""
    texts = [caption(scene) for _, scene in scenes]
    words = [words_of(pipe, text, **options) for text in texts]
    observer = AttentionMaps(words, each="head")
    with attnscope.Trace(pipe, observers=[observer]):
        images = call(
            pipe, texts, seeds=[image_seed(SEED, number) for number, _ in scenes], steps=steps,
            guidance=guidance, output_type="np", **options,
        )  # fmt: skip
    maps = observer.maps()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() * 2 - 1
    read = reader.read(pixels)
    agreed = pd.DataFrame(agreement(read, [s for _, s in scenes]).numpy(), columns=list(READ))
    rows, by_head = [], []
    for place, (number, scene) in enumerate(scenes):
        image = (images[place] * 255).round().astype(np.uint8)
        found = pointing.silhouettes(image, scene)
        if found is None:
            continue
        verdict = agreed.iloc[place]
        about = {
            "prompt_id": number, "things": len(scene.things), "all": verdict["all"],
            "attributes": verdict["attributes"], "relation": verdict["relation"],
        }  # fmt: skip
        own = pointing.maps_of_words(maps, place, words[place])  # [word, step, site, head, h, w]
        colors = as_asked(read[place], scene, "color")
        for row, heads in pointed(own, found, scene, np.random.default_rng([SEED, number])):
            color = colors[row["thing"].iloc[0]]
            rows.append(row.assign(**about, color_right=color))
            heads["site"] = [maps.sites[at] for at in heads["site"]]
            by_head.append(heads.assign(**about))
    return pd.concat(rows), pd.concat(by_head)


def pointed(
    own: Any, found: Sequence[pointing.Mask], scene: Scene, rng: np.random.Generator
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Of every word of a thing: by step of the mean map; by site and head over all steps."""
    height, width = own.shape[-2:]
    masks = [pointing.cells(mask, height, width) for mask in found]
    with warnings.catch_warnings():  # heads that a site does not have are NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nanmean(own, axis=(2, 3))  # [word, step, height, width]
        over_steps = own.mean(1)
    missing = np.isnan(over_steps).any((-2, -1))[0]
    over_steps = np.nan_to_num(over_steps)
    for named, others in pointing.others(scene, len(own)):
        shuffled, where = int(rng.choice(others)), masks[named.thing]
        table = pd.DataFrame(
            {"step": range(mean.shape[1]), "thing": named.thing, "kind": named.kind}
        )
        for name, word in (("", named.word), ("_shuffled", shuffled)):
            table[f"hit{name}"] = pointing.pointing(mean[word], where).astype(float)
            table[f"overlap{name}"] = pointing.overlap(mean[word], where)
        two = len(masks) == 2
        table["share"] = (
            pointing.share(mean[named.word], where, masks[1 - named.thing]) if two else np.nan
        )
        hit = np.where(missing, np.nan, pointing.pointing(over_steps[named.word], where))
        over = np.where(missing, np.nan, pointing.overlap(over_steps[named.word], where))
        sites, heads = np.indices(hit.shape)
        by_head = pd.DataFrame(
            {
                "site": sites.ravel(),
                "head": heads.ravel(),
                "hit": hit.ravel(),
                "overlap": over.ravel(),
            }
        )
        yield table, by_head.assign(kind=named.kind, thing=named.thing).dropna()


def as_asked(read: torch.Tensor, scene: Scene, attribute: str) -> list[bool]:
    """Whether each thing of a caption, where it should stand, has an attribute as it was asked for."""
    names = list(HEADS)
    asked = torch.tensor(encode(scene))
    slots = []
    for slot in range(1, len(scene.things) + 1):
        place = names.index(f"{attribute}_{slot}")
        slots.append(bool(read[place] == asked[place]))
    turned = scene.canonical().things != scene.things
    return slots[::-1] if turned else slots


def run(model: str, folder: Path, limit: int, *, wrong: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All batches; those of before are read."""
    pipe = attnscope.load(model)
    pipe.set_progress_bar_config(disable=True)
    reader = load_reader(SHAPES_FOLDER)
    scenes = list(enumerate(islice(generate("test", SEED), limit)))
    steps, guidance = (FEW[model], 1.0) if wrong else (STEPS[model], GUIDANCE[model])
    folder = folder / f"steps-{steps},guidance-{guidance:g},limit-{limit}"  # batches of these alone
    folder.mkdir(parents=True, exist_ok=True)
    tables: list[list[pd.DataFrame]] = [[], []]
    for start in range(0, limit, BATCH):
        files = [folder / f"{name}-{start:05d}.parquet" for name in ("steps", "heads")]
        if not all(file.exists() for file in files):
            batch = scenes[start : start + BATCH]
            made = measured(pipe, reader, batch, steps, guidance, describe(model).options)
            for file, table in zip(files, made, strict=True):
                table.to_parquet(file)
            print(f"{model}{', wrong' if wrong else ''}: {start + BATCH} of {limit}", flush=True)
        for kept, file in zip(tables, files, strict=True):
            kept.append(pd.read_parquet(file))
    return pd.concat(tables[0]), pd.concat(tables[1])


def with_intervals(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    """Means over captions with 95 % bootstrap intervals."""
    made: dict[str, float] = {}
    for name in columns:
        found = bootstrap(table[name].dropna())
        made |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return made


def removed(model: str, folder: Path, limit: int) -> pd.DataFrame:
    """What becomes of the first of two things when the image cannot attend to one of its words.

    Returns:
        A row an image: ``prompt_id``, ``removed`` (nothing; a kind of word; ``on`` of the background; the
        ``phrase`` of these words; what is ``added`` after the prompt; or ``both``), and of each attribute
        and thing whether it is as asked, 0 or 1; ``relation_0`` is of both things.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pipe = attnscope.load(model)
    pipe.set_progress_bar_config(disable=True)
    reader = load_reader(SHAPES_FOLDER)
    every = enumerate(generate("test", SEED))
    chosen = list(islice(((n, s) for n, s in every if len(s.things) == 2), limit))
    tables = []
    for number, scene in chosen:
        file = folder / f"removed-{number:05d}.parquet"
        if not file.exists():
            options = describe(model).options
            made = removed_from(pipe, reader, number, scene, STEPS[model], GUIDANCE[model], options)
            made.to_parquet(file)
        tables.append(pd.read_parquet(file))
    return pd.concat(tables)


def removed_from(
    pipe: Any,
    reader: Any,
    number: int,
    scene: Scene,
    steps: int,
    guidance: float,
    options: dict[str, Any],
) -> pd.DataFrame:
    """The images of one caption, with the same noise."""
    text = caption(scene)
    words = [word for word in words_of(pipe, text, **options) if word.kind == "word"]
    own = {
        named.kind: f"{words[named.word].text}#{words[named.word].occurrence}"
        for named in pointing.words_of_things(scene)
        if named.thing == 0
    }
    phrase, added = tuple(own.values()), ("<end>", "<padding>")
    taken: dict[str, tuple[str, ...]] = {"nothing": ()}
    taken |= {kind: (name,) for kind, name in own.items()}
    taken |= {"on": ("on",), "phrase": phrase, "added": added, "both": phrase + added}
    rows = []
    for what, names in taken.items():
        plan = attnscope.Reweight(names) if names else None
        with attnscope.Trace(pipe, plan=plan):
            image = call(
                pipe, [text], seeds=[image_seed(SEED, number)], steps=steps, guidance=guidance,
                output_type="np", **options,
            )  # fmt: skip
        read = reader.read(torch.from_numpy(image).permute(0, 3, 1, 2).float() * 2 - 1)[0]
        row: dict[str, Any] = {"prompt_id": number, "removed": what}
        for kind in pointing.KINDS:
            for thing, right in enumerate(as_asked(read, scene, kind)):
                row[f"{kind}_{thing + 1}"] = float(right)
        row["relation_0"] = float(agreement(read[None], [scene])[0, list(READ).index("relation")])
        rows.append(row)
    return pd.DataFrame(rows)


def by_removed(table: pd.DataFrame) -> pd.DataFrame:
    """A row a kind of word and attribute: how much less often it is as asked than with all words."""
    values = [str(name) for name in table if name not in ("prompt_id", "removed")]
    whole = table[table["removed"] == "nothing"].set_index("prompt_id")[values]
    rows = []
    for what, group in table[table["removed"] != "nothing"].groupby("removed", sort=False):
        own = group.set_index("prompt_id")[values]
        for name in values:
            less = paired(own[name], whole.loc[own.index, name])
            rows.append(
                {
                    "removed": what, "attribute": name[:-2], "thing": int(name[-1]), "captions": len(own),
                    "as_asked": own[name].mean(), "change": less.value, "low": less.low, "high": less.high,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def by_step(table: pd.DataFrame) -> pd.DataFrame:
    """Of images that show what was asked: a row a kind of word and step."""
    right = table[table["all"] == 1]
    rows = []
    measures = ["hit", "overlap", "hit_shuffled", "overlap_shuffled", "share"]
    for (kind, step), group in right.groupby(["kind", "step"], sort=False):
        means = group.groupby("prompt_id")[measures].mean()
        row: dict[str, Any] = {"kind": kind, "step": step, "captions": len(means)}
        row |= with_intervals(means, measures)
        for name in ("hit", "overlap"):
            less = paired(means[name], means[f"{name}_shuffled"])
            row |= {
                f"{name}_more": less.value,
                f"{name}_more_low": less.low,
                f"{name}_more_high": less.high,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def by_head(table: pd.DataFrame) -> pd.DataFrame:
    """Of images that show what was asked: a row a kind of word, site and head."""
    right = table[table["all"] == 1]
    rows = []
    for (kind, site, head), group in right.groupby(["kind", "site", "head"], sort=False):
        means = group.groupby("prompt_id")[["hit", "overlap"]].mean()
        row: dict[str, Any] = {"kind": kind, "site": site, "head": head, "captions": len(means)}
        rows.append(row | with_intervals(means, ["hit", "overlap"]))
    return pd.DataFrame(rows)


def compared(table: pd.DataFrame, kinds: dict[str, Callable[[pd.DataFrame], Any]]) -> pd.DataFrame:
    """The share of a word's map on its thing, in images that came out right and in others, by step."""
    rows = []
    for name, chosen in kinds.items():
        part = table[chosen(table)]
        for (kind, step), group in part.groupby(["kind", "step"], sort=False):
            means = group.groupby("prompt_id")[["share", "hit"]].mean().dropna()
            if len(means) < 2:
                continue
            row: dict[str, Any] = {
                "images": name,
                "kind": kind,
                "step": step,
                "captions": len(means),
            }
            rows.append(row | with_intervals(means, ["share", "hit"]))
    return pd.DataFrame(rows)


def drawn(where: pd.DataFrame, without: pd.DataFrame) -> Figure:
    """Where maps of words point, over steps; and what is as asked without words of the first thing."""
    figure, axes = plt.subplots(1, 2, figsize=(plots.TEXT_WIDTH, 2.2))
    for kind in pointing.KINDS:
        own = where[where["kind"] == kind]
        _band(axes[0], own, "hit", _COLORS[kind], kind)
        axes[0].plot(own["step"], own["hit_shuffled"], color=_COLORS[kind], ls=":", lw=1)
    axes[0].plot([], [], color="black", ls=":", lw=1, label="another word")
    axes[0].set(xlabel="Denoising step", ylabel="Map's maximum on the thing", ylim=(0, 1.02))
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    first = without[without["thing"] == 1]
    for place, kind in enumerate(("fill", "color", "shape")):
        own = first[first["attribute"] == kind].set_index("removed").loc[list(_REMOVED)]
        x = np.arange(len(own)) + 0.18 * (place - 1)
        low, high = own["change"] - own["low"], own["high"] - own["change"]
        axes[1].errorbar(
            x,
            own["as_asked"],
            yerr=[low, high],
            fmt="o",
            ms=3,
            lw=1,
            color=_COLORS[kind],
            label=kind,
        )
    axes[1].set_xticks(range(len(_REMOVED)), list(_REMOVED.values()))
    axes[1].set(
        ylabel="First thing as asked", ylim=(0, 1.02), xlabel="What the image cannot attend to"
    )
    for ax in axes:
        plots.legend_above(ax, columns=3)
    return figure


def _band(ax: Axes, table: pd.DataFrame, name: str, color: str, label: str) -> None:
    ax.plot(table["step"], table[name], color=color, label=label)
    ax.fill_between(
        table["step"], table[f"{name}_low"], table[f"{name}_high"], color=color, alpha=0.2, lw=0
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", choices=list(STEPS))
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument(
        "--removed", type=int, default=200, help="captions that words are taken from"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/pointing"))
    given = parser.parse_args()
    for model in given.models:
        to = ROOT / "docs" / "findings" / model
        steps, heads = run(model, given.runs / model / "right", given.limit, wrong=False)
        where = by_step(steps)
        where.to_csv(to / "pointing.csv", index=False, float_format="%.4g")
        by_head(heads).to_csv(to / "pointing-heads.csv", index=False, float_format="%.4g")
        wrong, _ = run(model, given.runs / model / "wrong", given.limit, wrong=True)
        both = wrong[wrong["things"] == 2]
        placed = {
            "right": lambda t: (t["attributes"] == 1) & (t["relation"] == 1),
            "in each other's place": lambda t: (t["attributes"] == 1) & (t["relation"] == 0),
        }
        compared(both, placed).to_csv(to / "misplaced.csv", index=False, float_format="%.4g")
        colored = {
            "right": lambda t: (t["relation"] == 1) & t["color_right"],
            "another colour": lambda t: (t["relation"] == 1) & ~t["color_right"],
        }
        compared(both, colored).to_csv(to / "miscolored.csv", index=False, float_format="%.4g")
        without = removed(model, given.runs / model / "removed", given.removed)
        taken = by_removed(without)
        taken.to_csv(to / "removed-words.csv", index=False, float_format="%.4g")
        with plots.paper_style():
            file = to.parent / f"pointing-{model}.png"
            drawn(where, taken).savefig(file, dpi=200, bbox_inches="tight")


if __name__ == "__main__":
    main()
