"""Runs are listed, and set beside each other."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from attnscope.analyses.side_by_side import differing_settings, listed, outcomes
from attnscope.errors import InputError
from attnscope.metrics.intervals import bootstrap
from attnscope.runs.folder import Run


def run(path, command, settings, **tables):
    path.mkdir(parents=True)
    about = {"command": command, "settings": settings, "created": "2026-01-02T03:04:05+00:00"}
    (path / "run.json").write_text(json.dumps(about))
    for name, table in tables.items():
        table.to_parquet(path / f"{name}.parquet")
    return Run(path)


def records(scale=1.0):
    rows = [
        (prompt, site, kind, step, scale * (prompt + 1) / step)
        for prompt in range(5)
        for site, kind in (("a", "cross"), ("b", "self"))
        for step in (1, 2, 4)
    ]
    return pd.DataFrame(rows, columns=["prompt_id", "site", "kind", "step", "relative"])


def arms(*seeds):
    rows = [
        ("shapes", "dpm", 25, 1.0, seed, arm, "kid", value, value - 0.1, value + 0.1, 64)
        for seed in seeds
        for arm, value in (("S", 0.5 + seed), ("S^F m=5", 0.7 + seed))
    ]
    columns = ["model", "scheduler", "steps", "noise_scale", "seed", "arm", "measure", "value",
               "low", "high", "n"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def test_what_came_out_of_a_convergence_run_is_its_first_and_its_last_change(tmp_path):
    two = [
        run(tmp_path / name, "convergence", {}, records=records(s))
        for name, s in (("a", 1), ("b", 3))
    ]
    table = outcomes(two).set_index(["run", "what", "measure"])
    assert len(table) == 8
    for one, scale in zip(two, (1, 3), strict=True):
        for kind in ("cross", "self"):
            for name, step in (("first change", 1), ("last change", 4)):
                expected = bootstrap(scale * np.arange(1.0, 6) / step)
                found = table.loc[(str(one.path), kind, name)]
                np.testing.assert_allclose(found["value"], expected.value)
                np.testing.assert_allclose(
                    [found["low"], found["high"]], [expected.low, expected.high]
                )
                assert found["n"] == 5


def test_arms_of_several_seeds_do_not_stand_for_each_other(attnscope, tmp_path):
    run(tmp_path / "a", "ablate", {"gates": ["5"]}, arms=arms(0, 1))
    run(tmp_path / "b", "ablate", {"gates": ["5", "9"]}, arms=arms(0, 1))
    code, out, _ = attnscope("compare", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert json.loads(attnscope("compare", tmp_path / "a", tmp_path / "b", "--json")[1])["outcomes"]
    for arm, value in (("S (seed 0)", 0.5), ("S (seed 1)", 1.5), ("S^F m=5 (seed 1)", 1.7)):
        line = next(line for line in out.splitlines() if line.startswith(f"│ {arm} "))
        assert line.count(f"{value:.4g} [{value - 0.1:.4g}, {value + 0.1:.4g}]") == 2


def test_settings_that_differ_are_named_wherever_they_stand(tmp_path):
    a = run(tmp_path / "a", "ablate", {"limit": 4, "subjects": [{"model": "x", "steps": [4]}]})
    b = run(
        tmp_path / "b", "ablate", {"limit": 4, "subjects": [{"model": "y", "steps": [4]}], "k": 5}
    )
    table = differing_settings([a, b]).set_index("setting")
    assert table.to_dict("index") == {
        "subjects.0.model": {str(a.path): "x", str(b.path): "y"},
        "k": {str(a.path): "-", str(b.path): "5"},
    }
    assert differing_settings([a, run(tmp_path / "c", "ablate", a.settings)]).empty


def test_runs_are_listed_with_whether_they_are_finished(attnscope, tmp_path):
    run(
        tmp_path / "runs" / "a",
        "convergence",
        {"model": "sd21", "limit": 3, "steps": 9},
        records=records(),
    )
    run(tmp_path / "runs" / "b", "ablate", {"subjects": [{"model": "sd21", "steps": [4, 9]}]})
    (tmp_path / "runs" / "other").mkdir()
    given = pd.DataFrame({"prompt_id": [0, 1], "text": ["a", "b"]})
    run(tmp_path / "runs" / "c", "generate", {"model": "sd21"}, prompts=given)
    table = listed(tmp_path / "runs").set_index("command")
    assert table["finished"].to_dict() == {"convergence": True, "ablate": False, "generate": False}
    limits = table["limit"]
    assert (limits["convergence"], limits["generate"]) == (3, 2)
    assert pd.isna(limits["ablate"])
    (tmp_path / "runs" / "c" / "prompts.parquet").write_bytes(b"damaged")
    assert pd.isna(listed(tmp_path / "runs").set_index("command")["limit"]["generate"])
    shutil.rmtree(tmp_path / "runs" / "c")
    table = listed(tmp_path / "runs").set_index("command")
    assert table["steps"].to_dict() == {"convergence": 9, "ablate": "4, 9"}
    code, out, _ = attnscope("runs", tmp_path / "runs")
    assert (code, out.count("sd21"), out.count("2026-01-02 03:04 ")) == (0, 2, 2)
    code, out, _ = attnscope("runs", tmp_path / "runs", "--json")
    assert [row["finished"] for row in json.loads(out)] == [True, False]


def test_runs_of_several_values_are_listed_and_what_stands_in_a_run_is_its_own(tmp_path):
    deep = [tmp_path / "many" / name for name in ("steps-2", "steps-3")]
    for path in (tmp_path / "one", tmp_path / "one/proof", *deep):
        run(path, "convergence", {"model": "sd21"})
    assert sorted(listed(tmp_path)["run"]) == [*deep, tmp_path / "one"]
    assert list(listed(tmp_path / "many")["run"].sort_values()) == deep


def test_runs_that_have_nothing_in_common_are_refused(attnscope, tmp_path):
    a = run(tmp_path / "a", "convergence", {}, records=records())
    b = run(tmp_path / "b", "ablate", {}, arms=arms(0))
    with pytest.raises(
        InputError, match="runs of 'convergence' and 'ablate' have nothing in common"
    ):
        outcomes([a, b])
    for wrong, said in (
        ([a.path], "two run directories or more"),
        ([a.path, a.path], "is given twice"),
        ([a.path, tmp_path], "is no run directory"),
    ):
        code, out, err = attnscope("compare", *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    shutil.rmtree(tmp_path)
    assert attnscope("runs", tmp_path)[0] == 2
