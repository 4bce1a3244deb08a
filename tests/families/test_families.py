"""What is true of one family of denoisers stands in its file, and everybody asks it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections import Counter
from copy import copy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

import diffusers
import pytest
from diffusers import DiffusionPipeline
from diffusers.models.modeling_utils import ModelMixin
from older import newest_only
from torch import nn

from attnscope import families
from attnscope.analyses.bench.rivals import RIVALS, Task
from attnscope.errors import InputError
from attnscope.families import Family, Stream, base
from attnscope.families.values import TEXT_FIRST
from attnscope.hooks.branches import narrowed
from attnscope.hooks.refusals import model_keeps
from attnscope.models import building
from attnscope.models.architectures import Architecture
from attnscope.models.calling import call_options
from attnscope.plans.reuse import TGate
from attnscope.sites.around import stream_of
from attnscope.sites.denoiser import Denoiser

GENERAL = Family()
HOUSE = Path(families.__file__).parents[1]


@pytest.fixture
def own(monkeypatch):
    """A family of one's own, as its one file would have it."""
    for registry in ("_FAMILIES", "_OF_DENOISERS", "_OF_PIPELINES", "_STREAMS"):
        monkeypatch.setattr(base, registry, copy(getattr(base, registry)))

    class Own(Family):
        denoisers = ("OwnDenoiser",)
        pipelines = ("Own*",)
        streams: ClassVar = {"OwnBlock": Stream("states", 1)}
        cond_first = True
        keeps = "cond"
        makes_videos = True
        never_batched = Family.never_batched | {"own_ids"}

        def inputs(self, denoiser, on, noise):
            return {"sample": noise(on.frames, on.rows, on.columns)}

        def frames_allowed(self, config):
            return 1, 7

        def guidance_keywords(self, guidance):
            return {"own_scale": guidance}

    yield Own
    for answers in (families.never_batched, base._of_denoiser_class, base._of_pipeline_class):
        answers.cache_clear()


def of_diffusers(kind):
    """Classes of diffusers, as far as they can be imported here."""
    found = (getattr(diffusers, name, None) for name in dir(diffusers))
    return [each for each in found if inspect.isclass(each) and issubclass(each, kind)]


def written():
    """Names of all classes that the sources of diffusers define."""
    sources = Path(diffusers.__file__).parent.rglob("*.py")
    kinds = [
        re.findall(r"^class (\w+)", path.read_text("utf-8"), re.M)
        for path in sources
        if "dummy" not in path.name
    ]
    return {name for names in kinds for name in names}


@newest_only
def test_every_name_in_a_family_is_one_of_diffusers():
    there = written()
    for family in families.known():
        named = {*family.denoisers, *family.streams, *family.tgate_loaders, *family.latents}
        assert named <= there, type(family).__name__
        for pattern in family.pipelines:
            assert any(fnmatchcase(name, pattern) for name in there), pattern


def test_no_two_families_name_the_same_class():
    for facts in ("denoisers", "pipelines", "streams"):
        counts = Counter(name for f in families.known() for name in vars(type(f)).get(facts, ()))
        assert not [name for name, count in counts.items() if count > 1], facts


@newest_only
def test_a_denoiser_of_diffusers_has_the_family_that_names_it_and_no_other():
    """The next release may derive a model from another that is called on other things."""
    for kind in of_diffusers(ModelMixin):
        named = families.denoiser_named(kind.__name__)
        assert base._of_denoiser_class(kind) is named, f"{kind.__name__} needs a family of its own"


def test_a_class_that_no_family_names_is_of_the_general_rules():
    for pipe in (None, object(), nn.Linear(1, 1), type("DiTPipeline", (), {})()):
        assert type(families.of_pipeline(pipe)) is Family
        assert type(families.of_denoiser(pipe)) is Family
    mine = type("Mine", (diffusers.UNet2DConditionModel,), {})
    assert type(base._of_denoiser_class(mine)) is type(
        families.denoiser_named("UNet2DConditionModel")
    )
    mine = type("Mine", (diffusers.DiTPipeline,), {})
    assert base._of_pipeline_class(mine).steps_both
    assert not GENERAL.has_inputs
    assert not GENERAL.has_pipeline


def test_a_family_is_one_file_and_everybody_asks_it(own):
    denoiser = type("OwnDenoiser", (nn.Module,), {"device": None})()
    architecture = Architecture("own", "OwnDenoiser", "{}", "", 16, 16, tokens=5)
    assert architecture.is_known
    assert architecture.resized(frames=7).frames == 7
    with pytest.raises(InputError, match=r"frames=5 is not what own is made for \(choose 1 or 7\)"):
        architecture.resized(frames=5)
    found = Denoiser(denoiser)
    vars(found)["sites"] = ()  # it has no attention, which matters not here
    assert model_keeps(found) == "cond"
    block = type("Derived", (type("OwnBlock", (nn.Module,), {}),), {})
    assert stream_of(block) == Stream("states", 1)
    kept = narrowed({"own_ids": [1, 2], "other": [1, 2]}, 2, slice(0, 1))
    assert kept["own_ids"] == [1, 2]
    habits = {"__module__": "diffusers.pipelines.own", "__call__": lambda self: None}
    pipe = type("OwnPipeline", (DiffusionPipeline,), habits)
    assert base._of_pipeline_class(pipe).cond_first
    options = call_options(pipe.__new__(pipe), seeds=[0], steps=2, guidance=4.0)
    assert options["own_scale"] == 4.0
    assert "guidance_scale" not in options


