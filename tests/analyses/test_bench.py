import contextlib
import dataclasses
import gc
import inspect
import itertools
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import denoisers
import numpy as np
import pandas as pd
import pytest
import torch
import toys
from diffusers import FirstBlockCacheConfig, FlowMatchHeunDiscreteScheduler

from attnscope import versions
from attnscope.analyses.bench import breakdown, rivals, rounds, speedups
from attnscope.analyses.bench.arms import Contender, arms_of
from attnscope.analyses.bench.instruments import ModuleTimes, PeakMemory, Stopwatch
from attnscope.analyses.bench.rivals import RIVALS, Rival, Task, registered, twin
from attnscope.analyses.bench.rivals.caches import cached
from attnscope.analyses.bench.rounds import Workload
from attnscope.cost.counting import count_architecture
from attnscope.cost.plans import cost_of
from attnscope.errors import InputError
from attnscope.hooks.trace import Trace
from attnscope.models import architectures, random_weights
from attnscope.models.loading import load
from attnscope.models.schedulers import set_scheduler
from attnscope.plans.base import Baseline
from attnscope.plans.reuse import TGate, paper_plan
from attnscope.plans.text_form import parse
from attnscope.sites.attention import find_denoiser, find_sites

STEPS = 4
PLAN = parse("m=3,k=2,w=0")


class Work:
    """A clock that moves by a second for each row that an attention site computes, and not else."""

    def __init__(self, pipe):
        self.now = 0.0
        denoiser = find_denoiser(pipe)
        for site in find_sites(denoiser):
            module = denoiser.get_submodule(site.name)
            module.processor = self._taking(module.processor)

    def _taking(self, processor):
        def attend(attn, hidden_states, *args, **kwargs):
            self.now += hidden_states.shape[0]
            return processor(attn, hidden_states, *args, **kwargs)

        return attend

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    # attention at full resolution too, where ToMe merges
    toys.stable_diffusion(
        folder,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "toy")
    return architectures.find(str(folder / "toy")).resized(32, 32)


@pytest.fixture
def bare(found):
    """The toy with random weights; four sites of either kind."""
    return random_weights.build(found)


@pytest.fixture(scope="module")
def cost(found):
    return cost_of(count_architecture(found), PLAN, STEPS)


@pytest.fixture
def measure(bare, found, cost):
    return measuring(bare, found, cost)


@pytest.fixture(scope="module")
def measured(found, cost):
    """By all of our own arms."""
    return measuring(random_weights.build(found), found, cost)(arms_of(cost))


@dataclasses.dataclass
class Measured:
    repetitions: pd.DataFrame
    parts: pd.DataFrame
    arms: pd.DataFrame
    attribution: pd.DataFrame


def measuring(bare, found, cost):
    clock = Work(bare)

    def measured(arms, *, batch=1, values_matter=True):
        keywords = random_weights.call_keywords(bare, found, steps=STEPS, guidance=5.0, batch=batch)
        workload, stopwatch = Workload(lambda: ([], keywords), batch), Stopwatch(clock=clock)
        tables = rounds.measure_rounds(
            bare, arms, workload, range(2), stopwatch=stopwatch, memory=PeakMemory(),
            values_matter=values_matter,
        )  # fmt: skip
        repetitions = pd.concat(tables, ignore_index=True)
        ours = [arm for arm in arms if arm.rival is None and not arm.optional]
        return Measured(
            repetitions,
            breakdown.measure_breakdown(bare, ours, workload, passes=2, stopwatch=stopwatch),
            speedups.by_arm(repetitions, arms, cost),
            speedups.attribution(repetitions, arms, cost),
        )

    return measured


def test_the_table_of_a_benchmark_is_what_a_clock_of_computed_attention_says(measured):
    """Eight sites: four cross, four self. Rows that compute are counted by hand."""
    table = measured.arms.set_index("arm")
    # both branches in 3 of 4 steps; cross reused at step 3; self reused at step 1
    rows = {
        "baseline": 4 * 2 * (4 + 4),
        str(PLAN): 2 * 2 * (4 + 4) + 2 * 4 + 1 * 4,
        "guidance alone": (3 * 2 + 1) * (4 + 4),
        "cross alone": 3 * 2 * (4 + 4) + 2 * 4,
        "self alone": 3 * 2 * (4 + 4) + 2 * 4,
        "guidance-cutoff:m=3,keep=cond": (3 * 2 + 1) * (4 + 4),
    }
    assert table["seconds"].to_dict() == rows
    assert table["speedup"].to_dict() == {arm: 64 / value for arm, value in rows.items()}
    assert list(table.index) == list(rows)
    assert (measured.repetitions.groupby("arm").size() == 2).all()


