import contextlib
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import toys
from PIL import Image

from attnscope.analyses.bench import breakdown, rivals, rounds
from attnscope.analyses.bench.arms import INACTIVE, WATCHED
from attnscope.errors import InputError

PLAN = "tgate:m=3,k=2,w=0,f=1"
OURS = ["baseline", PLAN, "guidance alone", "cross alone", "self alone",
        "guidance-cutoff:m=3,keep=cond"]  # fmt: skip


def bench(folder, out, *more):
    return ["bench", "--model", folder, "--tgate", "m=3,k=2,w=0", "--steps", 4, "--height", 32,
            "--repeats", 1, "--rivals", "none", "--device", "cpu", "--out", out, *more]  # fmt: skip


def test_bench_leaves_tables_and_figures(attnscope, folder, tmp_path):
    run = tmp_path / "run"
    code, out, err = attnscope(*bench(folder, run, "--random-weights", "--rivals", "pab"))
    assert (code, err) == (0, "")
    assert "with random weights at 32x32, 4 steps" in out
    assert "Pyramid Attention Broadcast did not run: diffusers offers no caches for" in out
    assert "what each part saves alone" in out
    assert pd.read_csv(run / "arms.csv")["arm"].tolist() == [*OURS, "Pyramid Attention Broadcast"]
    times = pd.read_csv(run / "parts.csv").groupby("arm")["seconds"].sum()
    medians = pd.read_csv(run / "arms.csv").set_index("arm")["seconds"]
    assert times.to_dict() == pytest.approx(medians[times.index].to_dict())
    assert set(times.index) == set(OURS)
    latex = (run / "arms.tex").read_text()
    assert r"\toprule" in latex
    assert "guidance alone" in latex
    assert "Pyramid" not in latex
    assert {path.name for path in (run / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in ("breakdown", "attribution") for suffix in ("png", "pdf")
    }
    assert json.loads((run / "run.json").read_text())["settings"]["weights"] == "random"


def test_bench_prints_json_and_takes_trained_weights(attnscope, folder, tmp_path):
    code, out, err = attnscope(*bench(folder, tmp_path / "run", "--latents", "--watched", "--json"))
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [row["arm"] for row in document["arms"]] == [
        "baseline", INACTIVE, WATCHED, *OURS[1:],
    ]  # fmt: skip
    assert document["settings"]["decoded"] is False
    assert "frontier" not in document


def test_the_frontier_sets_speed_beside_quality(attnscope, folder, captions, tmp_path):
    run = tmp_path / "run"
    command = bench(folder, run, "--frontier", "--captions", captions)
    code, out, err = attnscope(*command, "--watched")  # which makes no images of its own
    assert (code, err) == (0, "")
    assert "speed and quality, 2 images an arm" in out
    table = pd.read_parquet(run / "frontier.parquet")
    assert set(table["measure"]) == {"psnr", "ssim"}
    speeds = pd.read_parquet(run / "arms.parquet").set_index("arm")["speedup"]
    assert table["speedup"].tolist() == speeds[table["arm"]].tolist()
    images = pd.read_parquet(run / "images.parquet")
    assert images.groupby("arm").size().to_dict() == dict.fromkeys(OURS, 2)
    assert all((run / path).is_file() for path in images["path"])
    assert (run / "figures" / "frontier.pdf").is_file()


@pytest.mark.usefixtures("undrawn")
def test_the_batch_of_the_frontier_s_images_changes_nothing(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    from attnscope.analyses.bench import frontier

    sizes, sample = [], frontier.sample_arms

    def noted(*args, batch_size, **options):
        sizes.append(batch_size)
        return sample(*args, batch_size=batch_size, **options)

    monkeypatch.setattr(frontier, "sample_arms", noted)
    command = bench(folder, tmp_path / "run", "--frontier", "--captions", captions)
    assert attnscope(*command, "--batch-size", 1)[0] == 0
    images = {path: path.read_bytes() for path in tmp_path.rglob("run/images/**/*.png")}
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert (sizes, settings["batch"], len(images)) == ([1], 1, 2 * len(OURS))
    assert attnscope(*command, "--batch-size", 2)[0] == 0  # the same run


def test_the_package_of_the_authors_is_told_apart_from_the_plan(
    attnscope, folder, tmp_path, monkeypatch
):
    @contextlib.contextmanager
    def start(pipe, task):
        yield pipe

    rival = rivals.Rival("tgate", None, start)
    monkeypatch.setitem(rivals.RIVALS, "tgate", rival)
    run = tmp_path / "run"
    code, out, _ = attnscope(*bench(folder, run, "--rivals", "tgate"))
    assert code == 0
    arms = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    assert "tgate" not in arms
    assert arms.count("tgate (authors' package)") == 2  # times, and memory
    assert arms.count(PLAN) == 3
    assert "tgate (authors' package)" in (run / "arms.tex").read_text()
    assert "tgate" in set(pd.read_csv(run / "arms.csv")["arm"])  # as in runs of before
    code, out, _ = attnscope("compare", run, _copied(run, tmp_path / "other"))
    assert code == 0
    assert "│ tgate (authors' package) " in out


def _copied(run, to):
    shutil.copytree(run, to)
    return to


@pytest.mark.usefixtures("undrawn")
def test_images_of_other_captions_are_other_images(attnscope, folder, captions, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other.txt"
    other.write_text("a tiny green square on a blue background\n")
    attnscope(*bench(folder, run, "--frontier", "--captions", captions))
    code, out, _ = attnscope(*bench(folder, run, "--frontier", "--captions", other))
    assert code == 0
    assert "speed and quality, 1 images an arm" in out
    images = pd.read_parquet(run / "images.parquet")
    assert images["text"].unique().tolist() == ["a tiny green square on a blue background"]
    assert len(list(run.rglob("images/**/*.png"))) == 3 * len(OURS)


@pytest.mark.usefixtures("undrawn")
def test_a_rival_that_makes_no_images_stops_nobody(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    calls = []

    @contextlib.contextmanager
    def start(pipe, task):
        calls.append(1)
        if len(calls) > 2:  # the warm-up and one round
            raise RuntimeError("no more memory")
        yield pipe

    monkeypatch.setitem(rivals.RIVALS, "pab", rivals.Rival("fickle", None, start))
    command = bench(folder, tmp_path / "run", "--frontier", "--captions", captions)
    code, _, err = attnscope(*command, "--rivals", "pab")
    assert code == 0
    assert "no images of fickle: RuntimeError: no more memory" in err
    table = pd.read_parquet(tmp_path / "run" / "frontier.parquet")
    assert set(table["arm"]) == set(OURS[1:])
    assert "fickle" in set(pd.read_csv(tmp_path / "run" / "arms.csv")["arm"])


@pytest.mark.usefixtures("undrawn")
def test_rounds_of_other_arms_are_not_mixed(attnscope, folder, tmp_path):
    command = bench(folder, tmp_path / "run", "--random-weights")
    attnscope(*command)
    (tmp_path / "run" / "arms.parquet").unlink()
    kept = pd.read_parquet(tmp_path / "run" / "repetitions.parquet")
    kept[kept["arm"] != "self alone"].to_parquet(tmp_path / "run" / "repetitions.parquet")
    code, _, err = attnscope(*command)
    assert code == 2
    assert "holds rounds of other arms: choose another --out" in err


@pytest.mark.usefixtures("undrawn")
def test_gates_count_the_steps_that_a_scheduler_makes(attnscope, folder, tmp_path):
    """Heun makes 7 steps of 4, so that guidance ends with the sixth."""
    command = bench(folder, tmp_path / "run", "--scheduler", "heun", "--latents")
    command[command.index("m=3,k=2,w=0")] = "m=6"
    assert attnscope(*command)[0] == 0
    ideal = pd.read_parquet(tmp_path / "run" / "arms.parquet").set_index("arm")["ideal"]
    assert ideal["guidance alone"] == pytest.approx(14 / 13)


def test_every_rival_stands_in_the_help(attnscope):
    code, out, _ = attnscope("bench", "--help")
    assert code == 0
    assert all(name in " ".join(out.split()) for name in rivals.RIVALS)


def test_a_benchmark_is_not_run_twice_and_drawn_again_without_torch(
    attnscope, folder, tmp_path, monkeypatch
):
    command = bench(folder, tmp_path / "run", "--random-weights")
    attnscope(*command)
    monkeypatch.setattr(rounds, "measure_rounds", None)
    monkeypatch.setattr(breakdown, "measure_breakdown", None)
    code, _, err = attnscope(*command)
    assert code == 0
    assert "timed before" in err
    code, _, err = attnscope(*command, "--steps", 5)
    assert code == 2
    assert "steps is 4 there and 5 here" in err
    shutil.rmtree(tmp_path / "run" / "figures")
    script = (
        "import sys; from attnscope.cli.app import app\n"
        "app(['plot', sys.argv[1], '-q'], standalone_mode=False)\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True)
    assert (tmp_path / "run" / "figures" / "breakdown.pdf").exists()


@pytest.mark.usefixtures("undrawn")
def test_rounds_outlive_a_benchmark_that_is_stopped(attnscope, folder, tmp_path, monkeypatch):
    run, measured, numbers = tmp_path / "run", rounds.measure_rounds, []

    def stopped(*args, **options):
        yield next(measured(*args, **options))
        raise KeyboardInterrupt

    def listed(pipe, arms, workload, left, **options):
        numbers.extend(left)
        return measured(pipe, arms, workload, left, **options)

    command = [*bench(folder, run, "--random-weights"), "--repeats", 3]
    monkeypatch.setattr(rounds, "measure_rounds", stopped)
    assert attnscope(*command)[0] != 0
    before = pd.read_parquet(run / "repetitions.parquet")
    assert set(before["repetition"]) == {0}
    monkeypatch.setattr(rounds, "measure_rounds", listed)
    assert attnscope(*command)[0] == 0
    after = pd.read_parquet(run / "repetitions.parquet")
    assert numbers == [1, 2]
    assert after.groupby("arm").size().to_dict() == dict.fromkeys(OURS, 3)
    pd.testing.assert_frame_equal(after[after["repetition"] == 0], before)


@pytest.mark.usefixtures("undrawn")
def test_other_measures_judge_the_same_images_again(attnscope, folder, captions, tmp_path):
    run = tmp_path / "run"
    command = bench(folder, run, "--frontier", "--captions", captions)
    attnscope(*bench(folder, run))  # times serve both
    speeds = (run / "arms.csv").read_text()
    attnscope(*command)
    assert (run / "arms.csv").read_text() == speeds
    made = {path: path.stat().st_mtime_ns for path in run.rglob("images/**/*.png")}
    (run / "judged.json").write_text("{}")
    (run / "frontier.parquet").unlink()
    assert attnscope(*command)[0] == 0
    assert (run / "frontier.parquet").is_file()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("images/**/*.png")} == made
    assert len(made) == 12
    assert (run / "arms.csv").read_text() == speeds


def test_a_frontier_that_was_read_in_the_old_way_is_refused_or_judged_anew(attnscope, tmp_path):
    """``relation`` then meant "one beside the other", whichever stood where."""
    run = tmp_path / "run"
    command = ["bench", "--tgate", "m=2,k=2,w=0", "--steps", 3, "--repeats", 1, "--rivals", "none",
               "--device", "cpu", "--out", run]  # fmt: skip
    judged = [*command, "--frontier", "--limit", 4, "--features", "none"]
    code, out, _ = attnscope(*judged)
    assert code == 0
    assert "attributes" in out
    assert "captions with two things" in out
    frontier = pd.read_parquet(run / "frontier.parquet")
    assert {"attributes", "relation", "all"} <= set(frontier["measure"])
    old = frontier[frontier["measure"] != "attributes"]
    old.to_parquet(run / "frontier.parquet")
    about = json.loads((run / "judged.json").read_text())
    (run / "judged.json").write_text(json.dumps(about | {"version": 1}, indent=2) + "\n")
    for again in (command, ["plot", run]):
        code, out, err = attnscope(*again)
        assert (code, out) == (2, "")
        assert "'relation' meant the axis alone" in err
        assert "the same 'bench' command with --frontier again" in err
    assert attnscope(*judged)[0] == 0
    pd.testing.assert_frame_equal(pd.read_parquet(run / "frontier.parquet"), frontier)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "sd16"], "no such model: 'sd16'"),
        (["--model", "sd15", "--random-weights", "--height", "100"], "height=100 is not a multiple of 8"),
        (["--tgate", "m=9"], "there are 4 steps"),
        (["--rivals", "tgate,magic"], "no such rival: 'magic'"),
        (["--frontier", "--random-weights"], "leave --random-weights out"),
        (["--limit", "0"], "--limit: for --frontier only"),
        (["--features", "none", "--column", "a"], "--column and --features: for --frontier only"),
        (["--images", "photos"], "is conditioned on captions, not on --images"),
        (["--guidance", "-3"], "--guidance -3.0 is out of range"),
        (["--guidance", "nan"], "--guidance nan is out of range"),
        (["--random-weights", "--scheduler", "ddim"], "leave --scheduler out"),
        (["--tgate", "m=2", "--plan", "baseline"], "not both"),
        (["--dtype", "float8"], "no such dtype"),
        (["--batch-size", "4"], "how many images at a time are timed is --batch"),
        (["--random-weights", "--latents"], "leave --latents out"),
        (["--random-weights", "--allow-pickle"], "leave --allow-pickle out"),
        (["--gate", "2"], "'m=3,k=2,w=0' has its own m"),
    ],
)  # fmt: skip
def test_bench_refuses_in_one_line(attnscope, folder, tmp_path, options, message):
    code, out, err = attnscope(*bench(folder, tmp_path / "run"), *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_images_that_videos_start_from_are_cut_to_height_and_width(
    attnscope, tokenizer_folder, tmp_path, monkeypatch
):
    toys.stable_video_diffusion(tokenizer_folder).save_pretrained(tmp_path / "svd")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (80, 80), "red").save(tmp_path / "images" / "a.png")
    seen = []

    def caught(path, chosen, found, settings, given, **options):
        seen.extend([*given, *options["pictured"].given])
        raise InputError("enough")

    monkeypatch.setattr("attnscope.analyses.bench.run.carry_out", caught)
    code, _, err = attnscope(
        "bench", "--model", tmp_path / "svd", "--images", tmp_path / "images", "--height", 32,
        "--width", 64, "--rivals", "none", "--frontier", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 2, err
    assert "enough" in err, err
    assert [image.size for image in seen] == [(64, 32)] * 2


def test_further_plans_and_fewer_steps_are_arms_of_their_own(attnscope, folder, tmp_path):
    against = ["--against", "guidance-cutoff:m=2 steps=2"]
    code, _, err = attnscope(*bench(folder, tmp_path / "run", "--random-weights", *against))
    assert (code, err) == (0, "")
    arms = pd.read_csv(tmp_path / "run" / "arms.csv").set_index("arm")
    assert {"guidance-cutoff:m=2,keep=cond", "2 steps"} <= set(arms.index)
    assert arms.loc["2 steps", "ideal"] == pytest.approx(2.0)
    assert "2 steps" not in set(pd.read_csv(tmp_path / "run" / "parts.csv")["arm"])


@pytest.mark.parametrize("against", ["steps=none", "steps=0", "tgates:m=2"])
def test_what_is_no_arm_is_said(attnscope, folder, tmp_path, against):
    code, _, err = attnscope(
        *bench(folder, tmp_path / "run", "--random-weights", "--against", against)
    )
    assert code == 2
    assert "steps" in err or "no such plan" in err
    assert "Traceback" not in err
