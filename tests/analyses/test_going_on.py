"""Runs that were stopped at odd moments, that lost files, or that two processes make: the whole, or one line."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from small_runs import command, files, shards

from attnscope.analyses import merging
from attnscope.files import PREFIX
from attnscope.runs.folder import Run

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def stopped(monkeypatch):
    """Runs of which all batches were made and no table, as Ctrl-C before the end leaves them."""

    def stop(attnscope, *words):
        with monkeypatch.context() as patched:
            patched.setattr(Run, "check_complete", _interrupted)
            assert attnscope(*words)[0] != 0

    return stop


def _interrupted(*of):
    raise KeyboardInterrupt


def _never_finished():
    """Merging is stopped when all is copied."""
    return merging._Kind(merging._KINDS["generate"].counted, _interrupted)


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("generate", 1),
        ("generate", 3),
        ("generate", 5),
        ("generate-plans", 2),
        ("maps", 4),
        ("convergence", 1),
    ],
)
def test_who_is_stopped_while_parts_are_removed_loses_nothing(
    attnscope, folder, five, tmp_path, monkeypatch, name, removed
):
    """The table is whole by then; what is left of its parts must not be taken for all of it."""
    few = ["--batch-size", 1, "--limit", 2]
    words = command(name, folder, five, tmp_path / "run", *few)
    unlink, count = Path.unlink, 0

    def stop(path, **how):
        nonlocal count
        if path.parent.name == "parts" and not path.name.startswith(PREFIX):
            count += 1
            if count > removed:
                assert (tmp_path / "run" / f"{path.stem.rpartition('-')[0]}.parquet").exists()
                raise KeyboardInterrupt
        unlink(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", stop)
        assert attnscope(*words)[0] != 0
    assert (tmp_path / "run/parts").exists()
    assert count == removed + 1
    assert attnscope(*words)[0] == 0
    assert attnscope(*command(name, folder, five, tmp_path / "whole", *few))[0] == 0
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    assert not (tmp_path / "run/parts").exists()


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("generate", "parts/calls-00002.parquet"),
        ("generate", "parts/times-00000.parquet"),
        ("generate", "images/00003.png"),
        ("generate", "baseline/00000.png"),
        ("generate-plans", "parts/times-00001.parquet"),
        ("maps", "parts/distances-00002.parquet"),
        ("maps", "parts/points-00000.parquet"),
        ("maps", "maps/00004.safetensors"),
        ("ablate", "parts/*/noise-00002.parquet"),
        ("ablate", "images/*/00004.png"),
    ],
)
def test_a_batch_that_lacks_a_file_is_made_again(
    attnscope, folder, five, tmp_path, monkeypatch, stopped, name, lost
):
    words = command(name, folder, five, tmp_path / "run")
    if name == "ablate":
        with monkeypatch.context() as patched:
            patched.setattr("attnscope.analyses.ablation.run.finish", _interrupted)
            assert attnscope(*words)[0] != 0
    else:
        stopped(attnscope, *words)
    (gone, *_) = sorted((tmp_path / "run").glob(lost))
    if gone.name == "00000.png":
        gone.write_bytes(b"")  # as where the power failed
    else:
        gone.unlink()
    code, _, err = attnscope(*[word for word in words if word != "-q"])
    assert code == 0, err
    assert f"lacks '{gone.relative_to(tmp_path / 'run')}': made again" in " ".join(err.split())
    assert attnscope(*command(name, folder, five, tmp_path / "whole"))[0] == 0
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_what_is_lost_in_mid_run_is_refused_and_not_left_out(
    attnscope, folder, five, tmp_path, stopped
):
    words = command("generate", folder, five, tmp_path / "run")
    stopped(attnscope, *words)
    run = Run(tmp_path / "run")
    run.drop_parts("images", [2])
    with pytest.raises(
        Exception, match="lacks 2 of 5 prompts, the first 2: give the same 'generate'"
    ):
        run.check_complete("images")
    shutil.rmtree(run.path / "images")
    with pytest.raises(Exception, match=r"lacks 'images/00000\.png': restore it, or give the same"):
        run.check_complete("images")
    assert attnscope(*words)[0] == 0
    assert len(run.read_table("images")) == 10


def test_two_processes_do_not_make_one_run(attnscope, folder, five, tmp_path):
    words = command("generate", folder, five, tmp_path / "run", "--batch-size", 1)
    script = (
        "import sys, time; from attnscope.runs.folder import Run; from attnscope.cli.app import main\n"
        "write = Run.write_part\n"
        "def slow(run, name, *more):\n"
        "    write(run, name, *more)\n"
        "    if name == 'images': print('part', flush=True); sys.stdin.readline()\n"
        "Run.write_part = slow; sys.argv[0] = 'attnscope'; main()"
    )
    first = [sys.executable, "-c", script, *map(str, words)]
    with subprocess.Popen(
        first, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "part\n"
        code, _, err = attnscope(*words)
        assert code == 2
        assert err.startswith("error: another process writes into --out ")
        process.stdin.write("\n" * 10)
        process.stdin.close()
        assert process.wait() == 0
    assert len(pd.read_parquet(tmp_path / "run/images.parquet")) == 10
    assert attnscope(*words)[0] == 0


def test_a_process_that_is_told_to_end_says_what_is_kept(folder, five, tmp_path):
    words = command("generate", folder, five, tmp_path / "run", "--batch-size", 1, "--steps", 900)
    words += ["--events", tmp_path / "events.jsonl"]
    begun = [sys.executable, "-c", "from attnscope.cli.app import main; main()", *map(str, words)]
    with subprocess.Popen(begun, stderr=subprocess.PIPE, text=True) as process:
        while (
            not (tmp_path / "events.jsonl").exists()
            or "begun" not in (tmp_path / "events.jsonl").read_text()
        ):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on after them" in err
    assert "Traceback" not in err


def test_a_merge_that_is_stopped_while_it_copies_goes_on(
    attnscope, folder, five, tmp_path, monkeypatch
):
    paths = shards(attnscope, "generate", folder, five, tmp_path, 2)
    merged = ["merge", *paths, "--out", tmp_path / "joined", "-q"]
    copy, count = shutil.copy2, 0

    def stop(*of):
        nonlocal count
        count += 1
        if count > 2:
            raise KeyboardInterrupt
        return copy(*of)

    with monkeypatch.context() as patched:
        patched.setattr(merging.shutil, "copy2", stop)
        assert attnscope(*merged)[0] != 0
    assert attnscope(*merged)[0] == 0
    assert len(Run(tmp_path / "joined").read_table("images")) == 10


def test_a_merge_takes_a_shard_that_was_mended(attnscope, folder, five, tmp_path, monkeypatch):
    """Of what was copied before only that stays which is the shard's still."""
    paths = shards(attnscope, "generate", folder, five, tmp_path, 2)
    merged = ["merge", *paths, "--out", tmp_path / "joined", "-q"]
    image = paths[1] / "images/00002.png"
    good = image.read_bytes()
    image.unlink()
    code, _, err = attnscope(*merged)
    assert code == 2
    assert "lacks 'images/00002.png': restore it, or give its command again" in err
    image.write_bytes(b"no image")
    with monkeypatch.context() as patched:
        patched.setitem(merging._KINDS, "generate", _never_finished())
        assert attnscope(*merged)[0] != 0
    assert (tmp_path / "joined/images/00002.png").read_bytes() == b"no image"
    image.write_bytes(good)
    assert attnscope(*merged)[0] == 0
    assert (tmp_path / "joined/images/00002.png").read_bytes() == good


