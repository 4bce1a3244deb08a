"""A family of denoisers: the questions that may be asked of it, and the answers of the general rules.

A subclass names the classes that it is about and answers what is otherwise in its family; it is
registered where it is written. Classes are known by name along their bases, so that a subclass of
one's own is of the family of its base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, ClassVar, Literal

from attnscope.errors import InputError
from attnscope.families.tokenizers import one_tokenizer, only_tokenizer, text_not_known
from attnscope.families.values import CallSizes, Noise, Stream, Template, TextKeys


class Family:
    """What is true of a family alone; of this class itself, what holds where nothing is known.

    Names of classes
        denoisers: of its denoisers in diffusers.
        pipelines: shell-style patterns of its pipelines in diffusers, as far as they have habits of
            their own.
        streams: its transformer blocks and where they have the image's stream, as far as the record
            of diffusers 0.42 lacks them or has them the wrong way round.

    How pipelines call it
        cond_first: whether the conditional branch comes first where one batch holds both.
        steps_both: whether the scheduler is handed both halves of a batch of two branches.
        never_batched: arguments whose first dimension is not the batch, though its length may
            happen to equal it. They are left alone in calls of every family.
        short_captions: keywords of the pipeline for captions that are short and clean already.
        starts_from_images: whether it is conditioned on an image, in the place of text.
        makes_videos: whether the denoiser takes frames.
        latents: the form of the final latents of its pipelines, where it is known and another than scaled:
            ``shifted``, too, or ``packed``, two by two in a channel, and shifted.
        guidance: scale that its authors recommend.

    Text in it
        text_in_sequence: whether text stands in the sequence itself in every block, though some
            look at text elsewhere, too.
        text_leads: whether text stands before the image in the sequence over which joint attention goes;
            ``None`` where it is not known.
        keeps: the branch that T-GATE keeps, joint attention aside.
        null_text: which of its pipelines are known to encode "" as they encode a prompt, in words;
            ``None`` is none.

    Other packages
        tgate_loaders: pipeline to the loader of the package ``tgate``.
        tgate_deepcache_loaders: the same for its loader with DeepCache.
        rivals: packages that are made for its denoisers, beside ``tgate``.
    """

    denoisers: ClassVar[tuple[str, ...]] = ()
    pipelines: ClassVar[tuple[str, ...]] = ()
    streams: ClassVar[Mapping[str, Stream]] = {}

    cond_first: ClassVar[bool] = False
    steps_both: ClassVar[bool] = False
    never_batched: ClassVar[frozenset[str]] = frozenset({"image_rotary_emb", "rotary_emb"})
    starts_from_images: ClassVar[bool] = False
    short_captions: ClassVar[Mapping[str, Any]] = {}
    makes_videos: ClassVar[bool] = False
    latents: ClassVar[Mapping[str, Literal["shifted", "packed"]]] = {}
    guidance: ClassVar[float] = 7.5

    text_in_sequence: ClassVar[bool] = False
    text_leads: ClassVar[bool | None] = None
    keeps: ClassVar[Literal["uncond", "cond"]] = "uncond"
    null_text: ClassVar[str | None] = None

    tgate_loaders: ClassVar[Mapping[str, str]] = {}
    tgate_deepcache_loaders: ClassVar[Mapping[str, str]] = {}
    rivals: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register a family under the names that it gives itself, not under those of its base.

        A name that another family has given before is its own from now on.
        """
        super().__init_subclass__(**kwargs)
        family, own = cls(), vars(cls)
        _FAMILIES.append(family)
        _OF_DENOISERS.update(dict.fromkeys(own.get("denoisers", ()), family))
        _OF_PIPELINES.update(dict.fromkeys(own.get("pipelines", ()), family))
        _STREAMS.update(own.get("streams", {}))
        for answers in (_of_denoiser_class, _of_pipeline_class, never_batched):
            answers.cache_clear()

    @property
    def has_inputs(self) -> bool:
        """Whether it is known what its denoisers are called on."""
        return type(self).inputs is not Family.inputs

    @property
    def has_pipeline(self) -> bool:
        """Whether there is a pipeline of random weights around its denoisers."""
        return type(self).pipeline is not Family.pipeline

    def latents_a_side(self, config: Mapping[str, Any]) -> int:
        """What height and width of the latents must be multiples of.

        Args:
            config: of the denoiser.
        """
        patch = config.get("patch_size") or 1
        return int(patch[-1] if isinstance(patch, list | tuple) else patch)

    def tokens(self, called: Mapping[str, Any], encoder: Mapping[str, Any]) -> int:
        """As long as a pipeline makes the text: what its call says, or its text encoder.

        Args:
            called: numbers that the pipeline's call takes where it is told nothing.
            encoder: configuration of the text encoder; ``max_position_embeddings`` is the tokenizer's
                where it has none, and ``parts`` are the names of those that the pipeline has.
        """
        return int(called.get("max_sequence_length", encoder.get("max_position_embeddings") or 77))

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """Which tokenizers read the text that a denoiser attends to, in the order of its positions.

        The general rule is one tokenizer of CLIP's or T5's kind, which pads to the length of the
        call or else to its own. Language models are given instructions around a prompt, which each
        pipeline has of its own, so that nothing is guessed of them.

        Args:
            pipe: whose denoiser it is.
            called: what the pipeline's call is given or takes by itself.

        Raises:
            InputError: it is not known.
        """
        name = only_tokenizer(pipe)
        kinds = [kind.__name__ for kind in type(getattr(pipe, name)).__mro__]
        if not any(kind.startswith(("CLIP", "T5")) for kind in kinds):
            raise text_not_known(pipe, f"a {kinds[0]}, of whose use nothing is known")
        return (one_tokenizer(pipe, name, called),)

    def adds_text_keys(self, config: Any) -> bool:
        """Whether the sequence that stands before the image's own as keys alone is the text, and no image.

        Args:
            config: of the denoiser.
        """
        return False

    def template(self, pipe: Any, tokenizer: Any, called: Mapping[str, Any]) -> Template | None:
        """What the pipeline puts around a prompt; ``None`` is nothing.

        Args:
            pipe: whose text it is.
            tokenizer: that reads it.
            called: what the pipeline's call is given or takes by itself.

        Raises:
            InputError: it is not known.
        """
        return None

    def text_read(self, pipe: Any, prompt: str, tokenizer: Any, called: Mapping[str, Any]) -> str:
        """What a tokenizer is given of a prompt: the pipeline may clean it or put learnt words in.

        Args:
            pipe: whose text it is.
            prompt: as the pipeline is called with it.
            tokenizer: that reads it.
            called: what the pipeline's call is given or takes by itself.
        """
        if hasattr(pipe, "_text_preprocessing"):
            clean = bool(called.get("clean_caption", False))
            prompt = str(pipe._text_preprocessing(prompt, clean_caption=clean)[0])
        if hasattr(pipe, "maybe_convert_prompt"):
            prompt = str(pipe.maybe_convert_prompt(prompt, tokenizer))
        return prompt

    def frames(
        self, called: Mapping[str, Any], config: Mapping[str, Any], vae: Mapping[str, Any]
    ) -> int:
        """Of the latents: what the denoiser is made for, or what its pipeline makes by itself.

        Args:
            called: numbers that the pipeline's call takes where it is told nothing.
            config: of the denoiser.
            vae: configuration of the autoencoder.
        """
        if not self.makes_videos:
            return 1
        made_for = config.get("num_frames") or config.get("video_length")
        return int(made_for or called.get("video_length", 16))

    def frames_allowed(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """How many frames a denoiser takes; ``None`` is any number.

        Args:
            config: of the denoiser.
        """
        return None

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Keywords of one call of a denoiser, but for its timestep.

        Args:
            denoiser: of the family.
            on: what it is called on.
            noise: makes random values of one row's sizes.

        Raises:
            InputError: what such a denoiser is called on is not known.
        """
        names = [name for family in known() if family.has_inputs for name in family.denoisers]
        raise inputs_not_known(type(denoiser).__name__, f" (it is of {', '.join(names)})")

    def pipeline(self, denoiser: Any, parts: Mapping[str, Any], levels: int) -> Any:
        """A pipeline of diffusers around a denoiser of random weights.

        Args:
            denoiser: of the family.
            parts: autoencoder and scheduler, and no text encoder; empty for one that starts from
                images, which is to make its own.
            levels: resolutions of the autoencoder: it shrinks by two to the power of one less.

        Raises:
            InputError: there is none here for such a denoiser.
        """
        raise no_pipeline_for(type(denoiser).__name__)

    def pipeline_keywords(self, on: CallSizes, batch: int, device: Any) -> dict[str, Any]:
        """What a pipeline is called with beside random latents and embeddings.

        Args:
            on: what its denoiser is called on.
            batch: images at a time.
            device: where the embeddings are.
        """
        return {}

    def check_steps(self, pipe: Any, steps: int) -> None:
        """Refuse a number of steps that one of its pipelines cannot make.

        Args:
            pipe: the pipeline.
            steps: that it is asked for.

        Raises:
            InputError: it cannot.
        """

    def guidance_keywords(self, guidance: float) -> dict[str, float]:
        """The guidance scale as keywords of a pipeline's call."""
        return {"guidance_scale": guidance}


_FAMILIES: list[Family] = []
_OF_DENOISERS: dict[str, Family] = {}
_OF_PIPELINES: dict[str, Family] = {}
_STREAMS: dict[str, Stream] = {}
_ANY = Family()
"""Whose answers hold where no family is known."""


def known() -> tuple[Family, ...]:
    """All families that were written, in the order of their files."""
    return tuple(_FAMILIES)


def denoiser_named(class_name: str) -> Family:
    """The family of a denoiser's class in diffusers."""
    return _OF_DENOISERS.get(class_name, _ANY)


def of_denoiser(denoiser: Any) -> Family:
    """The family of a denoiser.

    Args:
        denoiser: of diffusers; one that is compiled, or wrapped otherwise, is of none.
    """
    kind: Any = type(denoiser)
    return _of_denoiser_class(kind)


def pipeline_named(class_name: str) -> Family:
    """The family of a pipeline's class in diffusers."""
    fitting = (f for pattern, f in _OF_PIPELINES.items() if fnmatchcase(class_name, pattern))
    return next(fitting, _ANY)


def of_pipeline(pipe: Any) -> Family:
    """The family of a pipeline of diffusers, or of a subclass; ``None`` is of none."""
    kind: Any = type(pipe)
    return _of_pipeline_class(kind)


def stream_of_block(kind: type[Any]) -> Stream | None:
    """Where the image's stream is in a block; ``None`` where no family says it.

    Args:
        kind: the block's class itself, its bases aside.
    """
    return _STREAMS.get(kind.__name__)


@lru_cache(maxsize=1)
def never_batched() -> frozenset[str]:
    """Arguments of a call whose first dimension is not the batch, in any family."""
    return _ANY.never_batched.union(*(family.never_batched for family in _FAMILIES))


def inputs_not_known(what: str, more: str = "") -> InputError:
    """The error of a denoiser whose call is not known.

    Args:
        what: class of the denoiser.
        more: what is particular, or what is known instead.
    """
    return InputError(
        f"what a {what} is called on is not known here{more}: "
        "count a call of your own with attnscope.cost.counting.count(denoiser, call)"
    )


def no_pipeline_for(class_name: str) -> InputError:
    """The error of a denoiser around which no pipeline can be put together.

    Args:
        class_name: of the denoiser.
    """
    names = [name for family in known() if family.has_pipeline for name in family.denoisers]
    return InputError(
        f"there is no pipeline here for a {class_name} of random weights "
        f"(there is one for {', '.join(names)}): leave `random_weights` out"
    )


@lru_cache(maxsize=256)
def _of_denoiser_class(kind: type[Any]) -> Family:
    return _first_known(denoiser_named(base.__name__) for base in kind.__mro__)


@lru_cache(maxsize=256)
def _of_pipeline_class(kind: type[Any]) -> Family:
    ours = (base for base in kind.__mro__ if base.__module__.startswith("diffusers."))
    return _first_known(pipeline_named(base.__name__) for base in ours)


def _first_known(found: Iterator[Family]) -> Family:
    return next((family for family in found if family is not _ANY), _ANY)
