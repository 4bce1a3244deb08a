"""``attnscope paper``, and several plans in one run."""

import dataclasses
import json

import pandas as pd
import pytest
import torch

from attnscope.analyses.turns import Batch
from attnscope.runs.folder import Run

SMALL = ["--steps", 4, "--height", 32, "--width", 32, "--device", "cpu"]


def plans(folder, captions, out, *more, listed="baseline;m=3;m=1,k=2"):
    return ["generate", "--model", folder, "--captions", captions, "--plans", listed, "--out", out,
            *SMALL, *more]  # fmt: skip


def test_several_plans_share_noise_and_prompts_and_are_sorted_by_latency(
    attnscope, folder, captions, tmp_path
):
    run = tmp_path / "run"
    code, _out, err = attnscope(*plans(folder, captions, run))
    assert code == 0, err
    table = pd.read_csv(run / "plans.csv")
    assert set(table["plan"]) == {"baseline", "tgate:m=3,k=1,w=2,f=1", "tgate:m=1,k=2,w=2,f=1"}
    assert table["seconds"].is_monotonic_decreasing
    own = table.set_index("plan")
    assert own.loc["baseline", "speedup"] == 1
    assert list(own["guided_steps"].sort_values()) == [1, 3, 4]
    assert own.loc["tgate:m=1,k=2,w=2,f=1", "paper_macs"] < own.loc["baseline", "paper_macs"]
    images = Run(run).read_table("images").set_index(["plan", "prompt_id"])
    assert images.loc["baseline", "ssim"].isna().all()
    others = images[images.index.get_level_values("plan") != "baseline"]
    assert (others["ssim"] < 1).all()
    assert (run / "figures" / "plans.png").exists()
    assert not (run / "figures" / "stages.png").exists()
    assert not (run / "parts").exists()
    # the baseline's images are those of a run of its own
    alone = tmp_path / "alone"
    args = ["generate", "--model", folder, "--captions", captions, "--out", alone, *SMALL]
    assert attnscope(*args)[0] == 0
    for path in Run(alone).read_table("images")["path"]:
        name = path.rsplit("/", 1)[1]
        ours = run / "images" / "baseline" / name
        assert _pixels(alone / path) == _pixels(ours)
        assert _told(ours) == _told(alone / path)


def _told(path):
    """What a PNG says of itself, but for whether it was compared with another."""
    from PIL import Image

    with Image.open(path) as image:
        told = json.loads(image.text["attnscope"])
    return {name: value for name, value in told.items() if name not in ("compare", "stages")}


def _pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.tobytes()


@pytest.mark.usefixtures("undrawn")
def test_a_plan_that_changes_nothing_is_the_baseline_to_the_bit(
    attnscope, folder, captions, tmp_path
):
    listed = "baseline;m=4,k=1"
    code, out, err = attnscope(*plans(folder, captions, tmp_path / "run", "--json", listed=listed))
    assert code == 0, err
    (row,) = [row for row in json.loads(out)["plans"] if row["plan"] != "baseline"]
    assert (row["psnr"], row["ssim"]) == (None, 1.0)


