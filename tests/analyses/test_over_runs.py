"""Runs that differ by their seeds alone are taken together, prompt by prompt."""

import json

import numpy as np
import pandas as pd
import pytest

from attnscope.analyses.over_runs import over_runs
from attnscope.runs.folder import Run

TEXTS = [f"text {number}" for number in range(24)]


def run(path, command, settings, **tables):
    path.mkdir()
    about = {"command": command, "settings": settings, "created": "2026-01-02T03:04:05+00:00"}
    (path / "run.json").write_text(json.dumps(about))
    for name, table in tables.items():
        table.to_parquet(path / f"{name}.parquet")
    return Run(path)


def bench(path, seed, texts=TEXTS, **more):
    """A benchmark with images: the plan loses 0.4 of the CLIP score, more at some prompts."""
    rng = np.random.default_rng(seed)
    hard = np.array([sum(map(ord, text)) % 7 for text in texts]) / 7
    rows = [
        {"model": "toy", "arm": arm, "key": f"{seed}-{arm}", "prompt_id": number, "frame": 0,
         "path": "", "text": text, "clip": (arm == "plan") * (-0.4 - hard[number]) + rng.normal(0, 0.01)}
        for arm in ("baseline", "plan")
        for number, text in enumerate(texts)
    ]  # fmt: skip
    frontier = pd.DataFrame(
        {
            "arm": ["baseline", "plan"],
            "measure": "clip",
            "value": 0.0,
            "low": 0.0,
            "high": 0.0,
            "n": 24,
        }
    )
    arms = pd.DataFrame({"arm": ["baseline", "plan"], "speedup": [1.0, 2.0], "speedup_low": 1.0, "speedup_high": 2.0})  # fmt: skip
    return run(path, "bench", {"model": "toy", "seed": seed, "repeats": 1, **more},
               images=pd.DataFrame(rows), frontier=frontier, arms=arms)  # fmt: skip


def test_three_seeds_of_the_same_prompts_are_three_times_the_images_of_as_many_prompts(tmp_path):
    runs = [bench(tmp_path / str(seed), seed) for seed in range(3)]
    found = over_runs(runs).set_index("arm")
    assert (found["n"] == 72).all()
    assert (found["prompts"] == 24).all()
    images = pd.concat([one.read_table("images") for one in runs])
    means = images.groupby(["arm", "text"])["clip"].mean().unstack("arm")
    less = means["plan"] - means["baseline"]
    assert found.loc["plan", "difference"] == pytest.approx(less.mean())
    half = 1.96 * less.std(ddof=1) / np.sqrt(24)
    width = found.loc["plan", "difference_high"] - found.loc["plan", "difference_low"]
    assert width == pytest.approx(2 * half, rel=0.1)


def test_prompts_of_other_runs_are_told_by_their_text_and_not_by_their_number(tmp_path):
    runs = [bench(tmp_path / "a", 0, prompts_digest="a"),
            bench(tmp_path / "b", 1, [*TEXTS[12:], *(f"more {n}" for n in range(12))], prompts_digest="b")]  # fmt: skip
    found = over_runs(runs)
    assert set(found["prompts"]) == {36}
    assert set(found["n"]) == {48}


def test_runs_that_differ_otherwise_or_share_a_seed_are_not_taken_together(tmp_path):
    first = bench(tmp_path / "a", 0)
    assert over_runs([first, bench(tmp_path / "b", 1, steps=9)]).empty
    assert over_runs([first, bench(tmp_path / "c", 0)]).empty
    images = {"images": first.read_table("images")}
    assert over_runs([run(tmp_path / str(seed), "maps", {"seed": seed}, **images) for seed in (0, 1)]).empty  # fmt: skip


def test_a_run_of_images_without_a_baseline_has_nothing_to_be_compared_with(tmp_path):
    table = pd.DataFrame(
        {"arm": "plan", "prompt_id": range(24), "frame": 0, "path": "", "text": TEXTS}
    )
    settings = {"model": "toy", "plan": "baseline"}
    runs = [run(tmp_path / str(s), "generate", settings | {"seed": s}, images=table) for s in (0, 1)]  # fmt: skip
    assert over_runs(runs).empty


def test_compare_shows_seeds_together_with_a_verdict(attnscope, tmp_path):
    runs = [bench(tmp_path / str(seed), seed).path for seed in range(2)]
    code, out, _ = attnscope("compare", *runs)
    assert code == 0
    said = " ".join(out.split())
    assert "Over all 2 runs, which differ by their seeds alone: 48 images of 24 prompts" in said
    assert "worse" in said
    assert "of 1 difference tested together" in said
    assert "24 prompts show a difference of" in said
    (row,) = [r for r in json.loads(attnscope("compare", *runs, "--json")[1])["over_seeds"] if r["arm"] == "plan"]  # fmt: skip
    assert row["p_holm"] == row["p"] < 0.05


def test_an_unknown_adjustment_is_refused(attnscope, tmp_path):
    runs = [bench(tmp_path / str(seed), seed).path for seed in range(2)]
    code, out, err = attnscope("compare", *runs, "--adjust", "bonferroni")
    assert (code, out) == (2, "")
    assert "--adjust 'bonferroni' is not known (choose holm, bh, none)" in err
    assert attnscope("ablate", "--adjust", "sidak")[0] == 2
