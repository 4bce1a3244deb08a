import dataclasses
import json
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image

import attnscope as package
from attnscope import documents
from attnscope.cli import app
from attnscope.figures import saving
from attnscope.runs.folder import Run, default_path


def strictly(text):
    """A JSON document as RFC 8259 has it: Python's own reader also takes NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_finite_number_is_null_wherever_it_stands():
    table = pd.DataFrame({"x": [1.5, np.inf], "n": pd.array([1, None], "Int64"), "k": ["a", None]})
    value = {
        "floats": [float("inf"), -float("inf"), float("nan"), 1.5],
        "numpy": (np.float32("inf"), np.float64("nan"), np.int64(3), np.bool_(True)),
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "missing": [pd.NA, pd.NaT, None],
        "table": table,
        "series": table["x"],
        "deep": {"er": [{"x": float("nan")}]},
    }
    assert strictly(documents.text(value)) == {
        "floats": [None, None, None, 1.5],
        "numpy": [None, None, 3, True],
        "array": [[1.0, None], [None, 2.0]],
        "missing": [None, None, None],
        "table": [{"x": 1.5, "n": 1, "k": "a"}, {"x": None, "n": None, "k": None}],
        "series": [1.5, None],
        "deep": {"er": [{"x": None}]},
    }


def test_values_keep_their_kind():
    value = {
        "path": PurePosixPath("a/b"),
        "category": pd.Categorical(["a", "b", "a"]),
        "time": pd.Timestamp("2024-01-02T03:04:05"),
        3: {np.int64(4): "keys"},
        "text": "é NaN Infinity",
    }
    assert strictly(documents.text(value)) == {
        "path": "a/b",
        "category": ["a", "b", "a"],
        "time": "2024-01-02T03:04:05",
        "3": {"4": "keys"},
        "text": "é NaN Infinity",
    }


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 0, 1j, b"bytes"])
def test_what_json_has_no_word_for_is_refused_and_not_made_text(value):
    with pytest.raises(TypeError, match=f"no JSON for a {type(value).__name__}"):
        documents.text({"x": [value]})


@dataclasses.dataclass(frozen=True)
class _Settings:
    scale: float
    names: tuple[str, ...] = ("b", "a")


def test_a_run_is_found_again_whatever_its_settings_hold(tmp_path):
    for scale in (1.5, float("inf"), float("nan")):
        settings = _Settings(scale)
        path = tmp_path / str(scale)
        run = Run.open(path, "test", settings, speed=float("nan"))
        about = strictly((path / "run.json").read_text())
        assert about["settings"]["scale"] == (1.5 if scale == 1.5 else None)
        assert about["machine"]["speed"] is None
        assert Run.open(path, "test", settings).settings == run.settings
    # the name of a run directory may not change, or nobody finds a run again
    assert str(default_path("test", "m", _Settings(1.5))) == "runs/test-m-9c594c82"


def test_one_place_writes_json():
    sources = Path(package.__file__).parent.rglob("*.py")
    writing = re.compile(r"json\.dumps?\(|to_json\(")
    found = {path.name for path in sources if writing.search(path.read_text("utf-8"))}
    # configurations of diffusers, which hold -Infinity, come out of these two as they went in
    assert found == {"documents.py", "architectures.py", "exporting.py"}


# --- every command ---------------------------------------------------------------------------

_TOY = ["--model", "{folder}", "--captions", "{captions}", "--out", "{run}", "--steps", 4,
        "--height", 32, "--width", 32, "--device", "cpu"]  # fmt: skip
_ALONE = [option for option in _TOY if option not in ("--captions", "{captions}")]
_COMMANDS = {
    "models": [[]],
    "runs": [],  # these two need runs: analyses/test_side_by_side.py
    "compare": [],
    "merge": [],  # and this one shards: analyses/test_merging.py
    "report": [],  # and this one: cli/test_cli_report.py
    "tune": [],  # and this one more captions: cli/test_cli_tune.py
    "plan": [
        ["--tgate", "m=2,k=2"],
        ["--tgate", "m=1", "--steps", 1],
        ["--tgate", "m=-1nat", "--model", "shapes"],
    ],
    "cost": [
        [],
        ["--scaling", "--tokens", 1],
        ["--plan", "baseline"],  # saves nothing, of which no share is to be had
        ["--tgate", "m=1", "--steps", 1],
        ["paper"],
    ],
    "convergence": [_TOY, [*_TOY, "--guidance", 1]],
    # plans that change nothing: images are the same to the bit, and their PSNR is infinite
    "generate": [
        [*_TOY, "--tgate", "m=4,k=1", "--compare"],
        [*_TOY, "--plans", "baseline;m=4,k=1;m=2", "--each-step"],
    ],
    "paper": [[], ["tableA14"], ["table5", "--gpu-plan"], ["figure5", "--out", "{run}"]],
    "ablate": [[*_TOY, "--gate", "100%"]],
    "bench": [
        [*_TOY, "--plan", "cross-reuse:m=4", "--repeats", 1, "--rivals", "pab", "--frontier"],
        [*_TOY, "--tgate", "m=2,k=2,w=0", "--repeats", 2, "--rivals", "none", "--frontier"],
        [*_TOY, "--plans", "baseline;m=4,k=1", "--repeats", 1, "--frontier"],
    ],
    "maps": [
        ["a small red circle", *_ALONE],
        ["a small red circle", *_ALONE, "--features", "mid*", "--point", "0.3,0.5"],
    ],
    "plot": [],  # after every command that leaves a run
    "shapes score": [["--limit", 1, "--steps", 1], ["--limit", 2, "--steps", 1]],
}


def _with_json(command, name=""):
    """The names of all commands that take ``--json``."""
    for child, found in getattr(command, "commands", {}).items():
        yield from _with_json(found, f"{name} {child}".strip())
    if any("--json" in option.opts for option in command.params):
        yield name


def test_every_command_that_prints_json_is_here():
    assert set(_with_json(typer.main.get_command(app.app))) == set(_COMMANDS)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, variants in _COMMANDS.items() for options in variants],
)
def test_json_of_every_command_is_json(
    attnscope, folder, captions, tmp_path, monkeypatch, name, options
):
    run = tmp_path / "run"
    places = {"{folder}": folder, "{captions}": captions, "{run}": run}
    options = [places.get(option, option) for option in options]
    code, out, err = attnscope(*name.split(), *options, "--json")
    assert code == 0, err
    printed = strictly(out)
    assert printed
    if "--gate" in options or "cross-reuse:m=4" in options or "--compare" in options:
        assert '": null' in out  # a PSNR that has no number
    if run in options:
        assert strictly((run / "run.json").read_text())["settings"]
        figures = [Path(path) for path in printed.get("figures", ())]
        assert all(path.is_file() for path in figures)
        monkeypatch.setattr(saving, "save_figures", lambda run: figures)  # they were drawn
        code, drawn, err = attnscope("plot", run, "--json")
        assert (code, strictly(drawn)) == (0, printed), err
    for path in run.rglob("*.json"):
        strictly(path.read_text())


def test_settings_inside_a_png_are_json(attnscope, folder, captions, tmp_path):
    command = ["generate", *_TOY, "--tgate", "m=2"]
    places = {"{folder}": folder, "{captions}": captions, "{run}": tmp_path / "run"}
    assert attnscope(*(places.get(option, option) for option in command))[0] == 0
    with Image.open(tmp_path / "run" / "images" / "00000.png") as image:
        assert strictly(image.text["attnscope"])["plan"] == "tgate:m=2,k=1,w=2,f=1"
