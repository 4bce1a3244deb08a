"""Kill commands at random moments, let them go on, and compare what they leave with a run nobody killed.

    python benchmarks/soak/kills.py --kills 100

Every command is a process of its own (forked from one that has imported the libraries, so that moments fall
into work and not into imports) and is ended by SIGKILL. The same command then goes on, is killed again,
goes on to its end, and has to leave the same files to the byte. Figures go to ``docs/reliability/kills.csv``.

Left out of the comparison, because they are times: ``times.parquet`` of ``generate``, every table of
``bench`` but its images (and of the frontier, the columns of speed), figures that are drawn of these,
``run.json``'s date and notes of going on, and the seconds in the log and in the checkpoints of a training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",
    "SOURCE_DATE_EPOCH": "0",
}

import pandas as pd

from attnscope.files import PREFIX

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs/reliability/kills.csv"
_SMALL = ["--limit", "2", "--steps", "3", "--batch-size", "1", "--device", "cpu", "-q"]
COMMANDS = {
    "convergence": ["convergence", *_SMALL],
    "ablate": ["ablate", "--gate", "1", *_SMALL],
    "generate": ["generate", "--tgate", "m=1,k=2,w=0", "--compare", *_SMALL],
    "bench --frontier": ["bench", "--frontier", "--tgate", "m=1,k=2,w=0", "--rivals", "none", "--repeats", "1", *_SMALL],
    "shapes train": ["shapes", "train", "--steps", "6", "--batch", "4", "--scenes", "16", "--workers", "1"],
}  # fmt: skip
"""Small runs on the embedded model."""
_TIMES = {
    "convergence": (),
    "ablate": (),
    "generate": ("times.parquet",),
    "bench --frontier": (
        "arms.*",
        "repetitions.*",
        "attribution.*",
        "parts.*",
        "frontier.csv",
        "figures/*",
    ),
    "shapes train": ("*.checkpoint",),
}
_SPEED = ["speedup", "speedup_low", "speedup_high"]
_OF_THE_CLOCK = ("created", "later", "machine")


def start(words: list[str], log: Path) -> int:
    """A command in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["attnscope", *words]
        from attnscope.cli import app

        app.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, after: float) -> int | None:
    """The exit code of a process that ends within some seconds; ``None`` if it was killed then."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None if os.waitstatus_to_exitcode(status) == -signal.SIGKILL else 0


def content(command: str, folder: Path) -> dict[str, str]:
    """What a command left, by file, without times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or path.name.startswith("."):
            continue
        if any(name.match(pattern) for pattern in _TIMES[command]):
            continue
        found[name.as_posix()] = hashlib.sha256(_bytes(path)).hexdigest()
    return found


def _bytes(path: Path) -> bytes:
    if path.name == "run.json":
        about = json.loads(path.read_text())
        return json.dumps({k: v for k, v in about.items() if k not in _OF_THE_CLOCK}).encode()
    if path.name == "frontier.parquet":
        return pd.read_parquet(path).drop(columns=_SPEED).to_csv(index=False).encode()
    if path.name == "log.csv":
        log = pd.read_csv(path)
        return (
            log.drop(columns=[c for c in log if "seconds" in c or "minutes" in c]).to_csv().encode()
        )
    return path.read_bytes()


def whole(command: str, folder: Path, log: Path) -> float:
    """Run a command to its end; returns the seconds that it took."""
    before = time.monotonic()
    code = ended(start([*COMMANDS[command], "--out", str(folder)], log), 3600)
    if code != 0:
        raise SystemExit(f"{command} ended with {code}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - before


def trial(
    command: str, kills: int, seconds: float, place: Path, draw: random.Random
) -> dict[str, int]:
    """Kill a run some times, let it come to its end; how many kills there were, and what was found."""
    folder, log = place / "run", place / "log.txt"
    counts = {"kills": 0, "too_late": 0}
    for _ in range(kills):
        after = draw.uniform(0.0, seconds)
        code = ended(start([*COMMANDS[command], "--out", str(folder)], log), after)
        if code not in (None, 0):
            raise SystemExit(
                f"{command} after a kill ended with {code}:\n{log.read_text()[-2000:]}"
            )
        counts["kills" if code is None else "too_late"] += 1
    whole(command, folder, log)
    counts["left_over"] = sum(path.name.startswith(PREFIX) for path in folder.rglob("*"))
    return counts


def main() -> None:
    """Kill as often as is asked for, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=4, help="kills of one run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop before, then")
    asked = parser.parse_args()
    _import()
    deadline = time.monotonic() + 60 * asked.minutes
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as root:
        studies = [Study(name, Path(root) / name.replace(" ", "-")) for name in asked.commands]
        while time.monotonic() < deadline and sum(s.row["kills"] for s in studies) < asked.kills:
            min(studies, key=lambda study: study.row["kills"]).go_on(asked.each, draw)
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame([study.row for study in studies]).to_csv(asked.out, index=False)
    for study in studies:
        print(study.row, flush=True)
    sys.exit(any(study.row["runs"] != study.row["equal"] for study in studies))


class Study:
    """One command: what it leaves when nobody kills it, and how often it left the same.

    Args:
        command: of :data:`COMMANDS`.
        place: a folder for its runs.
    """

    def __init__(self, command: str, place: Path) -> None:
        self.command, self.place = command, place
        place.mkdir()
        self.seconds = whole(command, place / "whole", place / "log.txt")
        self.expected = content(command, place / "whole")
        self.row = {"command": command, "kills": 0, "too_late": 0, "runs": 0, "equal": 0, "left_over": 0,
                    "files": len(self.expected), "seconds": round(self.seconds, 1)}  # fmt: skip
        print(f"{command}: {len(self.expected)} files in {self.seconds:.1f} s", flush=True)

    def go_on(self, kills: int, draw: random.Random) -> None:
        """One more run that is killed so often."""
        here = self.place / "trial"
        here.mkdir()
        for name, count in trial(self.command, kills, self.seconds, here, draw).items():
            self.row[name] += count
        found = content(self.command, here / "run")
        self.row["runs"] += 1
        self.row["equal"] += found == self.expected
        if found != self.expected:
            print(f"{self.command}: not the same: {_differing(self.expected, found)}", flush=True)
        shutil.rmtree(here)


def _differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _import() -> None:
    """What all commands import; no thread is started and nothing is computed, so it can be forked."""
    import torch
    import transformers.models.clip.modeling_clip  # noqa: F401

    import attnscope.cli.app
    import attnscope.hooks.trace
    import attnscope.shapes.reader
    import attnscope.shapes.train  # noqa: F401

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