@pytest.mark.usefixtures("undrawn")
def test_plans_of_a_batch_that_did_not_fit_are_compared_in_its_halves(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    run, make = tmp_path / "run", Batch.make

    def tight(batch):
        if len(batch.items) > 1:
            torch.empty(2**55, dtype=torch.uint8)  # memory really runs out
        return make(batch)

    monkeypatch.setattr(Batch, "make", tight)
    captions.write_text("a red circle\n" * 4 + "a blue circle\n")
    code, _out, err = attnscope(*plans(folder, captions, run, "--batch-size", 2))
    assert code == 0, err
    assert "going on with batches of 1" in err
    times = Run(run).read_table("times")
    assert list(times.groupby("batch")["images"].apply(list)) == [[1, 1, 1]] * 5
    table = Run(run).read_table("plans")
    assert list(table["images"]) == [5, 5, 5]
    assert table[["seconds", "speedup", "ssim_low"]].notna().to_numpy().sum() == 8
    images = Run(run).read_table("images")
    for row in table.dropna(
        subset="ssim_low"
    ).itertuples():  # of two prompts, one of them four times
        own = images[images["plan"] == row.plan].groupby("text")["ssim"].mean()
        assert (row.ssim_low, row.ssim_high) == pytest.approx((own.min(), own.max()))


def test_the_image_after_every_step_is_kept_of_the_first_prompts(
    attnscope, folder, captions, tmp_path
):
    run = tmp_path / "run"
    code, _out, err = attnscope(*plans(folder, captions, run, "--each-step", listed="baseline;m=2"))
    assert code == 0, err
    stages = Run(run).read_table("stages")
    assert list(stages.groupby(["plan", "prompt_id"]).size().unique()) == [4]
    assert stages["prompt_id"].nunique() <= 2
    assert (run / "figures" / "stages.png").exists()
    images = {
        (row.plan, row.step): _pixels(run / row.path)
        for row in stages.itertuples()
        if row.prompt_id == stages["prompt_id"].iloc[0]
    }
    names = list(stages["plan"].unique())
    assert images[names[0], 0] == images[names[1], 0]  # before the gate nothing differs
    assert images[names[0], 3] != images[names[1], 3]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--plans", "baseline"], "has 1: give two or more"),
        (["--plans", "m=2;m=2"], "twice: each is made once"),
        (["--plans", "baseline;m=2", "--tgate", "m=3"], "leave --tgate out"),
        (["--plans", "baseline;m=2", "--compare"], "leave --compare out"),
        (["--plans", "baseline;teacache:m=2"], "no such plan: 'teacache'"),
        (["--plans", "baseline;m=40"], "40"),
        (["--each-step"], "--each-step shows plans beside each other"),
    ],
)
def test_plans_that_cannot_be_are_refused_in_a_line(attnscope, folder, captions, more, told):
    args = ["generate", "--model", folder, "--captions", captions, *SMALL, *more]
    code, _out, err = attnscope(*args)
    assert code == 2
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_benchmark_of_plans_has_exactly_these_arms_and_one_table_of_all(
    attnscope, folder, captions, tmp_path
):
    run = tmp_path / "run"
    code, out, err = attnscope(
        "bench", "--model", folder, "--captions", captions, "--plans", "m=2;baseline;m=1,k=2", "--frontier",
        "--features", "none", "--repeats", 1, "--out", run, *SMALL,
    )  # fmt: skip
    assert code == 0, err
    arms = pd.read_csv(run / "arms.csv").set_index("arm")
    assert list(arms.index) == ["baseline", "tgate:m=2,k=1,w=2,f=1", "tgate:m=1,k=2,w=2,f=1"]
    assert arms["paper_macs"].is_monotonic_decreasing
    assert arms["macs"].loc["baseline"] / arms["macs"].iloc[2] == pytest.approx(
        arms["ideal"].iloc[2]
    )
    assert "all together, the slowest first" in out
    assert "SSIM" in out


def test_a_benchmark_of_plans_goes_without_other_ways_to_choose_them(attnscope, folder):
    for more in (["--against", "m=1"], ["--gates", "2"]):
        code, _out, err = attnscope(
            "bench", "--model", folder, "--plans", "m=2;baseline", *more, *SMALL
        )
        assert code == 2
        assert f"leave {more[0]} out" in err


