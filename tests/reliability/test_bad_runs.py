"""Run directories that are damaged, of another version, or that somebody changed."""

import json
import shutil
from dataclasses import dataclass

import hostile
import numpy as np
import pandas as pd
import pytest
import refusing
import reported
from hypothesis import given
from hypothesis import strategies as st

from attnscope.errors import InputError
from attnscope.runs.folder import Run


@dataclass(frozen=True)
class _Settings:
    steps: int = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of every command, as its command leaves it."""
    root = tmp_path_factory.mktemp("whole")
    for name, make in reported.MAKERS.items():
        make(root / name)
    return root


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    """Figures take most of the time, and other tests draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attnscope.figures.saving.save_figures", lambda run: [])
        yield


_OTHER = {
    "texts": lambda n: ["x"] * n,
    "numbers": lambda n: np.arange(n) - 1.5,
    "nothing": lambda n: [None] * n,
    "lists": lambda n: [[1, 2]] * n,
    "outside": lambda n: ["../../../etc/passwd"] * n,
    "infinite": lambda n: [float("inf")] * n,
    "same": lambda n: [0] * n,
}


def changed(table, draw):
    """A table without a column or with another, without rows, or with rows twice."""
    how = draw(
        st.sampled_from(("drop", "replace", "replace", "rename", "empty", "twice", "shuffled"))
    )
    column = draw(st.sampled_from(list(table.columns)))
    if how == "drop":
        return table.drop(columns=column)
    if how == "replace":
        return table.assign(**{column: _OTHER[draw(st.sampled_from(sorted(_OTHER)))](len(table))})
    if how == "rename":
        return table.rename(columns={column: f"{column}\x1b[2J"})
    parts = {
        "empty": table.iloc[:0],
        "twice": pd.concat([table, table]),
        "shuffled": table.sample(frac=1, random_state=0),
    }
    return parts[how]


@st.composite
def damages(draw, folder):
    """Change something of a run directory."""
    kind = draw(
        st.sampled_from(("table", "table", "bytes", "about", "about", "gone", "folder", "loop"))
    )
    tables = sorted(folder.glob("*.parquet"))
    if kind == "about":
        path = folder / "run.json"
        said = draw(hostile.spoiled(json.loads(path.read_text()))) if draw(st.booleans()) else None
        content = (
            draw(hostile.damaged(path.read_bytes())) if said is None else json.dumps(said).encode()
        )
        path.write_bytes(content)
        return
    if kind == "table":
        path = draw(st.sampled_from(tables))
        changed(pd.read_parquet(path), draw).to_parquet(path)
        return
    path = draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file())))
    content = path.read_bytes()
    path.unlink()
    if kind == "bytes":
        path.write_bytes(draw(hostile.damaged(content)))
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)


@given(data=st.data())
def test_a_run_directory_that_is_damaged_is_refused_in_one_line(
    whole, counted, tmp_path_factory, data
):
    root = tmp_path_factory.mktemp("runs")
    name = data.draw(st.sampled_from(sorted(reported.MAKERS)))
    folder = root / data.draw(st.sampled_from((name, "my run 'é'", "[red]x")))
    shutil.copytree(whole / name, folder)
    data.draw(damages(folder))
    before = refusing.state(folder)
    command = data.draw(st.sampled_from(("plot", "report", "compare", "runs", "bundle")))
    line = {
        "plot": ["plot", folder, *data.draw(st.sampled_from(([], ["--json"])))],
        "report": ["report", folder, "--out", root / "page.html"],
        "compare": ["compare", folder, whole / name],
        "runs": ["runs", root],
        "bundle": ["report", folder, "--bundle", root / "site"],
    }[command]
    ended = refusing.run(*line)
    counted("runs", ended)
    refusing.assert_well_ended(ended)
    after = refusing.state(folder)
    drawn = {path for path in before if path.suffix in (".csv", ".tex", ".html")}
    refusing.assert_kept({p: d for p, d in before.items() if p not in drawn}, after)
    shutil.rmtree(root)


@pytest.mark.parametrize("name", sorted(reported.MAKERS))
def test_a_table_that_was_cut_off_is_named(attnscope, whole, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(whole / name, folder)
    for path in folder.glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-20])
    code, out, err = attnscope("plot", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is damaged (" in err
    assert f"give the same '{name}' command again" in err


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "no JSON object, but a list"),
        ({"command": "convergence"}, "it has no 'settings'"),
        ({"command": 3, "settings": {}}, "its 'command' is no str, but a int"),
        ({"command": "ablate", "settings": {}, "later": ["x"]}, "tells no machine"),
        ({"command": "ablate", "settings": {}, "created": 5}, "its 'created' is no str"),
    ],
)
def test_a_run_json_of_other_kinds_of_values_is_refused(tmp_path, said, message):
    (tmp_path / "run.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=message):
        Run(tmp_path)


@pytest.mark.parametrize("name", ["/etc/hostname", "../other/x.png"])
def test_a_table_names_files_of_its_own_run_alone(attnscope, whole, tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(whole / "generate", folder)
    table = pd.read_parquet(folder / "images.parquet")
    table.assign(path=name).to_parquet(folder / "images.parquet")
    code, _, err = attnscope("report", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert f"names {name!r}, which is no file of the run" in err


def test_a_part_that_was_damaged_is_named_and_left(tmp_path):
    run = Run.open(tmp_path / "run", "convergence", _Settings())
    run.write_part("records", pd.DataFrame({"a": [1]}))
    run.write_part("records", pd.DataFrame({"a": [2]}))
    part = tmp_path / "run" / "parts" / "records-00001.parquet"
    part.write_bytes(part.read_bytes()[:30])
    with pytest.raises(
        InputError, match=r"records-00001.parquet' is damaged .* remove it and give the same"
    ):
        run.read_parts("records")
    assert part.stat().st_size == 30
