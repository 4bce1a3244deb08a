"""Where releases of the libraries differ: the one place that knows.

Everything else is written for the newest release and asks here where an older one wants otherwise.
The oldest that is held is in ``constraints-oldest.txt``; ``make matrix`` tries it.

==============  =======  ===========================================================================
library         before   what differs
==============  =======  ===========================================================================
diffusers       0.36     Stable Diffusion 3 without T5 has as many zeros as CLIP has tokens
diffusers       0.37     the record of transformer blocks lacks arguments and some classes
diffusers       0.40     ``from_pretrained`` takes the type of the weights as ``torch_dtype``
diffusers       0.41     the lists of hooked modules, kept since 0.38, are dropped one by one
scipy           1.15     ``bootstrap`` takes its generator of random numbers as ``random_state``
torch           later    ``torch.compiler.disable`` of 2.6 is not told a reason; asked by its signature
torch           later    compiled functions of 2.6 do not keep ``fullgraph``; asked by what compiles them
transformers    4.56     ``from_pretrained`` takes the type of the weights as ``torch_dtype``
transformers    5.0      ``CLIPTokenizer`` and ``T5Tokenizer`` cannot read ``tokenizer.json``, nor be
                         made of pieces; ``CLIPTokenizerFast`` and ``T5TokenizerFast`` can, and are
                         other names of the same classes since
==============  =======  ===========================================================================
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_LATER_STREAMS = {
    "Flux2TransformerBlock": ("hidden_states", 1),
    "JointTransformerBlock": ("hidden_states", 1),
    "Kandinsky5TransformerDecoderBlock": ("visual_embed", 0),
}
"""Blocks that diffusers 0.35 and 0.36 have and do not record, as 0.37 and later do."""


@cache
def release(package: str) -> tuple[int, ...]:
    """The installed release of a package as numbers to compare: ``(0, 42, 1)``.

    What stands behind the numbers is left out: ``0.42.0.dev0`` is ``(0, 42, 0)``.
    """
    numbers = re.match(r"\d+(\.\d+)*", version(package))
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def weights_as(dtype: Any, package: str = "diffusers") -> dict[str, Any]:
    """The argument of ``from_pretrained`` for the type of the weights.

    Args:
        dtype: a ``torch.dtype``.
        package: ``diffusers`` or ``transformers``, whose ``from_pretrained`` is called.
    """
    first = {"diffusers": (0, 40), "transformers": (4, 56)}[package]
    return {"dtype" if release(package) >= first else "torch_dtype": dtype}


def drawn_by(generator: Any) -> dict[str, Any]:
    """The argument of ``scipy.stats.bootstrap`` for what it draws by.

    Args:
        generator: a ``numpy.random.Generator``.
    """
    return {"rng" if release("scipy") >= (1, 15) else "random_state": generator}


def between_graphs(reason: str) -> Any:
    """A decorator that keeps compilers out of a function, but not of what it calls.

    Args:
        reason: what torch says where a whole graph was asked for, as far as it can.
    """
    import torch

    told = inspect.signature(torch.compiler.disable).parameters.keys() & {"reason"}
    return torch.compiler.disable(  # type: ignore[no-untyped-call]
        recursive=False, **dict.fromkeys(told, reason)
    )


def may_not_break(context: Any) -> bool:
    """Whether what torch compiles is to be one graph, unbroken (``fullgraph=True``).

    Args:
        context: what ``torch.compile`` keeps beside a compiled function, or ``None``.
    """
    if hasattr(context, "fullgraph"):
        return bool(context.fullgraph)
    callback = getattr(context, "callback", None)
    names = ("_torchdynamo_orig_callable", "_torchdynamo_orig_backend")
    inner = (getattr(callback, name, None) for name in names)
    return "ConvertFrameAssert" in {type(each).__name__ for each in inner}


def recorded_stream(kind: type[Any]) -> tuple[str, int] | None:
    """Where a transformer block has the image's stream, as diffusers records it.

    Args:
        kind: the block's class itself, its bases aside.

    Returns:
        The argument that holds it and its place in what the block returns; ``None`` where diffusers
        says nothing of the class.
    """
    from diffusers.hooks._helpers import TransformerBlockRegistry

    try:
        record = TransformerBlockRegistry.get(kind)
    except ValueError:  # diffusers says nothing of it
        return _LATER_STREAMS.get(kind.__name__)
    name = getattr(record, "hidden_states_argument_name", "hidden_states")
    return name, record.return_hidden_states_index


def zeros_without_t5(clip: int, longest: int) -> int:
    """Positions of zeros where Stable Diffusion 3 was loaded without its T5.

    Args:
        clip: positions of CLIP's text.
        longest: ``max_sequence_length`` of the pipeline's call.
    """
    return longest if release("diffusers") >= (0, 36) else clip


def forget_child_registries(model: Any) -> None:
    """Drop the list of hooked modules that diffusers keeps once ``cache_context`` was used.

    Args:
        model: a module with or without hooks of diffusers.
    """
    registry = getattr(model, "_diffusers_hook", None)
    if registry is None:
        return
    if hasattr(registry, "invalidate_child_registries_cache"):
        registry.invalidate_child_registries_cache()
        return
    for module in model.modules():
        kept = getattr(module, "_diffusers_hook", None)
        if kept is not None and hasattr(kept, "_child_registries_cache"):
            kept._child_registries_cache = None


def t5_tokenizer(pieces: Sequence[tuple[str, float]], **settings: Any) -> Any:
    """A T5 tokenizer of pieces and the logarithms of their probabilities.

    Args:
        pieces: ``<pad>``, ``</s>`` and ``<unk>`` first, then others with ``▁`` for a space.
        settings: of the tokenizer, such as ``model_max_length``.
    """
    from transformers import T5TokenizerFast

    settings["extra_ids"] = 0
    if release("transformers") >= (5,):
        return T5TokenizerFast(vocab=list(pieces), **settings)
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import Unigram

    made = Tokenizer(Unigram(list(pieces), unk_id=2))
    words, space = pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()
    made.pre_tokenizer = pre_tokenizers.Sequence([words, space])
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(tokenizer_object=made, **settings)


def fast_tokenizer(folder: Path, kind: str) -> Any:
    """A tokenizer of a ``tokenizer.json`` that transformers 5 wrote.

    Args:
        folder: of the tokenizer.
        kind: its class, such as ``T5Tokenizer``.
    """
    import transformers

    older: dict[str, Any] = {"extra_special_tokens": {}} if release("transformers") < (5,) else {}
    return getattr(transformers, f"{kind.removesuffix('Fast')}Fast").from_pretrained(
        folder, **older
    )


def tokenizers_in(folder: Path) -> dict[str, Any]:
    """The tokenizers of a pipeline that transformers cannot read by the class that its folder names.

    These are those that transformers 5 wrote, where an older one is installed.

    Args:
        folder: of the pipeline.

    Returns:
        By the names of the pipeline's parts; none where transformers is new enough.
    """
    if release("transformers") >= (5,) or not (folder / "model_index.json").is_file():
        return {}
    parts = json.loads((folder / "model_index.json").read_text("utf-8"))
    found = {}
    for part, of in parts.items():
        files = {path.name for path in (folder / part).glob("*")}
        if "tokenizer.json" in files and not files & {"vocab.json", "spiece.model"}:
            found[part] = fast_tokenizer(folder / part, of[1])
    return found