def test_a_figure_is_made_on_a_model_of_ones_own_and_found_again(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    from attnscope.analyses.paper import figures, items

    item = items.items()["figureA5"]
    small = items.Item(
        item.name, item.shows, item.claim, drawn=item.drawn,
        parts=(figures._grid("sd21", "baseline;m=3;m=1", "", "--steps", "4", "--height", "32"),),
    )  # fmt: skip
    monkeypatch.setattr(items, "items", lambda: {"figureA5": small})
    run = tmp_path / "run"
    args = [
        "paper",
        "figureA5",
        "--model",
        folder,
        "--captions",
        captions,
        "--limit",
        2,
        "--out",
        run,
    ]
    code, out, err = attnscope(*args)
    assert code == 0, err
    assert "1 of 1: attnscope generate --model" in err
    assert "the paper: The larger the gate" in out
    assert "figure: " in out
    about = json.loads((run / "run.json").read_text())
    assert about["command"] == "paper"
    assert about["settings"]["own"] is False
    assert (run / "1-generate" / "figures" / "plans.png").exists()
    code, again, err = attnscope(*args, "--quiet")
    assert (code, again.strip()) == (0, str(run))


def _only(monkeypatch, name, *parts):
    """An item that is quickly made, with the values that the paper prints of more steps."""
    from attnscope.analyses.paper import beside, items

    item = dataclasses.replace(items.items()[name], parts=parts)
    monkeypatch.setattr(items, "items", lambda: {name: item})
    fewer = {"m=10": "m=2", "m=100": "m=2", "tgate-spatial:m=10,k=5": "tgate-spatial:m=2,k=2"}
    values_of = beside.values_of
    monkeypatch.setattr(
        beside, "values_of",
        lambda name: values_of(name).assign(steps=3, plan=values_of(name)["plan"].replace(fewer)),
    )  # fmt: skip


_JUDGED = ("--frontier", "--rivals", "none", "--repeats", "1", "--steps", "3")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "asks", "told"),
    [
        ("tableA9", "scenes", {"DPG global", "DPG entity", "DPG attribute", "DPG relation", "DPG other", "DPG score"}),
        ("tableA10", "compbench", {f"CompBench {c}" for c in ("color", "shape", "texture", "spatial")}),
    ],
)  # fmt: skip
def test_a_table_of_alignment_is_made_of_answers_in_the_box(
    attnscope, tmp_path, monkeypatch, name, asks, told
):
    from attnscope.analyses.paper.parts import Part

    model = "sdxl" if name == "tableA9" else "sd21"
    plans = ("baseline", "m=2")
    _only(monkeypatch, name, Part("bench", model, (*_JUDGED, "--features", "none"), plans=plans, limit=2, asks=asks))  # fmt: skip
    run = tmp_path / "run"
    code, out, err = attnscope("paper", name, "--out", run)
    assert code == 0, err
    assert f"--questions {asks} --vqa reader" in err
    table = pd.read_csv(run / "beside.csv").dropna(subset=["here"])
    own = table[table["row"].isin(["SDXL m=10", "SD-2.1 m=10"])]
    answers = Run(run / "1-bench").read_table("answers")
    assert answers["prompt_id"].nunique() == 2
    frontier = Run(run / "1-bench").read_table("frontier").set_index(["arm", "measure"])["value"]
    assert len(own) == len(told)
    for row in own.to_dict("records"):
        assert row["quantity"] == row["here_measure"]
        assert row["here"] == pytest.approx(frontier[row["arm"], row["here_measure"]])
    assert all(label in out for label in told)


@pytest.mark.slow
def test_a_table_of_videos_is_made_by_random_weights_and_says_so(attnscope, tmp_path, monkeypatch):
    from attnscope.analyses.paper.parts import Part
    from attnscope.analyses.paper.stand_ins import SMALL

    plans = ("baseline", "m=2")
    parts = [
        Part("bench", model, _JUDGED, embedded=SMALL, plans=plans, images=10, dataset=dataset, limit=1)
        for model, dataset in (("opensora", "opensora"), ("svd", "images"))
    ]  # fmt: skip
    _only(monkeypatch, "tableA12", *parts)
    run = tmp_path / "run"
    code, out, err = attnscope("paper", "tableA12", "--out", run)
    assert code == 0, err
    assert "images of random weights say nothing of quality" in err
    assert "latte of random weights, svd of random weights in their place" in out
    table = pd.read_csv(run / "beside.csv").set_index("row")
    for row in ("OpenSora", "SVD"):
        steady = Run(run / f"{1 + (row == 'SVD')}-bench").read_table("frontier")
        steady = steady[steady["measure"] == "frames"].set_index("arm")["value"]
        assert table.loc[row, "here"] == pytest.approx(steady["baseline"])
        assert table.loc[row, "here"] > 0
    assert (table.loc["SVD m=10", "here_measure"], table.loc["SVD m=10", "verdict"]) == ("frames", "not tested")  # fmt: skip
    lines = json.loads((run / "run.json").read_text())["settings"]["lines"]
    assert lines[1][:3] == ["bench", "--model", "$RUN/svd-random"]  # wherever the run is
    code, again, err = attnscope("paper", "tableA12", "--out", run, "--quiet")
    assert (code, again.strip()) == (0, str(run))


