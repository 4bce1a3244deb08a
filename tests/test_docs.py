# ruff: noqa: RUF001 -- minus signs and Greek names of models, as the documents print them
"""Numbers in the documents are those of the tables they come from, and what they link to exists.

``TABLES`` says, for a table of a document, which column of which CSV stands behind each of its columns;
``PROSE`` does so for sentences. When a model is trained anew, its runs replace the CSVs and this says
which numbers of the documents are out of date; nothing here names a number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from attnscope.versions import release

ROOT = Path(__file__).parent.parent
_MADE = (
    "docs/_build",
    "docs/cards",
    "docs/reference/",
    "docs/contributing.md",
    "docs/changelog.md",
)
"""What Sphinx writes into the folder of the documents."""
DOCUMENTS = [
    *sorted(
        name
        for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
        if not (name := str(path.relative_to(ROOT))).startswith(_MADE)
    ),
    *(
        f"attnscope/shapes/models/{name}/README.md"
        for name in ("shapes", "shapes-dit", "shapes-lcm")
    ),
]
_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")
_UNIT = {"T": 1e12, "M": 1e6, "%": 0.01}


@cache
def read(name):
    """A CSV of the repository."""
    return pd.read_csv(ROOT / name, keep_default_na=True)


def one(name, column, **where):
    """The one value of a CSV where columns are as said."""
    table = read(name)
    for key, value in where.items():
        table = table[table[key] == value]
    assert len(table) == 1, f"{name}: {len(table)} rows where {where}"
    return float(table[column].iloc[0])


def numbers(text):
    """Numbers of a text as printed: the value, and half of its last place."""
    found = []
    for match in _NUMBER.finditer(text):
        printed = match.group().replace("−", "-").replace(",", "")
        places = len(printed.partition(".")[2])
        unit = _UNIT.get(text[match.end() :].lstrip()[:1], 1)
        found.append((float(printed) * unit, (0.5 * 10**-places + 1e-9) * unit, match.group()))
    return found


def assert_told(text, expected, where):
    """A text has these numbers and no others, to the precision that it prints."""
    found = numbers(text)
    expected = [value for value in expected if pd.notna(value)]
    assert len(found) == len(expected), f"{where}: {text!r} against {expected}"
    for (value, half, printed), true in zip(found, expected, strict=True):
        assert abs(value - true) <= half, f"{where}: {printed} is printed, the table has {true:.6g}"


def rows_of(document, heading):
    """The rows of the markdown table whose header starts so, as dictionaries."""
    lines = (ROOT / document).read_text().splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith(heading)]
    assert len(places) == 1, f"{document} has {len(places)} tables {heading!r}"
    cells = []
    for line in lines[places[0] :]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.split("|")[1:-1]])
    header, _, *body = cells
    return header, body


@dataclass(frozen=True)
class Table:
    """A table of a document and what stands behind it.

    Args:
        document: its path.
        heading: how its header begins.
        keys: for the first cells of a row, whatever finds its values.
        columns: for a column, the numbers it tells of a row's key.
        label: how many cells at the left name a row.
    """

    document: str
    heading: str
    keys: Callable
    columns: dict
    label: int = 1


MODELS = ("shapes", "shapes-dit", "shapes-lcm")
FINDINGS = "docs/findings/{}/{}.csv".format
_DIFFERENCE = ("difference", "difference_low", "difference_high")
_GATES = {"shapes": 10, "shapes-dit": 10, "shapes-lcm": 2}


def told(study, measure, *fields):
    """Values of an arm, of a key of a model and an arm; nothing where it has none."""

    def values(key):
        model, arm = key
        table = read(FINDINGS(model, study))
        if not ((table["arm"] == arm) & (table["measure"] == measure)).any():
            return []
        fields_ = fields or ("value",)
        return [one(FINDINGS(model, study), field, arm=arm, measure=measure) for field in fields_]

    return values


def in_order(names):
    """The keys of rows in their order; asked for when the table is read."""
    return lambda index, cells: names()[index]


def of_arms(study):
    """Every arm of every model, as the table of the study has them."""
    names = []
    for model in MODELS:
        arms = read(FINDINGS(model, study))["arm"].drop_duplicates()
        names += [(model, arm) for arm in arms if arm != "reference"]
    return names


def of_cross():
    """S, S^F, S^L, no guidance and the reference of every model."""
    return [
        (model, arm)
        for model in MODELS
        for arm in ("S", f"S^F m={_GATES[model]}", f"S^L m={_GATES[model]}", "no guidance",
                    "reference")
        if told("cross-arms", "kid")((model, arm))
    ]  # fmt: skip


def claims():
    return list(read("docs/findings/claims.csv")["claim"].drop_duplicates())


def claimed(model):
    """What was found for a claim on a model."""

    def values(claim):
        return [
            one("docs/findings/claims.csv", field, claim=claim, model=model)
            for field in ("value", "low", "high")
        ]

    return values


def controls(model):
    """First, gate with its deviation, last, of a measure and a kind."""

    def values(key):
        measure, kind = key
        table = read(FINDINGS(model, "convergence-controls"))
        if not ((table["measure"] == measure) & (table["kind"] == kind)).any():
            return []
        where = {"arm": "trained", "measure": measure, "kind": kind}
        return [one(FINDINGS(model, "convergence-controls"), field, **where)
                for field in ("first", "gate", "gate_sd", "last")]  # fmt: skip

    return values


def of_controls():
    table = read(FINDINGS("shapes", "convergence-controls"))
    table = table[(table["arm"] == "trained") & ~table["kind"].str.startswith("1 - cos")]
    order = ("step", "step_per_nat", "final", "caption", "branches")
    return [(name, kind) for name in order for kind in table[table["measure"] == name]["kind"]]


def settled(model):
    """What is left of a kind's way at the gate, and for how many captions cross-attention has less."""

    def values(key):
        arm, kind = key
        fields = ("left", "left_sd", "cross_ahead", "n")[: 2 if kind == "cross" else 4]
        return [one(FINDINGS(model, "settling"), field, arm=arm, kind=kind) for field in fields]

    return values


