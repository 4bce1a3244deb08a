"""Workers of Ray: the same tables as one worker, whatever happens to them. All processes are real."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest
from faulty import Counting, Killing
from hearing import Hearing
from test_merging import command
from test_merging import files as bytes_of

from attnscope.analyses import generation
from attnscope.analyses.ablation import run as ablation
from attnscope.analyses.ablation.arms import AblationSettings, Subject
from attnscope.analyses.convergence import run as convergence
from attnscope.analyses.convergence.measure import ConvergenceSettings
from attnscope.analyses.grid import run as grid
from attnscope.analyses.grid.settings import GridSettings
from attnscope.analyses.tuning import run as tuning
from attnscope.cli import console
from attnscope.cost.counting import count_architecture
from attnscope.errors import InputError
from attnscope.metrics.choosing import Quality
from attnscope.models import architectures
from attnscope.models.chosen import ChosenModel
from attnscope.runs import on_ray
from attnscope.runs.crew import Task
from attnscope.runs.folder import Run
from attnscope.runs.on_ray import RayCrew
from attnscope.runs.prompts import Prompt, digest_of
from attnscope.runs.sampling import ModelUse, settled

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:::ray\\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of its sockets
]

TEXTS = ["a red circle", "a blue star", "a small green cross", "a large white square", "a ring"]
_MAIN = """
import signal
from attnscope.cli.app import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells take from what they run beside
main()
"""
PROMPTS = [Prompt(number, text) for number, text in enumerate(TEXTS)]
ASKED = {"steps": 4, "guidance": 5.0, "seed": 0, "height": 32, "width": 32}


@pytest.fixture(scope="module")
def crew():
    """Two workers, for all tests of this file that do not bring their own."""
    made = RayCrew(2)
    yield made
    made.close()


@pytest.fixture
def typed(crew, undrawn, monkeypatch):
    """Workers of a command that is typed in this process: those of this file, which stay."""
    hired = []
    monkeypatch.setattr(on_ray, "RayCrew", lambda *asked: hired.append(asked) or crew)
    monkeypatch.setattr(crew, "close", lambda: None)
    return hired


@pytest.fixture
def chosen(folder):
    return model(folder)


def model(name):
    return ChosenModel(
        str(name), scheduler=None, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )


def drawing(chosen):
    return generation.GenerationSettings(
        **settled(chosen, ASKED), captions="five", prompts_digest=digest_of(PROMPTS, TEXTS),
        plan="tgate:m=2", compare=True,
    )  # fmt: skip


def generate(path, chosen, settings=None, **more):
    return generation.carry_out(
        path, chosen, settings or drawing(chosen), PROMPTS, TEXTS, batch_size=1, **more
    )


def converge(path, chosen, **more):
    settings = ConvergenceSettings(
        **settled(chosen, ASKED), captions="five", prompts_digest="", limit=5,
        kinds=("cross", "self"), sites=None,
    )  # fmt: skip
    return convergence.carry_out(path, chosen, settings, PROMPTS, TEXTS, batch_size=2, **more)


def ablate(path, chosen, **more):
    subject = Subject(
        **settled(chosen, ASKED, ModelUse), steps=(4,), schedulers=("dpm", "euler"), own_steps=()
    )
    settings = AblationSettings((subject,), "five", "", 5, "cross", ("2",), ())
    quality = Quality("none", None, None, None, False, "cpu", None, 5)
    return ablation.carry_out(
        path, [chosen], settings, PROMPTS, TEXTS, quality, batch_size=2, **more
    )


def plan_by_plan(path, chosen, **more):
    settings = GridSettings(
        **settled(chosen, ASKED), captions="five", prompts_digest="",
        plans=("baseline", "tgate:m=2,k=1,w=2,f=1"), stages=True,
    )  # fmt: skip
    return grid.carry_out(path, chosen, settings, PROMPTS, TEXTS, batch_size=1, **more)


def search(path, chosen, **more):
    settings = tuning.TuneSettings(
        **settled(chosen, ASKED), captions="five", prompts_digest="", budgets=("ssim>=0.2",), speedup=None,
        calibrated=2, measured=3, most=1, modules=False,
    )  # fmt: skip
    counts = count_architecture(architectures.find(chosen.name, offline=True).resized(32, 32))
    return tuning.carry_out(path, chosen, settings, counts, PROMPTS, TEXTS, batch_size=1, **more)


def files(run):
    """Tables and images, but for times."""
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes()
        for path in sorted(run.path.rglob("*"))
        if path.suffix in (".parquet", ".png", ".csv", ".json")
        and path.stem not in ("times", "run", *(["plans"] if run.command == grid.COMMAND else []))
    }


@pytest.mark.parametrize("made", [generate, plan_by_plan, converge, ablate, search])
def test_two_workers_make_the_tables_images_and_plans_of_one_to_the_byte(
    chosen, crew, tmp_path, made
):
    alone = made(tmp_path / "alone", chosen)
    together = made(tmp_path / "together", chosen, crew=crew)
    assert files(together) == files(alone)
    assert len(files(alone)) > 1
    assert not list((together.path / "parts").glob("*.parquet"))


@pytest.mark.parametrize("name", ["maps", "bench"])
def test_what_is_typed_with_two_workers_leaves_what_one_leaves_to_the_byte(
    attnscope, folder, typed, tmp_path, name
):
    (tmp_path / "captions.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    runs = {"alone": [], "together": ["--workers", 2]}
    for where, more in runs.items():
        asked = command(name, folder, tmp_path / "captions.txt", tmp_path / where)
        code, _, err = attnscope(*asked, *more)
        assert code == 0, err
    assert [asked[0] for asked in typed] == [2]
    alone, together = (bytes_of(tmp_path / where) for where in runs)
    if name == "bench":  # the tables hold times, but for that of the images
        alone, together = (
            {path: made for path, made in files.items() if path.suffix == ".png" or path.stem == "images"}
            for files in (alone, together)
        )  # fmt: skip
    assert len(alone) > 10
    assert alone.keys() == together.keys()
    assert [path for path in alone if alone[path] != together[path]] == []


def test_memory_that_runs_out_in_a_worker_halves_its_batch_there(chosen, crew):
    work, heard = Counting(chosen, 2), Hearing()
    tasks = [Task(0, [1, 2, 3, 4, 5], work), Task(1, [6, 7], work)]
    done = list(crew.each(tasks, progress=heard))
    made = {one.items[0]: one.made.parts["main"]["item"].tolist() for one in done}
    assert made == {1: [1, 2], 3: [3, 4], 5: [5], 6: [6, 7]}
    assert heard.halvings == [2]
    with pytest.raises(InputError, match="out of memory with one image at a time"):
        list(crew.each([Task(0, [1], Counting(chosen, 0))]))


def test_a_worker_that_cannot_load_the_model_is_one_line_and_nothing_is_lost(
    chosen, folder, crew, tmp_path
):
    whole = generate(tmp_path / "whole", chosen)

    class Stopping(Hearing):
        def part(self, table):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "run", chosen, progress=Stopping())
    settings = drawing(chosen)
    shutil.move(folder / "unet", folder / "away")  # this process has the model already
    with pytest.raises(InputError) as refused:
        generate(tmp_path / "run", chosen, settings, crew=crew)
    assert str(refused.value).count("\n") == 0
    assert f"{str(folder)!r} cannot be loaded" in str(refused.value)
    assert "what was made is kept, and the same command goes on" in str(refused.value)
    assert Run(tmp_path / "run").known("images") == {0}
    shutil.move(folder / "away", folder / "unet")
    assert files(generate(tmp_path / "run", model(folder), crew=crew)) == files(whole)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(chosen, crew, tmp_path):
    """The kernel refuses files that are larger than may be, once the first batch is there."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Filling(Hearing):
        def part(self, table):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    whole = generate(tmp_path / "whole", chosen)
    try:
        with pytest.raises(InputError, match=r"no room left for '.*png' in .*make room"):
            generate(tmp_path / "run", chosen, crew=crew, progress=Filling())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(Run(tmp_path / "run").known("images")) == 1
    assert not list((tmp_path / "run").rglob(".*"))
    assert files(generate(tmp_path / "run", chosen, crew=crew)) == files(whole)


