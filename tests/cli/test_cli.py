import inspect
import json
import shlex
import subprocess
import sys
import warnings
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import toys
import typer
from PIL import Image

from attnscope.cli import app as cli_app
from attnscope.runs.columns import READ
from attnscope.runs.folder import Run
from attnscope.shapes import scenes as world

COMMANDS = typer.main.get_command(cli_app.app).commands


def convergence(folder, captions, out, *more):
    return ["convergence", "--model", folder, "--captions", captions, "--steps", 4, "--height", 32,
            "--width", 32, "--device", "cpu", "--out", out, *more]  # fmt: skip


def test_convergence_leaves_a_run_with_its_figures(attnscope, folder, captions, tmp_path):
    code, out, err = attnscope(*convergence(folder, captions, tmp_path / "run"))
    assert (code, err) == (0, "")
    assert "when is a site's relative change under 5% of its first?" in " ".join(out.split())
    names = {
        path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*")
    }
    assert names == {
        "run.json", "records.parquet", "prompts.parquet", "converged.csv", "figures",
        *(f"figures/{name}.{suffix}" for name in ("figure2", "figureA3", "heatmap")
          for suffix in ("png", "pdf")),
    }  # fmt: skip


def test_the_same_command_again_measures_nothing_twice(attnscope, folder, captions, tmp_path):
    command = convergence(folder, captions, tmp_path / "run", "--json")
    first = attnscope(*command)
    before = (tmp_path / "run" / "records.parquet").stat().st_mtime_ns
    assert attnscope(*command) == first
    assert (tmp_path / "run" / "records.parquet").stat().st_mtime_ns == before
    assert len(json.loads(first[1])["sites"]) == 8


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("more", "table"), [([], "records"), (["--controls"], "controls")])
def test_a_run_that_is_stopped_goes_on_to_the_same_table(
    attnscope, folder, captions, tmp_path, monkeypatch, more, table
):
    more = ["-q", "--batch-size", 1, *more]
    attnscope(*convergence(folder, captions, tmp_path / "whole", *more))
    command = convergence(folder, captions, tmp_path / "run", *more)
    write = Run.write_part

    def stop(run, name, part, *number):
        write(run, name, part, *number)
        if name == table:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_part", stop)
    assert attnscope(*command)[0] != 0
    assert not (tmp_path / "run" / f"{table}.parquet").exists()
    kept = []
    monkeypatch.setattr(Run, "write_part", lambda *of: kept.append(of[1]) or write(*of))
    assert attnscope(*command)[0] == 0
    assert kept == [table]
    assert not (tmp_path / "run" / "parts").exists()
    made, whole = (
        pd.read_parquet(tmp_path / name / f"{table}.parquet") for name in ("run", "whole")
    )
    pd.testing.assert_frame_equal(made, whole)


@pytest.mark.usefixtures("undrawn")
def test_other_settings_in_the_same_place_are_refused(attnscope, folder, captions, tmp_path):
    attnscope(*convergence(folder, captions, tmp_path / "run", "-q"))
    code, _, err = attnscope(*convergence(folder, captions, tmp_path / "run", "--seed", 1))
    assert code == 2
    assert err.startswith("error: --out ")
    assert "seed is 0 there and 1 here" in err


