import contextlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import toys
from PIL import Image

from attnscope.runs.folder import Run


def ablate(folder, captions, out, *more):
    return ["ablate", "--model", folder, "--captions", captions, "--steps", 4, "--gate", 2,
            "--height", 32, "--width", 32, "--device", "cpu", "--out", out, *more]  # fmt: skip


@pytest.fixture
def references(tmp_path):
    folder = tmp_path / "references"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_ablate_leaves_images_tables_and_figures(attnscope, folder, captions, tmp_path):
    run = tmp_path / "run"
    code, out, err = attnscope(*ablate(folder, captions, run))
    assert (code, err) == (0, "")
    assert "cross-attention, 2 prompts" in out
    assert "S^L m=2" in out
    arms = pd.read_parquet(run / "arms.parquet")
    assert set(arms["trajectory"]) == {"no guidance", "S^F", "S^L"}  # PSNR to itself says nothing
    assert set(arms["measure"]) == {"psnr", "ssim"}
    images = pd.read_parquet(run / "images.parquet")
    assert len(images) == 4 * 2
    assert all((run / path).is_file() for path in images["path"])
    assert {path.name for path in (run / "figures").iterdir()} >= {
        "arms.png", "arms.pdf", "noise.png", "pictures.png", "samples.pdf",
    }  # fmt: skip