def test_a_merge_that_goes_on_leaves_out_what_a_shard_made_otherwise_since(
    attnscope, folder, five, tmp_path, monkeypatch
):
    """A batch in two parts, as where memory ran out, that its shard has in one part now."""
    paths = shards(attnscope, "generate", folder, five, tmp_path, 2)
    merged = ["merge", *paths, "--out", tmp_path / "joined", "-q"]
    with monkeypatch.context() as patched:
        patched.setitem(merging._KINDS, "generate", _never_finished())
        assert attnscope(*merged)[0] != 0
    parts = tmp_path / "joined/parts"
    for table in ("images", "calls", "times"):
        shutil.copy(parts / f"{table}-00002.parquet", parts / f"{table}-00003.parquet")
    assert attnscope(*merged)[0] == 0
    assert attnscope(*command("generate", folder, five, tmp_path / "whole"))[0] == 0
    assert files(tmp_path / "joined") == files(tmp_path / "whole")


def test_a_merge_that_came_to_its_end_takes_what_shards_learned_since(
    attnscope, folder, five, tmp_path
):
    paths = shards(attnscope, "convergence", folder, five, tmp_path, 2)
    for path in paths:  # as if --controls had come later
        for part in (path / "parts").glob("controls-*"):
            part.rename(path / part.name)
    merged = ["merge", *paths, "--out", tmp_path / "joined", "-q"]
    assert attnscope(*merged)[0] == 0
    assert not Run(tmp_path / "joined").has_table("controls")
    for path in paths:
        for part in path.glob("controls-*"):
            part.rename(path / "parts" / part.name)
    assert attnscope(*merged)[0] == 0
    assert len(set(Run(tmp_path / "joined").read_table("controls")["prompt_id"])) == 5
    records = Run(tmp_path / "joined").path / "records.parquet"
    before = records.stat().st_mtime_ns
    assert attnscope(*merged)[0] == 0
    assert records.stat().st_mtime_ns == before


def test_events_may_lie_in_the_run_that_they_are_of(attnscope, folder, five, tmp_path):
    words = command("generate", folder, five, tmp_path / "run")
    assert attnscope(*words, "--events", tmp_path / "run/logs/events.jsonl")[0] == 0
    told = (tmp_path / "run/logs/events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in told][::7] == ["start", "end"]
    (tmp_path / "else").mkdir()
    (tmp_path / "else/notes.txt").write_text("somebody's")
    code, _, err = attnscope(*command("generate", folder, five, tmp_path / "else"))
    assert (code, "is no run directory" in err) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_where_no_more_events_can_be_written_work_goes_on(attnscope, folder, five, tmp_path):
    words = [w for w in command("generate", folder, five, tmp_path / "run") if w != "-q"]
    code, _, err = attnscope(*words, "--events", "/dev/full")
    assert code == 0
    assert " ".join(err.split()).count("no more events can be written to '/dev/full'") == 1


def test_that_a_batch_could_not_be_written_is_an_event(
    attnscope, folder, five, tmp_path, monkeypatch
):
    def full(run, name, *more):
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr(Run, "write_part", full)
    events = tmp_path / "events.jsonl"
    words = command("generate", folder, five, tmp_path / "run", "--events", events)
    assert attnscope(*words)[0] == 2
    last = json.loads(events.read_text().splitlines()[-1])
    assert (last["event"], last["batches"]) == ("failed", 0)
    assert "No space left" in last["reason"]
