"""Denoisers by name, built from their architecture alone: without weights, on any device.

The configurations of well-known models are data in ``architectures.json``, each with the file on
the hub that it is from; those of other models are read from their folder or from the hub.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.models.image_sizes import check_multiple, square
from attnscope.models.names import MODELS, SHAPES_FOLDER

if TYPE_CHECKING:
    import torch

_FILE = Path(__file__).with_suffix(".json")
_SVD, _LATTE, _WAN = (
    "UNetSpatioTemporalConditionModel",
    "LatteTransformer3DModel",
    "WanTransformer3DModel",
)
_VIDEO = (_SVD, _LATTE, _WAN)
_PATCHED_BEFORE = (
    "ChromaTransformer2DModel",
    "Flux2Transformer2DModel",
    "FluxTransformer2DModel",
)
"""Their pipelines make patches of 2x2 latents, of which the denoiser's configuration says nothing."""
_CONDITIONING = {
    "addition_embed_type": (None, "text", "text_time"),
    "encoder_hid_dim_type": (None, "text_proj"),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
}
"""What else a U-Net may be told, as far as it is known what that is."""
_COUNT_IT_YOURSELF = "count a call of your own with attnscope.cost.counting.count(denoiser, call)"


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
    def makes_videos(self) -> bool:
        """Whether the denoiser takes frames."""
        return self.class_name in _VIDEO

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
        return self.class_name in _INPUTS

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return self.scale * latents_a_side(self.class_name, json.loads(self.config))

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
        made_for = json.loads(self.config).get("video_length", 16)
        if self.class_name == _LATTE and new.frames not in (1, made_for):
            raise InputError(
                f"frames={frames} is not what {self.name} is made for (choose 1 or {made_for})"
            )
        return new


def latents_a_side(class_name: str, config: Mapping[str, Any]) -> int:
    """What height and width of the latents must be multiples of.

    Args:
        class_name: of the denoiser in diffusers.
        config: its configuration.
    """
    patch = config.get("patch_size") or 1
    if class_name == _SVD:  # does not pad odd halves
        patch = 2 ** (len(config["block_out_channels"]) - 1)
    if class_name in _PATCHED_BEFORE:
        patch = 2
    return int(patch[-1] if isinstance(patch, list | tuple) else patch)


def names() -> tuple[str, ...]:
    """The short names of models whose architecture is known."""
    return ("shapes", *_known())


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
    if model == "shapes" or (model and Path(model).is_dir()):
        folder = SHAPES_FOLDER if model == "shapes" else Path(model)
        return _read(model, lambda name: (folder / name).read_text("utf-8"))
    if model.count("/") == 1 and not model.startswith((".", "/", "~")) and not model.endswith("/"):
        return _read(model, lambda name: _from_hub(model, name, offline))
    raise _no_such_model(model)


def build(
    architecture: Architecture, *, device: str = "meta", dtype: str = "float32", seed: int = 0
) -> Any:
    """The denoiser with random weights; on ``meta`` with none, which takes no memory.

    Args:
        architecture: of :func:`find`.
        device: a torch device.
        dtype: name of a torch dtype.
        seed: of the weights.

    Raises:
        InputError: diffusers has no such class, or cannot build it.
    """
    import diffusers
    import torch

    kind = getattr(diffusers, architecture.class_name, None)
    if kind is None or not hasattr(kind, "from_config"):
        raise InputError(f"diffusers has no {architecture.class_name}")
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        try:
            denoiser = kind.from_config(json.loads(architecture.config))
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"diffusers cannot build this {architecture.class_name}: {error}"
            ) from error
    denoiser.to(device)  # some buffers are made on the CPU whatever the device
    if dtype != "float32":
        denoiser.to(getattr(torch, dtype))
    return denoiser.eval().requires_grad_(False)