def test_a_run_is_drawn_again_without_torch(attnscope, folder, captions, tmp_path):
    attnscope(*convergence(folder, captions, tmp_path / "run", "-q"))
    figure = tmp_path / "run" / "figures" / "figure2.png"
    figure.unlink()
    script = (
        "import sys; from attnscope.cli.app import app\n"
        "app(['plot', sys.argv[1], '-q'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True)
    assert figure.exists()


def generate(folder, out, *more):
    return ["generate", "--model", folder, "--steps", 5, "--height", 32, "--width", 32,
            "--device", "cpu", "--out", out, *more]  # fmt: skip


def test_generate_makes_images_with_their_settings_inside(attnscope, folder, tmp_path):
    command = generate(
        folder, tmp_path / "run", "a red circle", "ein Kreis, grün", "--tgate", "m=3,k=2"
    )
    code, out, err = attnscope(*command)
    assert (code, err) == (0, "")
    assert "guided steps: 3 of 5" in out
    assert "speed-up" not in out
    paths = sorted((tmp_path / "run" / "images").iterdir())
    assert [path.name for path in paths] == ["00000.png", "00001.png"]
    with Image.open(paths[1]) as image:
        assert image.size == (32, 32)
        about = json.loads(image.text["attnscope"])
        assert image.text["Description"] == "ein Kreis, grün"
    assert about["plan"] == "tgate:m=3,k=2,w=2,f=1"
    assert (about["prompt_id"], about["steps"], about["seed"]) == (1, 5, 0)
    assert (tmp_path / "run" / "figures" / "samples.png").exists()
    assert not (tmp_path / "run" / "figures" / "comparison.png").exists()


def test_generate_compares_with_the_same_images_without_the_plan(
    attnscope, folder, captions, tmp_path
):
    command = generate(folder, tmp_path / "run", "--captions", captions, "--tgate", "m=2,k=2,w=0",
                       "--compare", "--batch-size", 1)  # fmt: skip
    code, out, err = attnscope(*command, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["guided_steps"] == 2
    assert len(result["speed_up"]) == 2
    calls = {row["kind"]: row for row in result["calls"]}
    assert calls["cross"] == {
        "kind": "cross",
        "computed": 2 * 2 * 4,
        "stored": 8,
        "reused": 2 * 3 * 4,
    }
    ours = [row for row in result["images"] if row["arm"] == "plan"]
    assert all(np.isfinite(row["psnr"]) and 0 < row["ssim"] < 1 for row in ours)
    assert (tmp_path / "run" / "figures" / "comparison.pdf").exists()
    plain = attnscope(*generate(folder, tmp_path / "plain", "--captions", captions, "-q"))
    assert plain[0] == 0
    for name in ("00000.png", "00001.png"):
        with (
            Image.open(tmp_path / "run" / "baseline" / name) as compared,
            Image.open(tmp_path / "plain" / "images" / name) as alone,
        ):
            assert np.array_equal(np.asarray(compared), np.asarray(alone))
            assert json.loads(compared.text["attnscope"])["plan"] == "baseline"
    assert attnscope(*command, "--json")[1] == out  # nothing is made twice
    code, drawn, _ = attnscope("plot", tmp_path / "run")
    assert code == 0
    assert "speed-up: " in drawn


def test_what_is_the_same_to_the_bit_is_said_in_words_and_valid_json(attnscope, folder, tmp_path):
    command = generate(folder, tmp_path / "run", "a circle", "--tgate", "m=5", "--compare")
    code, out, _ = attnscope(*command)
    assert code == 0
    assert "1 of 1 images are the baseline's to the bit" in out
    out = attnscope(*command, "--json")[1]
    assert "Infinity" not in out
    assert json.loads(out)["images"][0]["psnr"] is None


def test_a_plan_that_had_nothing_to_do_is_a_line_without_a_source(attnscope, folder, tmp_path):
    command = generate(folder, tmp_path / "run", "a circle", "--guidance", "1", "--plan",
                       "guidance-cutoff:m=2", "-q")  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("default", message="there was no guidance")
        code, _, err = attnscope(*command)
    assert code == 0
    assert (
        err == "warning: there was no guidance that guidance-cutoff:m=2,keep=cond could cut off\n"
    )


def test_an_image_that_is_gone_is_named(attnscope, folder, tmp_path):
    attnscope(*generate(folder, tmp_path / "run", "a circle", "-q"))
    (tmp_path / "run" / "images" / "00000.png").unlink()
    code, _, err = attnscope("plot", tmp_path / "run")
    assert code == 2
    assert "00000.png' of the run is gone" in err


def test_generate_makes_videos_of_images(attnscope, tokenizer_folder, tmp_path):
    toys.stable_video_diffusion(tokenizer_folder).save_pretrained(tmp_path / "svd")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "images" / "red.png")
    command = generate(tmp_path / "svd", tmp_path / "run", "--images", tmp_path / "images",
                       "--tgate", "m=2", "--compare", "--json")  # fmt: skip
    code, out, err = attnscope(*command)
    assert (code, err) == (0, "")
    frames = [row["frame"] for row in json.loads(out)["images"] if row["arm"] == "plan"]
    assert frames == list(range(len(frames)))
    assert len(frames) > 1
    assert len(list((tmp_path / "run" / "images").glob("*.png"))) == len(frames)
    with Image.open(tmp_path / "run" / "images" / "00000.gif") as video:
        assert video.n_frames == len(frames)


def test_a_generate_run_is_drawn_again_without_torch(attnscope, folder, tmp_path):
    attnscope(
        *generate(folder, tmp_path / "run", "a red circle", "--tgate", "m=2", "--compare", "-q")
    )
    figure = tmp_path / "run" / "figures" / "comparison.png"
    figure.unlink()
    script = (
        "import sys; from attnscope.cli.app import app\n"
        "app(['plot', sys.argv[1]], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True)
    assert figure.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tgate", "m=0"], "m (gate)=0 is no whole number from 1"),
        (["--tgate", "m=9"], "m=9, but there are 5 steps"),
        (["--tgate", "m=3", "--plan", "baseline"], "not both"),
        (["--plan", "teacache"], "no such plan: 'teacache'"),
        (["--compare"], "--compare needs a plan"),
        (["--captions", "x.txt"], "prompts on the command line go without --captions"),
        (["--limit", "1", "--column", "x"], "go without --column, --limit"),
        (["--scheduler", "magic"], "no such scheduler"),
    ],
)
def test_generate_refuses_in_one_line(attnscope, folder, tmp_path, options, message):
    code, out, err = attnscope(*generate(folder, tmp_path / "run", "a circle", *options))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_plan_draws_the_schedule(attnscope, tmp_path):
    code, out, err = attnscope("plan", "--tgate", "m=10,k=5", "--out", tmp_path / "figure5.png")
    assert (code, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines()[2:5])
    assert rows["self"] == "██●··●···████████████████"
    assert rows["cross"] == "█████████●···············"
    assert rows["branches"] == "██████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒"
    assert (tmp_path / "figure5.png").exists()
    code, out, _ = attnscope("plan", "--plan", "null-text-late:m=2", "--steps", "4", "--json")
    assert code == 0
    text = [row["what"] for row in json.loads(out)["schedule"] if row["row"] == "text"]
    assert text == ["prompt", "prompt", "null", "null"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tgate", "m=10", "--steps", 5], "there are 5 steps"),
        (["--tgate", "m=2", "--out", "nowhere/x.png"], "in a folder that exists"),
    ],
)
def test_plan_refuses_in_one_line(attnscope, options, message):
    code, _, err = attnscope("plan", *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "sd3000"], "no such model: 'sd3000'"),
        (["--model", "nobody/nothing", "--offline"], "run 'hf download nobody/nothing'"),
        (["--captions", "missing.txt"], "does not exist"),
        (["--limit", "99"], "there are 2 captions"),
        (["--kinds", "crss"], "choose from cross, self, joint"),
        (["--sites", "nothing*"], "no attention site matches"),
        (["--scheduler", "magic"], "no such scheduler"),
        (["--batch-size", "many"], "--batch-size 'many'"),
        (["--height", "33"], "not a multiple of 8"),
        (["--device", "abacus"], "device 'abacus'"),
        (["--dtype", "float8"], "no such dtype"),
        (["--images", "."], "not on --images"),
        (["--column", "x"], "--column needs a table"),
        (["--steps", "4,x"], "--steps '4,x' is not whole numbers from 2"),
        (["--scheduler", "dpm,magic"], "no such scheduler: 'magic' (choose dpm, "),
        (["--seed", "-1"], "--seed '-1' is not whole numbers from 0"),
        (["--quiet", "--json"], "--quiet prints the run directory only and --json the result: give one"),
        (["--threshold", "2"], "Invalid value for '--threshold'"),
        (["--stes", "2"], "No such option: --stes (Possible options: "),
        (["more"], "('attnscope convergence --help' lists what there is)"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_code_2(attnscope, folder, captions, tmp_path, options, message):
    code, out, err = attnscope(*convergence(folder, captions, tmp_path / "run"), *options)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_an_option_that_is_not_there_has_code_2(attnscope):
    assert attnscope("convergence", "--magic")[0] == 2
    assert attnscope("convergence", "--steps", "1")[0] == 2


def test_a_column_without_a_table_is_refused(attnscope):
    code, out, err = attnscope("generate", "--column", "text")
    assert (code, out) == (2, "")
    assert err == "error: --column 'text' is of a captions table: give --captions, too\n"


def test_a_command_that_is_not_there_is_one_line_and_none_at_all_is_help(attnscope):
    code, out, err = attnscope("convergance")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: No such command 'convergance'")
    if "suggest_commands" in inspect.signature(typer.Typer).parameters:  # from typer 0.20 on
        assert "'convergance'. Did you mean 'convergence'?" in err
    for words in ([], ["shapes"]):
        code, out, err = attnscope(*words)
        assert (code, err) == (2, "")
        assert "Usage: attnscope" in out
        assert "Example: attnscope" in out


def test_a_model_without_captions_asks_for_them(attnscope, folder):
    code, _, err = attnscope("convergence", "--model", folder)
    assert code == 2
    assert "--captions FILE is needed" in err


def test_debug_shows_the_traceback(attnscope):
    code, _, err = attnscope("--debug", "convergence", "--model", "sd3000")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.usefixtures("undrawn")
def test_captions_that_are_cut_are_counted(attnscope, folder, tmp_path):
    (tmp_path / "long.txt").write_text("zebra " * 40 + "\na small red circle\n")
    command = convergence(folder, tmp_path / "long.txt", tmp_path / "run")
    code, _, err = attnscope(*command)
    assert code == 0
    assert "warning: 1 of 2 captions have more than 24 tokens" in err


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_failed_can_be_given_again_with_other_settings(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    """As after running out of memory, when the advice is to change a setting."""
    from attnscope.models import calling

    def fail(*args, **options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    command = convergence(folder, captions, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(calling, "call", fail)
        code, _, err = attnscope(*command)
    assert code == 2
    assert "choose --dtype float16" in err
    assert not (tmp_path / "run").exists()
    assert attnscope(*command, "--dtype", "bfloat16")[0] == 0


@pytest.mark.usefixtures("undrawn")
def test_other_weights_in_the_same_place_are_refused(attnscope, sd, folder, captions, tmp_path):
    command = convergence(folder, captions, tmp_path / "run", "-q")
    assert attnscope(*command)[0] == 0
    sd.unet.conv_in.weight.data += 1
    sd.save_pretrained(folder)
    code, _, err = attnscope(*command)
    assert code == 2
    assert "weights is" in err


@pytest.mark.usefixtures("undrawn")
def test_brackets_in_a_path_are_printed_as_they_are(attnscope, folder, captions, tmp_path):
    _, out, _ = attnscope(*convergence(folder, captions, tmp_path / "exp[b]"))
    assert f"run directory: {tmp_path / 'exp[b]'}" in out


def test_the_version_is_printed(attnscope):
    import attnscope as package

    assert attnscope("--version") == (0, f"attnscope {package.__version__}\n", "")


def test_plotting_what_is_no_run_is_refused(attnscope, captions):
    code, _, err = attnscope("plot", captions)
    assert code == 2
    assert "is no run directory" in err


def test_scores_need_a_reader(attnscope, folder):
    code, _, err = attnscope("shapes", "score", "--model", folder)
    assert code == 2
    assert "has no reader" in err


@pytest.mark.parametrize("scale", ["nan", "inf", "2,-1"])
def test_scores_need_a_guidance_that_is_a_number(attnscope, scale):
    code, _, err = attnscope("shapes", "score", "--limit", 1, "--steps", 1, "--guidance", scale)
    assert code == 2
    assert "is out of range: choose 0 (none) or more" in err


def test_scores_tell_places_apart_from_what_stands_there(attnscope):
    """And a caption of one thing has no places: its relation is null, not NaN and not right."""
    options = ["--steps", 1, "--limit", 5, "--json"]
    code, out, err = attnscope("shapes", "score", *options)
    assert (code, err) == (0, "")
    scenes = list(islice(world.generate("test", 0), 5))
    (row,) = json.loads(out)
    assert list(row) == ["model", "steps", "guidance", "n", "n_relation", *READ]
    assert (row["n"], row["n_relation"]) == (5, sum(len(scene.things) == 2 for scene in scenes))
    alone = next(seed for seed in range(9) if len(next(world.generate("test", seed)).things) == 1)
    options = ["--steps", 1, "--limit", 1, "--seed", alone]
    (row,) = json.loads(
        attnscope("shapes", "score", *options, "--json")[1], parse_constant=pytest.fail
    )
    assert row["relation"] is None
    assert row["n_relation"] == 0
    _, out, _ = attnscope("shapes", "score", *options)
    told = {
        cells[0]: cells[1:] for line in out.splitlines() if len(cells := line.split("│")[1:-1]) == 3
    }
    told = {name.strip(): [cell.strip() for cell in cells] for name, cells in told.items()}
    assert list(told) == list(READ)
    assert told["relation"] == ["0", "-"]
    assert told["all"] == ["1", f"{row['all']:.3f}"]


def test_models_lists_every_short_name(attnscope):
    from attnscope.models.names import MODELS

    code, out, _ = attnscope("models", "--json")
    assert code == 0
    listed = {row["name"]: row["here"] for row in json.loads(out)}
    assert set(listed) == set(MODELS)
    assert listed["shapes"] is True


def test_help_of_no_command_imports_anything_heavy():
    script = (
        "import sys, typer\n"
        "from attnscope.cli.app import app\n"
        "assert [each.params for each in typer.main.get_command(app).commands.values()]\n"
        "assert {'attnscope.cli.ablate', 'attnscope.cli.shapes'} <= set(sys.modules)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas', 'numpy', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, attnscope; assert 'torch' not in sys.modules; attnscope.Trace"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_cost_of_the_embedded_model(attnscope):
    code, out, err = attnscope("cost")
    assert (code, err) == (0, "")
    assert "shapes at 64x64, 24 text tokens" in out
    assert "baseline: 25 steps, 25 of them guided" in out


def test_cost_of_a_plan_says_what_saves_it(attnscope, tmp_path):
    out_folder = tmp_path / "cost"
    code, out, _ = attnscope("cost", "--tgate", "m=10,k=5", "--scaling", "--out", out_folder)
    assert code == 0
    for text in (
        "ideal speed-up: 1.5",
        "guidance cut-off",
        "0-2, 5, 9",
        "10-24",
        "cross-attention costs more",
    ):
        assert text in out  # fmt: skip
    files = {path.name for path in out_folder.iterdir() if path.suffix != ".parquet"} - {"run.json"}
    tables = {"steps.csv", "attribution.csv", "scaling.csv"}
    assert files == tables | {
        f"{n}.{s}" for n in ("attribution", "scaling") for s in ("png", "pdf")
    }
    code, quiet, _ = attnscope("cost", "--tgate", "m=10,k=5", "--out", out_folder, "-q")
    assert (code, quiet) == (0, f"{out_folder}\n")


def test_cost_as_json(attnscope):
    code, out, _ = attnscope("cost", "--plan", "cross-reuse:m=2", "--steps", "4", "--batch", "2",
                             "--height", "128", "--tokens", "9", "--scaling", "--json")  # fmt: skip
    document = json.loads(out)
    assert code == 0
    assert (document["height"], document["width"], document["tokens"]) == (128, 128, 9)
    call, run = document["call"], document["run"]
    assert sum(call["parts"].values()) == call["full"]
    assert run["rows"] == [4] * 4
    cross = call["parts"]["cross projections"] + call["parts"]["cross products"]
    assert run["baseline"]["full"] == 16 * call["full"]
    assert run["macs"]["full"] == 16 * call["full"] - 8 * cross
    assert sum(sum(step.values()) for step in run["by_step"]) == run["macs"]["full"]
    assert document["crossover"]["full"] < document["crossover"]["paper"]


@pytest.mark.slow
def test_cost_of_the_paper(attnscope, tmp_path):
    code, out, _ = attnscope("cost", "paper", "--out", tmp_path / "cost")
    assert code == 0
    assert "61 of 67 rows agree within 0.1%" in out
    assert (tmp_path / "cost" / "paper.csv").is_file()
    code, out, _ = attnscope("cost", "paper", "--json")
    assert len(json.loads(out)["rows"]) == 67


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing"], "no such model: 'nothing'"),
        (["--model", "pixart", "--height", "1000"], "height=1000 is not a multiple of 16"),
        (["--tgate", "m=10", "--steps", "4"], "m=10, but there are 4 steps"),
        (["--tgate", "m=10", "--plan", "baseline"], "give --tgate or --plan, not both"),
        (["paper", "--scaling"], "'cost paper' goes without --tgate, --plan and --scaling"),
        (["-q"], "--quiet prints the folder only: give --out FOLDER"),
        (["--out", "/nowhere/at/all"], "--out '/nowhere/at/all' is not a folder"),
        (["--frames", "3"], "shapes makes images: leave out frames=3"),
    ],
)  # fmt: skip
def test_cost_refuses_in_one_line(attnscope, arguments, message):
    code, _, err = attnscope("cost", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_the_package_runs_as_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "attnscope", "models", "--nonsense"], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert "No such option: --nonsense" in " ".join(ran.stderr.split())


def test_a_plan_that_is_not_named_is_the_paper_s(attnscope):
    for steps, plan in ((25, "tgate:m=10,k=5,w=2,f=1"), (10, "tgate:m=4,k=5,w=2,f=1")):
        code, out, _ = attnscope("plan", "--steps", steps)
        assert code == 0
        assert out.startswith(f"{plan}, {steps} steps")


def test_tables_that_are_not_the_paper_s_are_no_model(attnscope):
    code, out, err = attnscope("cost", "sdxl")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'attnscope cost paper' has those of the paper" in err
    assert "--model sdxl" in err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "shapes"])
def test_every_help_ends_with_an_example_that_is_understood(attnscope, command):
    """The example's options are the command's: it fails, if it does, for what is not on this machine."""
    code, out, _ = attnscope(command, "--help")
    example = " ".join(out.split()).rpartition("Example: attnscope ")[2]
    name, *options = shlex.split(example)
    assert (code, name) == (0, command)
    known = {option for param in COMMANDS[name].params for option in param.opts}
    assert {word for word in options if word.startswith("--")} <= known
