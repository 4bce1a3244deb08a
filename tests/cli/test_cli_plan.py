"""``attnscope plan`` of files and noise levels, and the other commands that take them."""

import json
from math import inf
from pathlib import Path

import pytest

from attnscope.cli import console
from attnscope.models import architectures, building
from attnscope.models.chosen import ChosenModel
from attnscope.plans.timetable import Timetable
from attnscope.runs.folder import Run
from attnscope.sites.denoiser import Denoiser

STEPS = 10
SAID = {
    "model": "shapes", "found_by": "a search", "ideal_speedup": 1.5, "digests": ["a", "b"],
    "predicted": {"psnr": 31.25, "by_kind": {"resnet": 1}}, "calibration": {"prompts": 64},
}  # fmt: skip


@pytest.fixture(scope="module")
def levels():
    model = ChosenModel(
        "shapes", scheduler=None, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )
    return model.levels(STEPS)


def sites_of(model, *kinds):
    found = Denoiser(building.build(architectures.find(model)))
    return [site for site in (*found.sites, *found.around) if site.kind in kinds]


@pytest.fixture
def written(tmp_path, levels, monkeypatch):
    """Writes a plan into the folder that commands are typed in: its rows, or the same row for kinds."""
    monkeypatch.chdir(tmp_path)

    def write(rows, guidance="b" * STEPS, name="plan.json", **more):
        about = more.pop("about", SAID)
        return Timetable(levels, tuple(rows), guidance, about=about, **more).write(tmp_path / name)

    return write


def alike(model, row, *kinds):
    return [(site.kind, site.name, row) for site in sites_of(model, *kinds)]


def pictured(out):
    """The rows of a picture by their names."""
    lines = [line.rsplit(maxsplit=1) for line in out.splitlines() if line.strip()]
    return {
        " ".join(line[0].split()): line[1]
        for line in lines
        if len(line) == 2 and len(line[1]) == STEPS
    }


def test_modules_that_do_the_same_are_one_line(attnscope, written):
    rows = alike("shapes", "#.#.~#.#.~", "resnet")
    rows += alike("shapes", "#........~", "transformer")
    rows[0] = ("resnet", rows[0][1], "#" * STEPS)
    written(rows, "bbbbbccccc", directions=(0.0,) * 7 + (0.5, 1.0, 0.04))
    for command in (["plan.json"], ["--plan", "plan.json"]):
        code, out, err = attnscope("plan", *command)
        assert (code, err) == (0, "")
        assert pictured(out) == {
            "resnet down 0.0": "██████████",
            "resnet down 1.0, mid {0-1}, up {0-1}.{0-1} x7": "█·█·~█·█·~",
            "transformer all x7": "█········~",
            "guidance": "█████ccccc",
            "direction": "·······5+·",
        }
    assert "█ compute   · reuse   ~ forecast" in out
    assert "c conditional branch alone" in out
    assert "15 modules" in out
    assert "guided in 5 of 10 steps" in out


def test_a_file_says_what_it_says_about_itself(attnscope, written):
    written(alike("shapes", "#.#.#.#.#.", "resnet"))
    _, out, _ = attnscope("plan", "plan.json")
    lines = out.splitlines()
    assert lines[0].startswith("plan.json@")
    assert lines[0].endswith(", 10 steps")
    assert lines[1:4] == [
        "model shapes · found by a search · ideal speed-up 1.5",
        "predicted: psnr 31.25",
        "calibration: prompts 64",
    ]


def test_log_snr_stands_under_the_steps(attnscope, written, levels):
    written(alike("shapes", "#.#.#.#.#.", "resnet"))
    _, out, _ = attnscope("plan", "plan.json")
    ruler, told = out.splitlines()[4:6]
    assert ruler.split() == ["0", "5"]
    assert told.split()[-2:] == [f"{levels[0]:.1f}", f"{levels[5]:.1f}"]
    assert told.index(told.split()[-1]) == ruler.index("5")


def test_pure_noise_is_minus_infinity(attnscope, written, levels):
    Timetable((-inf, *levels[1:]), (), "b" * STEPS).write(Path("plan.json"))
    _, out, _ = attnscope("plan", "plan.json")
    assert "-∞" in out


@pytest.mark.parametrize("model", ["sdxl", "pixart"])
def test_many_rows_that_differ_stay_one_picture_that_says_what_it_sums_up(
    attnscope, written, model
):
    sites = sites_of(model, "self", "cross", "feed-forward")
    rows = [(s.kind, s.name, f"#{n % 512:09b}".replace("0", ".").replace("1", "#"))
            for n, s in enumerate(sites)]  # fmt: skip
    written(rows)
    code, out, _ = attnscope("plan", "plan.json")
    assert code == 0
    assert len(out.splitlines()) <= 42
    summed = int(next(line for line in out.splitlines() if "summed up" in line).split()[0])
    named = [name for name in pictured(out) if not name.startswith(("…", "guidance"))]
    assert len(named) + summed == len(sites)
    assert "--out plan.pdf draws every row" in out
    heads = ["down 1", "down 2", "mid", "up 0", "up 1"] if model == "sdxl" else ["self", "cross"]
    assert set(heads) <= set(out.splitlines())
    assert any(set(cells) & set("▁▂▃▄▅▆▇") for cells in pictured(out).values())


