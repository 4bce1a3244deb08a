"""Shards of a run, joined: the same tables to the byte, and what does not belong together is refused."""

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from small_runs import command, files, shards

from attnscope.analyses import merging
from attnscope.analyses.grid.making import PlanByPlan
from attnscope.analyses.merging import is_done, merge
from attnscope.errors import InputError
from attnscope.runs.folder import Run


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["convergence", "generate", "generate-plans", "ablate", "maps"])
def test_four_shards_make_what_one_worker_makes_to_the_byte(
    attnscope, folder, five, tmp_path, name
):
    assert attnscope(*command(name, folder, five, tmp_path / "whole"))[0] == 0
    paths = shards(attnscope, name, folder, five, tmp_path, 4)
    assert all(is_done(Run(path)) for path in paths)
    before = {path: path.read_bytes() for one in paths for path in one.rglob("*") if path.is_file()}
    code, out, err = attnscope("merge", *reversed(paths), "--out", tmp_path / "joined", "-q")
    assert (code, out) == (0, f"{tmp_path / 'joined'}\n"), err
    whole, joined = files(tmp_path / "whole"), files(tmp_path / "joined")
    assert len(whole) > 1
    assert joined.keys() == whole.keys()
    assert [name for name in whole if joined[name] != whole[name]] == []
    assert {path: path.read_bytes() for path in before} == before
    if name.startswith("generate"):
        times = [pd.read_parquet(tmp_path / one / "times.parquet") for one in ("whole", "joined")]
        pd.testing.assert_frame_equal(
            *(table.drop(columns=["seconds", "peak_mb"], errors="ignore") for table in times)
        )  # the arms went first in turns, as they would have in one place
    if name == "generate-plans":
        plans = [pd.read_csv(tmp_path / one / "plans.csv") for one in ("whole", "joined")]
        same = ["plan", "key", "steps", "guided_steps", "macs", "paper_macs", "kept_mb", "images",
                "psnr", "ssim", "ssim_low", "ssim_high"]  # fmt: skip
        pd.testing.assert_frame_equal(
            *(table.sort_values("plan", ignore_index=True)[same] for table in plans)
        )
        assert plans[0]["macs"].notna().all()
        stages = pd.read_parquet(tmp_path / "joined" / "stages.parquet")
        assert list(stages.groupby(["plan", "prompt_id"], sort=False).size()) == [4] * 6
    about = Run(tmp_path / "joined").about
    assert "shard" not in about
    assert [one["shard"]["number"] for one in about["merged"]] == [1, 2, 3, 4]
    code, out, _ = attnscope("merge", *paths, "--out", tmp_path / "joined", "--json")
    assert (code, type(json.loads(out))) == (0, dict)


def test_whose_turn_a_plan_has_follows_from_the_number_of_the_batch(
    attnscope, folder, five, tmp_path, monkeypatch
):
    gone, by = [], PlanByPlan._by

    def noted(work, plan, *more):
        gone.append(str(plan))
        return by(work, plan, *more)

    monkeypatch.setattr(PlanByPlan, "_by", noted)
    assert attnscope(*command("generate-plans", folder, five, tmp_path / "whole"))[0] == 0
    whole = [gone[start : start + 3] for start in range(0, 15, 3)]
    assert [order[0] for order in whole] == [*whole[0], *whole[0][:2]]
    gone.clear()
    more = ["--shard", "2/2", "--events", tmp_path / "events"]
    code, _, err = attnscope(*command("generate-plans", folder, five, tmp_path / "second", *more))
    assert code == 0, err
    assert [gone[:3], gone[3:]] == [whole[1], whole[3]]
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [event["batch"] for event in events if event["event"] == "batch"] == [1, 3]


@pytest.mark.usefixtures("undrawn")
def test_images_of_a_frontier_are_cut_and_its_times_are_taken_in_the_first_shard(
    attnscope, folder, five, tmp_path
):
    assert attnscope(*command("bench", folder, five, tmp_path / "whole"))[0] == 0
    paths = shards(attnscope, "bench", folder, five, tmp_path, 2)
    assert [Run(path).has_table("arms") for path in paths] == [True, False]
    assert all(is_done(Run(path)) for path in paths)
    code, _, err = attnscope("merge", *paths, "--out", tmp_path / "joined", "-q")
    assert code == 0, err
    whole, joined = files(tmp_path / "whole"), files(tmp_path / "joined")
    images = [name for name in whole if name.parts[0] == "images" or name.name == "images.parquet"]
    assert len(images) > 10
    assert [name for name in images if joined[name] != whole[name]] == []
    wanted = ["arm", "measure", "value", "low", "high", "n"]
    tables = [pd.read_parquet(tmp_path / one / "frontier.parquet") for one in ("whole", "joined")]
    pd.testing.assert_frame_equal(*(table[wanted] for table in tables))


