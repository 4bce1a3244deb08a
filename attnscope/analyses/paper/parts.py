"""What makes a figure or table: one command of ``attnscope`` a model, for the paper's and for stand-ins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnscope.analyses.paper.stand_ins import GIVEN, MOST, RANDOM, STAND_INS
from attnscope.errors import InputError

MODELLESS = ("plan", "cost paper")
"""Commands that take no model."""
_TYPED = ("generate", "maps")
"""Commands that take prompts on the command line."""
PAPERS_FEATURES = "inception"
"""For FID: of images that are brought to 256², as the paper's."""


@dataclass(frozen=True)
class Part:
    """One command, as it is for the paper's model and as it is for a stand-in.

    Args:
        command: of ``attnscope``, such as ``bench`` or ``cost paper``.
        model: the paper's, by its short name; empty for :data:`MODELLESS`.
        options: for every model.
        own: options for the paper's model alone.
        embedded: options for a stand-in alone.
        plans: of ``--plans``.
        images: that the paper made by every plan; 0 where it says nothing.
        arms: how many images are made of every prompt, if there are no plans.
        dataset: the paper's: ``coco``, ``mjhq``, ``opensora``, ``images`` to begin with, or empty for typed
            prompts.
        prompts: typed for the paper's model.
        limit: captions that a stand-in is given if no number is said.
        asks: what is asked about images of the embedded world, by a name of ``--questions``; empty where
            nothing is asked. On the paper's models a file of the benchmark's own is.
    """

    command: str
    model: str = ""
    options: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    embedded: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    images: int = 0
    arms: int = 1
    dataset: str = ""
    prompts: tuple[str, ...] = ()
    limit: int = 24
    asks: str = ""

    @property
    def captioned(self) -> bool:
        """Whether it takes a number of captions: what is timed alone takes any."""
        return self.command != "maps" and (self.command != "bench" or self.judges)

    @property
    def begins_with_images(self) -> bool:
        """Whether videos are made of images."""
        return self.dataset == "images"

    @property
    def judges(self) -> bool:
        """Whether images are judged."""
        return self.command == "ablate" or (
            self.command == "bench" and "--frontier" in self.options
        )


@dataclass(frozen=True)
class Data:
    """Where captions and images to compare with are, and by what else images are judged.

    Args:
        captions: a file of captions.
        reference: a folder of images.
        images: a folder of images to begin with.
        questions: about images, as ``--questions`` takes them.
        vqa: who answers them.
        clip: a CLIP for the CLIP score.
        features: for FID and KID; ``None`` is :data:`PAPERS_FEATURES` where there are images to compare
            with, and the world's own on stand-ins in the box.
    """

    captions: Path | None = None
    reference: Path | None = None
    images: Path | None = None
    questions: str | None = None
    vqa: str | None = None
    clip: str | None = None
    features: str | None = None

    @classmethod
    def coco(cls, folder: Path) -> Data:
        """MS-COCO's validation set of 2014, as it is unpacked: the paper's protocol.

        Raises:
            InputError: it is not there.
        """
        captions = folder / "annotations" / "captions_val2014.json"
        reference = folder / "val2014"
        for path in (captions, reference):
            if not path.exists():
                raise InputError(
                    f"--coco {str(folder)!r} has no {path.relative_to(folder).as_posix()}: unpack "
                    "annotations_trainval2014.zip and val2014.zip of MS-COCO there"
                )
        return cls(captions, reference)


def for_the_papers_models(part: Part, data: Data, limit: int | None) -> tuple[str, ...]:
    """The command line for the paper's own model, without ``attnscope``.

    Args:
        part: of a figure or table.
        data: where captions and images are, and what judges.
        limit: captions; ``None`` is the paper's number.
    """
    line = [*part.command.split()]
    if part.command in MODELLESS:
        return (*line, *part.options, *part.own)
    line += ["--model", part.model, *part.options, *part.own]
    if part.plans:
        line += ["--plans", ";".join(part.plans)]
    if part.prompts and part.command in _TYPED:
        return (line[0], *part.prompts, *line[1:])
    given = []
    if part.begins_with_images:
        given = [] if data.images is None else ["--images", str(data.images)]
    elif data.captions is not None and part.dataset and part.captioned:
        given = ["--captions", str(data.captions)]
    asked = _asked(part, data.questions, data.vqa)
    line += [*given, *asked]
    count = limit or part.images
    line += ["--limit", str(count)] if count and (given or asked) else []
    reference = data.reference if "--captions" in given else None
    features = data.features or (None if reference is None else PAPERS_FEATURES)
    if part.begins_with_images:
        features = None  # of videos nobody has images to compare with
    return (*line, *_judged(part, reference, features, data.clip))


def for_a_stand_in(
    part: Part, model: str, limit: int | None, data: Data | None = None
) -> tuple[str, ...]:
    """The command line for another model, without ``attnscope``.

    Args:
        part: of a figure or table.
        model: the stand-in: one of the box draws captions of its own world, unless others are given;
            one of random weights is given what is written for it, and is not judged by what is said.
        limit: captions; ``None`` is the part's own number.
        data: captions and images to compare with, of a model that brings none, and what judges.
    """
    line, data = [*part.command.split()], data or Data()
    if part.command in MODELLESS:
        return (*line, *part.options, *part.embedded)
    line += ["--model", model, *part.options, *part.embedded]
    if part.plans:
        line += ["--plans", ";".join(part.plans)]
    if model in RANDOM:
        return (*line, *GIVEN[part.dataset], "--limit", str(min(limit or part.limit, MOST)))
    reference = None
    if data.captions is not None and part.captioned:
        line += ["--captions", str(data.captions)]
        reference = data.reference
    line += _asked(part, data.questions or part.asks, data.vqa or "reader")
    if part.limit and part.captioned:
        line += ["--limit", str(limit or part.limit)]
    features = data.features or (None if reference is None else PAPERS_FEATURES)
    return (*line, *_judged(part, reference, features, data.clip))


def _asked(part: Part, questions: str | None, vqa: str | None) -> list[str]:
    """What is asked about images, and who answers."""
    if not part.asks or not questions:
        return []
    return ["--questions", questions, "--vqa", str(vqa)]


def _judged(
    part: Part, reference: Path | None, features: str | None, clip: str | None
) -> list[str]:
    """What else images are judged by."""
    if not part.judges:
        return []
    line = [] if reference is None else ["--reference", str(reference)]
    line += [] if features is None else ["--features", features]
    return [*line, *([] if clip is None else ["--clip", clip])]


def stood_in(parts: Sequence[Part]) -> list[tuple[Part, str]]:
    """Parts for the stand-ins: those that come to the same command but for their plans are one.

    Args:
        parts: of a figure or table.

    Returns:
        Parts with the stand-in of each.
    """
    found: dict[tuple[object, ...], tuple[Part, str]] = {}
    for part in parts:
        if part.command in MODELLESS:
            found[part.command, part.options] = part, ""
            continue
        model = STAND_INS[part.model]
        key = part.command, model, part.options, part.embedded
        if key in found:
            known = found[key][0]
            plans = tuple(dict.fromkeys((*known.plans, *part.plans)))
            part = replace(known, plans=plans, limit=max(known.limit, part.limit))
        found[key] = part, model
    return list(found.values())
