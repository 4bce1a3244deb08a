# ruff: noqa: RUF001 -- minus signs and names of models, as the document prints them
"""The paper by name: what is said of it, how it is made, and what comes of what runs measured."""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import reported
import typer

from attnscope.analyses.paper import beside, claims, page, published
from attnscope.analyses.paper.estimate import gpu_plan
from attnscope.analyses.paper.items import find, items
from attnscope.analyses.paper.parts import (
    Data,
    Part,
    for_a_stand_in,
    for_the_papers_models,
    stood_in,
)
from attnscope.analyses.paper.run import recipe
from attnscope.analyses.paper.stand_ins import LATTE, RANDOM, STAND_INS, SVD, placed, prepare, shown
from attnscope.cli.app import app
from attnscope.cli.plan_lists import plan_list
from attnscope.cost import published as costs
from attnscope.errors import InputError
from attnscope.models.names import MODELS

NAMES = [
    *(f"figure{n}" for n in ("1a", "1b", "2", "3a", "3b", "3c", "4", "5", "6")),
    *(f"figureA{n}" for n in range(1, 11)),
    *(f"table{n}" for n in range(1, 7)),
    *(f"tableA{n}" for n in range(1, 15)),
]
COCO = Data(Path("captions_val2014.json"), Path("val2014"))


