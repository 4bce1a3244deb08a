"""From a model's name to its diffusers pipeline.

The safety checker is never loaded: it would blank some images of a study, unseen.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnscope import versions
from attnscope.errors import InputError, reason
from attnscope.models import hub
from attnscope.models.folders import check_folder, check_index
from attnscope.models.memory import check_held
from attnscope.models.names import (
    MODELS,
    Model,
    describe,
    is_local,
    is_of_shapes,
    local_folder,
    part_folder,
)
from attnscope.models.schedulers import over_the_schedule_of, set_scheduler

DTYPES = ("float32", "float16", "bfloat16")
"""Of weights, besides ``auto``."""


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
        name: short name (see :data:`~attnscope.models.names.MODELS`), hub id or local folder.
        dtype: ``auto`` is float16 on a GPU for the large models and float32 otherwise.
        device: a torch device; ``auto`` is a GPU where there is one.
        scheduler: short name (see :data:`~attnscope.models.schedulers.SCHEDULERS`); ``None`` keeps the model's own.
        offline: use only what is on this machine.
        allow_pickle: also load weights that are not safetensors. A pickle can run any code.

    Returns:
        The pipeline, on the device, without a safety checker and without its own progress bar.

    Raises:
        InputError: the model is not known, not here, or not to be had; or its folder is more than data:
            it names code, leads out of itself, or asks for more memory than its weights take.
    """
    import diffusers
    import torch

    model = describe(name)
    place = choose_device(device)
    precision = getattr(torch, precision_name(model, dtype, place))
    options: dict[str, Any] = {
        **versions.weights_as(precision),
        "local_files_only": offline,
        "use_safetensors": None if allow_pickle else True,
    }
    variant = model.variant if precision == torch.float16 else None
    with (
        _loading_explained(model, offline=offline, allow_pickle=allow_pickle),
        _quiet(offline or is_local(model)),
    ):
        _check_is_data(model)
        config = diffusers.DiffusionPipeline.load_config(model.source, local_files_only=offline)
        check_index(model.source, config)
        if "safety_checker" in config:
            options |= {"safety_checker": None, "requires_safety_checker": False}
        tokenizers = versions.tokenizers_in(Path(model.source))
        options |= dict.fromkeys(tokenizers)  # other classes than the folder names are refused
        for part, source in model.parts.items():
            options[part] = diffusers.AutoModel.from_pretrained(
                source,
                subfolder=part if (Path(source) / part).is_dir() else None,
                **versions.weights_as(precision),
                variant=variant,
                local_files_only=offline,
                use_safetensors=options["use_safetensors"],
            )
        pipe = diffusers.DiffusionPipeline.from_pretrained(model.source, variant=variant, **options)
    pipe.register_modules(**tokenizers)
    chosen = scheduler or model.scheduler
    if chosen:
        set_scheduler(pipe, chosen)
    pipe.set_progress_bar_config(disable=True)
    try:
        return pipe.to(place)
    except torch.OutOfMemoryError as error:
        raise InputError(f"{name!r} does not fit on {place}: choose `dtype='float16'`") from error


def own_scheduler(model: Model) -> Any:
    """The scheduler that a model on this machine comes with, without its weights; or ``None``."""
    import diffusers

    folder = local_folder(model)
    try:
        if folder is None:
            return None
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
        return getattr(diffusers, config["_class_name"]).from_config(config)
    except Exception:
        return None  # loading the model will say what is wrong with it


def scheduler_ahead(model: Model, name: str | None = None) -> Any:
    """The scheduler that a model on this machine is sampled by, without its weights.

    Args:
        model: described.
        name: short name of the scheduler; ``None`` is the model's (:attr:`Model.scheduler`).

    Returns:
        ``None`` if the model is not on this machine.

    Raises:
        InputError: the scheduler does not fit the model.
    """
    own, wanted = own_scheduler(model), name or model.scheduler
    return own if own is None or wanted is None else over_the_schedule_of(own, wanted)


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
        raise InputError(f"device {device!r} cannot be used: {reason(error)}") from error
    return device


def precision_name(model: Model, dtype: str, device: str) -> str:
    """What a dtype of ``auto`` comes to for a model on a device.

    Raises:
        InputError: the dtype is not known.
    """
    if dtype == "auto":
        return "float16" if not is_of_shapes(model) and device.startswith("cuda") else "float32"
    if dtype not in DTYPES:
        raise InputError(f"no such dtype: {dtype!r} (choose auto, {', '.join(DTYPES)})")
    return dtype


def _check_is_data(model: Model) -> None:
    """Refuse what is on this machine of a stranger's model before any of it is used."""
    folder = local_folder(model)
    in_the_box = model.name in MODELS and Path(model.source).is_dir()
    if folder is not None and not in_the_box:
        check_folder(folder)
        check_held(folder, model.source)


@contextlib.contextmanager
def _quiet(is_here: bool) -> Iterator[None]:
    """Leave out loading bars and advice of the libraries; what is downloaded keeps its bars."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    if not is_here:
        yield
        return
    libraries = (of_diffusers, of_transformers)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


@contextlib.contextmanager
def _loading_explained(model: Model, *, offline: bool, allow_pickle: bool) -> Iterator[None]:
    """Turn what loading raises into one line that says what to do."""
    import torch

    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # libraries raise all kinds at a folder that is not as they expect
        raise InputError(_explanation(model, error, offline, allow_pickle)) from error


def _explanation(model: Model, error: Exception, offline: bool, allow_pickle: bool) -> str:
    from huggingface_hub import errors
    from safetensors import SafetensorError

    causes = list(_causes(error))
    said = reason(error)
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes):
        return hub.needs_licence(model.source)
    if any(isinstance(cause, errors.RepositoryNotFoundError) for cause in causes):
        return hub.not_seen(model.source)
    missing = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError)
    lacking = [source for part, source in model.parts.items() if part_folder(model, part) is None]
    gone = local_folder(model) is None or any(isinstance(cause, missing) for cause in causes)
    if lacking or (gone and not Path(model.source).is_dir()):
        wanted = lacking[0] if lacking and local_folder(model) is not None else model.source
        return (
            f"{wanted!r} is {hub.out_of_reach(offline, f'hf download {wanted}')}; without any weights "
            "there are 'attnscope cost' and 'attnscope bench' with `random_weights`"
        )
    if any(isinstance(cause, SafetensorError) for cause in causes):
        return f"{model.source!r} cannot be loaded: {_damaged(local_folder(model))}; fetch it again"
    if "safetensors" in said and not allow_pickle:
        return (
            f"{model.source!r} has no safetensors weights: convert them, or trust the files "
            "and add `allow_pickle=True`"
        )
    if not isinstance(error, OSError | ValueError | ImportError):  # whose texts alone say little
        said = f"{type(error).__name__} {said}"
    return f"{model.source!r} cannot be loaded: {said}"


def _damaged(folder: Path | None) -> str:
    """Which file of weights is no safetensors, as far as its head and its length tell."""
    from safetensors import SafetensorError, safe_open

    for path in [] if folder is None else sorted(folder.glob("*/*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            return f"{path.parent.name}/{path.name} is damaged ({reason(error)})"
    return "a file of its weights is damaged"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
