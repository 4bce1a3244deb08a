"""Small runs of every command that is cut into batches, and what they leave."""


def command(name, folder, captions, out, *more):
    own = {
        "ablate": ["--attention", "self", "--gates", "2,3", "--intervals", "2", "--features", "none"],
        "bench": ["--frontier", "--features", "none", "--rivals", "none", "--repeats", 1, "--tgate", "m=2"],
        "convergence": ["--controls"],
        "generate": ["--tgate", "m=2", "--compare"],
        "maps": ["--at", "0,3", "--point", "0.5,0.5"],
        "generate-plans": ["--plans", "baseline;m=2;m=1,k=2", "--each-step", "--batch-size", 1],
    }[name]  # fmt: skip
    typed = name.partition("-")[0]
    return [typed, "--model", folder, "--captions", captions, "--steps", 4, "--height", 32, "--device",
            "cpu", "--batch-size", 2, "--out", out, "-q", *own, *more]  # fmt: skip


def files(run):
    """What is bitwise the same whoever made it: neither times, nor what is drawn of them."""
    timed = ("times", "plans", "repetitions", "arms.tex", "attribution", "run", "frontier")
    return {
        path.relative_to(run): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.suffix in (".png", ".parquet", ".safetensors", ".npy", ".json")
        and not path.stem.startswith(timed) and path.parent.name not in ("figures", "frames")
    }  # fmt: skip


def shards(attnscope, name, folder, captions, tmp_path, count):
    paths = [tmp_path / f"shard-{number}" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        more = ["--shard", f"{number}/{count}"]
        code, out, err = attnscope(*command(name, folder, captions, path, *more))
        assert (code, out) == (0, f"{path}\n"), err
    return paths