def test_every_figure_and_table_of_the_paper_has_its_name():
    assert list(items()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_item_says_what_it_shows_and_what_is_claimed(name):
    item = find(name)
    assert item.shows.endswith(".")
    assert item.claim.endswith(".")
    assert find(item.title) is item
    assert find(item.name.upper()) is item


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("own", [True, False])
def test_every_command_of_an_item_can_be_read_by_the_parser(name, own):
    """As typed: the command is there, its options are, its values are of their kinds, its plans exist."""
    made = recipe(find(name), model=None, own=own, limit=None, data=COCO if own else Data())
    for line in made.settings.lines:
        command = typer.main.get_command(app).get_command(None, line[0])
        context = command.make_context(line[0], list(line[1:]))
        if line[0] == "bench" and "--frontier" not in line:
            assert not {"--limit", "--captions"} & set(line)  # any prompt does for times
        if "--plans" in line:
            assert plan_list(context.params["plans"])
        if "--model" in line and not own:
            assert context.params.get("model") or context.params["models"]


def test_what_makes_nothing_is_told_apart():
    without = [name for name in NAMES if not find(name).parts]
    assert without == ["tableA14"]
    random = [name for name in NAMES if {m for _, m in stood_in(find(name).parts)} & RANDOM]
    assert random == ["figureA8", "table1", "table2", "tableA12"]


def test_parts_that_come_to_one_command_on_a_stand_in_are_one_with_all_their_plans():
    parts = [Part("bench", m, ("--frontier",), plans=p) for m, p in
             (("sd15", ("baseline", "m=5")), ("sdxl", ("baseline", "m=10")), ("pixart", ("m=5",)))]  # fmt: skip
    made = stood_in(parts)
    assert [(part.plans, model) for part, model in made] == [
        (("baseline", "m=5", "m=10"), "shapes"),
        (("m=5",), "shapes-dit"),
    ]


def test_stand_ins_are_models_in_the_box_and_stand_for_models_with_a_name():
    assert set(STAND_INS) - {"opensora"} <= set(MODELS)
    assert {*STAND_INS.values()} == {"shapes", "shapes-dit", "shapes-lcm", SVD, LATTE}
    videos = {part.model for item in items().values() for part in item.parts if part.dataset in ("images", "opensora")}  # fmt: skip
    assert {name for name, model in STAND_INS.items() if model in RANDOM} == videos


def test_published_costs_have_a_row_of_the_same_name():
    """Both files are joined by names of rows: one that is not found would be lost without a word."""
    table = costs._data()["rows"]
    for row in table:
        name = f"table{row['table']}"
        if row["table"] not in ("README", "A6"):
            assert row["row"] in {known["row"] for known in published.rows_of(name)}, row


@pytest.mark.parametrize("name", [name for name in NAMES if published.rows_of(name)])
def test_published_rows_name_their_plan_and_no_row_stands_twice(name):
    rows = published.rows_of(name)
    labels = [row["row"] for row in rows]
    assert len(set(labels)) == len(labels)
    models = {part.model for part in find(name).parts}
    for row in rows:
        assert row["model"] in models
        assert row["model"] in MODELS or row["model"] == "opensora"


def test_published_changes_are_to_the_baseline_of_the_same_cell():
    table = published.values_of("table3").set_index(["row", "measure"])["published_change"]
    assert table["LCM SDXL m=1", "latency"] == pytest.approx(3.533 / 3.805)
    assert table["LCM SDXL m=2", "fid"] == pytest.approx(24.595 - 25.044)
    assert np.isnan(table["LCM SDXL, 6 steps", "fid"])
    by_seed = published.values_of("tableA7").set_index("row")["published_change"]
    assert by_seed["SDXL m=10, seed 2"] == pytest.approx(22.917 - 24.164)
    assert published.values_of("tableA8").set_index(["row", "measure"])["published_change"][
        "ToMe and T-GATE", "latency"
    ] == pytest.approx(8.731 / 12.240)


@pytest.mark.parametrize(
    ("low", "high", "sign", "said"),
    [
        (0.1, 0.2, 1, beside.HOLDS),
        (0.1, 0.2, -1, beside.NOT),
        (-0.2, -0.1, -1, beside.HOLDS),
        (-0.1, 0.2, 1, beside.UNTOLD),
        (float("nan"), 0.2, 1, beside.UNTESTED),
    ],
)
def test_a_claim_is_told_by_the_side_of_its_interval(low, high, sign, said):
    assert beside.verdict(low, high, sign) == said


def _bench(path, **changed):
    run = reported.bench(path)
    arms = pd.DataFrame(
        [
            {"arm": "baseline", "seconds": 2.0, "speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0,
             "extra_mb": 0.0, "peak_mb": 100.0, "paper_macs": 4e12},
            {"arm": "tgate:m=5,k=1,w=2,f=1", "seconds": 1.0, "speedup": 2.0, "speedup_low": 1.6,
             "speedup_high": 2.5, "extra_mb": 3.0, "peak_mb": 103.0, "paper_macs": 2e12},
        ]
    )  # fmt: skip
    parts = pd.DataFrame({"arm": arms["arm"], "part": "cross", "seconds": [0.6, 0.2], "share": 0.3})
    frontier = pd.DataFrame(
        [{"arm": arm, "measure": m, "value": 1.0, "low": 0.9, "high": 1.1, "n": 40, "difference": d,
          "difference_low": low, "difference_high": high}
         for arm in arms["arm"] for m, d, low, high in (("kid", 0.2, 0.1, 0.3), ("fid", 5.0, np.nan, np.nan))]
    )  # fmt: skip
    for name, table in {"arms": arms, "parts": parts, "frontier": frontier}.items():
        run.write_table(name, table)
    about = run.settings | {
        "model": "shapes",
        "steps": 25,
        "scheduler": "dpm",
        "seed": 0,
        "repeats": 3,
    }
    run.about["settings"].update(about | changed)
    return run


def test_a_published_row_is_set_beside_what_its_arm_measured(tmp_path):
    found = beside.facts([_bench(tmp_path / "run")])
    table = beside.beside("table2", found, {"sd15": "shapes"}).set_index(["row", "quantity"])
    row = table.loc["SD-1.5 m=5", "latency"]
    assert (row["here"], row["change"], row["low"], row["high"]) == (1.0, 0.5, 0.4, 1 / 1.6)
    assert row["published_change"] == pytest.approx(4.313 / 7.032)
    assert row["verdict"] == beside.HOLDS
    row = table.loc["SD-1.5 m=5", "fid"]
    assert (row["here_measure"], row["change"]) == ("kid", 0.2)  # FID is not tested
    assert row["verdict"] == beside.NOT  # it falls in the paper, and rose here
    row = table.loc["SD-1.5 m=5", "macs"]
    assert (row["here"], row["change"], row["verdict"]) == (2.0, 0.5, beside.HOLDS)
    assert table.loc["SD-2.1 m=5", "fid"]["verdict"] == beside.UNTESTED  # no model stood for it
    assert table.loc["SD-1.5 m=10", "fid"]["verdict"] == beside.UNTESTED  # no such arm ran
    assert table.loc["SD-1.5", "fid"]["verdict"] == ""  # of a baseline nothing is claimed


def _told(line):
    return dict(itertools.pairwise(line))


@pytest.mark.parametrize(("name", "asked"), [("tableA9", "scenes"), ("tableA10", "compbench")])
def test_tables_of_alignment_ask_questions_the_embedded_world_as_the_papers_models(name, asked):
    for part in find(name).parts:
        told = _told(for_a_stand_in(part, STAND_INS[part.model], None))
        assert (told["--questions"], told["--vqa"]) == (asked, "reader")
        data = Data(questions="q.csv", vqa="a/vqa")
        told = _told(for_the_papers_models(part, data, None))
        assert (told["--questions"], told["--vqa"]) == ("q.csv", "a/vqa")
        assert told["--limit"] == str(part.images)  # of the captions that questions bring
        assert "--captions" not in told
        told = _told(for_a_stand_in(part, "of/my/own", 3, data))
        assert (told["--questions"], told["--limit"]) == ("q.csv", "3")
    assert not {"--questions", "--vqa"} & {
        word for item in items().values() if not item.asks for part in item.parts
        for word in for_the_papers_models(part, COCO, None)
    }  # fmt: skip


def test_every_published_value_of_alignment_is_set_beside_the_measure_that_its_benchmark_has(
    tmp_path,
):
    run = _bench(tmp_path / "run")
    rows = [
        {"arm": arm, "measure": measure, "value": value, "low": value - 1, "high": value + 1, "n": 40,
         "difference": value - 90, "difference_low": value - 91, "difference_high": value - 89}
        for arm, value in (("baseline", 90.0), ("tgate:m=10,k=1,w=2,f=1", 80.0))
        for measure in ("compbench_color", "compbench_shape", "compbench_texture", "compbench_spatial", "all", "color")
    ]  # fmt: skip
    run.write_table("frontier", pd.DataFrame(rows))
    arms = run.read_table("arms")
    run.write_table("arms", arms.assign(arm=["baseline", "tgate:m=10,k=1,w=2,f=1"]))
    table = beside.beside("tableA10", beside.facts([run]), {"sd21": "shapes"})
    own = table[table["row"] == "SD-2.1 m=10"].set_index("quantity")
    for measure in ("compbench_color", "compbench_shape", "compbench_texture", "compbench_spatial"):
        assert own.loc[measure, "here_measure"] == measure
        assert own.loc[measure, ["here", "change", "low", "high"]].to_list() == [80, -10, -11, -9]
        assert own.loc[measure, "verdict"] == beside.HOLDS  # it falls in the paper, too
    for measure in ("compbench_non_spatial", "compbench_complex"):  # what no questions answer
        assert own.loc[measure, "verdict"] == beside.UNTESTED
        assert own.loc[measure, ["here"]].isna().all()
    kinds = set(published.values_of("tableA9")["measure"])
    assert kinds == {"dpg", *(f"dpg_{c}" for c in ("global", "entity", "attribute", "relation", "other"))}  # fmt: skip


def test_of_the_images_of_random_weights_nothing_is_tested(tmp_path):
    found = beside.facts([_bench(tmp_path / "run")])
    table = beside.beside("table2", found, {"sd15": "shapes"}, {"sd15"}).set_index(["row", "quantity"])  # fmt: skip
    assert table.loc["SD-1.5 m=5", "latency"]["verdict"] == beside.HOLDS
    assert table.loc["SD-1.5 m=5", "macs"]["verdict"] == beside.HOLDS
    row = table.loc["SD-1.5 m=5", "fid"]
    assert (row["change"], row["verdict"]) == (0.2, beside.UNTESTED)


def test_stand_ins_of_random_weights_are_pipelines_in_the_run_directory(tmp_path):
    from attnscope.models.names import describe, fingerprint

    prepare(frozenset({SVD, LATTE, "$RUN/images", "$RUN/captions.txt"}), tmp_path)
    kinds = {SVD: "image", LATTE: "text"}
    for model, task in kinds.items():
        folder = Path(placed(model, tmp_path))
        assert folder.parent == tmp_path
        assert describe(str(folder)).task == task
    assert (shown(SVD), shown(LATTE), shown("shapes")) == (
        "svd of random weights", "latte of random weights", "shapes",
    )  # fmt: skip
    assert len(list((tmp_path / "images").glob("*.png"))) == 8
    assert len((tmp_path / "captions.txt").read_text().splitlines()) == 8
    again = tmp_path / "again"
    prepare(frozenset({SVD}), again)  # the same weights wherever it is made
    assert fingerprint(describe(placed(SVD, again))) == fingerprint(describe(placed(SVD, tmp_path)))
    before = (tmp_path / "svd-random" / "model_index.json").stat().st_mtime_ns
    prepare(frozenset({SVD}), tmp_path)
    assert (tmp_path / "svd-random" / "model_index.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("own", [True, False])
def test_what_judges_is_said_once_and_reaches_every_command_that_judges(own):
    data = Data(features="efficientnet-lite0", clip="a/clip")
    for name, item in items().items():
        for line in recipe(item, model=None, own=own, limit=None, data=data).settings.lines:
            judges = line[0] == "ablate" or "--frontier" in line
            videos = "svd" in line or not RANDOM.isdisjoint(line)
            told = _told(line)
            assert (told.get("--features") == "efficientnet-lite0") == (judges and not videos), name
            assert (told.get("--clip") == "a/clip") == (judges and RANDOM.isdisjoint(line)), name


def test_a_video_is_made_of_images_and_not_of_captions():
    (part,) = (part for part in find("table2").parts if part.model == "svd")
    line = for_the_papers_models(part, COCO, None)
    assert not {"--captions", "--images", "--limit", "--reference"} & set(line)
    told = _told(for_the_papers_models(part, Data(images=Path("sdxl")), 5))
    assert (told["--images"], told["--limit"]) == ("sdxl", "5")
    table = gpu_plan(find("table2"), COCO, None)
    assert '--images "$IMAGES"' in table["line"].iloc[-1]
    # of which the table prints a CLIP score, and of the others it does not
    assert ['--clip "$CLIP"' in line for line in table["line"]] == [False, False, False, True]


def test_times_of_a_single_round_have_no_range_to_test(tmp_path):
    found = beside.facts([_bench(tmp_path / "run", repeats=1)])
    table = beside.beside("table2", found, {"sd15": "shapes"}).set_index(["row", "quantity"])
    assert table.loc["SD-1.5 m=5", "latency"]["verdict"] == beside.UNTESTED


def test_several_seeds_are_columns_of_one_table(tmp_path):
    runs = [_bench(tmp_path / str(seed), seed=seed) for seed in (0, 2)]
    table = beside.beside("tableA7", beside.facts(runs), {"sdxl": "shapes"})
    wide = beside.seeds_as_columns(table).set_index("row")
    assert len(wide) == len(table) / 3
    assert wide.loc["SDXL", ["paper, seed 1", "paper, seed 3"]].to_list() == [24.628, 24.661]
    assert wide.loc["SDXL", "here, seed 3"] == 1.0
    assert np.isnan(wide.loc["SDXL", "here, seed 2"])  # nobody ran it
    assert beside.seeds_as_columns(beside.beside("table2", beside.facts(runs), {})) is None
    kept = tmp_path / "kept"
    kept.mkdir()
    table.to_csv(kept / "tableA7-beside.csv", index=False)
    text = page.page(kept)
    assert (
        "| row | measure | paper, seed 1 | paper, seed 2 | paper, seed 3 | here, seed 1 |" in text
    )
    assert "| SDXL | FID, here KID | 24.63 | 24.16 | 24.66 | 1 |  | 1 |" in text


def test_rows_of_other_schedulers_and_seeds_are_told_apart(tmp_path):
    runs = [_bench(tmp_path / kind, scheduler=kind) for kind in ("euler", "ddim")]
    found = beside.facts(runs)
    table = beside.beside("table6", found, {"sdxl": "shapes"}).set_index("row")
    assert table.loc["Euler m=5"]["here_measure"] == "kid"
    assert table.loc["DPM-Solver m=5"]["verdict"] == beside.UNTESTED


def _ablation(path, count, far):
    run = reported.ablate(path)
    rows = [
        {"trajectory": trajectory, "prompt_id": number, "ssim": value - number / 1000}
        for trajectory, value in (("S^F", 0.98), ("S^L", 0.98 - far))
        for number in range(count)
    ]
    run.write_table("images", pd.DataFrame(rows))
    return run


def test_a_claim_about_images_is_tested_pair_by_pair(tmp_path):
    table = claims.tested("figure3b", [_ablation(tmp_path / "far", 30, 0.5)])
    assert table["value"].item() == pytest.approx(0.5)
    assert table["verdict"].item() == beside.HOLDS
    other = claims.tested("figure4", [_ablation(tmp_path / "other", 30, 0.5)])
    assert other["verdict"].item() == beside.NOT


def test_of_few_prompts_no_claim_is_tested(tmp_path):
    table = claims.tested("figure3b", [_ablation(tmp_path / "run", 8, 0.5)])
    assert table["verdict"].item() == beside.UNTESTED


def test_convergence_is_told_by_what_is_left_of_the_first_change(tmp_path):
    run = reported.convergence(tmp_path / "run", texts=[str(n) for n in range(25)], steps=12)
    found = claims.tested("figure2", [run])
    # the made-up curve is 1 / step^2: at step 10 a hundredth of the first change is left
    assert found["value"].item() == pytest.approx(claims.THRESHOLD - 0.01)
    assert found["verdict"].item() == beside.HOLDS
    short = reported.convergence(tmp_path / "short", steps=6)
    assert claims.tested("figure2", [short]).empty  # it has no step 10


def _rounds(path, **arms):
    """A benchmark of three rounds: seconds of every arm."""
    run = _bench(path)
    rows = [
        {"arm": arm, "repetition": number, "seconds": value, "peak_mb": 100.0 + len(arm)}
        for arm, values in arms.items()
        for number, value in enumerate(values)
    ]
    run.write_table("repetitions", pd.DataFrame(rows))
    return run


def test_the_order_of_a_table_is_tested_round_by_round(tmp_path):
    ours, cutoff = "tgate:m=5,k=1,w=2,f=1", "guidance-cutoff:m=10,keep=cond"
    run = _rounds(tmp_path / "a", **{"baseline": [9, 9, 9], ours: [2, 4, 6], "tgate:m=8": [1, 2, 3], cutoff: [3, 6, 9]})  # fmt: skip
    found = claims.tested("table4", [run])
    assert found[["value", "low", "high", "n"]].to_numpy().tolist() == [[0.5, 0.5, 0.5, 3]]
    assert found["verdict"].item() == beside.HOLDS
    run = _rounds(tmp_path / "b", **{"baseline": [9, 9], ours: [2, 4], "DeepCache": [1, 5], "T-GATE with DeepCache": [1.1, 6]})  # fmt: skip
    faster, both = claims.tested("table5", [run]).to_dict("records")
    assert [faster["low"], faster["high"]] == pytest.approx([-0.2, 1])
    assert faster["verdict"] == beside.UNTOLD
    assert (round(both["high"], 6), both["verdict"]) == (round(1 / 1.1 - 1, 6), beside.NOT)
    alone = _rounds(tmp_path / "c", **{"baseline": [9, 9], ours: [2, 4]})
    assert claims.tested("table5", [alone]).empty  # the rival is not installed
    (memory,) = claims.tested("tableA13", [run]).to_dict("records")
    assert memory["value"] == pytest.approx(0.01 - ((100 + len(ours)) / 108 - 1))
    assert memory["verdict"] == beside.NOT


@pytest.mark.parametrize("name", claims.CLAIMS)
def test_claims_are_of_items_and_of_commands_that_make_them(name):
    commands = {part.command for part in find(name).parts}
    runs = {"generate-plans" if command == "generate" else command for command in commands}
    assert {claim.command for claim in claims.CLAIMS[name]} <= runs


def test_an_item_that_there_is_not_is_refused_with_the_nearest_ones():
    with pytest.raises(InputError, match=r"the paper has no 'tabel2': did you mean table2"):
        find("tabel2")


def test_the_protocol_of_the_paper_is_one_option(tmp_path):
    (tmp_path / "annotations").mkdir()
    with pytest.raises(InputError, match=r"has no annotations/captions_val2014\.json: unpack"):
        Data.coco(tmp_path)
    (tmp_path / "annotations" / "captions_val2014.json").write_text("{}")
    (tmp_path / "val2014").mkdir()
    line = for_the_papers_models(find("figure3c").parts[0], Data.coco(tmp_path), None)
    told = dict(itertools.pairwise(line))
    assert told["--limit"] == "30000"
    assert told["--features"] == "inception"
    assert told["--reference"] == str(tmp_path / "val2014")
    line = for_the_papers_models(find("figure3c").parts[0], Data.coco(tmp_path), 100)
    assert dict(itertools.pairwise(line))["--limit"] == "100"


def test_what_a_gpu_would_be_asked_for_is_counted():
    table = gpu_plan(find("table4"), Data(), 100)
    assert list(table["model"]) == ["sdxl", "pixart"]
    assert list(table["images"]) == [300, 500]
    counted = costs.compare().set_index(["table", "row"])["full"]
    rows = ("SDXL", "SDXL, Adaptive Guidance", "SDXL m=5, k=3")
    expected = 100 * sum(counted["4", row] for row in rows) * 1e12
    assert table["macs"][0] == pytest.approx(expected, rel=1e-9)
    assert table["line"][0].startswith("attnscope bench --model sdxl ")
    assert '"$COCO/val2014"' in table["line"][0]


DOCS = Path(__file__).parents[2] / "docs"


def test_every_item_stands_in_the_document():
    text = (DOCS / "paper.md").read_text("utf-8")
    headings = re.findall(r"^## (?:Figure|Table) (\S+)", text, flags=re.MULTILINE)
    assert headings == [re.sub("^(figure|table)", "", name) for name in NAMES]


def test_the_document_follows_from_what_was_kept():
    """Every number in it stands in a file beside it: "python benchmarks/paper.py --page" writes it anew."""
    assert (DOCS / "paper.md").read_text("utf-8") == page.page(DOCS / "paper")


def test_what_a_run_left_is_kept_and_shown(tmp_path):
    run, folder = reported.paper(tmp_path / "run"), tmp_path / "kept"
    picture = run.path / "1-bench" / "figures" / "frontier.png"
    reported.image(picture, [1, 2, 3])
    (folder / "table2-9.png").parent.mkdir()
    (folder / "table2-9.png").write_bytes(b"of a run before")
    page.keep(run, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "made.csv", "table2-1.png", "table2-beside.csv", "table2-claims.csv",
    ]  # fmt: skip
    page.keep(run, folder)  # again: nothing stands twice
    assert len(pd.read_csv(folder / "made.csv")) == 1
    text = page.page(folder)
    assert "$ attnscope bench --model shapes" in text
    assert "| 20.789 FID | −3.14 | 0.1 KID | −0.02 [−0.03, −0.01] | 3 | **holds** |" in text
    assert (
        "| 4.313 s/image | ×0.613 | 0.5 s/image | ×0.700 [0.600, 1.200] | 3 | **cannot tell** |"
        in text
    )
    assert "Of all rows: 1 holds, 0 does not hold, 1 cannot tell, 1 not tested." in text
    assert '<img src="kept/table2-1.png"' in text
    assert "Not made here (shapes-dit)" in text