@pytest.mark.parametrize(("steps", "panels"), [(10, 1), (50, 1), (120, 3)])
def test_a_picture_fits_a_narrow_terminal(attnscope, written, monkeypatch, steps, panels):
    monkeypatch.setattr(console.results, "_width", 80)
    rows = [(s.kind, s.name, f"#{n:09b}".replace("0", ".").replace("1", "#"))
            for n, s in enumerate(sites_of("sdxl", "self", "cross"))]  # fmt: skip
    written(rows, about={})
    _, out, _ = attnscope("plan", "plan.json", "--model", "shapes", "--steps", steps)
    picture = out.splitlines()[1 : out.splitlines().index("  █ compute   · reuse   ")]
    assert max(map(len, picture)) <= 80
    assert len(out.splitlines()) <= 44
    assert sum("log-SNR" in line for line in picture) == panels


def test_words_to_which_attention_is_scaled_have_a_line_with_signs_and_what_they_mean(attnscope):
    plan = "reweight:words=red|blue star,factor=0.5,from=1,to=3"
    code, shown, _ = attnscope("plan", "--plan", plan, "--steps", 5)
    assert code == 0
    assert "attention to red \u00d70.5        \u00b7\u25bc\u25bc\u00b7\u00b7\n" in shown
    assert "attention to blue star \u00d70.5  \u00b7\u25bc\u25bc\u00b7\u00b7\n" in shown
    assert "\u00b7 word as it is   \u25bc less attention" in shown
    schedule = json.loads(attnscope("plan", "--plan", plan, "--steps", 5, "--json")[1])["schedule"]
    assert schedule[-1] == {
        "row": "attention to blue star",
        "step": 4,
        "what": "unscaled",
        "factor": 1.0,
    }


def test_a_plan_is_placed_on_the_steps_of_a_model(attnscope, written):
    written(alike("shapes", "#.#.#.#.#.", "resnet"), "bbbbbccccc")
    code, out, _ = attnscope(
        "plan", "plan.json", "--model", "shapes", "--steps", 20, "--scheduler", "euler"
    )
    assert code == 0
    assert "20 steps of shapes, euler (found at 10)" in out
    told = json.loads(
        attnscope("plan", "plan.json", "--model", "shapes", "--steps", 20, "--json")[1]
    )
    computed = [row["what"] for row in told["schedule"] if row["row"] == "mid_block.resnets.0"]
    assert len(told["log_snr"]) == len(computed) == 20
    assert 5 <= sum(what in ("store", "compute") for what in computed) < 20
    assert told["about"]["ideal_speedup"] == 1.5


def test_heun_has_more_steps_than_it_is_asked_for(attnscope):
    told = attnscope("plan", "--tgate", "m=1nat", "--model", "shapes", "--steps", 6,
                     "--scheduler", "heun", "--json")[1]  # fmt: skip
    assert json.loads(told)["steps"] == 11