@pytest.fixture
def two(attnscope, folder, five, tmp_path):
    """Two shards of a run."""
    return shards(attnscope, "generate", folder, five, tmp_path, 2)


def change(path, **changes):
    about = json.loads((path / "run.json").read_text())
    for name, value in changes.items():
        about[name] = about[name] | value
    (path / "run.json").write_text(json.dumps(about))


@pytest.mark.usefixtures("undrawn")
def test_what_does_not_belong_together_is_refused_by_name(attnscope, folder, five, two, tmp_path):
    first, second = two
    out = tmp_path / "joined"

    def refused(*paths):
        code, _, err = attnscope("merge", *paths, "--out", out)
        assert (code, err.count("\n"), out.exists()) == (2, 1, False)
        return err

    assert "of 2 shards, 2 is missing: name all directories" in refused(first)
    assert f"'{first}' and '{first}' are both shard 1/2" in refused(first, second, first)
    other = tmp_path / "other"
    for changes, message in [
        ({"settings": {"steps": 5}}, "do not belong together: steps is 4 and 5"),
        ({"machine": {"torch": "2.6.0"}}, "do not belong together: torch is"),
        ({"machine": {"threads": 7}}, "do not belong together: threads is 1 and 7"),
        ({"cut": {"batch_size": 3}}, "do not belong together: batch size is 2 and 3"),
        ({"shard": {"of": 3}}, "do not belong together: shards is 2 and 3"),
    ]:
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(second, other)
        change(other, **changes)
        assert message in refused(first, other)
    whole = tmp_path / "whole"
    attnscope(*command("generate", folder, five, whole))
    assert f"'{whole}' is no shard of a run" in refused(first, whole)
    with pytest.raises(InputError, match="there are no runs to merge"):
        merge([], out)


def test_batches_that_are_missing_or_twice_there_are_named(attnscope, two, tmp_path):
    first, second = two
    (part,) = (second / "parts").glob("images-*.parquet")
    kept = part.read_bytes()
    part.unlink()
    code, _, err = attnscope("merge", first, second, "--out", tmp_path / "joined")
    assert (code, err.count("\n")) == (2, 1)
    assert f"shard 2/2 in '{second}' lacks 1 of its batches (1): give its command again" in err
    part.write_bytes(kept)
    (first / "parts" / part.name).write_bytes(kept)
    code, _, err = attnscope("merge", first, second, "--out", tmp_path / "joined")
    assert code == 2
    assert (
        f"shard 1/2 in '{first}' lacks 'parts/calls-00002.parquet': restore it, or give its" in err
    )
    shutil.copytree(second, first, dirs_exist_ok=True, ignore=lambda *_: ["run.json"])
    code, _, err = attnscope("merge", first, second, "--out", tmp_path / "joined")
    assert code == 2
    assert "batch 1 is in shards 1 and 2" in err
    (first / "prompts.parquet").unlink()
    code, _, err = attnscope("merge", first, second, "--out", tmp_path / "joined")
    assert f"shard 1/2 in '{first}' is not finished: give its command again" in err


def test_a_shard_is_listed_as_done_when_it_has_its_own_batches(attnscope, two, tmp_path):
    def told():
        code, out, err = attnscope("runs", tmp_path)
        assert (code, err) == (0, "")
        return sorted(re.findall(r"shard ./2, (?:not )?done", out))

    assert told() == ["shard 1/2, done", "shard 2/2, done"]
    (part,) = (two[1] / "parts").glob("images-*.parquet")
    part.unlink()
    assert told() == ["shard 1/2, done", "shard 2/2, not done"]
    code, out, _ = attnscope("runs", tmp_path, "--json")
    found = {row["shard"]: row["finished"] for row in json.loads(out)}
    assert (code, found) == (0, {"1/2": True, "2/2": False})


