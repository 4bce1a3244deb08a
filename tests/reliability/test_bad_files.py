"""Captions, plans, references and models that are damaged, or say what cannot be."""

import json
import shutil

import hostile
import numpy as np
import pandas as pd
import pytest
import refusing
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnscope.models import loading

TEXTS = ["a small red circle", "a large blue star, 'quoted'"]
PLAN = {
    "attnscope_plan": 1, "model": "shapes", "steps": 3, "log_snr": [-5.0, -1.0, 3.0], "guidance": "bcc",
    "directions": [0.0, 0.5, 1.0], "modules": {"cross": {"mid_block.attn2": "#.."}, "self": {"mid_block.attn1": "#~#"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Files that are as they should be, by their ending."""
    root = tmp_path_factory.mktemp("originals")
    table = pd.DataFrame({"caption": TEXTS, "n": [1, 2]})
    table.to_csv(root / "a.csv")
    table.to_csv(root / "a.tsv", sep="\t")
    table.to_parquet(root / "a.parquet")
    table.to_json(root / "a.jsonl", orient="records", lines=True)
    (root / "a.json").write_text(json.dumps({"annotations": [{"caption": text} for text in TEXTS]}))
    (root / "a.txt").write_text("\n".join(TEXTS))
    np.savez(root / "a.npz", mean=np.zeros(3), covariance=np.eye(3))
    (root / "plan.json").write_text(json.dumps(PLAN))
    Image.new("RGB", (20, 20), "red").save(root / "a.png")
    return {path.name: path.read_bytes() for path in root.iterdir()}


def asking(name):
    """Commands that read a file of this name, and cannot be carried out in the end."""
    captions = [["generate", "--captions"], ["convergence", "--limit", "1", "--captions"],
                ["ablate", "--captions"], ["tune", "--captions"]]  # fmt: skip
    if name == "plan.json":
        return [["plan"], ["generate", "--plan"], ["bench", "--plan"], ["cost", "--plan"]]
    if name in ("a.npz", "a.png"):
        return [["ablate", "--limit", "9", "--reference"], ["generate", "--captions"]]
    return captions


@st.composite
def files(draw, names):
    """The name of a file, what to do with it, and what it then is called."""
    name = draw(st.sampled_from(names))
    called = draw(
        hostile.text.filter(
            lambda t: t and "/" not in t and len(t.encode()) < 200 and t not in (".", "..")
        )
    )
    how = draw(st.sampled_from(("damaged", "damaged", "folder", "loop", "nowhere")))
    return name, how, called


NAMES = ["a.csv", "a.tsv", "a.parquet", "a.jsonl", "a.json", "a.txt", "a.npz", "a.png", "plan.json"]


def put(folder, name, how, called, content):
    """A file, or what stands in its place."""
    path = folder / f"{called}{name[name.rindex('.') :]}"
    if how == "folder":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "nowhere":
        path.symlink_to(folder / "nowhere" / "at all")
    else:
        path.write_bytes(content)
    return path


@given(data=st.data(), file=files(NAMES))
def test_a_file_that_is_damaged_is_refused_in_one_line(
    originals, counted, tmp_path_factory, data, file
):
    name, how, called = file
    folder = tmp_path_factory.mktemp("files")
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("dear reader")
    if name == "plan.json" and data.draw(st.booleans()):
        content = json.dumps(data.draw(hostile.spoiled(PLAN))).encode()
    else:
        content = data.draw(hostile.damaged(originals[name]))
    path = put(folder, name, how, called, content)
    before = refusing.state(folder)
    line = data.draw(st.sampled_from(asking(name)))
    out = [] if line[0] == "plan" else ["--out", folder / "out"]
    ended = refusing.run(*line, path, *out)
    counted("files", ended)
    refusing.assert_well_ended(ended)
    assert ended.code == 2 or line[0] in ("plan", "cost"), ended
    refusing.assert_kept(before, refusing.state(folder))
    shutil.rmtree(folder)


# --- the folder of a model -------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tokenizer_folder, tmp_path_factory):
    """A whole pipeline in a folder, and what its JSON files say."""
    folder = tmp_path_factory.mktemp("toy")
    toys.stable_diffusion(tokenizer_folder).save_pretrained(folder)
    return folder


@settings(max_examples=settings.default.max_examples // 4)  # they are slow
@given(data=st.data())
def test_a_model_that_is_damaged_is_refused_in_one_line(toy, counted, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("models") / data.draw(
        st.sampled_from(("toy", "my model 'é'", "[red]"))
    )
    shutil.copytree(toy, folder)
    names = sorted(path.relative_to(toy) for path in toy.rglob("*") if path.is_file())
    for _ in range(data.draw(st.integers(1, 2))):
        path = folder / data.draw(st.sampled_from(names))
        if path.suffix == ".json" and path.is_file() and data.draw(st.integers(0, 4)):
            try:
                said = json.loads(path.read_bytes())
            except ValueError:
                continue
            if isinstance(said, dict) and said:
                path.write_text(json.dumps(data.draw(hostile.spoiled(said))))
        elif path.is_file():
            kept = path.read_bytes()
            path.unlink()
            how = data.draw(
                st.sampled_from(("damaged", "damaged", "folder", "loop", "nowhere", "gone"))
            )
            if how != "gone":
                put(path.parent, path.name, how, path.stem, data.draw(hostile.damaged(kept)))
    before = refusing.state(folder)
    line = data.draw(st.sampled_from((
        ["generate", "a circle", "--steps", "1", "--height", "16", "-q"],
        ["cost", "--steps", "2", "--height", "16"],
        ["plan", "--steps", "2"],
        ["bench", "--random-weights", "--steps", "1", "--height", "16", "--repeats", "1", "--rivals", "none", "--tgate", "m=1", "-q"],
    )))  # fmt: skip
    out = ["--out", folder.parent / "out"] if line[0] in ("generate", "bench") else []
    ended = refusing.run(*line, "--model", folder, *out)
    counted("models", ended)
    refusing.assert_well_ended(ended)
    refusing.assert_kept(before, refusing.state(folder))
    shutil.rmtree(folder.parent)


def test_the_model_is_loaded_where_nothing_is_damaged(toy):
    assert loading.load(str(toy), offline=True).unet is not None
