"""``attnscope maps`` on an embedded model."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import toys
from PIL import Image

from attnscope.observers import components, named_maps
from attnscope.runs.folder import Run

PROMPT = "a large red circle left of a small blue star on a beige background"
BOTH = ["--features", "mid 0.0 attn?", "--point", "0.3,0.5", "--point", "0.8,0.25"]


def maps(out, *more):
    return ["maps", *more, "--steps", 3, "--device", "cpu", "--out", out]


def files(run):
    return {
        path.relative_to(run).as_posix()
        for path in run.rglob("*")
        if path.is_file() and path.suffix not in (".png", ".pdf")
    }


TABLES = {"run.json", "attention.parquet", "prompts.parquet", "words.parquet", "pictures.parquet",
          "distances.parquet"}  # fmt: skip


def test_maps_leaves_a_run_with_its_tables_maps_and_figures(attnscope, tmp_path):
    run = tmp_path / "run"
    code, out, err = attnscope(*maps(run, PROMPT))
    assert code == 0
    assert "maps of an image: 3 step x 17 word x 16 height x 16 width" in err
    assert "attention paid to words" in out
    assert re.search(r"^all words together: most at step \d, half of that until", out, re.M)
    last = (
        r"^the word looked at last: \S+, most at step \d, half of that until step \d(, the last)?$"
    )
    assert re.search(last, out, re.M)
    assert files(run) == TABLES | {"maps/00000.safetensors"}
    figures = {path.name for path in (run / "figures").iterdir()}
    assert figures == {f"{name}.{suffix}"
                       for name in ("word_maps", "attention_entropy", "attention_and_change")
                       for suffix in ("png", "pdf")}  # fmt: skip
    assert (run / "images" / "00000.png").exists()
    assert len(list((run / "estimates").iterdir())) == 3
    found, about = named_maps.read(run / "maps" / "00000.safetensors")
    assert found.axes == ("sample", "step", "word", "height", "width")
    assert about["prompt"] == PROMPT
    assert len(about["kinds"]) == len(found.words[0]) == 17
    np.testing.assert_allclose(found.values.sum(2), 1, atol=1e-2)
    attention = pd.read_parquet(run / "attention.parquet")
    assert set(attention["step"]) == {0, 1, 2}
    assert list(dict.fromkeys(attention["word"])) == list(found.words[0])
    by_site = attention.groupby(["step", "site"], observed=True)["mass"].sum()
    np.testing.assert_allclose(by_site, 1, atol=1e-4)
    assert attention["log_snr"].notna().all()


def test_words_and_phrases_have_maps_and_the_rest_is_told_apart(attnscope, tmp_path):
    run = tmp_path / "run"
    asked = ("--words", "red circle,star", "--at", "0,2", "--json")
    code, out, err = attnscope(*maps(run, PROMPT, *asked))
    assert code == 0, err
    document = json.loads(out)
    names = ["<start>", "red circle", "star", "other words", "<end>", "<padding>"]
    assert [row["word"] for row in document["words"]] == names
    assert document["maps"] == ["maps/00000.safetensors"]
    assert document["plan"] == "baseline"
    assert len(document["figures"]) == 3
    assert document["all_words"]["word"] == "all words"
    assert document["looked_at_last"] in document["words"]
    assert document["looked_at_last"]["word"] in ("red circle", "star")
    assert {"features", "points"}.isdisjoint(document)
    found, _ = named_maps.read(run / "maps" / "00000.safetensors")
    assert found.steps == (0, 2)
    assert list(found.words[0]) == names
    words = pd.read_parquet(run / "words.parquet").set_index("word")
    assert len(words["positions"]["red circle"]) == 2
    assert attnscope(*maps(run, PROMPT, *asked))[1] == out  # nothing is made twice
    assert attnscope("plot", run, "--json")[1] == out


def test_features_and_points_add_tables_files_and_figures(attnscope, tmp_path):
    run, plain = tmp_path / "run", tmp_path / "plain"
    code, out, err = attnscope(*maps(run, PROMPT, *BOTH))
    assert code == 0, err
    assert "variance that principal components explain" in out
    assert "entropy of where points look" in out
    own = {"features.parquet", "points.parquet", "features/00000.safetensors",
           "points/00000.safetensors"}  # fmt: skip
    assert files(run) == TABLES | {"maps/00000.safetensors"} | own
    figures = {path.stem for path in (run / "figures").iterdir()}
    own = {"feature_maps", "point_maps"}
    assert figures == {"word_maps", "attention_entropy", "attention_and_change"} | own
    features = pd.read_parquet(run / "features.parquet")
    assert set(features["path"]) == {"features/00000.safetensors"}
    assert set(features["kind"]) == {"self", "cross"}
    assert len(features) == 6
    found, about = components.read(run / "features" / "00000.safetensors")
    assert [one.site for one in found] == list(dict.fromkeys(features["site"]))
    assert found[0].values.shape == (3, 3, 8, 8)
    assert found[0].axes == ("step", "component", "height", "width")
    assert about["prompt"] == PROMPT
    points = pd.read_parquet(run / "points.parquet")
    assert list(zip(points["x"], points["y"], strict=True))[:2] == [(0.3, 0.5), (0.8, 0.25)]
    np.testing.assert_allclose(points["mass"], 1, atol=1e-4)
    looked, about = named_maps.read(run / "points" / "00000.safetensors")
    assert looked.axes == ("sample", "step", "point", "height", "width")
    assert looked.points == ((0.3, 0.5), (0.8, 0.25))
    assert looked.values.shape == (1, 3, 2, 16, 16)
    assert len(about["timesteps"]) == 3
    np.testing.assert_allclose(looked.values[0, 0].mean((-1, -2)) > 0, True)
    document = json.loads(attnscope("plot", run, "--json")[1])
    assert [row["point"] for row in document["points"]["table"]] == ["0.3,0.5", "0.8,0.25"]
    assert document["features"]["files"] == ["features/00000.safetensors"]
    assert document["features"]["table"][0]["together"] <= 1
    assert attnscope(*maps(plain, PROMPT, "-q"))[0] == 0
    for name in ("maps/00000.safetensors", "images/00000.png"):  # watching changes nothing
        assert (run / name).read_bytes() == (plain / name).read_bytes()
    assert not {"features", "points"} & set(Run(plain).settings)


def test_a_run_of_maps_is_drawn_again_without_torch(attnscope, tmp_path):
    attnscope(*maps(tmp_path / "run", PROMPT, *BOTH, "-q"))
    figure = tmp_path / "run" / "figures" / "point_maps.png"
    figure.unlink()
    script = (
        "import sys; from attnscope.cli.app import app\n"
        "app(['plot', sys.argv[1]], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True)
    assert figure.exists()


def test_with_heads_every_head_has_maps_of_its_own(attnscope, tmp_path):
    run = tmp_path / "run"
    command = maps(run, PROMPT, "--heads", "--sites", "mid*", "--words", "circle", *BOTH)
    code, _, err = attnscope(*command)
    assert code == 0, err
    assert (run / "figures" / "head_map.png").exists()
    for folder, axis in (("maps", "word"), ("points", "point")):
        found, _ = named_maps.read(run / folder / "00000.safetensors")
        assert found.axes == ("sample", "step", "site", "head", axis, "height", "width")
        assert len(found.sites) == 1
    for name in ("attention", "points"):
        table = pd.read_parquet(run / f"{name}.parquet")
        assert table["head"].nunique() == found.values.shape[3] > 1


def test_two_prompts_have_their_own_maps(attnscope, tmp_path):
    run, alone = tmp_path / "run", tmp_path / "alone"
    others = ("a small green square on a white background", PROMPT)
    code, out, err = attnscope(*maps(run, *others, *BOTH))
    assert code == 0, err
    assert "2 prompts" in out
    assert "figures of maps show the first prompt" in out
    assert attnscope(*maps(alone, others[0], *BOTH, "-q"))[0] == 0
    for folder in ("maps", "points"):
        both, _ = named_maps.read(run / folder / "00000.safetensors")
        one, _ = named_maps.read(alone / folder / "00000.safetensors")
        assert both.words == one.words
        np.testing.assert_allclose(both.values, one.values, atol=2e-3)
    second, about = named_maps.read(run / "maps" / "00001.safetensors")
    assert about["prompt"] == PROMPT
    assert "star" in second.words[0]
    for name in ("attention", "features", "points"):
        assert set(pd.read_parquet(run / f"{name}.parquet")["prompt_id"]) == {0, 1}


@pytest.mark.usefixtures("undrawn")
def test_under_a_plan_maps_end_where_attention_is_reused(attnscope, tmp_path):
    run = tmp_path / "run"
    code, out, err = attnscope(*maps(run, PROMPT, "--tgate", "m=2,k=1", *BOTH))
    assert code == 0, err
    assert "tgate:m=2,k=1" in out
    assert set(pd.read_parquet(run / "attention.parquet")["step"]) == {0, 1}
    assert named_maps.read(run / "maps" / "00000.safetensors")[0].steps == (0, 1)
    assert named_maps.read(run / "points" / "00000.safetensors")[0].steps == (0, 1)
    (found, *_), _ = components.read(run / "features" / "00000.safetensors")
    assert found.steps == (0, 1)  # then the branch that reads the prompt is dropped


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_is_killed_goes_on_to_the_same_tables_and_bytes(
    attnscope, tmp_path, monkeypatch
):
    prompts = ("a red circle", "a blue star", PROMPT)
    more = (*prompts, "--batch-size", 1, "-q", *BOTH)
    assert attnscope(*maps(tmp_path / "whole", *more))[0] == 0
    write, killed = Run.write_part, []

    def stop(run, name, part, *number):
        write(run, name, part, *number)
        killed.append(name)
        if killed.count("points") == 2:  # the second prompt's files are there, its row is not
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_part", stop)
    assert attnscope(*maps(tmp_path / "run", *more))[0] != 0
    assert killed.count("attention") == 1
    assert not (tmp_path / "run" / "attention.parquet").exists()
    kept = []
    monkeypatch.setattr(Run, "write_part", lambda *of: kept.append(of[1]) or write(*of))
    assert attnscope(*maps(tmp_path / "run", *more))[0] == 0
    assert kept.count("attention") == 2
    assert not (tmp_path / "run" / "parts").exists()
    for name in ("attention", "prompts", "words", "pictures", "distances", "features", "points"):
        made, whole = (
            pd.read_parquet(tmp_path / which / f"{name}.parquet") for which in ("run", "whole")
        )
        pd.testing.assert_frame_equal(made, whole)
    for path in sorted((tmp_path / "whole").glob("*/*")):
        if path.suffix in (".safetensors", ".png") and path.parent.name != "figures":
            other = tmp_path / "run" / path.relative_to(tmp_path / "whole")
            assert other.read_bytes() == path.read_bytes(), path


def test_images_that_are_not_square_have_maps_of_their_shape(attnscope, tmp_path):
    run = tmp_path / "run"
    code, _, err = attnscope(*maps(run, PROMPT, "--height", 32, "--width", 64, *BOTH))
    assert code == 0, err
    with Image.open(run / "images" / "00000.png") as image:
        assert image.size == (64, 32)
    for folder in ("maps", "points"):
        found, _ = named_maps.read(run / folder / "00000.safetensors")
        assert found.values.shape[-2:] == (8, 16)
    (found, *_), _ = components.read(run / "features" / "00000.safetensors")
    assert found.values.shape[-2:] == (4, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--words", "dog"], "large, red, circle"),
        (["--at", "0,3"], "steps [3] are not of this run: choose 0 to 2"),
        (["--at", "x"], "--at 'x' is not whole numbers from 0"),
        (["--sites", "nothing*"], "no attention site matches"),
        (["--features", "nothing*"], "no attention site matches"),
        (["--point", "1.2,0.5"], "1.2,0.5 is not in the image: choose x and y from 0 to 1"),
        (["--point", "0.3"], "--point '0.3' is no point x,y, such as 0.3,0.5"),
        (["--point", "0.3,nan"], "is not in the image"),
        (["--point", "0.3,0.5", "--sites", "*attn2"], "kinds=self,joint"),
        (["--tgate", "m=9"], "m=9, but there are 3 steps"),
    ],
)
def test_maps_refuses_in_one_line(attnscope, tmp_path, options, message):
    code, out, err = attnscope(*maps(tmp_path / "run", PROMPT, *options))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_place_within_a_file_is_refused_before_anything_runs(attnscope, tmp_path):
    (tmp_path / "file").write_text("x")
    code, out, err = attnscope(*maps(tmp_path / "file" / "deep" / "run", PROMPT))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"stands in '{tmp_path / 'file'}', which is a file: choose another" in err


@pytest.mark.parametrize("words", ["", ",,", " , "])
def test_no_words_at_all_are_refused(attnscope, tmp_path, words):
    code, out, err = attnscope(*maps(tmp_path / "run", PROMPT, "--words", words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--words" in err


@pytest.mark.usefixtures("undrawn")
def test_a_model_without_self_attention_has_no_points(attnscope, tokenizer_folder, tmp_path):
    alone = {"only_cross_attention": True, "mid_block_type": None}
    toys.stable_diffusion(tokenizer_folder, **alone).save_pretrained(tmp_path / "toy")
    model = ("--model", tmp_path / "toy", "--height", 32, "--width", 32)
    code, _, err = attnscope(*maps(tmp_path / "run", "a red circle", *model, "--point", "0.5,0.5"))
    assert code == 2
    assert "kinds=self,joint: the denoiser has 6 cross, 0 self, 0 joint" in err
    assert attnscope(*maps(tmp_path / "run", "a red circle", *model, "-q"))[0] == 0


@pytest.mark.usefixtures("undrawn")
def test_other_points_in_the_same_place_are_refused(attnscope, tmp_path):
    attnscope(*maps(tmp_path / "run", PROMPT, "-q"))
    code, _, err = attnscope(*maps(tmp_path / "run", PROMPT, "--point", "0.3,0.5"))
    assert code == 2
    assert "points is None there and [[0.3, 0.5]] here" in err


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("words", ["red circle,circle", "red circle,circle left"])
def test_words_that_overlap_count_once_among_all_words(attnscope, tmp_path, words):
    from attnscope.figures.maps import attention_entropy, head_map

    run = tmp_path / "run"
    assert attnscope(*maps(run, PROMPT, "--words", words, "--heads"))[0] == 0
    attention = pd.read_parquet(run / "attention.parquet")
    middle = attention_entropy(attention).axes[1]
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in middle.lines}
    assert set(curves) == {"all words", "<start>", "<end>", "<padding>"}
    np.testing.assert_allclose(sum(curves.values()), 1, atol=1e-4)
    grid = np.asarray(head_map(attention).axes[0].images[0].get_array())
    added = attention["word"].isin(["<start>", "<end>", "<padding>"])
    paid = attention[added].groupby(["site", "head", "step"], observed=True)["mass"].sum()
    by_head = (1 - paid).groupby(["site", "head"], observed=True, sort=False).mean()
    np.testing.assert_allclose(
        np.sort(grid[np.isfinite(grid)]), np.sort(by_head.to_numpy()), atol=1e-4
    )


@pytest.mark.parametrize("command", ["maps", "generate", "bench"])
def test_a_prompt_without_the_words_of_a_plan_is_named_before_anything_runs(
    attnscope, tmp_path, command
):
    captions, run = tmp_path / "captions.txt", tmp_path / "run"
    captions.write_text("a red circle\na red star\na blue star\na green star\n")
    plan = "reweight:words=<padding>|star|red,factor=0"
    options = [
        "--captions",
        captions,
        "--plan",
        plan,
        "--steps",
        3,
        "--device",
        "cpu",
        "--out",
        run,
    ]
    options += ["--batch-size", 1] if command != "bench" else ["--frontier", "--repeats", 1]
    code, _, err = attnscope(command, *options)
    assert code == 2
    assert (
        err.strip()
        .splitlines()[-1]
        .endswith(
            "prompt 1 of 4, 'a red circle': the prompt has no 'star': its words are a, red, circle; the plan "
            "scales attention to '<padding>', 'star', 'red', which every prompt is to have"
        )
    )
    assert not run.exists()
    captions.write_text("a red star\na blue star\n")
    code, _, err = attnscope(command, *options)
    assert code == 2
    assert (
        "prompt 2 of 2, 'a blue star': the prompt has no 'red': its words are a, blue, star" in err
    )
    assert not run.exists()
