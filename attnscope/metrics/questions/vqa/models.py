"""Models of transformers that answer questions about images, loaded from the hub or a folder.

Three ways to answer, by the class that a checkpoint is of: BLIP writes (:mod:`.blip`), ViLT chooses among
answers that it knows (:mod:`.vilt`), vision-language models talk (:mod:`.talking`). Each is a subclass of
:class:`Model`; :func:`of_name` finds the one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from attnscope import versions
from attnscope.errors import InputError, reason
from attnscope.metrics.questions.base import Ask
from attnscope.metrics.questions.vqa.base import AT_ONCE, Answerer, Answering, Answers, Asked, told
from attnscope.models.folders import check_no_code


class Model(Answerer):
    """A model of transformers. Its weights are loaded when it is asked first, in evaluation mode.

    Args:
        name: hub id or folder.
        config: of transformers.
        processor: of transformers.
        device: a torch device; weights are as they were saved on a GPU, float32 on the CPU.
        offline: use only what is on this machine.
        allow_pickle: also load weights that are not safetensors. A pickle can run any code.
    """

    architecture: ClassVar[str | None] = None
    """The class that a checkpoint says it is of; ``None`` for any that talks about images."""
    answering: Answering

    def __init__(
        self,
        name: str,
        config: Any,
        processor: Any,
        *,
        device: str = "cpu",
        offline: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        self.name, self.config, self.processor, self.device = name, config, processor, device
        self._offline, self._allow_pickle = offline, allow_pickle

    @classmethod
    @abstractmethod
    def of_transformers(cls) -> Any:
        """The class of transformers that loads it."""

    @abstractmethod
    def probabilities(self, images: Sequence[Image], asked: Sequence[Asked]) -> torch.Tensor:
        """The probability of all that could be said first: ``[questions, words]``, on the device."""

    def check(self, asks: Iterable[Ask]) -> None:
        """Refuse questions whose right answers the model cannot begin."""
        for ask in asks:
            self.answering.of(ask)

    def answer(self, images: Sequence[Image], asked: Sequence[Asked]) -> Answers:
        """Answer questions, :data:`~attnscope.metrics.questions.vqa.base.AT_ONCE` at once."""
        made = []
        for first in range(0, len(asked), AT_ONCE):
            part = asked[first : first + AT_ONCE]
            with torch.inference_mode():
                found = self.probabilities(images, part).double().cpu().numpy()
            made.append(told(_numbers(self.name, found), [one.ask for one in part], self.answering))
        return Answers(
            np.concatenate([np.empty(0), *(part.probability for part in made)]),
            np.concatenate([np.empty(0, bool), *(part.right for part in made)]),
        )

    @cached_property
    def model(self) -> Any:
        """The model.

        Raises:
            InputError: there are no weights, or not all of them.
        """
        dtype = "auto" if self.device.startswith("cuda") else torch.float32
        try:
            model, about = self.of_transformers().from_pretrained(
                self.name,
                config=self.config,
                **versions.weights_as(dtype, "transformers"),
                use_safetensors=None if self._allow_pickle else True,
                local_files_only=self._offline,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, ImportError) as error:
            raise _unloaded(self.name, error, self._offline, self._allow_pickle) from error
        if about["missing_keys"]:
            raise InputError(
                f"`vqa`: {self.name!r} lacks weights, such as {min(about['missing_keys'])}: they would be "
                "random"
            )
        return model.to(self.device).eval()

    def placed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a processor returns, on the device, and pixels in the type of the weights.

        Args:
            given: by the names of the model's arguments; what is no tensor stays as it is.
        """
        dtype = self.model.dtype
        return {
            name: value.to(self.device, dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in given.items()
        }


def of_name(
    name: str, *, device: str = "cpu", offline: bool = False, allow_pickle: bool = False
) -> Model:
    """The model of a hub id or folder, without its weights.

    Args:
        name: hub id or folder.
        device: a torch device.
        offline: use only what is on this machine.
        allow_pickle: also load weights that are not safetensors.

    Raises:
        InputError: there is none, it is none that answers questions about images, or it has code to be run.
    """
    from transformers import AutoConfig, AutoProcessor
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as TALKING,
    )

    from attnscope.metrics.questions.vqa.blip import Blip
    from attnscope.metrics.questions.vqa.talking import Talking
    from attnscope.metrics.questions.vqa.vilt import Vilt

    check_no_code(Path(name), name)
    from_there = {"local_files_only": offline, "trust_remote_code": False}  # or it asks
    try:
        config = AutoConfig.from_pretrained(name, **from_there)
        is_of = (config.architectures or [type(config).__name__])[0]
        fitting = next((kind for kind in (Blip, Vilt) if kind.architecture == is_of), None)
        if fitting is None and (config.model_type == "blip" or config.model_type not in TALKING):
            raise InputError(
                f"`vqa`: {name!r} is a {is_of}, which answers no questions about images: choose a "
                "BlipForQuestionAnswering, a ViltForQuestionAnswering, or a vision-language model"
            )
        processor = AutoProcessor.from_pretrained(name, **from_there)
    except InputError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise _unloaded(name, error, offline, allow_pickle) from error
    if not allow_pickle and Path(name).is_dir() and not list(Path(name).glob("*.safetensors")):
        raise _pickled(name)
    kind: type[Model] = fitting or Talking
    return kind(name, config, processor, device=device, offline=offline, allow_pickle=allow_pickle)


def _unloaded(name: str, error: Exception, offline: bool, allow_pickle: bool) -> InputError:
    said = reason(error)
    if offline and not Path(name).exists():
        return InputError(
            f"`vqa`: the model {name!r} is not on this machine, and `offline=True` was given: leave it "
            "out, or give a folder"
        )
    if "safetensors" in said and not allow_pickle:
        return _pickled(name)
    return InputError(
        f"`vqa`: no model at {name!r}: give 'reader' on the embedded world, a hub id such as "
        f"Salesforce/blip-vqa-base, or a folder ({said})"
    )


def _pickled(name: str) -> InputError:
    return InputError(
        f"`vqa`: {name!r} has no safetensors weights: convert them, or trust the files and add "
        "`allow_pickle=True`"
    )


def _numbers(name: str, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities, which are to be numbers: in half precision some models overflow."""
    if not np.isfinite(found).all():
        raise InputError(f"`vqa`: {name!r} answers with what is no number: choose another `device`")
    return found