def test_a_batch_that_takes_its_worker_with_it_is_made_again_twice_and_not_for_ever(
    chosen, crew, tmp_path
):
    heard = Hearing()
    for times, name in ((1, "once"), (9, "always")):
        (tmp_path / name).mkdir()
        work = Killing(chosen, 1, str(tmp_path / name), times)
        tasks = [Task(number, [number], work) for number in range(3)]
        if name == "once":
            done = sorted(one.task.number for one in crew.each(tasks, progress=heard))
            assert done == [0, 1, 2]
            assert "lost: another one takes its place, and batch 1 is made again" in heard.lines[0]
        else:
            with pytest.raises(InputError, match="batch 1 took 3 workers with it"):
                list(crew.each(tasks))
            assert len(list((tmp_path / name).iterdir())) == 3


@dataclass
class Driver:
    """A command in a process group of its own, whose events are read as they come."""

    process: subprocess.Popen
    events: object

    @classmethod
    def of(cls, tmp_path):
        events = tmp_path / f"events-{len(list(tmp_path.glob('events-*')))}.jsonl"
        command = [
            sys.executable, "-c", _MAIN, *SIX, "--out", str(tmp_path / "run"), "--workers", "2",
            "--events", str(events),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        return cls(process, events)

    def read(self):
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for(self, wanted):
        """The first event that is wanted, when it is there."""
        while True:
            over = self.process.poll() is not None
            for event in self.read():
                if wanted(event):
                    return event
            assert not over, self.process.communicate()
            time.sleep(0.02)

    def end(self):
        out, err = self.process.communicate()
        return self.process.returncode, out, err


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SIX = [
    "convergence",
    "--model",
    "shapes",
    "--limit",
    "6",
    "--steps",
    "6",
    "--batch-size",
    "1",
    "-q",
]


@pytest.fixture
def records(attnscope, undrawn, tmp_path):
    """The table that one worker makes of these."""
    code, _, err = attnscope(*SIX, "--out", tmp_path / "alone")
    assert code == 0, err
    return (tmp_path / "alone" / "records.parquet").read_bytes()


class Fatal(Hearing):
    """Kills a worker while it makes the second batch that it is given, or one after that."""

    def __init__(self, crew):
        super().__init__()
        self.crew, self.happening, self.killed = crew, [], None

    def happened(self, what, **about):
        self.happening.append({"event": what, **about})
        number = about.get("worker")
        begun = [
            one for one in self.happening if one["event"] == "begun" and one["worker"] == number
        ]
        if what == "begun" and len(begun) == 2 and self.killed is None:
            (pid,) = [worker.pid for worker in self.crew._workers if worker.number == number]
            self.killed = (number, pid)
            threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()


def test_a_worker_that_is_killed_in_mid_batch_costs_nothing_but_time(
    attnscope, typed, crew, tmp_path, monkeypatch, records
):
    heard = Fatal(crew)
    monkeypatch.setattr(console, "Bars", lambda **_: heard)
    code, out, err = attnscope(*SIX, "--out", tmp_path / "run", "--workers", 2)
    assert (code, out) == (0, f"{tmp_path / 'run'}\n"), err
    (lost,) = [one for one in heard.happening if one["event"] == "lost"]
    assert (lost["worker"], lost["pid"]) == heard.killed
    assert f"worker {lost['worker']} was lost: another one takes its place" in heard.lines[0]
    made = [one["batch"] for one in heard.happening if one["event"] == "batch"]
    assert sorted(made) == list(range(6))
    again = [
        one["worker"] for one in heard.happening
        if one["event"] == "begun" and one["batch"] == lost["batch"]
    ]  # fmt: skip
    assert [number != lost["worker"] for number in again] == [False, True]
    assert (tmp_path / "run" / "records.parquet").read_bytes() == records


def test_a_driver_that_is_stopped_and_killed_goes_on_to_the_same_table(
    attnscope, typed, tmp_path, records
):
    driver = Driver.of(tmp_path)
    driver.wait_for(lambda event: event["event"] == "batch")
    pids = [event["pid"] for event in driver.read() if event["event"] == "worker"]
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal does
    code, _, err = driver.end()
    assert (code, "the same command goes on after them" in err) == (130, True), err
    assert "Traceback" not in err
    assert not any(map(is_alive, pids))
    first = len(Run(tmp_path / "run").known("records"))
    assert first >= 1

    driver = Driver.of(tmp_path)
    driver.wait_for(lambda event: event["event"] == "batch")
    pids = [event["pid"] for event in driver.read() if event["event"] == "worker"]
    driver.process.kill()
    driver.end()
    while any(map(is_alive, pids)):  # Ray ends them when it misses the driver
        time.sleep(0.1)
    assert len(Run(tmp_path / "run").known("records")) > first
    assert not (tmp_path / "run" / "records.parquet").exists()

    code, _, err = attnscope(*SIX, "--out", tmp_path / "run", "--workers", 2)
    assert code == 0, err
    assert (tmp_path / "run" / "records.parquet").read_bytes() == records