def test_features_reach_the_stand_ins(attnscope, tmp_path, monkeypatch):
    from attnscope.analyses.paper.parts import Part

    _only(monkeypatch, "table4", Part("bench", "sdxl", _JUDGED, plans=("baseline", "m=2"), limit=4))
    code, _out, err = attnscope("paper", "table4", "--features", "none", "--out", tmp_path / "run")
    assert code == 0, err
    measures = Run(tmp_path / "run" / "1-bench").read_table("frontier")["measure"]
    assert "ssim" in set(measures)
    assert not {"fid", "kid"} & set(measures)


def test_the_list_names_everything_and_says_what_is_not_here(attnscope):
    code, out, err = attnscope("paper", "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    assert len(rows) == 39
    row = rows["table2"]
    assert {"what": "weights of sdxl", "here": False} in row["needs"]
    assert row["made_here_by"] == "shapes, svd of random weights"
    assert row["commands"][0][:3] == ["bench", "--model", "shapes"]
    assert {line[2] for line in row["commands_own"]} == {"sd15", "sd21", "sdxl", "svd"}
    assert {r["row"]: r for r in row["published"]}["SDXL m=5"]["macs"] == 84.438


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["tabel2"], "did you mean table2"),
        (
            ["tableA12", "--model", "shapes"],
            "'shapes' cannot stand for opensora, which makes videos",
        ),
        (["tableA12", "--own"], "Table A12 is made of images to begin with: give --images FOLDER"),
        (
            ["tableA12", "--images", "sdxl"],
            "--images: for the paper's models, of which opensora, svd are not here",
        ),
        (["table2", "--model", "shapes", "--images", "sdxl"], "not for --model"),
        (
            ["figure1a", "--features", "reader"],
            "--features: Figure 1a judges no images, leave it out",
        ),
        (["figure5", "--clip", "a/b"], "--clip: Figure 5 judges no images"),
        (["table2", "--features", "resnet"], "--features 'resnet' is none of auto, none"),
        (
            ["table2", "--questions", "scenes", "--vqa", "reader"],
            "--questions: Table 2 asks nothing about its images",
        ),
        (["tableA9", "--questions", "dpg.csv"], "give --vqa MODEL"),
        (["tableA9", "--vqa", "reader"], "give --questions, too"),
        (
            ["tableA9", "--questions", "dpg.csv", "--vqa", "a/b"],
            "--questions of a file: for the paper's models",
        ),
        (
            ["tableA9", "--own"],
            "Table A9 is made of answers to questions: give --questions FILE and --vqa MODEL",
        ),
        (["tableA10", "--model", "sd21"], "give --questions FILE and --vqa MODEL"),
        (["table2", "--own", "--offline"], "not on this machine: sd15, sd21, sdxl"),
        (["table2", "--own", "--model", "shapes"], "give one"),
        (["table2", "--coco", "nowhere"], "has no annotations/captions_val2014.json"),
        (["table2", "--reference", "images"], "give --captions, too"),
        (["table2", "--captions", "captions.txt"], "add --own to fetch them"),
        (["--gpu-plan"], "name a figure or table"),
        (["figure5", "--quiet", "--json"], "give one"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_line(attnscope, more, told):
    code, _out, err = attnscope("paper", *more)
    assert code == 2
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_of_the_paper_is_plotted_compared_and_listed_as_others_are(attnscope, tmp_path):
    import reported

    runs = [reported.paper(tmp_path / name).path for name in ("a", "b")]
    code, out, err = attnscope("plot", runs[0])
    assert code == 0, err
    assert "as the paper says" in out
    assert attnscope("compare", *runs)[0] == 0
    code, out, err = attnscope("runs", tmp_path, "--json")
    assert [row["command"] for row in json.loads(out)] == ["paper", "paper"]
