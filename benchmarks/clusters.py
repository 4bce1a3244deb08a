"""Small clusters on one machine: the examples of ``docs/scaling.md``, and what they leave compared with one process.

    sudo .venv/bin/python benchmarks/clusters.py --out docs/findings/clusters.csv

Two nodes of Ray and of torchrun are network namespaces with addresses, host names and process numbers of
their own, joined by a bridge; those of Ray see nothing that the other one writes.
SLURM has two ``slurmd`` on this machine. What runs there stands in the document's own blocks of code, with
other captions, another model and smaller numbers. Needs root on Linux, ``ip`` and ``unshare``; for SLURM
and submitit ``apt-get install slurm-wlm munge`` and ``pip install submitit`` as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
from soak.kills import content

from attnscope.shapes.scenes import caption, generate

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs/findings/clusters.csv"
ABLATE, GENERATE = "ablate", "generate"
_MODEL = ["--model", "shapes", "--device", "cpu", "--batch-size", "2"]
_RUNS = {
    ABLATE: ["--captions", "sixteen.txt", "--attention", "self"],
    GENERATE: ["--captions", "eight.txt", "--tgate", "m=10"],
}
"""What the document's examples ask for, of fewer captions."""


def command(name: str, out: str, *more: str) -> list[str]:
    """A run, as words of a command line."""
    return [name, *_MODEL, *_RUNS[name], "--out", out, *more]


def example(heading: str, language: str) -> str:
    """The first block of code in a language, in a section of ``docs/scaling.md``."""
    text = (ROOT / "docs/scaling.md").read_text()
    section = text.split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    if found is None:
        raise SystemExit(f"docs/scaling.md has no block of {language} under {heading!r}")
    return found[1]


def adapted(text: str, changes: dict[str, str]) -> str:
    """A text with other words in the place of some, all of which have to stand in it."""
    for old, new in changes.items():
        if old not in text:
            raise SystemExit(f"{old!r} does not stand in the example any more:\n{text}")
        text = text.replace(old, new)
    return text


def until(ready: Callable[[], bool], what: str, seconds: float = 900.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)


def call(*words: str | Path, **how: object) -> str:
    """What a command prints; ends this script where it fails."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **how)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return str(done.stdout)


class Node:
    """A network namespace that takes itself for a machine.

    Args:
        number: counts from 0; its name is ``node0`` and its address ``10.77.0.1``.
        place: the folder of the nodes; what this one has of it is its own ``/tmp``.
        shared: whether all nodes see one folder, at ``/mnt``.
    """

    def __init__(self, number: int, place: Path, shared: bool) -> None:
        self.name, self.address = f"node{number}", f"10.77.0.{number + 1}"
        self.outside, self.files = f"veth-{self.name}", place / self.name
        self.files.mkdir()
        for kind, left in (
            ("link", self.outside),
            ("netns", self.name),
        ):  # by a run that was killed
            subprocess.run(["ip", kind, "delete", left], stderr=subprocess.DEVNULL)
        call("ip", "netns", "add", self.name)
        call(
            "ip",
            "link",
            "add",
            self.outside,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.name,
        )
        call("ip", "link", "set", self.outside, "master", "nodes", "up")
        call("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            call("ip", "-n", self.name, "link", "set", device, "up")
        mounts = [
            f"hostname {self.name}",
            f"mount --bind {place}/hosts /etc/hosts",
            f"mount --bind {self.files} /tmp",
            *([f"mount --bind {place}/shared /mnt"] if shared else []),
            "mount -t tmpfs none /dev/shm",
            f"mount -t tmpfs none {place}",
            "touch /tmp/ready",
            "exec sleep infinity",
        ]
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "--uts", "--pid", "--mount", "--fork", "--mount-proc",
             "--kill-child", "bash", "-ec", "\n".join(mounts)]
        )  # fmt: skip
        until((self.files / "ready").exists, f"{self.name} to be there", 30)

    def words(self, line: str, folder: str = "/tmp") -> list[str]:
        """A line of bash, as words that run it on this node."""
        pid = self._process.pid
        (inner,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return ["nsenter", "--target", inner, "--all", "bash", "-ec", f"cd {folder}\n{line}"]

    def cut_off(self) -> None:
        """Take its network away."""
        call("ip", "link", "set", self.outside, "down")

    def close(self) -> None:
        """End all that runs on it."""
        self._process.kill()
        self._process.wait()
        call("ip", "link", "delete", self.outside)
        call("ip", "netns", "delete", self.name)


@contextlib.contextmanager
def nodes(place: Path, *, shared: bool = False) -> Iterator[tuple[Node, Node]]:
    """Two nodes, and the bridge between them."""
    (place / "shared").mkdir()
    (place / "hosts").write_text("127.0.0.1 localhost\n10.77.0.1 node0\n10.77.0.2 node1\n")
    with contextlib.ExitStack() as ended:
        subprocess.run(["ip", "link", "delete", "nodes"], stderr=subprocess.DEVNULL)
        call("ip", "link", "add", "nodes", "type", "bridge")
        ended.callback(call, "ip", "link", "delete", "nodes")
        call("ip", "link", "set", "nodes", "up")
        made = []
        for number in range(2):
            made.append(Node(number, place, shared))
            ended.callback(made[-1].close)
        yield made[0], made[1]


def on_ray(place: Path, *, cut: bool = False) -> Path:
    """A run on two nodes of Ray, one worker each; of which one loses its network in the midst of it."""
    more = "--num-cpus 1 --num-gpus 0 --object-store-memory 200000000"
    head, other = (adapted(line.split("$ ")[1], {"--num-gpus 8": more})
                   for line in example("Ray on a cluster", "console").splitlines()[:2])  # fmt: skip
    os.environ["RAY_AUTH_MODE"] = "token"  # Ray wants one where one is there
    call("ray", "get-auth-token", "--generate")
    with nodes(place) as (first, second):
        captions(first.files)
        call(*first.words(f"{head} --node-ip-address {first.address} --include-dashboard false"))
        call(*second.words(f"{other} --node-ip-address {second.address}"))
        events = first.files / "events.jsonl"
        ours = command(
            ABLATE, "study", "--ray", "auto", "--workers", "2", "--events", "events.jsonl"
        )
        with (place / "log.txt").open("w") as log:
            driver = subprocess.Popen(
                first.words(f"attnscope {' '.join(ours)} -q"), stdout=log, stderr=log
            )
            if cut:
                until(lambda: _batches(events) >= 12 or driver.poll() is not None, "twelve batches")
                second.cut_off()
            code = driver.wait()
        if code or (cut and '"event": "lost"' not in events.read_text()):
            raise SystemExit(f"Ray ended with {code}:\n{(place / 'log.txt').read_text()[-2000:]}")
        return first.files / "study"


def _batches(events: Path) -> int:
    """How many batches a run's events tell of."""
    return events.read_text().count('"event": "batch"') if events.exists() else 0