def test_a_part_that_saves_nothing_is_no_arm(cost):
    never = cost_of(cost.counts, "m=2,k=2,w=0", STEPS)  # k comes to nothing before step 2
    names = [arm.name for arm in arms_of(never)]
    assert "self alone" not in names
    assert {"guidance alone", "cross alone"} < set(names)


def test_times_are_per_image(measure, cost):
    arms = arms_of(cost)[:2]
    measured = measure(arms, batch=2)
    assert measured.arms["seconds"].tolist() == [64, 44]


def test_ratios_are_taken_within_a_repetition_and_told_with_their_range():
    """What slows a whole repetition down leaves the ratio as it is."""
    seconds = {"baseline": [10, 30, 20], str(PLAN): [5, 15, 8]}
    rows = [
        (arm, number, value, value + 100, "")
        for arm, values in seconds.items()
        for number, value in enumerate(values)
    ]
    arms = [Contender("baseline", Baseline(), traced=False), Contender(str(PLAN), PLAN)]
    counts = count_architecture(architectures.find("shapes"))
    cost = cost_of(counts, PLAN, STEPS)
    columns = ["arm", "repetition", "seconds", "peak_mb", "reason"]
    row = speedups.by_arm(pd.DataFrame(rows, columns=columns), arms, cost).iloc[1]
    assert (row["seconds"], row["seconds_low"], row["seconds_high"]) == (8, 5, 15)
    assert (row["speedup"], row["speedup_low"], row["speedup_high"]) == (2, 2, 2.5)
    assert row["extra_mb"] == np.median([-5, -15, -12])
    assert row["ideal"] == cost.speedup()
    assert row["of_ideal"] == pytest.approx(2 / cost.speedup())


def test_each_part_alone_and_all_together_are_told_in_time_and_in_macs(measured, cost):
    wide = measured.attribution.pivot(index="saving", columns="basis", values="saved")
    assert wide["time"].to_dict() == {
        "guidance cut-off": 8 / 64,
        "cross-attention reuse": 8 / 64,
        "self-attention reuse": 8 / 64,
        "all together": 20 / 64,
    }
    assert wide.loc["all together", "MACs"] == pytest.approx(1 - 1 / cost.speedup())
    assert wide.loc["guidance cut-off", "MACs"] == pytest.approx(0.125)


def test_the_time_of_parts_is_the_sites_own(measured):
    parts = measured.parts.pivot(index="arm", columns="part", values="seconds")
    assert parts.loc["baseline"].to_dict() == {"cross": 32, "self": 32, "other": 0, "outside": 0}
    assert parts.loc[str(PLAN)].to_dict() == {"cross": 24, "self": 20, "other": 0, "outside": 0}
    shares = measured.parts.groupby("arm")["share"].sum()
    assert shares.to_numpy() == pytest.approx(1)


def rivalling(name, start, *, package=None, **more):
    return Contender(name, PLAN, rival=Rival(name, package, start, **more), optional=True)


def test_a_rival_that_fails_at_times_is_told_by_its_other_rounds(measure, cost):
    calls = itertools.count()

    @contextlib.contextmanager
    def failing(pipe, task):
        if next(calls) == 2:  # the warm-up, round 0, round 1
            raise RuntimeError("no more memory")
        yield pipe

    row = measure([arms_of(cost)[0], rivalling("rival", failing)]).arms.iloc[1]
    assert row["seconds"] == 64
    assert row["speedup"] == 1
    assert row["note"] == "failed in 1 of 2 rounds: RuntimeError: no more memory"


