"""Denoisers by name, as far as their architecture alone tells of them: without weights.

The configurations of well-known models are data in ``architectures.json``, each with the file on
the hub that it is from; those of other models are read from their folder or from the hub.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attnscope.errors import InputError
from attnscope.families import CallSizes, Family, denoiser_named
from attnscope.families.tokenizers import NO_LIMIT
from attnscope.files import is_folder
from attnscope.models import hub
from attnscope.models.image_sizes import check_multiple, square
from attnscope.models.names import MODELS, Model, describe, part_folder

_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Architecture:
    """A denoiser without weights and what it is called on.

    Args:
        name: of the model.
        class_name: of the denoiser in diffusers.
        config: its configuration, as JSON.
        source: where the configuration is from.
        height: of the image in pixels, like the width.
        width: see above.
        tokens: of the text, or of the image that a video begins with.
        frames: of the latents of a video, which are fewer than those of the video where the
            autoencoder is one over time, too (Wan: 21 for 81); 1 for images.
        scale: pixels to a latent.
        guided: whether its authors run the model with guidance.
        steps: that its authors recommend.
    """

    name: str
    class_name: str
    config: str = field(repr=False)
    source: str
    height: int
    width: int
    tokens: int
    frames: int = 1
    scale: int = 8
    guided: bool = True
    steps: int = 25

    @property
    def family(self) -> Family:
        """What is true of such denoisers alone."""
        return denoiser_named(self.class_name)

    @property
    def on(self) -> CallSizes:
        """What the denoiser is called on."""
        return CallSizes(
            self.height // self.scale, self.width // self.scale, self.tokens, self.frames
        )

    @property
    def makes_videos(self) -> bool:
        """Whether the denoiser takes frames."""
        return self.family.makes_videos

    @property
    def embeds_guidance(self) -> bool:
        """Whether the denoiser takes the guidance scale as an input, so that none adds a branch.

        A model that is not :attr:`guided` for another reason, such as an LCM of PixArt, does get its
        second branch from a guidance scale above 1.
        """
        return _embeds_guidance(json.loads(self.config))

    @property
    def is_known(self) -> bool:
        """Whether it is known what such a denoiser is called on, and so its size without weights."""
        return self.family.has_inputs

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return self.scale * self.family.latents_a_side(json.loads(self.config))

    def fitting(self, pixels: float) -> int:
        """The next size that the model takes."""
        return max(1, round(pixels / self.multiple)) * self.multiple

    def resized(
        self,
        height: int | None = None,
        width: int | None = None,
        tokens: int | None = None,
        frames: int | None = None,
    ) -> Architecture:
        """The same denoiser, called on something else; a height without a width is square.

        Raises:
            InputError: the model does not take the size.
        """
        tall, wide = square(height, width)
        new = replace(
            self,
            height=self.height if tall is None else tall,
            width=self.width if wide is None else wide,
            tokens=self.tokens if tokens is None else tokens,
            frames=self.frames if frames is None else frames,
        )
        check_multiple(self.name, new.height, new.width, self.multiple)
        for what in ("tokens", "frames"):
            if getattr(new, what) < 1:
                raise InputError(f"{what}={getattr(new, what)} is out of range: choose 1 or more")
        if new.frames > 1 and not self.makes_videos:
            raise InputError(f"{self.name} makes images: leave out frames={frames}")
        allowed = self.family.frames_allowed(json.loads(self.config))
        if allowed is not None and new.frames not in allowed:
            raise InputError(
                f"frames={frames} is not what {self.name} is made for "
                f"(choose {' or '.join(map(str, allowed))})"
            )
        return new


def names() -> tuple[str, ...]:
    """The short names of models whose architecture is known."""
    return (*(name for name in MODELS if Path(MODELS[name].source).is_dir()), *_known())


def find(model: str, *, offline: bool = False) -> Architecture:
    """The architecture of a model, without loading it.

    Args:
        model: short name, hub id, or folder with a ``model_index.json``.
        offline: use only what is on this machine.

    Raises:
        InputError: it is none of these, or its configuration is not to be had.
    """
    if model in _known():
        entry = dict(_known()[model])
        entry["config"] = json.dumps(entry["config"])
        steps = MODELS[model].steps if model in MODELS else 25
        return Architecture(name=model, **{"steps": steps, **entry})
    if model and is_folder(MODELS[model].source if model in MODELS else model):
        described = describe(model)
        found = _read(model, partial(_from_folder, described), described.options)
        return replace(found, steps=described.steps)
    if model.count("/") == 1 and not model.startswith((".", "/", "~")) and not model.endswith("/"):
        return _read(model, lambda name: _from_hub(model, name, offline))
    raise _no_such_model(model)


@cache
def _known() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))
    return known


def _read(
    model: str, text: Callable[[str], str], options: Mapping[str, Any] = MappingProxyType({})
) -> Architecture:
    """An architecture from the configurations of a pipeline in a folder or on the hub.

    Args:
        model: its name.
        text: of a file of it.
        options: keywords that its pipeline's call is always given.

    Raises:
        InputError: they are not there, or say what cannot be.
    """
    try:
        return _told(model, text, options)
    except (TypeError, AttributeError, KeyError, IndexError, ArithmeticError) as error:
        raise InputError(
            f"the configuration of {model!r} says what cannot be: {type(error).__name__} {error}"
        ) from error


def _told(model: str, text: Callable[[str], str], options: Mapping[str, Any]) -> Architecture:
    index = _parsed(model, "model_index.json", text)
    part = next((part for part in ("unet", "transformer") if index.get(part)), None)
    if part is None:
        raise InputError(f"{model!r} has no 'unet' and no 'transformer' in its model_index.json")
    config = _parsed(model, f"{part}/config.json", text)
    name = str(config.get("_class_name"))
    vae = _optional(model, "vae/config.json", text)
    levels = len(vae.get("block_out_channels", (0,) * 4))
    scale = vae.get("scale_factor_spatial") or 2 ** (levels - 1)
    side = config.get("sample_size") or 128
    height, width = side if isinstance(side, list) else (side, side)
    family = denoiser_named(name)
    parts = [part for part, of in index.items() if isinstance(of, list) and any(of)]
    called = _call_defaults(str(index.get("_class_name"))) | dict(options)
    return Architecture(
        name=model,
        class_name=name,
        config=json.dumps(config),
        source=f"{model}, {part}/config.json",
        height=called.get("height", height * scale),
        width=called.get("width", width * scale),
        tokens=family.tokens(called, _text_encoder(model, text) | {"parts": parts}),
        frames=family.frames(called, config, vae),
        scale=scale,
        guided=not _embeds_guidance(config) and called.get("true_cfg_scale", 2) > 1,  # as Flux's
    )


def _text_encoder(model: str, text: Callable[[str], str]) -> dict[str, Any]:
    """The configuration of the text encoder; one without a longest text, as T5, has the tokenizer's."""
    longest = _optional(model, "tokenizer/tokenizer_config.json", text).get("model_max_length")
    bounded = isinstance(longest, int) and longest < NO_LIMIT
    limit = {"max_position_embeddings": longest} if bounded else {}
    return limit | _optional(model, "text_encoder/config.json", text)