def on_torchrun(place: Path) -> Path:
    """A run by torchrun on two nodes, one process each, merged by the first."""
    line = adapted(
        example("torchrun", "bash"),
        {"--nnodes 4 --nproc-per-node 8": "--nnodes 2 --nproc-per-node 1", "--batch-size 8": "--batch-size 2",
         "--model sdxl": "--model shapes", "coco.txt": "eight.txt --tgate m=10", "cuda:$LOCAL_RANK": "cpu"},
    )  # fmt: skip
    merge = example("torchrun", "console").split("$ ", 1)[1]
    with nodes(place, shared=True) as both:
        captions(place / "shared")
        started = [subprocess.Popen(node.words(line, "/mnt")) for node in both]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit("torchrun failed")
        call(*both[0].words(merge, "/mnt"))
    return place / "shared/study/whole"


@contextlib.contextmanager
def slurm(place: Path) -> Iterator[None]:
    """A SLURM of two nodes with one core each, which are daemons of this machine."""
    here = socket.gethostname()
    daemons = [
        f"NodeName=slurm{n} NodeHostname={here} NodeAddr=127.0.0.1 Port={17001 + n} CPUs=1"
        for n in range(2)
    ]
    configuration = place / "slurm.conf"
    configuration.write_text("\n".join([
        "ClusterName=attnscope", f"SlurmctldHost={here}(127.0.0.1)", "SlurmUser=root", "SlurmdUser=root",
        "AuthType=auth/munge", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "MpiDefault=none",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "SlurmdParameters=config_overrides",
        "ReturnToService=2", f"StateSaveLocation={place}/state", f"SlurmdSpoolDir={place}/spool-%n",
        f"SlurmctldPidFile={place}/slurmctld.pid", f"SlurmdPidFile={place}/slurmd-%n.pid",
        f"SlurmctldLogFile={place}/slurmctld.log", f"SlurmdLogFile={place}/slurmd-%n.log", *daemons,
        "PartitionName=all Nodes=slurm[0-1] Default=YES State=UP", "",
    ]))  # fmt: skip
    os.environ["SLURM_CONF"] = str(configuration)
    with contextlib.ExitStack() as ended:
        if not Path("/run/munge/munge.socket.2").exists():
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            call("runuser", "-u", "munge", "--", "munged")
        for words in (
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "slurm0"],
            ["slurmd", "-D", "-N", "slurm1"],
        ):
            process = subprocess.Popen(
                [*words, "-f", str(configuration)], stderr=subprocess.DEVNULL
            )
            ended.callback(process.wait)
            ended.callback(process.terminate)
        until(_is_idle, "the nodes of SLURM", 120)
        yield