def test_what_a_rival_leaves_is_gone_before_the_next_call(measure, cost):
    left = []

    @contextlib.contextmanager
    def leaving(pipe, task):
        assert not any(reference() for reference in left)
        own = find_denoiser(pipe)
        own.itself = [own]  # a circle, as closures over modules are
        left.append(weakref.ref(own))
        yield pipe

    gc.disable()
    try:
        table = measure([arms_of(cost)[0], rivalling("rival", leaving)]).arms
    finally:
        gc.enable()
    assert table["seconds"].notna().all()
    assert len(left) == 3


def test_an_arm_that_nobody_asked_for_may_fail(measure, cost):
    beyond = Contender("beyond", parse("m=9"))
    baseline = arms_of(cost)[0]
    table = measure([baseline, dataclasses.replace(beyond, optional=True)]).arms
    assert "there are 4 steps" in table.loc[1, "note"]
    with pytest.raises(InputError, match="there are 4 steps"):
        measure([baseline, beyond])


def test_out_of_memory_says_what_helps(measure, cost, bare):
    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    bare.unet.register_forward_pre_hook(refuse)
    with pytest.raises(InputError, match="choose a smaller `batch`"):
        measure([arms_of(cost)[0]])


def test_a_rival_that_fails_says_so_in_its_row_and_stops_nobody(measure, cost):
    def breaking(pipe, task):
        raise KeyError("sample_size")

    def refusing(pipe, task):
        raise InputError("it is made for others")

    arms = arms_of(cost)[:2]
    arms += [rivalling("broken", breaking), rivalling("other", refusing),
             rivalling("absent", breaking, package="no-such-package")]  # fmt: skip
    table = measure(arms).arms.set_index("arm")
    assert table["seconds"].notna().tolist() == [True, True, False, False, False]
    assert table.loc["broken", "note"] == "KeyError: 'sample_size'"
    assert table.loc["other", "note"] == "it is made for others"
    assert table.loc["absent", "note"].startswith("no-such-package is not installed: pip install")


def test_a_rival_that_goes_by_values_is_not_timed_on_random_ones(measure, cost):
    arms = [arms_of(cost)[0],
            rivalling("by values", lambda pipe, task: contextlib.nullcontext(pipe),
                      by_values=True)]  # fmt: skip
    told = measure(arms, values_matter=False).arms.set_index("arm")
    assert np.isnan(told.loc["by values", "seconds"])
    assert "values, which are random" in told.loc["by values", "note"]
    assert measure(arms).arms["seconds"].notna().all()


@pytest.mark.parametrize(
    ("steps", "gate"), [(25, 10), (50, 20), (10, 4), (8, 3), (4, 2), (3, 1), (1, 1), (100, 40)]
)
def test_the_plan_of_a_benchmark_is_the_papers_part_of_the_steps(steps, gate):
    """Section 4: m=10 and k=5 of 25 steps; never before the first one."""
    assert paper_plan(steps) == TGate(gate, 5)
    paper_plan(steps).over(steps)


def test_a_plan_that_cannot_run_is_an_error(measure):
    with pytest.raises(InputError, match="there are 4 steps"):
        measure([Contender("baseline", Baseline(), traced=False), Contender("plan", parse("m=5"))])


