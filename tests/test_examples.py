"""What the documents show runs: Python line by line, commands as far as their options are read."""

import re
import shlex

import matplotlib.pyplot as plt
import pytest
import typer
from test_docs import DOCUMENTS, ROOT

from attnscope.cli import app

SHOWN = [name for name in DOCUMENTS if "shapes/models" not in name]  # cards: test_docs
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
_CELL = re.compile(r"```\{code-cell\} ipython3\n(?::tags:[^\n]*\n)?(.*?)```", re.DOTALL)
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def examples(name):
    return _PYTHON.findall((ROOT / name).read_text())


def commands():
    """Every command of attnscope that a document shows, without what the shell or a remark adds."""
    for name in SHOWN:
        for block in _CONSOLE.findall((ROOT / name).read_text()):
            for line in block.splitlines():
                if line.startswith("$ attnscope "):
                    yield name, line.removeprefix("$ attnscope ")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with what the examples take for granted."""
    plan = ROOT / "docs/findings/shapes/plan-ssim-0.99.json"
    (tmp_path / "plan.json").write_text(plan.read_text())
    (tmp_path / "coco.txt").write_text("a small red circle\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


@pytest.mark.parametrize("name", [name for name in SHOWN if examples(name)])
def test_python_of_a_document_runs_from_top_to_bottom(name, here):
    names = {"__name__": "__main__"}
    for block in examples(name):
        exec(compile(block, name, "exec"), names)


@pytest.mark.parametrize(("name", "typed"), list(commands()))
def test_a_command_of_a_document_is_one(name, typed, here):
    arguments = shlex.split(typed, comments=True)
    command = typer.main.get_command(app.app)
    path = []
    while arguments and arguments[0] in getattr(command, "commands", {}):
        path.append(arguments.pop(0))
        command = command.commands[path[-1]]
    assert path, f"{name}: {typed}"
    command.make_context(" ".join(path), [*arguments])


@pytest.mark.slow
def test_the_gallery_draws_every_plot(monkeypatch):
    monkeypatch.chdir(ROOT / "docs")
    names = {}
    try:
        for cell in _CELL.findall((ROOT / "docs/gallery.md").read_text()):
            before = set(plt.get_fignums())
            exec(compile(cell, "gallery", "exec"), names)
            assert "plots." not in cell or set(plt.get_fignums()) > before
    finally:
        plt.close("all")


@pytest.mark.slow
@pytest.mark.soak  # "make docs" runs them, too
@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs/notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_runs_from_top_to_bottom(path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # that of notebooks
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": path.parent}}
    client.NotebookClient(notebook, timeout=600, resources=where).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    assert any("image/png" in out.get("data", {}) for out in outputs)


def test_a_wrong_command_is_found(here):
    command = typer.main.get_command(app.app).commands["generate"]
    with pytest.raises(Exception, match="No such option"):
        command.make_context("generate", ["--no-such"])