def test_self_attention_is_ablated_alone_and_gated(attnscope, folder, captions, tmp_path):
    code, out, err = attnscope(
        *ablate(folder, captions, tmp_path / "run"),
        "--attention", "self", "--steps", 9, "--gates", "6", "--intervals", "2,3", "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    arms = {row["arm"] for row in json.loads(out)["arms"]}
    assert arms == {"gate m=6"} | {
        f"{name} m=6 k={k}" for name in ("S^F", "S^L", "S^F+gate", "S^L+gate") for k in (2, 3)
    }


@pytest.mark.usefixtures("undrawn")
def test_arms_that_would_be_s_are_left_out_and_named(attnscope, folder, captions, tmp_path):
    code, _, err = attnscope(
        *ablate(folder, captions, tmp_path / "run"), "--attention", "self", "--gates", "2",
        "--intervals", "2",
    )  # fmt: skip
    assert code == 0
    assert err.splitlines() == [
        f"note: {name} m=2 k=2 would reuse nothing, and is left out" for name in ("S^L", "S^L+gate")
    ]


@pytest.mark.usefixtures("undrawn")
def test_models_schedulers_and_steps_stand_in_one_table(attnscope, sd, folder, captions, tmp_path):
    sd.save_pretrained(tmp_path / "other")
    code, out, _ = attnscope(
        *ablate(f"{folder},{tmp_path / 'other'}", captions, tmp_path / "run"),
        "--steps", "3,4", "--schedulers", "dpm,ddim", "--gates", "50%", "--seeds", "0,1",
    )  # fmt: skip
    assert code == 0
    arms = pd.read_parquet(tmp_path / "run" / "arms.parquet")
    cells = arms[["model", "scheduler", "steps", "seed"]].drop_duplicates()
    assert len(cells) == 16
    assert arms.loc[arms["steps"] == 3, "gate"].dropna().unique().tolist() == [2]
    assert "mean ± standard deviation over 2 seeds" in out
    assert (tmp_path / "run" / "seeds.csv").is_file()
    together = pd.read_csv(tmp_path / "run" / "over-seeds.csv")
    assert "over all seeds, the images of a prompt together (4 images of 2 prompts an arm)" in out
    assert set(together["prompts"]) == {2}


@pytest.mark.usefixtures("undrawn")
def test_gates_count_the_steps_that_heun_makes(attnscope, folder, captions, tmp_path):
    code, _, _ = attnscope(
        *ablate(folder, captions, tmp_path / "run"), "--steps", "3", "--schedulers", "heun",
        "--gates", "4",
    )  # fmt: skip
    assert code == 0
    arms = pd.read_parquet(tmp_path / "run" / "arms.parquet")
    assert set(arms["steps"]) == {5}
    noise = pd.read_parquet(tmp_path / "run" / "noise.parquet")
    assert set(noise["step"]) == set(range(5))


def test_the_same_command_again_makes_nothing_twice(attnscope, folder, captions, tmp_path):
    command = ablate(folder, captions, tmp_path / "run")
    _, first, _ = attnscope(*command)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.p*") if p.is_file()}
    code, second, _ = attnscope(*command)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.p*") if p.is_file()}
    assert (code, first) == (0, second)
    changed = {path for path in before if before[path] != after[path]}
    assert {path.parent.name for path in changed} <= {"figures"}


def test_an_ablation_is_drawn_again_without_torch(attnscope, folder, captions, tmp_path):
    attnscope(*ablate(folder, captions, tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / "figures")
    script = (
        "import sys; from attnscope.cli.app import app\n"
        "app(['plot', sys.argv[1], '-q'], standalone_mode=False)\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True)
    assert (tmp_path / "run" / "figures" / "arms.pdf").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_judged_again_by_other_measures(
    attnscope, folder, captions, references, tmp_path, monkeypatch
):
    pytest.importorskip("efficientnet_lite_pytorch")
    captions.write_text("a circle\n" * 4)
    attnscope(*ablate(folder, captions, tmp_path / "run"))
    monkeypatch.setattr("attnscope.analyses.ablation.sample.sampled", None)
    code, out, _ = attnscope(*ablate(folder, captions, tmp_path / "run"), "--reference", references)
    assert code == 0
    assert "KID ↓" in out


@pytest.mark.usefixtures("undrawn")
def test_distances_name_their_features(attnscope, folder, captions, references, tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    captions.write_text("a circle\n" * 4)
    code, out, err = attnscope(
        *ablate(folder, captions, tmp_path / "run"), "--reference", references
    )
    assert code == 0
    assert "FID ↓" in out
    assert "FID of 4 images is biased and not tested: read KID" in err
    arms = pd.read_parquet(tmp_path / "run" / "arms.parquet").query("measure == 'fid'")
    assert arms["features"].unique().tolist() == [
        "efficientnet-lite0, 256 x 256, antialiased bilinear"
    ]
    assert arms["reference"].unique().tolist() == ["references"]
    assert (arms["n"] == 4).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate", "9"], "there are 4 steps"),
        (["--gate", "soon"], "gate 'soon' is no step"),
        (["--gate", "2,50%"], "two arms are the same"),
        (["--gate", "nan%"], "choose a part from 1% to 100%"),
        (["--guidance", "nan"], "choose 0 (none) or more"),
        (["--batch-size", "²"], "not 'auto' or a number"),
        (["--interval", "5"], "--interval is for --attention self"),
        (["--attention", "joint"], "choose cross or self"),
        (["--attention", "self", "--interval", "0"], "not whole numbers from 1"),
        (["--noise-scale", "-1"], "choose positive numbers"),
        (["--noise-scale", "2", "--scheduler", "ddim"], "choose --scheduler dpm"),
        (["--schedulers", "dpm,magic"], "no such scheduler"),
        (["--captions", "missing.txt"], "does not exist"),
        (["--features", "vgg"], "no such --features"),
        (["--features", "reader"], "give --reference FOLDER"),
        (["--features", "none", "--reference", "."], "--reference is for FID and KID"),
        (["--clip", "missing/clip"], "missing/clip"),
    ],
)
def test_ablate_refuses_in_one_line(attnscope, folder, captions, tmp_path, options, message):
    code, out, err = attnscope(*ablate(folder, captions, tmp_path / "run"), *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no captions"), (b"\n\n", "holds no captions"), (b"\xff\xfe\xff", "is not UTF-8")],
)
def test_captions_that_cannot_be_read_are_refused(
    attnscope, folder, captions, tmp_path, content, message
):
    captions.write_bytes(content)
    code, _, err = attnscope(*ablate(folder, captions, tmp_path / "run"))
    assert code == 2
    assert message in err


@pytest.mark.usefixtures("undrawn")
def test_captions_that_are_cut_are_counted(attnscope, folder, captions, tmp_path):
    captions.write_text("a circle\n" + "a circle " * 40 + "\n")
    code, _, err = attnscope(*ablate(folder, captions, tmp_path / "run"))
    assert code == 0
    assert "warning: 1 of 2 captions have more than" in err


def test_references_that_cannot_be_used_are_refused_before_any_image(
    attnscope, folder, captions, references, tmp_path
):
    pytest.importorskip("efficientnet_lite_pytorch")
    captions.write_text("a circle\n" * 4)
    command = [*ablate(folder, captions, tmp_path / "run"), "--reference", references]
    (references / "2.png").write_bytes(b"no image")
    code, _, err = attnscope(*command)
    assert code == 2
    assert "2.png" in err
    for name in ("1.png", "2.png", "3.png"):
        (references / name).unlink()
    code, _, err = attnscope(*command)
    assert code == 2
    assert "holds 1 images" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_another_reference_of_the_same_name_is_measured_anew(
    attnscope, folder, captions, references, tmp_path
):
    pytest.importorskip("efficientnet_lite_pytorch")
    captions.write_text("a circle\n" * 4)
    other = tmp_path / "elsewhere" / references.name
    other.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(other / f"{number}.png")
    values = []
    for folder_of_images in (references, other, references):
        attnscope(*ablate(folder, captions, tmp_path / "run"), "--reference", folder_of_images)
        arms = pd.read_parquet(tmp_path / "run" / "arms.parquet").query("measure == 'fid'")
        values.append(list(arms["value"]))
    assert values[0] == values[2]
    assert values[0] != values[1]


@pytest.mark.usefixtures("undrawn")
def test_a_judgement_that_was_cut_short_is_taken_again(
    attnscope, folder, captions, references, tmp_path, monkeypatch
):
    pytest.importorskip("efficientnet_lite_pytorch")
    captions.write_text("a circle\n" * 4)
    run = tmp_path / "run"
    attnscope(*ablate(folder, captions, run))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_csv", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with contextlib.suppress(KeyboardInterrupt):
            attnscope(*ablate(folder, captions, run), "--reference", references)
    assert "fid" in set(pd.read_parquet(run / "arms.parquet")["measure"])
    attnscope(*ablate(folder, captions, run))
    assert set(pd.read_parquet(run / "arms.parquet")["measure"]) == {"psnr", "ssim"}


def of_before(run):
    """Make the tables of a run what they were when ``relation`` was the axis alone."""
    for path in run.glob("*.parquet"):
        table = pd.read_parquet(path)
        if "measure" in table:
            table = table[table["measure"] != "attributes"]
        table.drop(columns="attributes", errors="ignore").to_parquet(path, index=False)
    about = json.loads((run / "judged.json").read_text())
    (run / "judged.json").write_text(json.dumps(about | {"version": 1}, indent=2) + "\n")


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_read_in_the_old_way_is_refused_or_judged_anew(
    attnscope, tmp_path, monkeypatch
):
    """``relation`` then meant "one beside the other", whichever stood where."""
    run = tmp_path / "run"
    command = ["ablate", "--limit", 4, "--steps", 2, "--gate", 1, "--features", "none", "--out", run,
               "--device", "cpu"]  # fmt: skip
    code, before, _ = attnscope(*command)
    assert code == 0
    assert "attributes" in before
    relation = pd.read_parquet(run / "arms.parquet").query("measure == 'relation'")
    two = (pd.read_parquet(run / "images.parquet").query("arm == 'S'")["relation"].notna()).sum()
    assert (relation["n"] == two).all()
    assert f"relation: of the {two} captions with two things, fewer than 20: its diff" in before
    of_before(run)
    for more in ([], ["--json"], ["--quiet"]):
        code, out, err = attnscope("plot", run, *more)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "'relation' meant the axis alone" in err
        assert "the same 'ablate' command again" in err
    monkeypatch.setattr("attnscope.analyses.ablation.sample.sampled", None)
    code, out, _ = attnscope(*command)
    assert (code, out) == (0, before)
    assert attnscope("plot", run)[0] == 0


@pytest.mark.usefixtures("undrawn")
def test_other_settings_in_the_same_place_are_refused(attnscope, folder, captions, tmp_path):
    attnscope(*ablate(folder, captions, tmp_path / "run"))
    code, _, err = attnscope(*ablate(folder, captions, tmp_path / "run"), "--gate", "3")
    assert code == 2
    assert "gates is ['2'] there and ['3'] here" in err


@pytest.mark.usefixtures("undrawn")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_killed_goes_on_to_the_same_table(attnscope, folder, captions, tmp_path):
    """Three times at moments that nobody chose; half a picture is never taken for a whole one."""
    captions.write_text(
        "".join(f"a {color} circle\n" for color in ("red", "blue", "green", "pink"))
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def command(out):
        return ablate(folder, captions, out, "--batch-size", 1, "--quiet")

    assert attnscope(*command(whole))[0] == 0
    moments = random.Random(0)
    for _ in range(3):
        enough = len(list(killed.rglob("*.png"))) + moments.randint(1, 6)
        # Forked, since a fresh process would spend most of the test on imports.
        process = multiprocessing.get_context("fork").Process(
            target=attnscope, args=command(killed), daemon=True
        )
        process.start()
        while process.is_alive() and len(list(killed.rglob("*.png"))) < enough:
            time.sleep(0.002)
        time.sleep(moments.random() / 20)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not (killed / "arms.parquet").exists()
    assert attnscope(*command(killed))[0] == 0
    for table in ("images", "arms", "noise", "pictures"):
        ours, theirs = (pd.read_parquet(run / f"{table}.parquet") for run in (killed, whole))
        pd.testing.assert_frame_equal(ours, theirs)
    for path in whole.rglob("*.png"):
        if path.parent.name != "figures":
            assert (killed / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_videos_are_ablated_frame_by_frame(attnscope, tokenizer_folder, tmp_path):
    toys.stable_video_diffusion(tokenizer_folder).save_pretrained(tmp_path / "svd")
    (tmp_path / "stills").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "stills" / "red.png")
    command = ["ablate", "--model", tmp_path / "svd", "--images", tmp_path / "stills", "--steps", 3,
               "--gate", 1, "--height", 32, "--width", 32, "--device", "cpu",
               "--out", tmp_path / "run"]  # fmt: skip
    code, _, err = attnscope(*command)
    assert code == 2
    assert "text" in err
    assert not (tmp_path / "run").exists()
    code, out, err = attnscope(*command, "--attention", "self", "--interval", 2)
    assert code == 0
    assert err.count("would reuse nothing") == 2
    assert "frame distance" in out
    images = pd.read_parquet(tmp_path / "run" / "images.parquet").query("trajectory == 'S'")
    assert images.groupby("prompt_id")["frame"].nunique().min() > 1
    arrays = [
        np.asarray(Image.open(tmp_path / "run" / path), dtype=float) / 255
        for path in images.query("prompt_id == 0")["path"]
    ]
    distance = np.mean([np.sqrt(np.mean((b - a) ** 2)) for a, b in itertools.pairwise(arrays)])
    assert images.query("prompt_id == 0")["frames"].iloc[0] == pytest.approx(distance, rel=1e-5)
    assert images["frames"].notna().sum() == 1


def test_other_families_run_to_their_end(attnscope, tokenizer_folder, captions, tmp_path):
    """The machinery knows no model by name: SDXL with its pooled embeddings here."""
    toys.stable_diffusion_xl(tokenizer_folder).save_pretrained(tmp_path / "sdxl")
    run = tmp_path / "run"
    code, _, err = attnscope(*ablate(tmp_path / "sdxl", captions, run))
    assert (code, err) == (0, "")
    assert len(pd.read_parquet(run / "pictures.parquet")) == 4 * 2 * 4
    assert set(pd.read_parquet(run / "noise.parquet")["branch"]) == {"uncond", "cond", "guided"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.filterwarnings("always")
def test_a_warning_of_every_arm_is_said_once(attnscope, tmp_path):
    options = [
        "--gates",
        "1,2",
        "--noise-scales",
        "4",
        "--steps",
        3,
        "--limit",
        1,
        "--features",
        "none",
    ]
    code, _, err = attnscope("ablate", *options, "--out", tmp_path / "run", "-q")
    assert code == 0, err
    assert err.count("lie beyond the schedule") == 1
