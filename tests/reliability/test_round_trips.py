"""What is written reads back as it was: plans, their files, captions, settings of runs."""

import csv
import dataclasses
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile
import pandas as pd
import pytest
import refusing
from hypothesis import assume, given
from hypothesis import strategies as st

from attnscope import captions, documents
from attnscope.analyses.bench.arms import Contender
from attnscope.captions.text import clean
from attnscope.errors import InputError
from attnscope.plans import timetable
from attnscope.plans.options import Nats, options_of
from attnscope.plans.text_form import PLANS, Combined, parse
from attnscope.plans.timetable import Timetable
from attnscope.runs.folder import Run, default_path

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_WORDS = st.lists(st.text(max_size=6) | st.sampled_from(("red circle", " x ", "<end>", "it's", "日本")), min_size=1, max_size=3)  # fmt: skip


@st.composite
def plans(draw):
    """A plan of any kind, with any values that it takes."""
    kind = PLANS[draw(st.sampled_from(sorted(PLANS)))]
    given: dict[str, Any] = {}
    for name, option in options_of(kind).items():
        if option.choices:
            given[name] = draw(st.sampled_from(option.choices))
        elif name == "words":
            given[name] = tuple(draw(_WORDS))
        elif name == "factor":
            given[name] = draw(st.floats(0, 1e300) | st.integers(0, 9))
        elif option.nats and draw(st.booleans()):
            given[name] = Nats(draw(st.floats(-1e3, 1e3)))
        else:
            given[name] = draw(st.integers(option.least, 200))
    try:
        return kind(**given)
    except InputError:
        assume(False)


@given(plan=plans())
def test_a_plan_reads_back_from_its_text(plan):
    assert parse(str(plan)) == plan
    assert str(parse(str(plan))) == str(plan)


@given(some=st.lists(plans(), min_size=2, max_size=3))
def test_plans_at_once_read_back_from_their_text(some):
    try:
        plan = Combined(tuple(some))
    except InputError:
        assume(False)
    assert parse(str(plan)) == plan


@given(text=hostile.plan | hostile.text)
def test_whatever_is_called_a_plan_is_one_or_is_refused(text):
    plan, reason = refusing.tried(parse, text)
    if plan is None:
        assert reason.strip()
    else:
        assert parse(str(plan)) == plan


_NAMES = st.lists(st.text(st.characters(categories=("L", "N"), include_characters="_-"), min_size=1, max_size=5), min_size=1, max_size=3).map(".".join)  # fmt: skip


@st.composite
def timetables(draw):
    """A plan of every module at every step, and whatever else its file says."""
    steps = draw(st.integers(1, 6))
    levels = sorted(draw(st.lists(st.floats(-50, 50), min_size=steps, max_size=steps)))
    if draw(st.booleans()):
        levels[0] = -math.inf
    rows = tuple(
        (draw(st.sampled_from(("cross", "self"))), name, "#" + draw(st.text("#.~", min_size=steps - 1, max_size=steps - 1)))
        for name in draw(st.lists(_NAMES, max_size=3, unique=True))
    )  # fmt: skip
    about = draw(st.dictionaries(_TEXT.filter(lambda key: key not in ("steps", "letters", "rows", "modules", "guidance", "directions", "log_snr", "attnscope_plan")), _TEXT | st.integers(-9, 9) | st.none(), max_size=2))  # fmt: skip
    try:
        return Timetable(tuple(levels), rows, "b" * steps, about=about)
    except InputError:
        assume(False)


