"""Who makes batches: this process alone, what it tells meanwhile, and what cannot be asked of it."""

import builtins
import errno
import json
import os
from dataclasses import dataclass

import pandas as pd
import pytest
from faulty import Counting
from hearing import Hearing

from attnscope.cli.rates import Rates, told
from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.models.chosen import ChosenModel
from attnscope.runs.crew import ALONE, Alone, Made, Task
from attnscope.runs.events import Events
from attnscope.runs.folder import Run
from attnscope.runs.on_ray import RayCrew, _Queue
from attnscope.runs.progress import Kept
from attnscope.runs.ray_cluster import _check_reached


@dataclass(frozen=True)
class Nothing:
    """Settings of a run that has none."""


@dataclass(frozen=True)
class Named:
    """A model that needs no loading."""

    name: str = "named"
    device: str = "cpu"
    pipe: str = "the pipeline"


def tasks(*sizes, limit=2):
    return [Task(n, list(range(size)), Counting(Named(), limit)) for n, size in enumerate(sizes)]


def test_memory_that_ran_out_in_one_batch_is_remembered_in_the_next():
    heard = Hearing()
    done = list(ALONE.each(tasks(3, 2, 1, limit=1), progress=heard))
    assert [(one.task.number, one.items) for one in done] == [
        (0, [0]), (0, [1]), (0, [2]), (1, [0]), (1, [1]), (2, [0]),
    ]  # fmt: skip
    assert heard.halvings == [1]
    assert [one.made.said for one in done] == ["1 in the pipeline"] * 6


def test_events_are_lines_of_json(tmp_path):
    heard = Events(Hearing(), tmp_path / "deep" / "events.jsonl")
    for _ in ALONE.each(tasks(2, 3), progress=heard):
        pass
    lines = (tmp_path / "deep" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == [
        "start", "begun", "batch", "begun", "halved", "batch", "batch", "batch", "end",
    ]  # fmt: skip
    assert [event["items"] for event in events if event["event"] == "batch"] == [2, 1, 1, 1]
    assert events[-1]["batches"] == 4
    assert all(event["time"].endswith("+00:00") for event in events)


def test_an_error_is_told_and_how_far_it_came(tmp_path):
    heard = Events(Hearing(), tmp_path / "events.jsonl")
    with pytest.raises(InputError, match="one image at a time"):
        list(ALONE.each(tasks(0, 1, limit=0), progress=heard))
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["batches"]) == ("failed", 0)
    with pytest.raises(InputError, match="cannot be written to"):
        Events(Hearing(), tmp_path)


def test_files_come_before_the_part_that_says_that_they_are_there(tmp_path):
    kept = Kept(
        Hearing(), tmp_path / "run", lambda size: Run.open(tmp_path / "run", "test", Nothing()), 4
    )
    rows = pd.DataFrame({"prompt_id": [7]})
    kept.keep(Made({"a/b.bin": b"12"}, {"beside": rows, "main": rows}, said="once"), 7)
    kept.keep(Made({"a/c.bin": b"3"}, {"beside": rows, "main": rows}, said="once"), 100_003)
    run = Run(tmp_path / "run")
    assert (run.path / "a" / "b.bin").read_bytes() == b"12"
    assert [path.name for path in run._parts("main")] == [
        "main-00007.parquet",
        "main-100003.parquet",
    ]
    assert kept._to.lines == ["once"]
    assert run.known("main") == {7}


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "table"
    path.write_bytes(b"old")

    def full(partial):
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))

    with pytest.raises(
        InputError, match=r"no room left for 'table' in .*: make room, and give the"
    ):
        write_whole(path, full)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["table"]
    with pytest.raises(PermissionError):
        write_whole(
            path, lambda partial: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no"))
        )


def test_without_ray_it_is_said_how_to_have_it(monkeypatch):
    imported = builtins.__import__

    def without(name, *more):
        if name == "ray":
            raise ImportError(name)
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'attnscope\[ray\]', or cut the run by hand"):
        RayCrew(2)


def test_lost_batches_come_first():
    first, second, third = tasks(1, 1, 1)
    queue = _Queue([first, second, third])
    assert queue.next() is first
    queue.put_back(first)
    assert [queue.next() for _ in range(3)] == [first, second, third]
    assert queue.is_empty
    assert queue.next() is None


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({}, ""),
        ({0: (3, 2.0)}, "1.5/s"),
        ({1: (4, 2.0), 2: (3, 2.0)}, "3.5/s by 2 workers (2, 1.5)"),
        ({n: (n, 1.0) for n in range(1, 6)}, "15/s by 5 workers (1 to 5)"),
    ],
)
def test_rates_are_told_in_few_words(made, text):
    rates = Rates()
    for worker, (items, seconds) in made.items():
        rates.add(worker, items, seconds / 2)
        rates.add(worker, 0, seconds / 2)
    assert str(rates) == text
    rates.forget(99)
    assert told({}) == ""


def test_a_model_is_sent_by_its_name_and_knows_the_weights_that_it_should_have(folder):
    import pickle

    chosen = ChosenModel(
        str(folder), scheduler="euler", device="cpu", dtype="auto", offline=True, allow_pickle=False
    )
    assert chosen.pipe is not None
    sent = pickle.dumps(chosen)
    assert len(sent) < 1000
    there = pickle.loads(sent)
    assert (there.key, "pipe" in vars(there)) == (chosen.key, False)
    there.check_weights()
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(InputError, match="where the run was started"):
        pickle.loads(sent).check_weights()


def test_a_model_that_works_elsewhere_is_asked_here_on_the_cpu(folder):
    chosen = ChosenModel(
        str(folder), scheduler=None, device="cuda", dtype="auto", offline=True, allow_pickle=False,
        elsewhere=True,
    )  # fmt: skip
    assert (chosen.device, chosen.dtype, chosen.here) == ("cuda", "float16", "cpu")
    assert chosen.pipe.device.type == "cpu"


def test_alone_there_is_one_worker_and_all_batches():
    assert (Alone().count, str(Alone().share), Alone().elsewhere) == (1, "1/1", False)
    assert set(ALONE.about("cpu")) == {"threads"}
    assert ALONE.about("cuda") == {}


def test_an_address_at_which_nobody_answers_is_refused_at_once():
    with pytest.raises(InputError, match=r"there is no Ray at '127\.0\.0\.1:1'"):
        _check_reached("127.0.0.1:1")
    _check_reached("auto")
