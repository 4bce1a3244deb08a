"""Where releases of the libraries differ, each is asked in its own way."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.hooks import HookRegistry
from older import LIBRARIES, is_older, lacks
from transformers import T5EncoderModel

import attnscope
from attnscope import versions
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import t5

DIT = SHAPES_FOLDER.parent / "shapes-dit"


@pytest.fixture
def installed(monkeypatch):
    """Sets which release of a library is said to be installed."""
    versions.release.cache_clear()
    yield lambda text: monkeypatch.setattr(versions, "version", lambda package: text)
    monkeypatch.undo()
    versions.release.cache_clear()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0.42.1", (0, 42, 1)), ("5.0.0rc3", (5, 0, 0)), ("0.43.0.dev0", (0, 43, 0)), ("2.6.0+cpu", (2, 6, 0))],
)  # fmt: skip
def test_a_release_is_its_numbers(text, numbers, installed):
    installed(text)
    assert versions.release("some") == numbers


@pytest.mark.parametrize(
    ("package", "text", "name"),
    [
        ("diffusers", "0.39.0", "torch_dtype"),
        ("diffusers", "0.40.0", "dtype"),
        ("transformers", "4.55.4", "torch_dtype"),
        ("transformers", "4.56.0", "dtype"),
    ],
)
def test_the_type_of_weights_goes_by_the_name_of_the_release(package, text, name, installed):
    installed(text)
    assert versions.weights_as(torch.float16, package) == {name: torch.float16}


@pytest.mark.parametrize(
    ("package", "kind", "folder"),
    [
        ("diffusers", UNet2DConditionModel, SHAPES_FOLDER / "unet"),
        ("transformers", T5EncoderModel, SHAPES_FOLDER / "text_encoder"),
    ],
)
def test_the_installed_release_takes_that_name(package, kind, folder):
    """One that it does not know, diffusers passes over in silence."""
    model = kind.from_pretrained(folder, **versions.weights_as(torch.bfloat16, package))
    assert {weight.dtype for weight in model.parameters()} >= {torch.bfloat16}


def test_a_loaded_pipeline_has_the_weights_that_were_asked_for():
    pipe = attnscope.load("shapes", dtype="bfloat16", device="cpu")
    assert {pipe.unet.dtype, pipe.vae.dtype} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("shapes", ["<|startoftext|>", "small</w>", "red</w>", "<|endoftext|>"]),
        ("shapes-dit", ["▁small", "▁red", "</s>"]),
    ],
)
def test_tokenizers_that_a_newer_transformers_wrote_are_read(model, tokens):
    tokenizer = attnscope.load(model, device="cpu").tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("small red").input_ids) == tokens
    assert tokenizer.model_max_length == 24


def test_a_t5_tokenizer_is_the_one_that_stands_in_the_shipped_folder():
    """Whichever way it is built: that of a newer transformers wrote the folder."""
    made = json.loads(t5.tokenizer().backend_tokenizer.to_str())
    shipped = json.loads((DIT / "tokenizer" / "tokenizer.json").read_text("utf-8"))
    for part in ("pre_tokenizer", "decoder", "post_processor", "model"):
        assert made[part] == shipped[part], part


def test_t5_tokenizers_of_both_kinds_read_alike(monkeypatch):
    texts = ["", "a small red circle", "zebra crossing, 3 cars!", "naïve 漢字"]
    ours = t5.tokenizer()
    monkeypatch.setattr(versions, "release", lambda package: (4, 51, 0))
    assert ours(texts).input_ids == t5.tokenizer()(texts).input_ids


class ConvertFrame: ...


class ConvertFrameAssert: ...


@pytest.mark.parametrize(("by", "whole"), [(ConvertFrame, False), (ConvertFrameAssert, True)])
def test_a_graph_that_may_not_break_is_told_where_torch_does_not_keep_that(by, whole):
    """As torch 2.6 has it: whether by the name of what compiles, or by what stands there since."""
    kept = SimpleNamespace(callback=SimpleNamespace(_torchdynamo_orig_callable=by()))
    assert versions.may_not_break(kept) is whole
    assert versions.may_not_break(SimpleNamespace(fullgraph=whole, callback=None)) is whole
    assert versions.may_not_break(None) is False


@pytest.mark.skipif(
    sys.version_info >= (3, 14) and versions.release("torch") < (2, 10),
    reason="torch 2.9 has no compiler under Python 3.14",
)
@pytest.mark.parametrize("whole", [True, False])
def test_the_installed_torch_tells_whether_a_graph_may_break(whole):
    compiled = torch.compile(torch.nn.Linear(2, 2), backend="eager", fullgraph=whole)
    assert versions.may_not_break(compiled.dynamo_ctx) is whole


@pytest.mark.parametrize(("numbers", "name"), [((1, 14, 1), "random_state"), ((1, 15, 0), "rng")])
def test_the_generator_of_a_bootstrap_goes_by_the_name_of_the_release(numbers, name, monkeypatch):
    monkeypatch.setattr(versions, "release", lambda package: numbers)
    assert versions.drawn_by("generator") == {name: "generator"}


@pytest.mark.parametrize("told", [True, False])
def test_compilers_are_kept_out_whether_a_reason_can_be_told_or_not(told, monkeypatch):
    given = []

    def with_reason(recursive=True, *, reason=None):
        given.append((recursive, reason))
        return lambda function: function

    def without(recursive=True):
        given.append((recursive,))
        return lambda function: function

    monkeypatch.setattr(torch.compiler, "disable", with_reason if told else without)
    assert versions.between_graphs("why")(abs) is abs
    assert given == [(False, "why") if told else (False,)]


def test_the_list_of_hooked_modules_is_dropped_whoever_keeps_it():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1))
    versions.forget_child_registries(model)  # has none
    registries = [HookRegistry.check_if_exists_or_initialize(part) for part in model.modules()]
    for registry in registries:
        registry._child_registries_cache = ["stale"]
    versions.forget_child_registries(model)
    assert [registry._child_registries_cache for registry in registries] == [None, None]


def test_without_t5_the_zeros_are_those_of_the_release(installed):
    installed("0.35.2")
    assert versions.zeros_without_t5(77, 256) == 77
    versions.release.cache_clear()
    installed("0.36.0")
    assert versions.zeros_without_t5(77, 256) == 256


def test_where_diffusers_records_nothing_of_a_block_its_stream_is_known_all_the_same():
    from diffusers.models.attention import JointTransformerBlock

    assert versions.recorded_stream(JointTransformerBlock) == ("hidden_states", 1)
    assert versions.recorded_stream(torch.nn.Linear) is None


def test_only_what_an_older_library_lacks_lets_a_test_be_skipped(monkeypatch):
    said = ImportError("cannot import name 'Thing' from 'diffusers' (somewhere)")
    assert lacks(said) == is_older("diffusers")
    for older in (True, False):
        monkeypatch.setattr("older.is_older", lambda library, older=older: older)
        assert lacks(said) == older
        assert lacks(AttributeError("module diffusers has no attribute Thing")) == older
        assert (
            lacks(AttributeError("'module' object at torchmetrics.image has no attribute '_thing'"))
            == older
        )
        assert not lacks(ImportError("cannot import name 'Thing' from 'attnscope.plans'"))
        assert not lacks(AttributeError("'SimpleNamespace' object has no attribute 'thing'"))
    assert LIBRARIES == ("diffusers", "torchmetrics", "transformers")
