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
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "docs/findings.md", "docs/controls.md", "benchmarks/README.md",
             "attnscope/shapes/models/shapes/README.md", "CONTRIBUTING.md", "docs/training/NOTES.md"]  # fmt: skip
_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")
_UNIT = {"T": 1e12, "M": 1e6, "%": 0.01}


@cache
def read(name):
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


FINDINGS = "docs/findings/{}.csv".format
_DIFFERENCE = ("difference", "difference_low", "difference_high")


def told(name, measure, *fields):
    return lambda arm: [
        one(FINDINGS(name), field, arm=arm, measure=measure) for field in fields or ("value",)
    ]


def if_any(name, measure, *fields):
    """Nothing where the arm has no row of the measure, or a missing value."""

    def values(arm):
        table = read(FINDINGS(name))
        known = ((table["arm"] == arm) & (table["measure"] == measure)).any()
        return told(name, measure, *fields)(arm) if known else []

    return values


def in_order(names):
    return lambda index, cells: names[index]


_CROSS = ["S", "S^F m=10", "S^L m=10", "no guidance", "reference"]
_SELF = ["S", "S^F m=10 k=5", "S^L m=10 k=5", "gate m=10", "S^F+gate m=10 k=5", "S^L+gate m=10 k=5"]
_NEVER = lambda arm: []  # noqa: E731


def of_grid(index, cells):
    return ("dpm", "euler", "ddim")[index % 3], ("S^F", "S^L")[index // 3]


def at(steps):
    def values(key):
        scheduler, trajectory = key
        return [one(FINDINGS("grid"), field, scheduler=scheduler, trajectory=trajectory, steps=steps,
                    measure="all") for field in _DIFFERENCE]  # fmt: skip

    return values


def swept(trajectory, gate=None):
    def values(scale):
        where = {"noise_scale": scale, "trajectory": trajectory} | ({"gate": gate} if gate else {})
        return [one(FINDINGS("gates"), "value", measure="all", **where)]

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
]


_BENCH = [
    "baseline",
    "tgate:m=10,k=5,w=2,f=1",
    "guidance alone",
    "cross alone",
    "self alone",
    "guidance-cutoff:m=10,keep=cond",
    "tgate",
    "DeepCache",
    "ToMe",
    "T-GATE with DeepCache",
    "T-GATE with ToMe",
]


def frontier(measure, *fields):
    def values(arm):
        table = read("benchmarks/frontier.csv")
        known = ((table["arm"] == arm) & (table["measure"] == measure)).any()
        if not known:
            return []
        return [one("benchmarks/frontier.csv", field, arm=arm, measure=measure) for field in fields]

    return values


def speedup(arm):
    """The baseline's is 1 by definition, and has no range."""
    values = frontier("all", "speedup", "speedup_low", "speedup_high")(arm)
    return values[: 1 if arm == "baseline" else 3]


def published(column):
    return lambda index: [float(read("benchmarks/published.csv")[column].iloc[index])]