@given(plan=timetables())
def test_the_file_of_a_plan_reads_back_as_the_plan(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    made = plan.write(folder / "it's a + plan.json")
    assert {row[1:]: row[0] for row in made.rows} == {row[1:]: row[0] for row in plan.rows}
    assert (made.log_snr, made.guidance, made.directions, made.about) == (plan.log_snr, plan.guidance, plan.directions, plan.about)  # fmt: skip
    assert parse(str(made)) == made  # by its digest
    assert timetable.read(folder / "it's a + plan.json").document() == made.document()


@given(said=hostile.spoiled(json.loads((Path(__file__).parents[2] / "docs/findings/shapes/plan-ssim-0.99.json").read_text())))  # fmt: skip
def test_a_plan_s_file_that_says_something_else_is_a_plan_or_is_refused(said, tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "plan.json"
    path.write_text(json.dumps(said))
    plan, reason = refusing.tried(timetable.read, path)
    if plan is None:
        assert "plan.json" in reason
    else:
        plan.over(plan.own_steps)
        assert timetable.read(path) == plan


_CAPTION = _TEXT.filter(lambda text: "\0" not in text)


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "tsv", "parquet"])
@given(texts=st.lists(_CAPTION, min_size=1, max_size=5))
def test_captions_read_back_from_every_kind_of_table(ending, texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("captions") / f"c.{ending}"
    rows = [{"caption": text} for text in texts]
    if ending == "json":
        path.write_text(json.dumps(rows))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        written = io.StringIO(newline="")
        writer = csv.writer(
            written, delimiter="," if ending == "csv" else "\t", quoting=csv.QUOTE_ALL
        )
        writer.writerows([["caption"], *([text] for text in texts)])
        path.write_bytes(written.getvalue().encode())
    found, reason = refusing.tried(captions.read, path, None)
    if found is None:  # what could be read in two ways is refused
        assert ending in ("csv", "tsv")
        assert "a quote opens here" in reason
    else:
        assert found == [clean(text) for text in texts]


@dataclass(frozen=True)
class _Settings:
    text: str
    number: float
    names: tuple[str, ...]
    more: dict[str, Any] = field(default_factory=dict)


@given(settings=st.builds(_Settings, _TEXT, st.floats(), st.lists(_TEXT, max_size=3).map(tuple), st.dictionaries(_TEXT, st.integers() | st.floats() | _TEXT | st.none(), max_size=3)))  # fmt: skip
def test_settings_of_a_run_read_back_and_find_the_run_again(settings, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    made = Run.open(path, "convergence", settings)
    assert made.settings == documents.plain(dataclasses.asdict(settings))
    assert Run.check(path, "convergence", settings)
    assert json.loads(documents.text(made.about), parse_constant=pytest.fail) == made.about


# --- captions, models and plans become text, and nothing else --------------------------------


@given(model=hostile.text.filter(bool))
def test_the_place_of_a_run_is_one_folder_in_runs_whatever_the_model_is_called(model):
    path = default_path("convergence", model, _Settings("", 1.0, ()))
    assert len(path.parts) == 2
    assert path.parts[0] == "runs"
    assert len(path.name.encode()) <= 255


@given(name=hostile.text.filter(bool))
def test_the_images_of_an_arm_have_one_folder_whatever_the_plan_is_called(name):
    key = Contender(f"{name}.json@12345678", None).key
    assert len(Path(key).parts) == 1
    assert key not in (".", "..")


HOSTILE = ["../../etc/passwd", "<script>alert(1)</script>", r"\input{/etc/passwd} $x_y$ %&#{}", "\x1b]0;title\x07[red]x[/]", "a\nb\tc", "'\"`"]  # fmt: skip


def test_captions_never_become_paths_html_latex_or_terminal_codes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])  # it is slow
    (tmp_path / "c.json").write_text(json.dumps(HOSTILE))
    common = ["--model", folder, "--captions", tmp_path / "c.json", "--steps", 2, "--height", 16, "--device", "cpu"]  # fmt: skip
    runs = {
        "generate": ["--tgate", "m=1"],
        "bench": ["--tgate", "m=1", "--repeats", 1, "--rivals", "none", "--frontier"],
    }
    before = refusing.state(tmp_path)
    for name, more in runs.items():
        out = tmp_path / name
        ended = refusing.run(name, *common, *more, "--out", out)
        refusing.assert_well_ended(ended)
        assert ended.code == 0, ended
        page = refusing.run("report", out, "--out", tmp_path / f"{name}.html")
        refusing.assert_well_ended(page)
        made = [path.relative_to(out).as_posix() for path in out.rglob("*")]
        assert not [
            path for path in made if "passwd" in path or "script" in path or "title" in path
        ]
        html = (tmp_path / f"{name}.html").read_text()
        assert "<script>alert" not in html
        assert "\x1b" not in html
        for latex in out.glob("*.tex"):
            assert "\\input" not in latex.read_text()
    found = {path.relative_to(tmp_path).parts[0] for path in refusing.state(tmp_path)}
    assert found - {path.relative_to(tmp_path).parts[0] for path in before} == {*runs, "generate.html", "bench.html"}  # fmt: skip


def test_bytes_on_the_command_line_that_are_no_text_are_refused(tmp_path):
    ended = refusing.run("generate", "a \udcff circle", "--out", tmp_path / "run")
    refusing.assert_refused(ended)
    assert "half of a character" in ended.err