def test_a_gate_in_nats_is_the_step_that_it_is(attnscope, levels):
    code, out, _ = attnscope(
        "plan", "--tgate", "m=-1nat,k=5", "--model", "shapes", "--steps", STEPS
    )
    gate = sum(level < -1 for level in levels)
    assert code == 0
    assert f"tgate:m=-1nat,k=5,w=2,f=1, here tgate:m={gate},k=5,w=2,f=1, 10 steps of shapes" in out
    assert pictured(out)["branches"] == "█" * gate + "▒" * (STEPS - gate)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["plan", "plan.json", "--steps", 5], "found at 10 steps, and the noise levels of these 5 are not"),
        (["plan", "plan.json", "--steps", 5], "choose --steps 10, or a --model that is on this machine"),
        (["plan", "--tgate", "m=-1nat"], "say it in steps, or choose a --model that is on this machine"),
        (["plan", "plan.json", "--scheduler", "dpm"], "--scheduler dpm is of a model: give --model, too"),
        (["plan", "plan.json", "--tgate", "m=1"], "give 'plan.json' or --tgate, not both"),
        (["plan", "none.json"], "cannot read the plan 'none.json'"),
        (["plan", "plan.json", "--model", "shapes", "--scheduler", "magic"], "no such scheduler: 'magic'"),
        (["plan", "plan.json", "--to", "csv"], "--to 'csv' (choose cache-dit, ecad, steps-mask)"),
        (["plan", "plan.json", "--to", "ecad", "--out", "x.py"], "is not a .json in a folder that exists"),
        (["plan", "plan.json", "--out", "x.json"], "is not a .png or .pdf in a folder that exists"),
        (["plan", "plan.json", "--to", "ecad", "--json"], "--json tells what is shown, and --to writes"),
        (["cost", "--plan", "plan.json", "--model", "pixart"], "modules that this denoiser does not have"),
        (["cost", "--plan", "plan.json", "--model", "sdxl", "--steps", 5], "the noise levels of these 5"),
        (["cost", "--tgate", "m=-1nat", "--model", "sdxl"], "is a noise level, and those of the steps are not"),
        (["generate", "--tgate", "m=-99nat"], "m (gate)=-99nat lies before the first of the steps"),
        (["generate", "x", "--plan", "plan.json", "--gate", 2], "'plan.json' is no rule with an m"),
        (["generate", "x", "--gate", "2,x"], "not whole numbers from 1, such as 15,25, or nats, such as -1nat"),
        (["bench", "--tgate", "m=-99nat"], "m (gate)=-99nat lies before the first of the steps"),
        (["ablate", "--gate", "-1nat", "--steps", "5,6"], "is another step of another model, scheduler"),
        (["ablate", "--gate", "-1nat", "--noise-scale", "4"], "ablate one at a time"),
        (["ablate", "--gate", "-99nat"], "lies before the first of the steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_code_2(attnscope, written, command, message):
    written(alike("shapes", "#.#.#.#.#.", "resnet"))
    code, out, err = attnscope(*command)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_cost_counts_a_plan_at_its_own_steps_or_at_the_levels_of_a_model_here(attnscope, written):
    written(alike("shapes", "#.#.#.#.#.", "resnet"))
    written(alike("sdxl", "#.#.#.#.#.", "resnet"), name="sdxl.json")
    for name, steps, command in (
        ("own", 10, ["--plan", "plan.json"]),
        ("placed", 20, ["--plan", "plan.json", "--steps", 20]),
        ("gate", 25, ["--tgate", "m=-1nat"]),
        ("away", 10, ["--plan", "sdxl.json", "--model", "sdxl"]),
    ):
        code, _, err = attnscope("cost", *command, "--out", name, "-q")
        assert (code, err) == (0, "")
        run = Run(Path(name))
        assert run.settings["steps"] == steps
        saved = run.read_table("attribution").query("convention == 'full'").set_index("saving")
        assert saved.loc["all", "speedup"] > 1


@pytest.mark.usefixtures("undrawn")
def test_images_are_made_by_files_and_noise_levels(attnscope, written):
    written(alike("shapes", "#.........", "resnet"), "bbbbbccccc")
    small = ["--limit", 1, "--steps", 5, "--device", "cpu", "-q"]
    assert attnscope("generate", "--plan", "plan.json", *small, "--out", "file")[0] == 0
    calls = Run(Path("file")).read_table("calls").set_index("kind")
    assert 0 < calls.loc["resnet", "reused"] < 5 * 8
    assert attnscope("generate", "--gate", "-1nat,2", *small, "--out", "gates")[0] == 0
    assert Run(Path("gates/gate--1nat")).settings["plan"] == "tgate:m=-1nat,k=1,w=2,f=1"


def test_a_benchmark_times_a_file(attnscope, written):
    written(alike("shapes", "#.........", "resnet"), "bbbbbccccc")
    code, _, err = attnscope(
        "bench", "--plan", "plan.json", "--steps", 4, "--repeats", 1, "--rivals", "none", "--latents",
        "--device", "cpu", "--out", "run", "-q",
    )  # fmt: skip
    assert (code, err) == (0, "")
    arms = Run(Path("run")).read_table("arms").set_index("arm")
    (ours,) = [arm for arm in arms.index if arm.startswith("plan.json@")]
    assert arms.loc[ours, "ideal"] > 1
    assert not [arm for arm in arms.index if "alone" in arm]  # its parts are the cost command's
    assert (Run(Path("run")).path / "figures" / "breakdown.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_an_ablation_takes_a_gate_in_nats(attnscope, written, levels):
    code, _, err = attnscope(
        "ablate", "--gate", "-1nat,9", "--steps", STEPS, "--limit", 1, "--device", "cpu",
        "--features", "none", "--out", "run", "-q",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert Run(Path("run")).settings["gates"] == [str(sum(level < -1 for level in levels)), "9"]


MASK = [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]
ROW = "#..#..#..#"


def test_one_mask_for_all_modules_is_written_as_a_list(attnscope, written):
    written(alike("shapes", ROW, "resnet", "sampler"))
    code, out, err = attnscope("plan", "plan.json", "--to", "steps-mask", "--model", "shapes")
    assert code == 2  # transformers compute at every step
    assert "transformer" in err or "attentions" in err
    written(alike("shapes", ROW, "resnet", "sampler", "transformer"))
    code, out, err = attnscope("plan", "plan.json", "--to", "steps-mask", "--model", "shapes")
    assert (code, err) == (0, "")
    assert json.loads(out) == MASK
    assert out.count("\n") == 1


def test_cache_dit_reads_what_is_written_for_it(attnscope, written):
    cache_dit = pytest.importorskip("cache_dit")
    written(alike("pixart", ROW, "block"))
    for name in ("cache.json", "cache.py"):
        code, out, _ = attnscope("plan", "plan.json", "--to", "cache-dit", "--out", name)
        assert (code, out) == (0, f"{name}\n")
    said, made = cache_dit.load_configs("cache.json")["cache_config"], {}
    exec(Path("cache.py").read_text("utf-8"), made)
    for config in (said, made["cache_config"]):
        assert config.steps_computation_mask == MASK
        assert config.steps_computation_policy == "static"
        assert (config.Fn_compute_blocks, config.max_warmup_steps) == (1, 0)
    assert json.loads(attnscope("plan", "plan.json", "--to", "cache-dit")[1]) == json.loads(
        Path("cache.json").read_text("utf-8")
    )


def test_ecad_has_every_component_of_every_block_at_every_step(attnscope, written):
    rows = [(s.kind, s.name, ROW) for s in sites_of("pixart", "self", "feed-forward")[:-3]]
    written(rows, name="mine.json")
    told = json.loads(attnscope("plan", "mine.json", "--to", "ecad", "--model", "pixart")[1])
    found = told["cache_schedule"]
    assert (found["num_blocks"], found["num_inference_steps"], found["name"]) == (28, 10, "mine")
    assert list(found["schedule"]) == [f"{step:03}" for step in range(10)]
    for step, blocks in enumerate(found["schedule"].values()):
        assert list(blocks) == [str(block) for block in range(28)]
        now = bool(MASK[step])
        assert blocks["0"] == {"attn1": now, "attn2": True, "ff": now}
        assert blocks["27"] == {"attn1": now, "attn2": True, "ff": True}  # which has no row


def test_ecad_has_both_kinds_of_blocks_of_flux(attnscope, written):
    written([("joint", "transformer_blocks.1.attn", ROW),
             ("joint", "single_transformer_blocks.0.attn", ROW)])  # fmt: skip
    found = json.loads(attnscope("plan", "plan.json", "--to", "ecad")[1])["cache_schedule"]
    assert (found["num_blocks"], found["num_single_blocks"]) == (2, 1)
    step = found["schedule"]["001"]
    assert step["1"] == {"full_attn": False, "full_ff": True, "full_ff_context": True}
    assert step["single_0"] == {
        "single_attn": False, "single_proj_mlp": True, "single_proj_out": True,
    }  # fmt: skip


BLOCKS = [("block", f"transformer_blocks.{n}", ROW) for n in range(28)]


@pytest.mark.parametrize(
    ("rows", "guidance", "to", "message"),
    [
        (BLOCKS, "bbbbbccccc", "cache-dit", "cache-dit says nothing of guidance"),
        (BLOCKS, "bbbbbccccc", "steps-mask", "drops a branch in 5 of 10 steps"),
        ([*BLOCKS[1:], ("block", "transformer_blocks.0", "#" * 10)], "b" * 10, "cache-dit", " differ"),
        (BLOCKS[1:], "b" * 10, "cache-dit", "has none for 1 of them, such as transformer_blocks.0"),
        ([("block", "transformer_blocks.0", "#~~~~~~~~~")], "b" * 10, "steps-mask", "forecasts transformer_blocks.0 at step 1"),
        ([("self", "transformer_blocks.0.attn1", ROW)], "b" * 10, "cache-dit", "reuses whole transformer blocks, and"),
        (BLOCKS, "b" * 10, "ecad", "names transformer_blocks.0"),
        ([("self", "transformer_blocks.0.attn1", ROW)], "bbbbbccccc", "ecad", "ecad says nothing of guidance"),
        ([], "b" * 10, "steps-mask", "it has no row"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_say_is_one_line(attnscope, written, rows, guidance, to, message):
    written(rows, guidance)
    code, out, err = attnscope("plan", "plan.json", "--to", to, "--model", "pixart")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_a_rule_has_no_modules_to_write(attnscope):
    code, _, err = attnscope("plan", "--tgate", "m=3", "--to", "steps-mask")
    assert code == 2
    assert "tgate:m=3,k=1,w=2,f=1 is none" in err
