"""Made-up runs of every command, to be shown: small, and with captions that want to be more than text."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from attnscope.observers import components, named_maps
from attnscope.runs.folder import Run

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\"'><svg onload=alert(1)> & {{ 7 * 7 }} {% raw %}",
)
"""Captions that a page must show as they are."""
PLAN = Path(__file__).parents[1] / "docs/findings/shapes/plan-ssim-0.99.json"
SITES = (
    ("down_blocks.0.attentions.0.transformer_blocks.0.attn1", "self"),
    ("down_blocks.0.attentions.0.transformer_blocks.0.attn2", "cross"),
    ("mid_block.attentions.0.transformer_blocks.0.attn1", "self"),
    ("mid_block.attentions.0.transformer_blocks.0.attn2", "cross"),
)
CELL = {"model": "shapes", "scheduler": "dpm", "steps": 4, "noise_scale": 1.0, "seed": 0}


def run(path, command, settings, **tables):
    """A run directory of these tables."""
    path.mkdir(parents=True, exist_ok=True)
    machine = {"python": "3.11.7", "device": "cpu"}
    about = {"command": command, "settings": settings, "machine": machine}
    about |= {"created": "2026-01-02T03:04:05+00:00", "later": [{"since": "x", "machine": machine}]}
    (path / "run.json").write_text(json.dumps(about))
    for name, table in tables.items():
        table.to_parquet(path / f"{name}.parquet")
    return Run(path)


def image(path, color, size=16):
    """An image of one colour with a darker left half."""
    pixels = np.full((size, size, 3), color, np.uint8)
    pixels[:, : size // 2] //= 2
    if size > 64:  # of which no file is small
        pixels ^= np.random.default_rng(0).integers(0, 128, pixels.shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def prompts(texts=HOSTILE):
    return pd.DataFrame({"prompt_id": range(len(texts)), "text": texts})


def convergence(path, scale=1.0, texts=HOSTILE, sites=SITES, steps=6):
    rows = [
        (prompt, 0, branch, step, 999.0 - step, site, kind, site.split(".")[0],
         scale * (prompt + 1 + place) / step**2, 0.1, scale * (prompt + 1 + place) / step**2, 0.1)
        for prompt in range(len(texts))
        for branch in ("uncond", "cond")
        for place, (site, kind) in enumerate(sites)
        for step in range(1, steps)
    ]  # fmt: skip
    names = ["prompt_id", "image", "branch", "step", "timestep", "site", "kind", "block", "l2",
             "rms", "relative", "cosine"]  # fmt: skip
    records = pd.DataFrame(rows, columns=names)
    records = records.astype(dict.fromkeys(("branch", "site", "kind", "block"), "category"))
    settings = {"model": "shapes", "steps": steps, "limit": len(texts), "width": 64, "height": 64}
    settings |= {"captions": HOSTILE[1], "sites": None, "kinds": ["cross", "self"], "scale": scale}
    return run(path, "convergence", settings, records=records, prompts=prompts(texts))


def _arm(name, trajectory, gate):
    key = f"shapes-{name}"
    return CELL | {
        "arm": name,
        "key": key,
        "trajectory": trajectory,
        "gate": gate,
        "interval": None,
    }


ARMS = [_arm("S", "S", None), _arm("S^F m=2", "S^F", 2), _arm("S^L m=2", "S^L", 2)]
COLORS = ((250, 40, 40), (40, 220, 40), (60, 60, 240))


def typed(rows):
    return pd.DataFrame(rows).astype({"gate": "Int64", "interval": "Int64"})


def ablate(path, texts=HOSTILE, arms=ARMS, size=16, gates=()):
    arms = [*arms, *(_arm(f"{t} m={m}", t, m) for m in gates for t in ("S^F", "S^L"))]
    images, pictures = [], []
    for place, arm in enumerate(arms):
        for prompt, text in enumerate(texts):
            file = f"images/{place}/{prompt:05d}.png"
            image(path / file, COLORS[place % 3], size)
            psnr = float("inf") if place == 1 else 20.0 + place
            found = {"psnr": psnr, "ssim": 0.9} if place else {"psnr": None, "ssim": None}
            images.append(arm | {"prompt_id": prompt, "frame": 0, "path": file, "text": text, "all": 1.0} | found)  # fmt: skip
            for step in range(4):
                file = f"pictures/{place}/{prompt:05d}-{step:03d}.png"
                image(path / file, [10 + 60 * step] * 3, size)
                pictures.append(arm | {"prompt_id": prompt, "step": step, "path": file})
    noise = [
        arm | {"branch": "guided", "step": step, "log_snr": step - 4.0, "mean": 0.1 * step, "norm": 30.0}
        for arm in arms for step in range(4)
    ]  # fmt: skip
    values = [
        arm | {"measure": measure, "value": value + place, "low": value + place - 0.1,
               "high": value + place + 0.1, "n": len(texts)}
        for place, arm in enumerate(arms) for measure, value in (("ssim", 0.5), ("all", 0.25))
    ]  # fmt: skip
    about = {"subjects": [{"model": "shapes", "steps": [4]}], "limit": 3}
    return run(path, "ablate", about, arms=typed(values), images=typed(images), noise=typed(noise),
               pictures=typed(pictures), prompts=prompts(texts))  # fmt: skip


def generate(path, texts=HOSTILE, compare=True, plan="tgate:m=2,k=1", size=16):
    images = []
    for place, arm in enumerate(("plan", "baseline")[: 1 + compare]):
        for prompt, text in enumerate(texts):
            file = f"{arm}/{prompt:05d}.png"
            image(path / file, COLORS[place], size)
            images.append({"arm": arm, "prompt_id": prompt, "frame": 0, "text": text, "path": file,
                           "height": size, "width": size, "psnr": 30.5, "ssim": 0.9})  # fmt: skip
    calls = pd.DataFrame({"kind": ["cross", "self"], "computed": [9, 20], "stored": [2, 1], "reused": [12, 1]})  # fmt: skip
    times = pd.DataFrame(
        {"batch": 0, "arm": ["plan", "baseline"][: 1 + compare], "images": 3,
         "seconds": [1.0, 2.0][: 1 + compare], "steps": 4, "guided_steps": [2, 4][: 1 + compare]}
    )  # fmt: skip
    settings = {"model": "shapes", "plan": plan, "steps": 4, "seed": 0}
    return run(path, "generate", settings, images=pd.DataFrame(images), calls=calls, times=times,
               prompts=prompts(texts))  # fmt: skip


def generate_plans(path, texts=HOSTILE, stages=True):
    plans = ["baseline", "tgate:m=2,k=1,w=2,f=1", "guidance-cutoff:m=2,keep=cond"]
    images, rows, steps = [], [], []
    for place, plan in enumerate(plans):
        for prompt, text in enumerate(texts):
            file = f"images/{place}/{prompt:05d}.png"
            image(path / file, COLORS[place])
            far = (
                {"psnr": 30.0 - place, "ssim": 1 - place / 10}
                if place
                else {"psnr": None, "ssim": None}
            )
            images.append({"plan": plan, "key": str(place), "prompt_id": prompt, "frame": 0, "text": text,
                           "path": file, "height": 16, "width": 16, "seconds": 3.0 - place} | far)  # fmt: skip
        for step in range(4):
            file = f"stages/{place}/00000-{step:03d}.png"
            image(path / file, [20 + 50 * step + place] * 3)
            steps.append({"plan": plan, "prompt_id": 0, "step": step, "path": file})
        speed = 1.0 + place / 2
        rows.append({"plan": plan, "key": str(place), "steps": 4, "guided_steps": 4 - place, "macs": 2e9,
                     "paper_macs": 1e9, "seconds": 3.0 - place, "seconds_low": 0.9, "seconds_high": 3.1,
                     "speedup": speed, "speedup_low": speed - 0.1, "speedup_high": speed + 0.1,
                     "peak_mb": 100.0, "extra_mb": 0.0, "kept_mb": float(place), "images": len(texts),
                     "psnr": 30.0 - place if place else None, "ssim": 1 - place / 10 if place else None,
                     "ssim_low": 0.7 if place else None, "ssim_high": 0.99 if place else None})  # fmt: skip
    times = pd.DataFrame({"batch": 0, "plan": plans, "images": len(texts), "seconds": [9.0, 6.0, 3.0],
                          "peak_mb": 100.0, "steps": 4, "guided_steps": [4, 3, 2]})  # fmt: skip
    settings = {"model": "shapes", "plans": plans, "steps": 4, "seed": 0, "scheduler": "dpm"}
    tables = {"stages": pd.DataFrame(steps)} if stages else {}
    return run(path, "generate-plans", settings, images=pd.DataFrame(images), times=times,
               plans=pd.DataFrame(rows), prompts=prompts(texts), **tables)  # fmt: skip


def paper(path, name="table2"):
    row = {"row": HOSTILE[0], "model": "sd15", "arm": "tgate:m=5,k=1,w=2,f=1", "n": 3}
    beside = pd.DataFrame(
        [row | {"quantity": "fid", "published": 20.789, "published_change": -3.138, "here_measure": "kid",
                "here": 0.1, "change": -0.02, "low": -0.03, "high": -0.01, "verdict": "holds"},
         row | {"quantity": "latency", "published": 4.313, "published_change": 0.613, "here_measure": "latency",
                "here": 0.5, "change": 0.7, "low": 0.6, "high": 1.2, "verdict": "cannot tell"},
         row | {"quantity": "macs", "published": 9.875, "published_change": 0.583, "here_measure": None,
                "here": None, "change": None, "low": None, "high": None, "n": None, "verdict": "not tested"}]
    )  # fmt: skip
    claims = pd.DataFrame(
        [{"claim": HOSTILE[1], "what": "a number", "run": "shapes, 4 steps", "value": 0.1, "low": 0.05,
          "high": 0.2, "n": 24, "verdict": "holds"}]
    )  # fmt: skip
    settings = {
        "name": name,
        "model": "shapes",
        "own": False,
        "lines": [["bench", "--model", "shapes"]],
    }
    return run(path, "paper", settings, beside=beside, claims=claims)


def bench(path, texts=HOSTILE):
    arms = ["baseline", "tgate:m=2,k=1,w=2,f=1", "tgate"]
    images, rows = [], []
    for place, arm in enumerate(arms):
        for prompt, text in enumerate(texts):
            file = f"images/{place}/{prompt:05d}.png"
            image(path / file, COLORS[place])
            images.append({"arm": arm, "prompt_id": prompt, "frame": 0, "path": file, "text": text})
        speed = 1.0 + place / 2
        rows.append({"arm": arm, "seconds": 1 / speed, "speedup": speed, "speedup_low": speed - 0.1,
                     "speedup_high": speed + 0.1, "ideal": speed, "of_ideal": 1.0, "extra_mb": 0.0,
                     "kept_mb": 0.0, "note": ""})  # fmt: skip
    rows.append({"arm": "DeepCache", "note": HOSTILE[0]})
    parts = pd.DataFrame(
        [{"arm": a, "part": p, "seconds": 0.25, "share": 0.25} for a in arms
         for p in ("cross", "self", "other", "outside")]
    )  # fmt: skip
    saved = pd.DataFrame(
        [{"basis": basis, "saving": s, "saved": 0.2, "low": 0.1, "high": 0.3}
         for basis in ("time", "MACs") for s in ("guidance cut-off", "all together")]
    )  # fmt: skip
    frontier = pd.DataFrame(
        [{"arm": a, "measure": m, "value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "speedup": 1.0 + n / 2}
         for n, a in enumerate(arms) for m in ("ssim", "all")]
    )  # fmt: skip
    repeated = pd.DataFrame({"arm": arms, "repetition": 0, "seconds": 1.0})
    settings = {"model": "shapes", "plan": "tgate:m=2,k=1,w=2,f=1", "steps": 4, "repeats": 2}
    return run(path, "bench", settings, arms=pd.DataFrame(rows), parts=parts, attribution=saved,
               repetitions=repeated, frontier=frontier, images=pd.DataFrame(images))  # fmt: skip


def tune(path):
    letters = "####.#..#~~~~#~~~~~~~~#.."
    found = {"letters": letters, "guidance": "b" * 25, "ideal": 2.0, "by_time": 1.9, "ssim": 0.99, "psnr": 40.0,
             "damage": 0.01}  # fmt: skip
    plans = pd.DataFrame([found | {"budget": "ssim>=0.99", "file": PLAN.name}])
    calibration = pd.DataFrame(
        [{"what": "window", "group": "all", "letter": letter, "step": step, "length": 1,
          "prompt_id": 0, "damage": 0.1 / (step + 1)} for letter in ".~" for step in range(5)]
    )  # fmt: skip
    proof = pd.DataFrame(
        [{"plan": "x/plan.json@1", "against": a, "measure": "ssim", "difference": 0.1, "low": 0.0,
          "high": 0.2, "n": 9, "worst": 1} for a in ("tgate", "12 steps")]
    )  # fmt: skip
    times = pd.DataFrame(
        [{"group": "denoiser", "branches": b, "state": s, "median": 2.0, "low": 1.0, "high": 9.0,
          "calls": 26} for b in (1, 2) for s in ("computed", "stale")]
    )  # fmt: skip
    settings = {"model": "shapes", "steps": 25, "measured": 9}
    made = run(path, "tune", settings, plans=plans, candidates=pd.DataFrame([found]), proof=proof,
               calibration=calibration, prompts=prompts(), times=times)  # fmt: skip
    shutil.copy(PLAN, path)
    return made


WORDS = ("start", "red", HOSTILE[0])


POINTS = ((0.25, 0.5), (0.9, 0.1))


def beside(path, texts, steps, points_until=None, sites=2, side=4):
    """Of a run of maps: where two points look, up to a step, and what two sites return."""
    rows, shares = [], []
    seen = tuple(range(points_until or steps))
    for prompt, text in enumerate(texts):
        random = np.random.default_rng(100 + prompt)
        of_points, of_sites = (
            f"{name}/{prompt:05d}.safetensors" for name in ("points", "features")
        )
        (path / of_points).parent.mkdir(parents=True, exist_ok=True)
        (path / of_sites).parent.mkdir(parents=True, exist_ok=True)
        axes = ("sample", "step", "point", "height", "width")
        values = random.random((1, len(seen), len(POINTS), side, side))
        looked = named_maps.Maps(values, axes, seen, (), (), POINTS)
        (path / of_points).write_bytes(named_maps.packed(looked, prompt=text))
        axes = ("step", "component", "height", "width")
        found = [
            components.Components(site, random.normal(size=(steps, 3, side, side)).astype(np.float32), axes,
                                  tuple(range(steps)), (0.5, 0.25, 0.125))
            for site, _ in SITES[:sites]
        ]  # fmt: skip
        (path / of_sites).write_bytes(components.packed(found, prompt=text))
        rows += [
            {"prompt_id": prompt, "branch": "cond", "step": step, "timestep": 9.0 - step, "log_snr": step - 4.0,
             "site": SITES[0][0], "kind": "self", "block": "down_blocks.0", "point": place, "x": x, "y": y,
             "mass": 1.0, "peak": 0.25 + 0.125 * place, "spread": 2.0 - 0.5 * step, "entropy": 2.0, "path": of_points}
            for step in seen for place, (x, y) in enumerate(POINTS)
        ]  # fmt: skip
        shares += [
            {"prompt_id": prompt, "site": own.site, "kind": kind, "block": "down_blocks.0", "component": place,
             "explained": share, "path": of_sites}
            for own, (_, kind) in zip(found, SITES, strict=False) for place, share in enumerate(own.explained)
        ]  # fmt: skip
    return {"points": pd.DataFrame(rows), "features": pd.DataFrame(shares)}


def maps(path, texts=HOSTILE, steps=3, plan="baseline", more=True, side=4, **options):
    rows, pictures, words = [], [], []
    for prompt, text in enumerate(texts):
        number = f"{prompt:05d}"
        values = np.random.default_rng(prompt).random((1, steps, len(WORDS), side, side))
        axes = ("sample", "step", "word", "height", "width")
        (path / "maps").mkdir(parents=True, exist_ok=True)
        kinds = ["special", *["word"] * (len(WORDS) - 1)]
        made = named_maps.Maps(values, axes, tuple(range(steps)), (), (WORDS,))
        packed = named_maps.packed(made, prompt=text, kinds=kinds)
        (path / f"maps/{number}.safetensors").write_bytes(packed)
        for step in (*range(steps), -1):
            file = f"images/{number}-{step}.png"
            image(path / file, [40 + 60 * step] * 3)
            pictures.append({"prompt_id": prompt, "step": step, "frame": 0, "path": file,
                             "maps": f"maps/{number}.safetensors"})  # fmt: skip
        for place, word in enumerate(WORDS):
            words.append({"prompt_id": prompt, "place": place, "word": word, "kind": kinds[place],
                          "encoder": "CLIP", "positions": [place]})  # fmt: skip
            rows += [
                {"prompt_id": prompt, "branch": "cond", "step": step, "log_snr": step - 4.0, "site": SITES[1][0],
                 "kind": "cross", "block": "down_blocks.0", "place": place, "word": word,
                 "mass": 0.1 * (place + 1), "peak": 0.5, "spread": 1.0, "entropy": 2.0}
                for step in range(steps)
            ]  # fmt: skip
    distances = pd.DataFrame(
        [{"prompt_id": prompt, "branch": branch, "step": step, "timestep": 9.0 - step, "log_snr": step - 4.0,
          "site": SITES[1][0], "kind": "cross", "block": "down_blocks.0", "l2": 1.0, "rms": 0.1,
          "relative": 1 / (step + prompt), "cosine": 0.1}
         for prompt in range(len(texts)) for branch in ("uncond", "cond") for step in range(1, steps)]
    )  # fmt: skip
    settings = {"model": "shapes", "plan": plan, "steps": steps}
    others = beside(path, texts, steps, side=side, **options) if more else {}
    return run(path, "maps", settings, attention=pd.DataFrame(rows), pictures=pd.DataFrame(pictures),
               words=pd.DataFrame(words), prompts=prompts(texts), distances=distances, **others)  # fmt: skip


MAKERS = {
    "convergence": convergence,
    "ablate": ablate,
    "generate": generate,
    "generate-plans": generate_plans,
    "paper": paper,
    "bench": bench,
    "tune": tune,
    "maps": maps,
}