def _is_idle() -> bool:
    """Whether both nodes of SLURM wait for work."""
    told = subprocess.run(["sinfo", "-h", "-o", "%t %D"], capture_output=True, text=True)
    return told.stdout.strip() == "idle 2"


def on_slurm(place: Path) -> Path:
    """An array on SLURM, of which one task is requeued in mid-run, merged by a job that depends on it."""
    captions(place)
    script = place / "sweep.sh"
    script.write_text(adapted(
        example("SLURM", "bash"),
        {"--array=1-32 --gpus=1 --cpus-per-task=4": "--array=1-4 --cpus-per-task=1", "/32": "/4",
         "--model sdxl": "--model shapes --device cpu", "--batch-size 8": "--batch-size 2",
         "coco.txt --limit 10000": "sixteen.txt"},
    ))  # fmt: skip
    submit, merge = (line.removeprefix("$ ") for line in example("SLURM", "console").splitlines())
    with slurm(place):
        job = call("bash", "-ec", f"{submit}\necho $jid", cwd=place).strip()
        call("bash", "-ec", f"jid={job}\n{adapted(merge, {' --gpus=1': ''})}", cwd=place)
        images = place / "study/shard-2/images"
        until(lambda: images.exists() and any(images.rglob("*.png")), "the second task to draw")
        call("scontrol", "requeue", f"{job}_2")
        until(
            lambda: (
                not call("squeue", "-h", "-t", "all", "-o", "%T").strip()
                or (place / "study/whole/run.json").exists()
            ),
            "SLURM",
            3600,
        )
        until(lambda: not call("squeue", "-h").strip(), "the merge", 600)
    return place / "study/whole"


def by_submitit(place: Path) -> Path:
    """The document's script for submitit, on SLURM."""
    captions(place)
    script = place / "sweep.py"
    script.write_text(adapted(
        example("submitit", "py"),
        {"gpus_per_node=1, cpus_per_task=4": "cpus_per_task=1", "33": "5", "32": "4", "coco.txt": "eight.txt",
         '"sdxl"': '"shapes", "--device", "cpu"', '"8"': '"2"'},
    ))  # fmt: skip
    with slurm(place):
        call(sys.executable, script, cwd=place)
    return place / "study/whole"


CLUSTERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "SLURM, an array with a requeue": (ABLATE, on_slurm),
    "Ray, two nodes": (ABLATE, on_ray),
    "Ray, a node cut off": (ABLATE, lambda place: on_ray(place, cut=True)),
    "submitit on SLURM": (GENERATE, by_submitit),
    "torchrun, two nodes": (GENERATE, on_torchrun),
}
"""What one process has to do as well, and what does it on a cluster and says where it lies."""


def captions(folder: Path) -> None:
    """Put sixteen captions of the embedded world into a folder, and the first eight of them."""
    texts = [caption(scene) for scene in islice(generate("test", 0), 16)]
    (folder / "sixteen.txt").write_text("\n".join(texts) + "\n")
    (folder / "eight.txt").write_text("\n".join(texts[:8]) + "\n")


def main() -> None:
    """Try what is asked for, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(CLUSTERS), choices=list(CLUSTERS))
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"), help="not below /tmp")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    rows = pd.read_csv(asked.out).to_dict("records") if asked.out.exists() else []
    same, expected = True, {}
    with tempfile.TemporaryDirectory(dir=asked.place) as root:
        for number, name in enumerate(asked.only):
            of, run = CLUSTERS[name]
            place = Path(root) / str(number)
            place.mkdir()
            if of not in expected:
                captions(place)
                call("attnscope", *command(of, "one", "-q"), cwd=place)
                expected[of] = content(of, place / "one")
            made = run(place)
            found = content(of, made)
            files = {*expected[of], *found} - {"run.json"}  # which says that it was merged
            differ = sorted(file for file in files if found.get(file) != expected[of].get(file))
            images = pd.read_parquet(made / "images.parquet")
            row = {"cluster": name, "run": of, "prompts": images["prompt_id"].nunique(),
                   "arms": images["arm"].nunique(), "files": len(files), "equal": len(files) - len(differ)}  # fmt: skip
            print(row, *differ, flush=True)
            rows = [other for other in rows if other["cluster"] != name] + [row]
            pd.DataFrame(rows).to_csv(asked.out, index=False)
            same = same and not differ
    sys.exit(not same)


if __name__ == "__main__":
    main()