_SETTLED = [
    (arm, kind)
    for arm in ("trained", "random-replayed")
    for kind in ("cross", "self", "feed-forward", "block")
]


def window(model, kind):
    """The error of a window of the steps, in parts of a thousand."""

    def values(start):
        fields = ("error", "low", "high")
        return [1e3 * one(FINDINGS(model, "windows"), f, kind=kind, start=start) for f in fields]

    return values


def decided(model, scale):
    """The log-SNR at which text before the gate is worth as much as text after it."""
    return lambda value: [
        one(FINDINGS(model, "decided"), field, value=value, noise_scale=scale)
        for field in ("log_snr", "low", "high")
    ]


def of_windows(index, cells):
    return int(re.match(r"(\d+)", cells[0]).group())


def of_grid(index, cells):
    return ("shapes", "shapes-dit")[index // 6], ("dpm", "euler", "ddim")[index % 3], ("S^F", "S^L")[index // 3 % 2]  # fmt: skip


def at(steps):
    def values(key):
        model, scheduler, trajectory = key
        return [one(FINDINGS(model, "grid-arms"), field, scheduler=scheduler, trajectory=trajectory,
                    steps=steps, measure="all") for field in _DIFFERENCE]  # fmt: skip

    return values


def swept(trajectory, gate=None):
    def values(scale):
        where = {"noise_scale": scale, "trajectory": trajectory} | ({"gate": gate} if gate else {})
        return [one(FINDINGS("shapes", "gates-arms"), "value", measure="all", **where)]

    return values


def cost(*columns):
    return lambda model: [one("benchmarks/costs.csv", column, model=model) for column in columns]


_MODELS = [
    "SD-1.5",
    "SD-2.1",
    "SDXL",
    "SSD-1B",
    "PixArt-α",
    "PixArt-Σ",
    "SVD",
    "OpenSora",
    "shapes",
    "shapes-dit",
]


def of_frontier():
    """Every arm of every model, as its benchmark has them; what did not run has no row."""
    return [
        (model, arm)
        for model in MODELS
        for arm in read(FINDINGS(model, "frontier-frontier"))["arm"].drop_duplicates()
        if arm != "reference"
    ]


def speedup(key):
    """The baseline's is 1 by definition, and has no range."""
    values = told("frontier-frontier", "all", "speedup", "speedup_low", "speedup_high")(key)
    return values[: 1 if key[1] == "baseline" else 3]


def ideal(key):
    model, arm = key
    return [one(FINDINGS(model, "frontier-arms"), "ideal", arm=arm)]


def published(column):
    return lambda index: [float(read("benchmarks/published.csv")[column].iloc[index])]


def ways(model, proof="tune-told"):
    """Every way of the proof of a model's plans, in the order of its CSV."""
    name = FINDINGS(model, proof)
    return lambda index, cells: (name, read(name)["arm"].iloc[index])


def way(*columns):
    """Values of a way; of the baseline its speed is 1 by definition, and has no range."""

    def values(key):
        name, arm = key
        wanted = columns[:1] if arm == "baseline" else columns
        return [one(name, column, arm=arm) for column in wanted]

    return values


def ends(name):
    return name, f"{name}_low", f"{name}_high"


def true_sizes():
    """Every way of every true size, by model and place in its CSV."""
    return [
        (model, place)
        for model in ("shapes", "shapes-dit")
        for place in range(len(read(FINDINGS(model, "tune-true-size"))))
    ]


def true_size(*columns):
    """Of a way; of the baseline its speed is 1 by definition, and has no range, and nor has one round."""

    def values(key):
        model, place = key
        row = read(FINDINGS(model, "tune-true-size")).iloc[place]
        alone = row["arm"] == "baseline" or row["rounds"] == 1
        return [float(row[column]) for column in (columns[:1] if alone else columns)]

    return values


def by_time(*columns):
    """Of a plan by what it was searched; nothing where it is the other's."""

    def values(index):
        row = read(FINDINGS(("shapes", "shapes-dit")[index // 2], "tune-by-time")).iloc[index % 2]
        return [float(row[column]) for column in columns]

    return values


def stable(*columns):
    """Of the plan that a search with a seed of its own found."""

    def values(key):
        model, seed = key
        return [one(FINDINGS(model, "tune-stable"), column, seed=seed) for column in columns]

    return values


def carried(model, steps):
    """SSIM with its standard error, and the speed, of a plan with a scheduler and so many steps."""

    def values(scheduler):
        where = {"plan": "plan", "scheduler": scheduler, "steps": steps}
        name = FINDINGS(model, "tune-carried")
        return [one(name, column, **where) for column in ("ssim", "ssim_error", "speedup")]

    return values


def resized(side):
    """SSIM with its standard error, and the speed, of a plan on images of this side."""
    columns = ("ssim", "ssim_error", "speedup")
    return lambda model: [one(FINDINGS(model, "tune-resized"), name, side=side) for name in columns]


POINTED = ("shapes", "shapes-dit")
_REMOVED = ["size", "fill", "color", "shape", "phrase", "added", "both"]


def pointed(model, *columns):
    """Of the maps of a kind of word at a step, ``shape, 4``."""

    def values(label):
        kind, step = label.split(", ")
        where = {"kind": kind, "step": int(step)}
        return [one(FINDINGS(model, "pointing"), column, **where) for column in columns]

    return values


def removed(model, attribute, thing):
    """What is as asked without a kind of word; where that is another number, the difference, too."""

    def values(what):
        where = {"removed": what, "attribute": attribute, "thing": thing}
        name = FINDINGS(model, "removed-words")
        found = [one(name, column, **where) for column in ("as_asked", "change", "low", "high")]
        return found if found[1] else found[:1]

    return values


def stale(model, what, letter):
    """Damage of one step, in parts of a million."""
    group = "all" if what == "window" else float("nan")

    def values(step):
        table = read(FINDINGS(model, "tune-calibration"))
        table = table[table["group"].isna() if group != group else table["group"] == group]
        where = {"what": what, "letter": letter, "step": step, "length": 1}
        for key, value in where.items():
            table = table[table[key] == value]
        assert len(table) == 1, where
        return [1e6 * float(table["damage"].iloc[0])]

    return values


def asked_arms():
    table = read(FINDINGS("shapes", "questions-arms"))
    return [("shapes", arm) for arm in table["arm"].drop_duplicates()]


def printed_by_dpg(category):
    """Of an arm, all questions of a category together."""

    def values(key):
        model, arm = key
        return [one(FINDINGS(model, "questions-categories"), "value", arm=arm, category=category)]

    return values


COUNTED = "docs/findings/coverage.csv"


def counted(n):
    """In which part of the samples of n prompts an interval or a test did as it is asked."""

    def values(key):
        quantity, by, data = key
        table = read(COUNTED)
        if not ((table["by"] == by) & (table["data"] == data) & (table["n"] == n)).any():
            return []
        return [one(COUNTED, "value", quantity=quantity, by=by, data=data, n=n)]

    return values


def of_coverage():
    table = read(COUNTED)[["quantity", "by", "data"]].drop_duplicates()
    return list(table.itertuples(index=False, name=None))


def said_so(index, cells):
    """The row of the CSV that the first cells of a row name; all of them, in order."""
    assert tuple(cells[:3]) == of_coverage()[index]
    return of_coverage()[index]


def different_captions():
    """Of so many held-out captions, how many differ."""
    from attnscope.shapes.scenes import caption, generate

    texts = [caption(scene) for scene in islice(generate("test", 0), 500)]
    return [len(set(texts[:n])) for n in (60, 100, 200, 300, 500)]


def soaked(name, key):
    """Columns of a table that a soak left, of the row that the first cell of a document's row names."""
    file = f"docs/reliability/{name}.csv"
    return lambda *columns: lambda cell: [one(file, column, **{key: cell}) for column in columns]


bad, killed, lived = (
    soaked(*of) for of in (("bad-input", "kind"), ("kills", "command"), ("long-lived", "what"))
)


def clustered(column):
    """What a cluster made, and how much of it is what one process makes."""
    return lambda name: [one("docs/findings/clusters.csv", column, cluster=name)]


def scaled(index):
    """Median and range of what was measured of workers, in the order of the measures."""
    table = read("docs/findings/scaling.csv")
    values = table[table["measure"] == table["measure"].unique()[index]]["value"]
    return [values.median(), values.min(), values.max()]


def first_cell(index, cells):
    return cells[0].strip("`")


TABLES = [
    Table("docs/reliability.md", "| input | tried |", first_cell, {
        "tried": bad("tried"), "refused in one line": bad("refused"), "harmless": bad("harmless"),
        "anything else": bad("otherwise"),
    }),
    Table("docs/reliability.md", "| command | kills |", first_cell, {
        "kills": killed("kills"), "too late": killed("too_late"),
        "runs that went on to the end": killed("runs"), "the same to the byte": killed("equal"),
        "half-written files left": killed("left_over"), "files compared": killed("files"),
    }),
    Table("docs/reliability.md", "| what | times |", first_cell, {
        "times": lived("times"), "the same as the first, or alone": lived("equal"),
        "MB, early": lived("mb_early"), "MB, late": lived("mb_late"),
        "objects, early": lived("objects_early"), "objects, late": lived("objects_late"),
    }),
    Table("docs/scaling.md", "| cluster | run |", first_cell, {
        "prompts": clustered("prompts"), "arms": clustered("arms"), "files": clustered("files"),
        "the same to the byte": clustered("equal"),
    }, label=2),
    Table("docs/scaling.md", "| | median (range) |", lambda index, cells: index, {"median (range)": lambda index: scaled(index)}),
    Table("docs/questions.md", "| `shapes` | DPG score |", in_order(asked_arms), {
        "DPG score": told("questions-arms", "dpg"),
        "difference to S": told("questions-arms", "dpg", *_DIFFERENCE),
        **{name: printed_by_dpg(name) for name in ("global", "entity", "attribute", "relation", "other")},
    }),
    Table("docs/statistics.md", "| what | by | of | 10 |", said_so,
          {str(n): counted(n) for n in (10, 30, 100, 300)}, label=3),
    *(Table("docs/faster.md", f"| {heading} | ideal", ways(model, proof), {
        "ideal": way("ideal"), "measured (range)": way(*ends("speedup")), "SSIM to S": way("ssim"),
        "all as asked": way("all"), "SSIM, plan less this": way(*ends("ssim_by")),
        "all, plan less this": way(*ends("all_by")),
    }) for heading, model, proof in (
        ("`shapes`", "shapes", "tune-told"), ("`shapes-dit`", "shapes-dit", "tune-told"),
        ("`shapes-dit`, slower", "shapes-dit", "tune-as-slow"),
        ("`shapes-lcm`, 4 steps", "shapes-lcm", "tune-told"),
    )),
    Table("docs/faster.md", "| random weights, 25 steps |", in_order(true_sizes), {
        "ideal": true_size("ideal"), "measured (range)": true_size(*ends("speedup")),
        "of ideal": true_size("of_ideal"),
    }),
    Table("docs/faster.md", "| searched by | ideal |", lambda index, cells: index, {
        "ideal": by_time("ideal"), "measured (range)": by_time(*ends("speedup")), "SSIM to S": by_time(*ends("ssim")),
        "SSIM, less the other's": by_time(*ends("ssim_by")), "time of the other over its own (range)": by_time(*ends("faster")),
    }),
    Table("docs/faster.md", "| searched with seed |", lambda index, cells: (cells[0].split("`")[1], int(cells[0].split()[-1])), {
        "ideal": stable("ideal"), "measured (range)": stable(*ends("speedup")),
        "SSIM to S": stable(*ends("ssim")),
    }),
    *(Table("docs/faster.md", f"| `{model}`, plan, SSIM ≥ 0.99 |", in_order(lambda: ["dpm", "euler", "ddim"]), {
        f"{steps} steps": carried(model, steps) for steps in (15, 25, 50)
    }) for model in ("shapes", "shapes-dit")),
    Table("docs/faster.md", "| 25 steps of DPM-Solver++ | 48² |", first_cell,
          {f"{side}²": resized(side) for side in (48, 64, 96, 128)}),
    Table("docs/findings.md", "| one step, at a log-SNR of |",
          lambda index, cells: int(re.search(r"step (\d+)", cells[0]).group(1)), {
        f"`{model}`, {name}": stale(model, what, letter)
        for model in ("shapes", "shapes-dit")
        for name, what, letter in (("repeated", "window", "."), ("forecast", "window", "~"),
                                   ("no guidance", "guidance", "c"), ("continued", "guidance", "d"))
    }),
    Table("docs/findings.md", "| map of the word for, at step |", lambda index, cells: cells[0], {
        f"`{model}`, {name}": pointed(model, *columns)
        for model in POINTED
        for name, columns in (("on its thing", ends("hit")), ("another word", ("hit_shuffled",)),
                              ("IoU", ("overlap",)))
    }),
    *(Table("docs/findings.md", f"| `{model}`, taken from the first thing |", in_order(lambda: _REMOVED), {
        name: removed(model, *what) for name, what in {
            "its fill": ("fill", 1), "its colour": ("color", 1), "its shape": ("shape", 1),
            "the other thing's colour": ("color", 2), "places": ("relation", 0)}.items()
    }) for model in (*POINTED, "shapes-lcm")),
    Table("docs/findings.md", "| `shapes-lcm`, map of the word for, at step |", lambda index, cells: cells[0], {
        "on its thing": pointed("shapes-lcm", *ends("hit")), "another word": pointed("shapes-lcm", "hit_shuffled"),
        "IoU": pointed("shapes-lcm", "overlap"),
    }),
    Table("docs/findings.md", "| the claim |", in_order(claims),
          {f"`{model}`": claimed(model) for model in MODELS}, label=2),
    Table("docs/findings.md", "| | all as asked ↑ | difference to S | SSIM", in_order(of_cross), {
        "all as asked ↑": told("cross-arms", "all"),
        "difference to S": told("cross-arms", "all", *_DIFFERENCE),
        "SSIM to S": told("cross-arms", "ssim"),
        "FID ↓ ImageNet": told("cross-efficientnet-lite0-arms", "fid"),
        "KID ↓ ImageNet": told("cross-efficientnet-lite0-arms", "kid"),
    }),
    Table("docs/findings.md", "| | reused steps | all as asked ↑", in_order(lambda: of_arms("self-arms")), {
        "reused steps": told("self-arms", "all", "reused_steps"),
        "all as asked ↑": told("self-arms", "all"),
        "difference to S": told("self-arms", "all", *_DIFFERENCE),
        "PSNR to S (dB)": told("self-arms", "psnr"), "SSIM to S": told("self-arms", "ssim"),
    }),
    Table("docs/findings.md", "| reused at steps |", of_windows, {
        f"`{model}`, {kind}": window(model, kind)
        for model in ("shapes", "shapes-dit") for kind in ("self", "cross")
    }),
    Table("docs/findings.md", "| decided at a log-SNR of |", lambda index, cells: cells[0], {
        f"`{model}`{name}": decided(model, scale)
        for model in ("shapes", "shapes-dit") for name, scale in (("", 1.0), (", noisier", 4.0))
    }),
    Table("docs/findings.md", "| | 10 steps, m = 4 |", of_grid, {
        "10 steps, m = 4": at(10), "25, m = 10": at(25), "50, m = 20": at(50),
    }),
    Table("docs/controls.md", "| relative distance | of |", in_order(of_controls),
          {f"`{model}`": controls(model) for model in MODELS}, label=2),
    Table("docs/controls.md", "| part of the way left at the gate |", in_order(lambda: _SETTLED),
          {f"`{model}`": settled(model) for model in MODELS}),
    Table("attnscope/shapes/models/shapes/README.md", "| noise levels |", in_order(lambda: [1.0, 4.0]), {
        "S: text throughout": swept("S"), "S^F_5": swept("S^F", 5), "S^F_10": swept("S^F", 10),
        "S^L_5": swept("S^L", 5), "S^L_10": swept("S^L", 10),
    }),
    Table("docs/benchmarks.md", "| model | size | MACs of a call", in_order(lambda: _MODELS), {
        "MACs of a call": cost("macs", "macs_paper"), "self": cost("self"), "cross": cost("cross"),
        "all": cost("all"), "cut-off": cost("cutoff"), "cross reuse": cost("cross_reuse"),
        "self reuse": cost("self_reuse"),
    }, label=2),
    Table("docs/benchmarks.md", "| arm | speed-up | ideal | captions", in_order(of_frontier), {
        "speed-up": speedup, "ideal": ideal,
        "captions drawn as asked": told("frontier-frontier", "all"),
        "difference": told("frontier-frontier", "all", *_DIFFERENCE),
        "SSIM to the baseline": told("frontier-frontier", "ssim"),
    }),
    Table("docs/benchmarks.md", "| table | row | published |", lambda index, cells: index, {
        "published": published("published"), "ours": published("paper"), "ratio": published("ratio"),
        "ours, full": published("full"), "note": lambda index: None,
    }, label=2),
]  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.document} {table.heading}")
def test_the_numbers_of_a_table_are_those_of_its_csv(table):
    header, body = rows_of(table.document, table.heading)
    names = [name if header.index(name) == i else f"{name} 2" for i, name in enumerate(header)]
    assert names[table.label :] == list(table.columns)
    for index, cells in enumerate(body):
        key = table.keys(index, cells)
        for name, cell in zip(names[table.label :], cells[table.label :], strict=True):
            expected = table.columns[name](key)
            if expected is None:
                continue
            text = cell.replace("**", "")
            if name == "MACs of a call":  # the unit stands once, for both
                text = re.sub(r"([TM]) \((.*)\)", r"\1, \2 \1", text)
            assert_told(text, expected, f"{table.document}, {cells[0]}, {name}")
    assert index + 1 == len(body)


def moved(model, column, kind, *steps):
    return [one(FINDINGS(model, "curves"), column, kind=kind, step=step) for step in steps]


def control(model, measure, kind, *columns, arm="trained"):
    return [
        one(FINDINGS(model, "convergence-controls"), column, arm=arm, measure=measure, kind=kind)
        for column in columns
    ]


def far(model, kind):
    """How far the conditional branch is from its end at the gate."""
    return [
        one(FINDINGS(model, "settling"), f, arm="trained", kind=kind) for f in ("gate", "gate_sd")
    ]


def four(scheduler, arm, field):
    return one(FINDINGS("shapes", "four-arms"), field, scheduler=scheduler, arm=arm, measure="all")


def second(model, plan, forecasts):
    return [one(FINDINGS(model, "tune-second"), field, plan=plan, forecasts=forecasts)
            for field in ("difference", "low", "high")]  # fmt: skip


PROSE = [
    ("docs/statistics.md", r"of the first 60, 100, 200, 300 and 500 there are (\S+), (\S+), (\S+), (\S+) and (\S+)\)",
     lambda: [[number] for number in different_captions()]),
    ("docs/statistics.md", r"bootstrap of skewed values holds (\S+) and (\S+) of 100 with 10 and 30 prompts, and (\S+) with 300",
     lambda: [[100 * v for v in counted(n)(("coverage", "bootstrap", "skewed"))] for n in (10, 30, 300)]),
    ("docs/faster.md", r"is lower throughout: by (.*?\]) in the plan for 0.99 of the U-Net, and with every stale step forecast by (.*?\]) in that "
     r"and by (.*?\]) in the transformer's",
     lambda: [second("shapes", "plan-ssim-0.99.json", "as found"), second("shapes", "plan-ssim-0.99.json", "all"),
              second("shapes-dit", "plan-ssim-0.99.json", "all")]),
    ("docs/findings.md", r"are lost without text in the last two steps, in fills \((.*?\])\) and shapes \((.*?\])\)",
     lambda: [told("cross-arms", name, *_DIFFERENCE)(("shapes-lcm", "S^F m=2"))
              for name in ("fill", "shape")]),
    ("docs/findings.md", r"asked for four steps itself, loses (.*?\]) of its (\S+) with DPM-Solver\+\+, and (.*?\]) of its (\S+) with",
     lambda: [values for scheduler in ("dpm", "lcm") for values in (
         [-100 * four(scheduler, "S^F m=2", field)
          for field in ("difference", "difference_high", "difference_low")],
         [100 * four(scheduler, "S", "value")])]),
    ("docs/findings.md", r"fills on the U-Net \((.*?\]) without it\) and shapes \((.*?\])\), shapes on the transformer \((.*?\])\)",
     lambda: [told("cross-arms", name, *_DIFFERENCE)((model, "S^F m=10"))
              for model, name in (("shapes", "fill"), ("shapes", "shape"), ("shapes-dit", "shape"))]),
    ("docs/findings.md", r"tells no difference in KID \((.*?\]) and (.*?\])\)",
     lambda: [told("cross-arms", "kid", *_DIFFERENCE)((model, "S^F m=10"))
              for model in ("shapes", "shapes-dit")]),
    ("docs/findings.md", r"two schedules disagree by (.*?\]) steps on the U-Net and by (.*?\]) on the transformer",
     lambda: [[-claimed(model)("the gate is a step")[i] for i in (0, 2, 1)]
              for model in ("shapes", "shapes-dit")]),
    ("README.md", r"cross-attention's distance falls from (.*?), self-attention's from (.*?)\.\*",
     lambda: [moved("shapes", "l2", "cross", 1, 10), moved("shapes", "l2", "self", 1, 10)]),
    ("docs/controls.md", r"On the U-Net from step 1 to the gate: cross-attention (.*?), self-attention (.*?), feed-forwards "
     r"(.*?), blocks (.*?)\. On the transformer .*?less\* than every other kind of module, (.*?), where self-attention falls (.*?)\. Panel",
     lambda: [*(control("shapes", "step", kind, "first", "gate")
                for kind in ("cross", "self", "feed-forward", "block")),
              *(control("shapes-dit", "step", kind, "first", "gate") for kind in ("cross", "self"))]),
    ("docs/controls.md", r"its conditional output of cross-attention is (\S+ ± \S+) of its norm from its end, that of "
     r"self-attention (\S+ ± \S+)\.",
     lambda: [far("shapes-dit", "cross"), far("shapes-dit", "self")]),
    ("docs/controls.md", r"cross minus self (\S+), 95 % from (\S+) to (\S+)\)",
     lambda: [[v] for v in claimed("shapes-lcm")("cross-attention settles before self-attention")]),
    ("docs/controls.md", r"On the U-Net another caption would change its output by (\S+ ± \S+) of its norm at the gate, and by "
     r"(\S+) at the last step \((\S+) at step 0\); on the transformer by (\S+ ± \S+) and (\S+) \((\S+)\)\.",
     lambda: [values for model in ("shapes", "shapes-dit") for values in (
         control(model, "caption", "cross", "gate", "gate_sd"), control(model, "caption", "cross", "last"),
         control(model, "caption", "cross", "first"))]),
    ("docs/controls.md", r"outputs are (\S+) of the conditional one's norm apart at step 0 on the U-Net, (\S+ ± \S+) at the gate",
     lambda: [control("shapes", "branches", "cross", "first"),
              control("shapes", "branches", "cross", "gate", "gate_sd")]),
    ("docs/controls.md", r"of its norm at the gate on the U-Net, (\S+) on the transformer, both branches",
     lambda: [control("shapes-dit", "final", "cross", "gate", arm="random-replayed")]),
]  # fmt: skip


@pytest.mark.parametrize("name", ["bad-input", "kills", "long-lived"])
def test_every_row_of_a_soak_is_told_and_none_went_wrong(name):
    table = read(f"docs/reliability/{name}.csv")
    text = (ROOT / "docs/reliability.md").read_text()
    assert all(f"| `{key}` |" in text or f"| {key} |" in text for key in table.iloc[:, 0])
    assert (table["otherwise"] == 0).all() if name == "bad-input" else True
    assert (
        (table["equal"] == table["runs" if name == "kills" else "times"]).all()
        if name != "bad-input"
        else True
    )


def test_a_claim_has_the_verdict_that_its_interval_has():
    header, body = rows_of("docs/findings.md", "| the claim |")
    table = read("docs/findings/claims.csv").set_index(["claim", "model"])["verdict"]
    for cells, claim in zip(body, claims(), strict=True):
        assert cells[0] == claim
        for model, cell in zip(header[2:], cells[2:], strict=True):
            assert cell.endswith(f"**{table[claim, model.strip('`')]}**"), (claim, model)


@pytest.mark.parametrize(("document", "pattern", "values"), PROSE, ids=[p[1][:50] for p in PROSE])
def test_the_numbers_of_a_sentence_are_those_of_its_csv(document, pattern, values):
    text = " ".join((ROOT / document).read_text().split())
    match = re.search(pattern, text)
    assert match, f"{document} says it otherwise now: {pattern}"
    for said, expected in zip(match.groups(), values(), strict=True):
        if "%" in said:  # 3 to 6 %: the sign stands once
            said = re.sub(r"([\d.]+)(?= to)", r"\1 %", said)
        assert_told(said, expected, document)


_LINK = re.compile(r"(?:\]\(|src=\")([^)\s\"]+)[)\"]")
_PATH = re.compile(r"`((?:attnscope|analyses|benchmarks|cli|docs|figures|tests)/[\w./-]*)`")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_points_to_exists(document):
    text = (ROOT / document).read_text()
    folder = (ROOT / document).parent
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else ROOT / document
        assert target.exists(), f"{document} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = {
                re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
            }
            assert anchor in slugs, f"{document} links to {link}"
    for path in _PATH.findall(text):
        assert (ROOT / path).exists(), f"{document} names {path}"


def test_every_picture_and_table_of_the_documents_is_shown_or_named():
    said = "".join((ROOT / document).read_text() for document in DOCUMENTS)
    pictures = (ROOT / "docs").rglob("*.png")
    for path in sorted(path for path in pictures if "_build" not in path.parts):
        assert path.name in said, f"{path} stands in no document"
    checked = Path(__file__).read_text()
    for path in sorted((ROOT / "docs/findings").rglob("*.csv")):
        assert path.stem in checked or path.name in said, f"{path} stands behind no number"


def test_every_document_has_its_place_on_the_site():
    listed = (ROOT / "docs/index.md").read_text().splitlines()
    listed += (ROOT / "docs/reference/index.md").read_text().splitlines()
    here = [name for name in DOCUMENTS if name.startswith("docs/") and name != "docs/index.md"]
    for name in here:
        place = name.removeprefix("docs/").removesuffix(".md")
        assert place in listed or place.removeprefix("reference/") in listed or "index" in place, (
            name
        )


def test_a_wrong_number_is_found():
    with pytest.raises(AssertionError, match=r"0\.45 is printed"):
        assert_told("0.45", [0.4549 + 0.001], "here")
    with pytest.raises(AssertionError, match="against"):
        assert_told("0.45 [0.4, 0.5]", [0.45], "here")
    assert_told(
        "−0.059 [−0.078, +0.041] 1,024 5.5 %", [-0.0591, -0.0784, 0.0409, 1024, 0.0549], "here"
    )


@pytest.mark.skipif(release("transformers") < (5,), reason="their tokenizers are of transformers 5")
@pytest.mark.parametrize("name", MODELS)
def test_what_a_card_shows_in_python_runs(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / f"attnscope/shapes/models/{name}/README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        # The last expression is an image.
        *lines, last = block.strip().split("\npipe(")
        names = {}
        exec(compile("\npipe(".join(lines), name, "exec"), names)
        assert eval(f"pipe({last}", names).size == (64, 64)