def test_a_twin_shares_its_weights_and_nothing_else(pipe):
    before = toys.call(pipe)
    other = twin(pipe)
    ours, theirs = find_denoiser(pipe), find_denoiser(other)
    assert ours is not theirs
    assert all(a is b for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert torch.equal(toys.call(other), before)
    for module in theirs.modules():
        module.forward = None
    assert torch.equal(toys.call(pipe), before)
    assert other.scheduler is not pipe.scheduler


def test_times_of_modules_are_summed_over_their_calls():
    clock = itertools.count()
    modules = [torch.nn.Identity(), torch.nn.Identity()]
    times = ModuleTimes({"both": modules, "none": []}, Stopwatch(clock=lambda: float(next(clock))))
    with times.on():
        for module in (*modules, *modules):
            module(torch.zeros(1))
    modules[0](torch.zeros(1))
    assert times.seconds() == {"both": 4.0, "none": 0}


def test_times_of_modules_are_told_by_the_call_that_they_stand_in():
    clock = itertools.count()
    inner = torch.nn.Identity()
    outer = torch.nn.Sequential(inner, torch.nn.Identity(), inner)
    modules = {"whole": [outer], "inner": [inner]}
    times = ModuleTimes(modules, Stopwatch(clock=lambda: float(next(clock))))
    with times.on():
        outer(torch.zeros(1))
        outer(torch.zeros(1))
        inner(torch.zeros(1))  # of no call
    assert times.by_call("whole") == [{"whole": 5.0, "inner": 2.0}] * 2
    assert times.seconds() == {"whole": 10.0, "inner": 5.0}


def test_the_peak_of_memory_is_of_what_came_after_the_reset():
    memory = PeakMemory()
    memory.reset()
    if np.isnan(memory.megabytes()):
        pytest.skip("this machine does not forget the peak of a process")
    torch.ones(64 * 2**20)  # 256 MB
    high = memory.megabytes()
    memory.reset()
    assert high - memory.megabytes() > 200


@pytest.mark.parametrize("name", [*toys.VARIANTS, "latte"])
def test_pipelines_of_random_weights_run_by_every_plan(name, tmp_path):
    if name == "latte":
        found = toys.latte_architecture()
    else:
        toys.VARIANTS[name](tmp_path).save_pretrained(tmp_path / name)
        found = architectures.find(str(tmp_path / name))
        tokens = 8 if "pixart" in name else None
        found = found.resized(32, 32, tokens, 3 if name == "svd" else None)
    pipe = random_weights.build(found)
    guidance = 0.0 if name == "lcm-pixart" else 5.0
    guided = found.guided and guidance > 1
    keywords = random_weights.call_keywords(pipe, found, steps=3, guidance=guidance, batch=2)
    plan = parse("m=2,k=2,w=0")
    cost = cost_of(count_architecture(found), plan, 3, guided=guided, batch=2)
    sites = {site.name for site in find_sites(find_denoiser(pipe))}
    assert sites == {site.name for site in cost.counts.sites}
    with Trace(pipe, plan=plan) as trace:
        made = pipe(**keywords)
    latents = made.frames if hasattr(made, "frames") else made.images
    assert latents.shape[0] == 2
    assert trace.calls()["reused"].sum() > 0
    assert trace.runs[-1].guided_steps == (2 if guided else 0)


def test_no_pipeline_of_random_weights_is_made_up():
    found = architectures.Architecture("toy", "FluxTransformer2DModel", "{}", "", 64, 64, tokens=5)
    with pytest.raises(InputError, match="leave `random_weights` out"):
        random_weights.build(found)


def test_rivals_take_turns_in_an_order_that_files_do_not_change():
    """Packages, several at once, diffusers' own: settings of before name them so."""
    assert list(RIVALS) == [
        "tgate", "cache-dit", "deepcache", "tome", "tgate+deepcache", "tgate+tome", "pab",
        "fastercache", "firstblock", "taylorseer", "magcache",
    ]  # fmt: skip


def test_a_rival_is_a_file_that_nothing_else_names(tmp_path):
    """Beside the others in a copy of their folder, in a process of its own, which loads no torch."""
    own = tmp_path / "rivals"
    shutil.copytree(Path(rivals.__file__).parent, own, ignore=shutil.ignore_patterns("__pycache__"))
    (own / "another.py").write_text(
        "import contextlib\n"
        "from attnscope.analyses.bench.rivals.base import registered\n"
        "@registered('another', 'Another', 'diffusers', about='')\n"
        "@contextlib.contextmanager\n"
        "def another(pipe, task):\n"
        "    yield pipe\n"
    )
    told = subprocess.run(
        [sys.executable, "-c",
         "import sys\n"
         "from attnscope.analyses import bench\n"
         f"bench.__path__.insert(0, {str(tmp_path)!r})\n"
         "from attnscope.cli.bench import bench as command\n"
         "from attnscope.cli.parsing import chosen_rivals\n"
         "from attnscope.errors import InputError\n"
         "assert 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
         "print([name for name, _ in chosen_rivals('all')])\n"
         "print(command.__annotations__['rivals'].__metadata__[0].help)\n"
         "try:\n    chosen_rivals('magic')\n"
         "except InputError as error:\n    print(error)\n"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(told) == 3
    for line in told:
        assert "tgate, another, cache-dit, deepcache, tome, tgate+deepcache" in line.replace(
            "'", ""
        )


def test_two_rivals_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="two rivals 'tome'"):
        registered("tome", "ToMe", "tomesd", about="")


@pytest.mark.parametrize("name", [n for n, rival in RIVALS.items() if not rival.by_values
                                  and n != "taylorseer"])  # fmt: skip
def test_rivals_run_on_a_pipeline_of_their_own(name, found):
    on_transformers = name in ("pab", "fastercache")
    if RIVALS[name].version() is None:
        pytest.skip(f"{RIVALS[name].package} is not installed")
    found = toys.latte_architecture() if on_transformers else found
    pipe = random_weights.build(found)
    keywords = random_weights.call_keywords(pipe, found, steps=4, guidance=5.0)
    task = Task(PLAN)

    def made(call):
        output = call(**keywords)
        return output.frames if hasattr(output, "frames") else output.images

    before = made(pipe)
    with RIVALS[name].on(pipe, task) as call:
        other = made(call)
    assert other.shape == before.shape
    assert not torch.equal(other, before)
    assert torch.equal(made(pipe), before)
    if name == "tgate":
        with Trace(pipe, plan=PLAN):
            assert torch.equal(made(pipe), other)


def test_tgate_runs_without_guidance_where_it_can_be_told(tmp_path, found):
    pytest.importorskip("tgate")
    toys.VARIANTS["lcm-sdxl"](tmp_path).save_pretrained(tmp_path / "toy")
    latent = architectures.find(str(tmp_path / "toy")).resized(32, 32)
    pipe = random_weights.build(latent)
    keywords = random_weights.call_keywords(pipe, latent, steps=4, guidance=5.0, batch=2)
    with RIVALS["tgate"].on(pipe, Task(PLAN, guided=False)) as call:
        theirs = call(**keywords, generator=torch.Generator().manual_seed(0)).images
    with Trace(pipe, plan=PLAN):
        ours = pipe(**keywords, generator=torch.Generator().manual_seed(0)).images
    torch.testing.assert_close(theirs, ours)
    refusing = RIVALS["tgate"].on(random_weights.build(found), Task(PLAN, guided=False))
    with pytest.raises(InputError, match="cannot run StableDiffusionPipeline without"), refusing:
        pass


@pytest.mark.parametrize("scheduler", ["pndm", "heun"])
def test_tgate_is_refused_where_it_counts_other_steps(bare, scheduler):
    pytest.importorskip("tgate")
    set_scheduler(bare, scheduler)
    refused = pytest.raises(InputError, match="counts other steps than the scheduler makes")
    with refused, RIVALS["tgate"].on(bare, Task(PLAN)):
        pass


@pytest.mark.parametrize("name", ["tgate", "tgate+tome"])
def test_what_carries_out_t_gate_refuses_other_plans(bare, name):
    pytest.importorskip("tgate")
    refused = pytest.raises(InputError, match="it carries out plans of T-GATE, not cross-reuse")
    with refused, RIVALS[name].on(bare, Task(parse("cross-reuse:m=2"))):
        pass


def test_tome_merges_where_there_are_most_tokens(tmp_path):
    """Of SDXL's U-Net, which has no attention at the resolution of the latents."""
    pytest.importorskip("tomesd")
    pipe = toys.stable_diffusion_xl(tmp_path)
    before = toys.call(pipe)
    with RIVALS["tome"].on(pipe, Task(PLAN)) as call:
        assert not torch.equal(toys.call(call), before)


def test_the_first_block_cache_skips_what_hardly_changes():
    """On a pipeline that names its branches; what random weights compute does not settle by itself."""
    pipe = toys.wan()
    before = toys.call_wan(pipe)
    computed = {}
    for threshold in (0.05, 100.0):
        start = cached(lambda *_, at=threshold: FirstBlockCacheConfig(threshold=at))
        with Rival("first-block cache", None, start).on(pipe, Task(PLAN)) as call:
            calls = []
            last = find_denoiser(call).blocks[-1].attn1
            last.register_forward_hook(lambda *_, calls=calls: calls.append(1))
            toys.call_wan(call)
            computed[threshold] = len(calls)
    assert computed == {0.05: 2 * 4, 100.0: 2}
    assert torch.equal(toys.call_wan(pipe), before)


def test_what_diffusers_kept_of_hooks_before_a_cache_is_forgotten(monkeypatch):
    """From the first ``cache_context`` on 0.38 to 0.40 keep a list of them, which lacks the cache's."""
    seen = []
    monkeypatch.setattr(versions, "forget_child_registries", seen.append)
    with RIVALS["firstblock"].on(toys.wan(), Task(PLAN)) as call:
        assert any(module is find_denoiser(call) for module in seen)


@contextlib.contextmanager
def calls_of(module):
    """Counts how often what is inside a module is computed; caches stand around modules."""
    layer, calls = next(m for m in module.modules() if isinstance(m, torch.nn.Linear)), []
    with layer.register_forward_hook(lambda *_: calls.append(1)):
        yield calls


def call_shapes_dit(pipe, steps=25):
    return pipe(
        "a red circle above a blue square", num_inference_steps=steps, guidance_scale=3.0,
        output_type="latent", use_resolution_binning=False, clean_caption=False,
        max_sequence_length=24, generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip


def test_cache_dit_leaves_blocks_out_and_nothing_of_it_stays():
    """On the transformer in the box, whose guidance branches come in one batch."""
    pytest.importorskip("cache_dit")
    pipe = load("shapes-dit", device="cpu")
    before = call_shapes_dit(pipe)
    kind = type(pipe)
    own = {name: value for name, value in vars(kind).items() if name != "__slotnames__"}
    with RIVALS["cache-dit"].on(pipe, Task(PLAN), idling=False) as call:
        blocks = find_denoiser(call).transformer_blocks
        with calls_of(blocks[0].attn1) as first, calls_of(blocks[-1].attn1) as last:
            other = call_shapes_dit(call)
    assert len(first) == 25
    assert 8 <= len(last) < 20  # 8 steps without a cache
    assert not torch.equal(other, before)
    assert (other - before).abs().mean() < 0.05 * before.abs().mean()
    assert {k: v for k, v in vars(kind).items() if k != "__slotnames__"} == own
    assert torch.equal(call_shapes_dit(pipe), before)


def test_cache_dit_does_not_print_what_it_does():
    """In a process of its own: it is told when it loads, and by a variable that is gone again."""
    if RIVALS["cache-dit"].version() is None:
        pytest.skip("cache-dit is not installed")
    told = subprocess.run(
        [sys.executable, "-c",
         "import os, sys, toys\n"
         "from attnscope.analyses.bench.rivals import RIVALS, Task\n"
         "from attnscope.plans.base import Baseline\n"
         "os.environ.pop('CACHE_DIT_LOG_LEVEL', None)\n"
         "with RIVALS['cache-dit'].on(toys.pixart(None), Task(Baseline())) as call:\n"
         "    toys.call(call)\n"
         "assert 'cache_dit' in sys.modules and 'CACHE_DIT_LOG_LEVEL' not in os.environ\n"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert told.stdout == ""
    assert "Cache-DiT" not in told.stderr


@pytest.mark.parametrize(("blocks", "always"), [(8, 1), (9, 8)])
def test_cache_dit_computes_its_first_blocks_unless_they_are_all(blocks, always):
    """What random weights compute changes little enough from step to step."""
    pytest.importorskip("cache_dit")
    pipe = toys.pixart(None, num_layers=blocks)
    with RIVALS["cache-dit"].on(pipe, Task(PLAN)) as call, contextlib.ExitStack() as stack:
        counted = [
            stack.enter_context(calls_of(block)) for block in find_denoiser(call).transformer_blocks
        ]
        toys.call(call, steps=12)
    computed = [len(calls) for calls in counted]
    assert computed[:always] == [12] * always
    assert all(8 <= calls < 12 for calls in computed[always:])


def test_cache_dit_counts_single_calls_without_guidance():
    """Of a pipeline that calls its denoiser for each branch; in pairs, 12 calls were 6 steps."""
    pytest.importorskip("cache_dit")
    pipe = toys.wan()
    with RIVALS["cache-dit"].on(pipe, Task(PLAN, guided=False), idling=False) as call:
        toys.call_wan(call, guidance=1.0, steps=12)
    with RIVALS["cache-dit"].on(pipe, Task(PLAN), idling=False) as call:
        toys.call_wan(call, steps=12)


def test_a_cache_that_computes_everything_all_the_same_is_refused():
    """Cache-DiT by itself, on as many blocks as it computes always: it counts 8 steps as cached."""
    cache_dit = pytest.importorskip("cache_dit")
    pipe = load("shapes-dit", device="cpu")

    @contextlib.contextmanager
    def by_itself(pipe, task):
        cache_dit.enable_cache(pipe, cache_config=cache_dit.DBCacheConfig())
        try:
            yield pipe
            (stats, *_) = cache_dit.summary(pipe, logging=False)
            assert len(stats.cached_steps) > 0
        finally:
            cache_dit.disable_cache(pipe)

    rival = Rival("by itself", "cache-dit", by_itself, caches=True)
    with rival.on(pipe, Task(PLAN)) as call:
        cached = call_shapes_dit(call)
    assert torch.equal(cached, call_shapes_dit(pipe))
    refused = pytest.raises(InputError, match="nothing out here: every one of 25 calls")
    with refused, rival.on(pipe, Task(PLAN), idling=False) as call:
        call_shapes_dit(call)


def test_a_cache_that_idles_is_not_timed(measure, cost):
    def idling(pipe, task):
        return contextlib.nullcontext(pipe)

    arms = [arms_of(cost)[0], rivalling("idle", idling, caches=True),
            rivalling("no cache", idling),
            rivalling("by values", idling, caches=True, by_values=True)]  # fmt: skip
    told = measure(arms).arms.set_index("arm")
    assert told["seconds"].notna().tolist() == [True, False, True, False]
    assert told.loc["idle", "note"] == (
        "it leaves nothing out here: every one of 4 calls of the denoiser computes all attention"
    )
    told = measure(arms, values_matter=False).arms.set_index("arm")
    assert "values, which are random" in told.loc["by values", "note"]


def test_attention_is_counted_while_nothing_is_timed(measure, cost, monkeypatch):
    counted = []

    @contextlib.contextmanager
    def counting(pipe):
        counted.append(pipe)
        yield

    monkeypatch.setattr("attnscope.analyses.bench.rivals.base._refused_if_it_idles", counting)
    idle = rivalling("idle", lambda pipe, task: contextlib.nullcontext(pipe), caches=True)
    assert measure([arms_of(cost)[0], idle]).arms["seconds"].notna().all()
    assert len(counted) == 1  # of a warm-up and two rounds


def test_a_rival_keeps_what_it_found_out(measure, cost):
    seen = []

    @contextlib.contextmanager
    def learning(pipe, task):
        seen.append(len(task.learned))
        task.learned[f"call {len(seen)}"] = True
        yield pipe

    measure([arms_of(cost)[0], rivalling("learning", learning), rivalling("other", learning)])
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["cache-dit", "taylorseer", "magcache"])
def test_caches_of_transformers_refuse_u_nets(bare, name):
    if RIVALS[name].version() is None:
        pytest.skip(f"{RIVALS[name].package} is not installed")
    why = (
        "knows no blocks of StableDiff" if name == "cache-dit" else "no caches for UNet2DCondition"
    )
    with pytest.raises(InputError, match=why), RIVALS[name].on(bare, Task(PLAN)):
        pass


def test_caches_of_diffusers_refuse_what_they_cannot_take_part_in():
    latte = random_weights.build(toys.latte_architecture())
    for name, pipe, why in [
        ("taylorseer", toys.wan(), "finds no module in WanTransformer3DModel by the names"),
        ("magcache", latte, "over space and over time of LatteTransformer3DModel take turns"),
        ("magcache", toys.pixart(None), "no caches for PixArtTransformer2DModel"),
    ]:
        with pytest.raises(InputError, match=why), RIVALS[name].on(pipe, Task(PLAN)):
            pass


def test_blocks_in_no_record_of_diffusers_are_said_to_be():
    pipe = toys.flux()
    pipe.transformer, _ = denoisers.chroma()
    refused = pytest.raises(InputError, match=r"cannot cache ChromaTransf.*ChromaTransformerBlock")
    with refused, RIVALS["magcache"].on(pipe, Task(PLAN)):
        pass


def test_a_pipeline_that_does_not_name_its_branches_is_said_to_lack_them():
    found = toys.latte_architecture()
    pipe = random_weights.build(found)
    keywords = random_weights.call_keywords(pipe, found, steps=4, guidance=5.0)
    refused = pytest.raises(InputError, match="guidance branch, which LattePipeline does not name")
    with refused, RIVALS["firstblock"].on(pipe, Task(PLAN)) as call:
        call(**keywords)


def test_taylor_seer_computes_attention_at_some_steps():
    """The first 3, then every fifth; attention alone."""
    pipe = toys.flux()
    before = toys.call_flux(pipe)
    with RIVALS["taylorseer"].on(pipe, Task(PLAN, guided=False), idling=False) as call:
        block = find_denoiser(call).transformer_blocks[0]
        with calls_of(block.attn) as attended, calls_of(block.ff) as others:
            other = toys.call_flux(call)
    assert (len(attended), len(others)) == (3 + 2, 12)
    assert not torch.equal(other, before)
    assert torch.equal(toys.call_flux(pipe), before)


@pytest.mark.parametrize("kind", ["flux", "wan"])
def test_mag_cache_measures_its_ratios_once(kind, capfd):
    """In the first call, for all of later ones, and prints none of it; with Wan for two branches."""
    pipe, called, calls_a_step = (
        (toys.flux(), toys.call_flux, 1) if kind == "flux"
        else (toys.wan(), lambda pipe: toys.call_wan(pipe, steps=12), 2)
    )  # fmt: skip
    before = called(pipe)
    task = Task(PLAN, guided=kind == "wan")
    images, computed = [], []
    for _ in range(2):
        with RIVALS["magcache"].on(pipe, task, idling=False) as call:
            handed_over = inspect.getclosurevars(call).nonlocals["pipe"]
            block = next(m for name, m in handed_over.transformer.named_modules()
                         if name.endswith("blocks.0"))  # fmt: skip
            with calls_of(block) as calls:
                images.append(called(call))
        computed.append(len(calls))
    assert 12 * calls_a_step > computed[1] > 12 * calls_a_step // 5
    assert computed[0] == computed[1] + 12 * calls_a_step
    assert torch.equal(*images)
    assert not torch.equal(images[0], before)
    (ratios,) = task.learned.values()
    assert (len(ratios), ratios[0]) == (12, 1.0)
    assert torch.equal(called(pipe), before)
    assert capfd.readouterr().out == ""


def test_mag_cache_takes_the_ratios_of_the_branch_that_is_called_first(capfd):
    """Of Wan, that of the prompt."""
    from diffusers import MagCacheConfig

    measuring, task = toys.wan(), Task(PLAN)
    config = MagCacheConfig(calibrate=True, num_inference_steps=12)
    measuring.transformer.enable_cache(config)
    toys.call_wan(measuring, steps=12)
    told = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[1.0")]
    assert len(set(told)) == 2
    with RIVALS["magcache"].on(toys.wan(), task) as call:
        toys.call_wan(call, steps=12)
    assert list(map(str, task.learned.values())) == told[:1]


def test_mag_cache_refuses_schedulers_of_other_steps():
    pipe = toys.wan()
    pipe.scheduler = FlowMatchHeunDiscreteScheduler()
    refused = pytest.raises(
        InputError, match="FlowMatchHeunDiscreteScheduler MagCache counts other"
    )
    with refused, RIVALS["magcache"].on(pipe, Task(PLAN)) as call:
        toys.call_wan(call)


def test_on_a_gpu_time_is_between_events_and_read_after_it_is_done(monkeypatch):
    """What a GPU does, by a pretended one: work is given out at once and done when it is waited for."""
    done, log = [0.0], []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            log.append("record")
            self.at = len(given)

        def elapsed_time(self, other):
            assert done[0] == len(given), "read before the work was done"
            return 1000.0 * (other.at - self.at)

    def wait(device):
        log.append("wait")
        done[0] = len(given)

    given = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.accelerator, "synchronize", wait)
    result, seconds = Stopwatch("cuda").time(lambda: given.extend([1, 2, 3]) or "image")
    assert (result, seconds) == ("image", 3.0)
    assert log == ["wait", "record", "record", "wait"]