def _call_defaults(pipeline: str) -> dict[str, Any]:
    """What a pipeline of diffusers takes where its call is told nothing, as far as it is a number."""
    import diffusers

    kind = getattr(diffusers, pipeline, None)
    if not isinstance(kind, type):
        return {}
    parameters = inspect.signature(kind.__call__).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, int | float)}


def _embeds_guidance(config: dict[str, Any]) -> bool:
    return bool(config.get("time_cond_proj_dim") or config.get("guidance_embeds"))


def _from_folder(model: Model, name: str) -> str:
    """A file of a model on this machine, or of a part that it shares with another."""
    part, _, rest = name.partition("/")
    shared = part_folder(model, part) if part in model.parts else None
    path = Path(model.source) / name if shared is None else shared / rest
    return path.read_text("utf-8")


def _optional(model: str, name: str, text: Callable[[str], str]) -> dict[str, Any]:
    try:
        return _parsed(model, name, text)
    except InputError:
        return {}


def _parsed(model: str, name: str, text: Callable[[str], str]) -> dict[str, Any]:
    try:
        parsed = json.loads(text(name))
    except FileNotFoundError as error:
        raise InputError(f"{model!r} is no diffusers pipeline: it has no {name}") from error
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{name} of {model!r} cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise InputError(
            f"{name} of {model!r} cannot be read: it holds no JSON object, but a "
            f"{type(parsed).__name__}"
        )
    return parsed


def _from_hub(model: str, name: str, offline: bool) -> str:
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(model, name, local_files_only=offline)).read_text("utf-8")
    except errors.HFValidationError as error:
        raise _no_such_model(model) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _not_here(model, name, offline) from error
        raise FileNotFoundError(name) from error
    except errors.GatedRepoError as error:
        raise InputError(hub.needs_licence(model)) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(hub.not_seen(model)) from error
    except OSError as error:
        raise _not_here(model, name, offline) from error


def _not_here(model: str, name: str, offline: bool) -> InputError:
    command = f'hf download {model} --include "*.json"'
    return InputError(f"{name} of {model!r} is {hub.out_of_reach(offline, command)}")


def _no_such_model(model: str) -> InputError:
    return InputError(
        f"no such model: {model!r} (choose {', '.join(names())}, a hub id such as org/name, "
        "or a folder with a model_index.json)"
    )