def test_a_variant_of_a_family_leaves_the_names_of_its_base_alone(own):
    class Variant(own):
        denoisers = ("VariantDenoiser",)

    assert isinstance(families.denoiser_named("VariantDenoiser"), Variant)
    assert families.denoiser_named("VariantDenoiser").keeps == "cond"
    assert type(families.denoiser_named("OwnDenoiser")) is own
    assert type(families.pipeline_named("OwnPipeline")) is own

    class Again(Family):
        denoisers = ("OwnDenoiser",)

    assert type(families.denoiser_named("OwnDenoiser")) is Again


def test_what_is_known_is_named_where_something_is_not(own):
    class Unknown(nn.Module):
        device = dtype = None

    with pytest.raises(InputError, match=r"Unknown is called on is not known.*OwnDenoiser"):
        GENERAL.inputs(Unknown(), None, None)


def test_a_rival_is_refused_where_its_package_is_not_made_for_the_family(sd, monkeypatch):
    unet = families.of_denoiser(sd.unet)
    assert {"DeepCache", "tomesd"} <= unet.rivals
    monkeypatch.setattr(type(unet), "rivals", frozenset())
    starting = RIVALS["deepcache"].start(sd, Task(TGate(2)))
    with pytest.raises(InputError, match="it is made for U-Nets of images"), starting:
        pass


def test_classes_of_models_are_named_in_their_families_alone():
    names = {name for family in families.known() for name in (*family.denoisers, *family.streams)}
    named = re.compile(f'"({"|".join(names)})"')
    for path in HOUSE.rglob("*.py"):
        if path.parent.name != "families":
            assert not named.findall(path.read_text("utf-8")), path


def test_families_need_no_torch():
    script = (
        "import sys, attnscope.families as f\n"
        "assert len(f.known()) > 10\n"
        "assert not {'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_architecture_that_is_named_is_one_that_can_be_called(tmp_path):
    for family in families.known():
        for name in family.denoisers if family.has_inputs else ():
            assert hasattr(diffusers, name)
            assert Architecture("any", name, "{}", "", 8, 8, tokens=1).family is family
    with pytest.raises(InputError, match="diffusers has no Nothing"):
        building.build(Architecture("any", "Nothing", "{}", "", 8, 8, tokens=1))


@pytest.mark.parametrize(
    ("config", "side"),
    [({}, 1), ({"patch_size": None}, 1), ({"patch_size": 2}, 2), ({"patch_size": [1, 2, 4]}, 4)],
)
def test_latents_are_whole_patches_a_side_by_the_general_rules(config, side):
    assert GENERAL.latents_a_side(config) == side


@pytest.mark.parametrize(
    ("called", "encoder", "tokens"),
    [
        ({}, {}, 77),
        ({}, {"max_position_embeddings": None}, 77),
        ({}, {"max_position_embeddings": 32}, 32),
        ({"max_sequence_length": 120}, {"max_position_embeddings": 32}, 120),
    ],
)
def test_text_is_as_long_as_the_call_says_or_else_its_encoder(called, encoder, tokens):
    assert GENERAL.tokens(called, encoder) == tokens


@pytest.mark.parametrize(
    ("called", "config", "frames"),
    [
        ({}, {}, 16),
        ({"video_length": 8}, {}, 8),
        ({"video_length": 8}, {"video_length": 5}, 5),
        ({}, {"num_frames": 3, "video_length": 5}, 3),
    ],
)
def test_frames_are_those_a_denoiser_is_made_for_or_else_its_pipelines(own, called, config, frames):
    assert own().frames(called, config, {}) == frames
    assert GENERAL.frames(called, config, {}) == 1


def test_where_nothing_is_known_any_number_of_frames_will_do_and_guidance_has_its_usual_name():
    assert GENERAL.frames_allowed({"num_frames": 3}) is None
    assert GENERAL.guidance_keywords(3.0) == {"guidance_scale": 3.0}
    assert GENERAL.pipeline_keywords(families.CallSizes(1, 1, 1), 2, "cpu") == {}
    assert (GENERAL.guidance, GENERAL.keeps, families.CallSizes(1, 1, 1).frames) == (
        7.5,
        "uncond",
        1,
    )
    with pytest.raises(InputError, match="no pipeline here for a Linear of random weights"):
        GENERAL.pipeline(nn.Linear(1, 1), {}, 1)


def test_a_stream_is_the_first_that_a_block_returns_but_where_the_text_comes_first():
    assert Stream() == ("hidden_states", 0)
    assert TEXT_FIRST == ("hidden_states", 1)
