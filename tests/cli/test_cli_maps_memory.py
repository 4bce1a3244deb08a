"""What maps take is told before anything is made, kept within bounds, and refused where there is not room."""

import json
import re
from types import SimpleNamespace

import pytest

from attnscope.analyses.maps import memory
from attnscope.observers import named_maps

PROMPTS = ["a red circle", "a blue star", "a green square"]
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def maps(out, *more):
    return ["maps", *PROMPTS, *more, "--steps", 2, "--device", "cpu", "--out", out]


def told(err):
    """The line that tells of memory, and its sizes in bytes: on the device, in memory, in a file."""
    line = next(line for line in err.splitlines() if line.startswith("maps of an image take"))
    return line, [float(n) * UNITS[unit] for n, unit in re.findall(r"([\d.]+) ([kMG]B)", line)]


def test_what_maps_take_is_told_before_they_are_made(attnscope, tmp_path):
    code, _, err = attnscope(*maps(tmp_path / "mean"))
    assert code == 0
    assert err.index("maps of an image take") < err.index("maps of an image: 2 step")
    _, (_, host, file) = told(err)
    made, _ = named_maps.read(tmp_path / "mean" / "maps" / "00000.safetensors")
    assert made.values.nbytes == pytest.approx(host, rel=0.01)  # which are read as float32
    on_disk = (tmp_path / "mean" / "maps" / "00000.safetensors").stat().st_size
    assert file < on_disk < file + 2000


def test_maps_of_every_head_are_told_of_and_take_no_more_than_a_batch_may(
    attnscope, tmp_path, monkeypatch
):
    code, _, err = attnscope(*maps(tmp_path / "wide", "--heads", "--point", "0.5,0.5"))
    assert code == 0
    assert json.loads((tmp_path / "wide" / "run.json").read_text())["machine"]["batch_size"] == 3
    _, (device, host, _) = told(err)
    words, points = (
        named_maps.read(tmp_path / "wide" / name / "00000.safetensors")[0].values
        for name in ("maps", "points")
    )
    assert words.nbytes + points.nbytes == pytest.approx(host, rel=0.01)
    assert host > device > 0
    monkeypatch.setattr(memory, "MOST", int(2 * (2 * device + host + 1.5 * host) * 1.02))
    code, _, err = attnscope(*maps(tmp_path / "narrow", "--heads", "--point", "0.5,0.5"))
    assert code == 0
    assert json.loads((tmp_path / "narrow" / "run.json").read_text())["machine"]["batch_size"] == 2
    for number in range(3):
        name = f"maps/{number:05d}.safetensors"
        narrow, wide = ((tmp_path / run / name).read_bytes() for run in ("narrow", "wide"))
        assert len(narrow) == len(wide)


def test_a_batch_that_is_asked_for_stays(attnscope, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 1)
    assert attnscope(*maps(tmp_path / "run", "--batch-size", 3))[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["machine"]["batch_size"] == 3


def test_maps_that_there_is_no_memory_for_are_refused_with_what_to_do(
    attnscope, tmp_path, monkeypatch
):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=150_000))
    code, out, err = attnscope(*maps(tmp_path / "run", "--heads"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (
        "and 150 kB are free: choose fewer steps by --at, fewer --sites or --words, or leave --heads out"
        in err
    )
    assert not (tmp_path / "run").exists()


def test_of_videos_nothing_is_told():
    import toys

    pipe = toys.wan()
    assert memory.foreseen(pipe, SimpleNamespace(points=None), [[]], 2) is None