@pytest.mark.usefixtures("undrawn")
def test_a_shard_is_no_other_and_no_whole_run(attnscope, folder, five, two, tmp_path):
    first, _ = two
    code, _, err = attnscope(*command("generate", folder, five, first, "--shard", "2/2"))
    assert (code, f"'{first}' holds shard 1/2 and not shard 2/2" in err) == (2, True)
    code, _, err = attnscope(*command("generate", folder, five, first))
    assert (code, "holds shard 1/2 and not all of the batches" in err) == (2, True)
    code, _, err = attnscope("plot", first)
    assert code == 2
    assert "is shard 1/2 and has no table" in err
    assert "attnscope merge" in err
    for out, message in [(first, "is one of the shards"), (tmp_path, "is no run directory")]:
        code, _, err = attnscope("merge", *two, "--out", out)
        assert (code, message in err) == (2, True)


def test_shards_that_nothing_is_left_for_are_merged_too(attnscope, folder, five, tmp_path):
    paths = shards(attnscope, "generate", folder, five, tmp_path, 5)
    assert [len(list((path / "images").glob("*"))) if (path / "images").exists() else 0
            for path in paths] == [2, 2, 1, 0, 0]  # fmt: skip
    assert attnscope("merge", *paths, "--out", tmp_path / "joined", "-q")[0] == 0
    assert len(Run(tmp_path / "joined").read_table("images")) == 10


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["bench", "--shard", "1/2"], "--shard: for the images of --frontier only"),
        (["bench", "--workers", "2"], "--workers: for the images of --frontier only"),
        (["tune", "--shard", "1/2", "--prove", "2"], "--prove: a shard ends with its part of the"),
        (["generate", "--shard", "3/2"], "shard '3/2' is none"),
        (["generate", "--gpus-per-worker", "0.5"], "is of --workers or --ray"),
        (
            ["generate", "--plans", "baseline;m=2", "--gpus-per-worker", "1"],
            "is of --workers or --ray",
        ),
        (
            ["generate", "--plans", "baseline;m=2", "--judge"],
            "--judge: images of one plan are judged here",
        ),
        (
            ["generate", "--plans", "baseline;m=2", "--lpips"],
            "--lpips: images of one plan are judged here",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_in_one_line(attnscope, more, message):
    code, _, err = attnscope(*more)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["generate", "generate-plans"])
def test_a_run_goes_on_in_the_batches_it_was_cut_into(attnscope, folder, five, tmp_path, name):
    from attnscope.runs.crew import Alone

    asked = ["--batch-size", 2]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert attnscope(*command(name, folder, five, whole, *asked))[0] == 0
    made, each = [], Alone._each

    def first_only(crew, tasks, size, progress):
        for done in each(crew, tasks, size, progress):
            yield done
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Alone, "_each", first_only)
        code, _, err = attnscope(*command(name, folder, five, stopped, *asked))
    line = "stopped: the batches that were made are kept, and the same command goes on after them"
    assert (code, err) == (130, f"{line}\n")

    def noted(crew, tasks, size, progress):
        for done in each(crew, tasks, size, progress):
            made.append((done.task.number, len(done.items)))
            yield done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Alone, "_each", noted)
        assert attnscope(*command(name, folder, five, stopped, "--batch-size", 5))[0] == 0
    assert made == [(1, 2), (2, 1)]  # in twos, as the run records it, and not in fives
    assert Run(stopped).cut == 2
    assert files(stopped) == files(whole)


def test_a_merge_that_was_stopped_behind_its_main_table_is_finished_by_the_next(
    two, tmp_path, monkeypatch
):
    kind = merging._KINDS["generate"]

    def stopped(run, judging, progress):
        kind.finish(run, judging, progress)
        raise KeyboardInterrupt

    out = tmp_path / "whole"
    runs = [Run(path) for path in two]
    with monkeypatch.context() as patch:
        patch.setitem(merging._KINDS, "generate", replace(kind, finish=stopped))
        with pytest.raises(KeyboardInterrupt):
            merge(runs, out)
    assert Run(out).has_table("images")
    (out / "calls.parquet").unlink()  # as if it had been stopped before that
    merge(runs, out)
    assert Run(out).has_table("calls")
    assert Run(out).about["finished"] is True


def test_questions_are_refused_of_shards_before_anything_is_made(attnscope, tmp_path):
    out = tmp_path / "shard"
    code, _, err = attnscope(
        "ablate", "--limit", 2, "--steps", 2, "--gate", 1, "--features", "none", "--questions",
        "scenes", "--vqa", "reader", "--shard", "1/2", "--out", out,
    )  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert "questions about images are not asked of shards" in err
    assert not out.exists()