TABLES = [
    Table("docs/findings.md", "| | all as asked ↑ | difference to S | FID ↓ reader", in_order(_CROSS), {
        "all as asked ↑": if_any("cross", "all"),
        "difference to S": if_any("cross", "all", *_DIFFERENCE),
        "FID ↓ reader": told("cross", "fid"), "KID ↓ reader": told("cross", "kid"),
        "FID ↓ ImageNet": told("cross-efficientnet", "fid"),
        "KID ↓ ImageNet": told("cross-efficientnet", "kid"),
        "SSIM to S": if_any("cross", "ssim"),
    }),
    Table("docs/findings.md", "| | reused steps | all as asked ↑", in_order(_SELF), {
        "reused steps": told("self", "all", "reused_steps"), "all as asked ↑": told("self", "all"),
        "difference to S": told("self", "all", *_DIFFERENCE),
        "KID ↓ ImageNet": told("self-efficientnet", "kid"),
        "difference to S 2": told("self-efficientnet", "kid", *_DIFFERENCE),
        "PSNR to S (dB)": if_any("self", "psnr"), "SSIM to S": if_any("self", "ssim"),
    }),
    Table("docs/findings.md", "| | 10 steps, m = 4 |", of_grid, {
        "10 steps, m = 4": at(10), "15, m = 6": at(15), "25, m = 10": at(25), "50, m = 20": at(50),
    }),
    Table("attnscope/shapes/models/shapes/README.md", "| noise levels |", in_order([1.0, 4.0]), {
        "S: text throughout": swept("S"), "S^F_5": swept("S^F", 5), "S^F_10": swept("S^F", 10),
        "S^L_5": swept("S^L", 5), "S^L_10": swept("S^L", 10),
    }),
    Table("benchmarks/README.md", "| model | size | MACs of a call", in_order(_MODELS), {
        "MACs of a call": cost("macs", "macs_paper"), "self": cost("self"), "cross": cost("cross"),
        "all": cost("all"), "cut-off": cost("cutoff"), "cross reuse": cost("cross_reuse"),
        "self reuse": cost("self_reuse"),
    }, label=2),
    Table("benchmarks/README.md", "| arm | speed-up | ideal | captions", in_order(_BENCH), {
        "speed-up": speedup, "ideal": frontier("all", "ideal"),
        "captions drawn as asked": frontier("all", "value"),
        "difference": frontier("all", *_DIFFERENCE), "SSIM to the baseline": frontier("ssim", "value"),
    }),
    Table("benchmarks/README.md", "| table | row | published |", lambda index, cells: index, {
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


def moved(column, kind, *steps):
    return [one(FINDINGS("convergence"), column, kind=kind, step=step) for step in steps]


def control(measure, kind, *columns, arm="trained"):
    return [
        one(FINDINGS("controls"), column, arm=arm, measure=measure, kind=kind) for column in columns
    ]


def spread(arm, measure="all", field="value"):
    """Mean and standard deviation over seeds."""
    table = [one(FINDINGS("seeds-spread"), name, arm=arm, measure=measure)
             for name in (("value", "high") if field == "value" else ("difference", "difference_high"))]  # fmt: skip
    return [table[0], table[1] - table[0]]


def late(kind, column="relative"):
    table = read(FINDINGS("convergence"))
    after = table[(table["kind"] == kind) & (table["step"] > 10)][column]
    return [after.min(), after.max()]


def noise(arm, column, *steps):
    return [one(FINDINGS("noise"), column, arm=arm, step=step) for step in steps]


def below(step):
    """How far S^F's norm of the predicted noise lies under S's."""
    first, full = noise("S^F m=10", "norm", step)[0], noise("S", "norm", step)[0]
    return 1 - first / full


PROSE = [
    ("docs/findings.md", r"S\^F lies (.*?) under S at the gate and (.*?) at the end, S\^L jumps from (.*?) to (.*?) when",
     lambda: [[below(10)], [below(24)], *([v] for v in noise("S^L m=10", "norm", 9, 10))]),
    ("docs/findings.md", r"moves by (\S+) at most, where its spread over prompts is (.*?)\. The norm",
     lambda: [[read(FINDINGS("noise"))["mean"].abs().max()],
              [read(FINDINGS("noise"))["mean_sd"].min(), read(FINDINGS("noise"))["mean_sd"].max()]]),
    ("README.md", r"cross-attention's distance falls from (.*?), self-attention's from (.*?)\.\*",
     lambda: [moved("l2", "cross", 1, 10), moved("l2", "self", 1, 10)]),
    ("docs/findings.md", r"outputs move by (.*?) of their norm at step 1, (.*?) at step 10 and (.*?) after it",
     lambda: [moved("relative", "self", 1), moved("relative", "self", 10), late("self")]),
    ("docs/findings.md", r"S (\S+ ± \S+), S\^F (\S+ ± \S+), S\^L (\S+ ± \S+), no guidance (\S+ ± \S+);",
     lambda: [spread(arm) for arm in _CROSS[:4]]),
    ("docs/findings.md", r"difference of S\^F to S is (\S+ ± \S+)\.",
     lambda: [spread("S^F m=10", field="difference")]),
    ("docs/findings.md", r"shapes \((\S+ \[.*?\]) without it\), fills\s+\((.*?\])\) and sizes \((.*?\])\)",
     lambda: [told("cross", name, *_DIFFERENCE)("S^F m=10") for name in ("shape", "fill", "size")]),
    ("docs/controls.md", r"cross-attention changes by (\S+) at step 1,.*?, (\S+) at the gate and (\S+) at the end",
     lambda: [[v] for v in control("step_per_nat", "cross", "first", "gate", "last")]),
    ("docs/controls.md", r"At the gate its output is (\S+ ± \S+) of its norm.*?; self-attention (\S+ ± \S+), blocks "
     r"(\S+ ± \S+), feed-forwards (\S+ ± \S+), latents (\S+ ± \S+)\.",
     lambda: [control("final", kind, "gate", "gate_sd")
              for kind in ("cross", "self", "block", "feed-forward", "latent")]),
    ("docs/controls.md", r"put cross-attention at (\S+ ± \S+) of its norm from its end at the gate",
     lambda: [control("final", "cross", "gate", "gate_sd", arm="random-replayed")]),
    ("docs/controls.md", r"another caption would change its output by (\S+ ± \S+) of its norm, at the last step "
     r"still by (\S+) \((\S+) at step 0\)",
     lambda: [control("caption", "cross", "gate", "gate_sd"), control("caption", "cross", "last"),
              control("caption", "cross", "first")]),
    ("docs/controls.md", r"outputs are (\S+) of the conditional one's norm apart at step 0, (\S+ ± \S+) at the gate",
     lambda: [control("branches", "cross", "first"), control("branches", "cross", "gate", "gate_sd")]),
]  # fmt: skip


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
    for path in sorted((ROOT / "docs").rglob("*.png")):
        assert path.name in said, f"{path} stands in no document"
    checked = Path(__file__).read_text()
    for path in sorted((ROOT / "docs/findings").glob("*.csv")):
        assert path.stem in checked or path.name in said, f"{path} stands behind no number"


def test_a_wrong_number_is_found():
    with pytest.raises(AssertionError, match=r"0\.45 is printed"):
        assert_told("0.45", [0.4549 + 0.001], "here")
    with pytest.raises(AssertionError, match="against"):
        assert_told("0.45 [0.4, 0.5]", [0.45], "here")
    assert_told(
        "−0.059 [−0.078, +0.041] 1,024 5.5 %", [-0.0591, -0.0784, 0.0409, 1024, 0.0549], "here"
    )
