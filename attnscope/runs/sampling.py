"""How images are sampled: what all runs that make images settle, and the one call that obeys it.

An option that all of them should have is a field of :class:`ModelUse` (one value in a run, also where
several models are compared) or of :class:`Sampling` (which an ablation varies), and an option of
``attnscope.cli.options``: it reaches every command's settings, its ``run.json`` and its calls from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from attnscope.runs.prompts import image_seed

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel, RandomModel


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """A model, and what holds for all images that a run makes with it.

    Args:
        model: short name, hub id or folder.
        weights: fingerprint of its weights: the commit on the hub, or a digest of a folder.
        dtype: of the weights.
        guidance: guidance scale.
        height: in pixels; ``None`` is the model's own, or a square beside a width.
        width: in pixels, likewise.
    """

    model: str
    weights: str | None
    dtype: str
    guidance: float
    height: int | None
    width: int | None


@dataclass(frozen=True, kw_only=True)
class Sampling(ModelUse):
    """What decides an image, besides what it is to show.

    Args:
        steps: denoising steps that the scheduler is asked for.
        scheduler: short name; ``None`` is the model's own.
        seed: of the noise, and of the choice of captions.
    """

    steps: int
    scheduler: str | None
    seed: int

    def call(self, pipe: Any, inputs: Sequence[Any], ids: Iterable[int], **options: Any) -> Any:
        """Make a batch of images; see :func:`attnscope.models.calling.call`.

        Args:
            pipe: the pipeline, with the scheduler.
            inputs: captions, or images for a video.
            ids: ``prompt_id`` of each, which with :attr:`seed` makes its noise.
            options: further keywords of the pipeline.

        Returns:
            What the pipeline returns under ``images`` or ``frames``.

        Raises:
            InputError: the pipeline does not take the size, or made another one.
        """
        from attnscope.models.calling import call

        return call(pipe, inputs, seeds=self.seeds(ids), **self._asked, **options)

    def keywords(self, pipe: Any, ids: Iterable[int], **options: Any) -> dict[str, Any]:
        """Keywords for :meth:`call`'s batch where somebody else calls the pipeline.

        Args:
            pipe: the pipeline.
            ids: ``prompt_id`` of each image.
            options: further keywords of the pipeline.

        Raises:
            InputError: the pipeline does not take the size.
        """
        from attnscope.models.calling import call_options

        return call_options(pipe, seeds=self.seeds(ids), **self._asked, **options)

    def seeds(self, ids: Iterable[int]) -> list[int]:
        """The seed of every image's own generator."""
        return [image_seed(self.seed, number) for number in ids]

    @property
    def _asked(self) -> dict[str, Any]:
        """What :func:`attnscope.models.calling.call` is told."""
        return {
            "steps": self.steps,
            "guidance": self.guidance,
            "height": self.height,
            "width": self.width,
        }


def settled(
    chosen: ChosenModel | RandomModel,
    asked: Mapping[str, Any],
    kind: type[ModelUse] = Sampling,
    *,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The fields of :class:`Sampling`: what was asked for, and where nothing was, the model's own.

    Args:
        chosen: the model, with its scheduler, device and dtype.
        asked: by name; ``None`` is not asked for, and what is no field is passed over.
        kind: whose fields are wanted.
        size: height and width in pixels, where they are known without the model, as they have to be
            of a random one.

    Raises:
        InputError: the model does not take the size.
    """
    from attnscope.models.chosen import ChosenModel

    own = {"steps": chosen.described.steps, "guidance": chosen.described.guidance}
    given = {name: value for name, value in asked.items() if value is not None}
    weights = chosen.weights  # first: fetches the model if it is not here, and may ask it its size
    if size is None:
        assert isinstance(chosen, ChosenModel), "what is known by its architecture has a size"
        tall, wide = chosen.size(asked.get("height"), asked.get("width"))
    else:
        tall, wide = size
    found = {
        **own,
        **given,
        "model": chosen.name,
        "weights": weights,
        "scheduler": chosen.scheduler,
        "dtype": chosen.dtype,
        "height": tall,
        "width": wide,
    }
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}