def inputs(denoiser: Any, architecture: Architecture, *, rows: int = 1, seed: int = 0) -> dict[str, Any]:  # fmt: skip
    """Keywords of one call of a denoiser: random values of the shapes that a pipeline gives it.

    Args:
        denoiser: of :func:`build`; the values are on its device and of its dtype.
        architecture: says the sizes.
        rows: of the batch.
        seed: of the values.

    Raises:
        InputError: what such a denoiser is called on is not known.
    """
    import torch

    make = _INPUTS.get(type(denoiser).__name__)
    if make is None:
        raise InputError(
            f"what a {type(denoiser).__name__} is called on is not known here "
            f"(it is of {', '.join(_INPUTS)}): {_COUNT_IT_YOURSELF}"
        )
    place = {"device": denoiser.device, "dtype": denoiser.dtype}
    on_meta = denoiser.device.type == "meta"
    generator = None if on_meta else torch.Generator(denoiser.device).manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(rows, *shape, generator=generator, **place)

    latent = (architecture.height // architecture.scale, architecture.width // architecture.scale)
    made = make(denoiser, architecture, latent, noise)
    return {"timestep": torch.ones(rows, **place), **made}


def _unet(denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any) -> dict[str, Any]:
    config = denoiser.config
    for option, known in _CONDITIONING.items():
        if config[option] not in known:
            raise InputError(
                f"what a UNet2DConditionModel with {option}={config[option]!r} is called on is not "
                f"known here: {_COUNT_IT_YOURSELF}"
            )
    made = {
        "sample": noise(config.in_channels, *latent),
        "encoder_hidden_states": noise(a.tokens, config.encoder_hid_dim or config.cross_attention_dim),
    }  # fmt: skip
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        made["added_cond_kwargs"] = {"text_embeds": noise(pooled), "time_ids": noise(6)}
    if config.time_cond_proj_dim:
        made["timestep_cond"] = noise(config.time_cond_proj_dim)
    return made


def _video_unet(
    denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any
) -> dict[str, Any]:
    config = denoiser.config
    ids = config.projection_class_embeddings_input_dim // config.addition_time_embed_dim
    return {
        "sample": noise(a.frames, config.in_channels, *latent),
        "encoder_hidden_states": noise(a.tokens, config.cross_attention_dim),
        "added_time_ids": noise(ids),
    }


def _pixart(denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any) -> dict[str, Any]:
    told = denoiser.use_additional_conditions
    return {
        "hidden_states": noise(denoiser.config.in_channels, *latent),
        "encoder_hidden_states": noise(a.tokens, denoiser.config.caption_channels),
        "added_cond_kwargs": {
            "resolution": noise(2) if told else None,
            "aspect_ratio": noise(1) if told else None,
        },
    }


def _latte(denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any) -> dict[str, Any]:
    return {
        "hidden_states": noise(denoiser.config.in_channels, a.frames, *latent),
        "encoder_hidden_states": noise(a.tokens, denoiser.config.caption_channels),
    }


def _sd3(denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any) -> dict[str, Any]:
    return {
        "hidden_states": noise(denoiser.config.in_channels, *latent),
        "encoder_hidden_states": noise(a.tokens, denoiser.config.joint_attention_dim),
        "pooled_projections": noise(denoiser.config.pooled_projection_dim),
    }


def _flux(denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any) -> dict[str, Any]:
    patches = latent[0] // 2 * (latent[1] // 2)
    made = {
        "hidden_states": noise(patches, denoiser.config.in_channels),
        "encoder_hidden_states": noise(a.tokens, denoiser.config.joint_attention_dim),
        "pooled_projections": noise(denoiser.config.pooled_projection_dim),
        "img_ids": noise(patches, 3)[0],
        "txt_ids": noise(a.tokens, 3)[0],
    }
    if denoiser.config.guidance_embeds:
        made["guidance"] = noise(1)[:, 0]
    return made


def _wan(denoiser: Any, a: Architecture, latent: tuple[int, int], noise: Any) -> dict[str, Any]:
    return {
        "hidden_states": noise(denoiser.config.in_channels, a.frames, *latent),
        "encoder_hidden_states": noise(a.tokens, denoiser.config.text_dim),
    }


_INPUTS: dict[str, Callable[..., dict[str, Any]]] = {
    "UNet2DConditionModel": _unet,
    _SVD: _video_unet,
    "PixArtTransformer2DModel": _pixart,
    _LATTE: _latte,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    _WAN: _wan,
}


@cache
def _known() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))
    return known


def _read(model: str, text: Callable[[str], str]) -> Architecture:
    """From the configurations of a pipeline in a folder or on the hub."""
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
    called = _call_defaults(str(index.get("_class_name")))
    return Architecture(
        name=model,
        class_name=name,
        config=json.dumps(config),
        source=f"{model}, {part}/config.json",
        height=called.get("height", height * scale),
        width=called.get("width", width * scale),
        tokens=_tokens(name, called, _optional(model, "text_encoder/config.json", text)),
        frames=_frames(name, called, config, vae),
        scale=scale,
        guided=not _embeds_guidance(config) and called.get("true_cfg_scale", 2) > 1,  # as Flux's
    )


def _call_defaults(pipeline: str) -> dict[str, Any]:
    """What a pipeline of diffusers takes where its call is told nothing, as far as it is a number."""
    import diffusers

    kind = getattr(diffusers, pipeline, None)
    if not isinstance(kind, type):
        return {}
    parameters = inspect.signature(kind.__call__).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, int | float)}


def _tokens(name: str, called: dict[str, Any], encoder: dict[str, Any]) -> int:
    """As long as the pipeline makes the text: what its call says, or its text encoder."""
    if name == _SVD:
        return 1  # the image's
    if name == _LATTE:
        return 120  # stands in the middle of its pipeline
    clip = int(encoder.get("max_position_embeddings") or 77)
    if name == "SD3Transformer2DModel":  # that of CLIP, then that of T5
        return clip + int(called.get("max_sequence_length", 256))
    return int(called.get("max_sequence_length", clip))


def _frames(name: str, called: dict[str, Any], config: dict[str, Any], vae: dict[str, Any]) -> int:
    """Of the latents: what the denoiser is made for, or what its pipeline makes when told nothing."""
    if name == _WAN:
        shrunk = vae.get("scale_factor_temporal") or 4
        return int((called.get("num_frames", 81) - 1) // shrunk + 1)
    if name not in _VIDEO:
        return 1
    return int(
        config.get("num_frames") or config.get("video_length") or called.get("video_length", 16)
    )


def _embeds_guidance(config: dict[str, Any]) -> bool:
    return bool(config.get("time_cond_proj_dim") or config.get("guidance_embeds"))


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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
        raise InputError(
            f"{model!r} needs a licence: accept it on the hub, then run 'hf auth login'"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"the hub has no model {model!r} that this login may see") from error
    except OSError as error:
        raise _not_here(model, name, offline) from error


def _not_here(model: str, name: str, offline: bool) -> InputError:
    if offline:
        return InputError(
            f"{name} of {model!r} is not on this machine, and `offline=True` was given: leave it out, "
            f"or run 'hf download {model} --include \"*.json\"' before"
        )
    return InputError(
        f"{name} of {model!r} is not on this machine and the hub cannot be reached: "
        f"run 'hf download {model} --include \"*.json\"' where there is a network"
    )


def _no_such_model(model: str) -> InputError:
    return InputError(
        f"no such model: {model!r} (choose {', '.join(names())}, a hub id such as org/name, "
        "or a folder with a model_index.json)"
    )
