"""What all runs that make images settle: one dataclass, whose fields stand flat in ``run.json``."""

import dataclasses
import json

import pytest
import toys

from attnscope.analyses import generation
from attnscope.analyses.ablation import arms as ablation
from attnscope.analyses.bench import arms as bench
from attnscope.analyses.convergence import measure as convergence
from attnscope.models import calling
from attnscope.models.chosen import ChosenModel
from attnscope.runs.folder import Run, default_path
from attnscope.runs.prompts import image_seed
from attnscope.runs.sampling import ModelUse, Sampling, settled

ALL = {
    "model": "toy", "weights": "abc", "captions": "c.txt", "prompts_digest": "d", "limit": 2,
    "steps": 4, "scheduler": None, "guidance": 7.5, "seed": 0, "kinds": ("cross",), "sites": None,
    "height": 16, "width": None, "dtype": "float32", "plan": "baseline", "compare": False,
    "batch": 1, "repeats": 2, "rivals": (("tome", None),), "watched": False, "decoded": True,
    "device": "cpu", "threads": 1, "versions": (("torch", "2"),),
}  # fmt: skip


def made(kind, **changes):
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: (ALL | changes)[name] for name in names if name in ALL})


@pytest.mark.parametrize(
    ("command", "settings", "path"),
    [
        ("convergence", made(convergence.ConvergenceSettings), "runs/convergence-toy-04b5588f"),
        ("generate", made(generation.GenerationSettings), "runs/generate-toy-f46a1d50"),
        ("bench", made(bench.BenchSettings, width=16), "runs/bench-toy-6604725c"),
        (
            "ablate",
            ablation.AblationSettings(
                (ablation.Subject(model="toy", weights="abc", dtype="float32", guidance=7.5,
                                  steps=(4,), schedulers=(None,), height=16),),
                "c.txt", "d", 2, "cross", ("2",), (),
            ),
            "runs/ablate-toy-859f71c6",
        ),
    ],
)  # fmt: skip
def test_a_run_directory_has_the_name_that_version_0_1_gave_it(command, settings, path):
    assert str(default_path(command, "toy", settings)) == path


@pytest.mark.parametrize(
    "kind", [convergence.ConvergenceSettings, generation.GenerationSettings, bench.BenchSettings]
)
def test_the_settings_of_every_run_hold_how_it_is_sampled(kind, tmp_path):
    settings = made(kind, width=16)
    assert isinstance(settings, Sampling)
    flat = json.loads((Run.open(tmp_path, "test", settings).path / "run.json").read_text())
    shared = {field.name: getattr(settings, field.name) for field in dataclasses.fields(Sampling)}
    assert {name: flat["settings"][name] for name in shared} == shared


def test_an_arm_is_sampled_as_its_subject_with_what_is_the_arm_s_own():
    subject = ablation.Subject(
        model="toy", weights="abc", dtype="float16", guidance=7.5, steps=(4, 6), schedulers=("ddim",),
        height=24, width=40,
    )  # fmt: skip
    settings = ablation.AblationSettings(
        (subject,), "c.txt", "", 1, "cross", ("2",), (), seeds=(3,)
    )
    arm = next(arm for arm in ablation.arms_of(settings) if arm.trajectory == "no guidance")
    assert settings.sampling(arm) == Sampling(
        model="toy", weights="abc", dtype="float16", guidance=1.0, height=24, width=40, steps=4,
        scheduler="ddim", seed=3,
    )  # fmt: skip


def test_a_call_is_made_by_the_settings_with_the_seed_of_every_caption(sd):
    """Against the pipeline itself, called by hand."""
    settings = made(Sampling, steps=2, guidance=3.0, width=24, seed=5)
    images = settings.call(sd, toys.PROMPTS[:2], [7, 4])
    keywords = settings.keywords(sd, [7, 4])
    by_hand = calling.call(
        sd, toys.PROMPTS[:2], seeds=[image_seed(5, 7), image_seed(5, 4)], steps=2, guidance=3.0,
        height=16, width=24,
    )  # fmt: skip
    assert [image.tobytes() for image in images] == [image.tobytes() for image in by_hand]
    assert [image.size for image in images] == [(24, 16)] * 2
    again = sd(list(toys.PROMPTS[:2]), **keywords).images
    assert [image.tobytes() for image in again] == [image.tobytes() for image in images]


def test_what_is_not_asked_for_is_the_models_own(folder):
    chosen = ChosenModel(
        str(folder), scheduler="ddim", device="cpu", dtype="auto", offline=True, allow_pickle=False
    )
    nothing = {"steps": None, "guidance": None, "seed": 0, "height": None, "width": None}
    own = settled(chosen, {**nothing, "device": "cpu", "batch_size": "auto"})
    assert own == {
        "model": str(folder), "weights": chosen.weights, "dtype": "float32", "scheduler": "ddim",
        "steps": chosen.described.steps, "guidance": chosen.described.guidance, "seed": 0,
        "height": 32, "width": 32,
    }  # fmt: skip
    asked = settled(chosen, nothing | {"steps": 3, "guidance": 0.0, "height": 40})
    assert (asked["steps"], asked["guidance"]) == (3, 0.0)
    assert (asked["height"], asked["width"]) == (40, 40)
    use = settled(chosen, nothing | {"guidance": 2.0}, ModelUse)
    assert set(use) == {field.name for field in dataclasses.fields(ModelUse)}
    assert use["guidance"] == 2.0
