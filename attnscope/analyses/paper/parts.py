"""What makes a figure or table: one command of ``attnscope`` a model, and the stand-ins in the box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnscope.errors import InputError

STAND_INS = {
    "sd15": "shapes",
    "sd21": "shapes",
    "sdxl": "shapes",
    "ssd1b": "shapes",
    "pixart": "shapes-dit",
    "pixart-sigma": "shapes-dit",
    "lcm-sdxl": "shapes-lcm",
    "lcm-pixart": "shapes-lcm",
}
"""The model in the box that stands for one of the paper's: a U-Net, a transformer, one of few steps."""
MODELLESS = ("plan", "cost paper")
"""Commands that take no model."""
_TYPED = ("generate", "maps")
"""Commands that take prompts on the command line."""


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

    @property
    def captioned(self) -> bool:
        """Whether it takes a number of captions: what is timed alone takes any."""
        return self.command != "maps" and (self.command != "bench" or self.judges)

    @property
    def judges(self) -> bool:
        """Whether images are judged."""
        return self.command == "ablate" or (
            self.command == "bench" and "--frontier" in self.options
        )


@dataclass(frozen=True)
class Data:
    """Where captions and images to compare with are.

    Args:
        captions: a file of captions.
        reference: a folder of images.
    """

    captions: Path | None = None
    reference: Path | None = None

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


def for_the_papers_models(
    part: Part, data: Data, limit: int | None, features: str = "inception"
) -> tuple[str, ...]:
    """The command line for the paper's own model, without ``attnscope``.

    Args:
        part: of a figure or table.
        data: where captions and images are.
        limit: captions; ``None`` is the paper's number.
        features: for FID: the paper's are Inception's, of images at 256².
    """
    line = [*part.command.split()]
    if part.command in MODELLESS:
        return (*line, *part.options, *part.own)
    line += ["--model", part.model, *part.options, *part.own]
    if part.plans:
        line += ["--plans", ";".join(part.plans)]
    if part.prompts and part.command in _TYPED:
        return (line[0], *part.prompts, *line[1:])
    if data.captions is not None and part.dataset and part.captioned:
        line += ["--images" if part.dataset == "images" else "--captions", str(data.captions)]
        count = limit or part.images
        line += ["--limit", str(count)] if count else []
        if part.judges and data.reference is not None:
            line += ["--reference", str(data.reference), "--features", features]
    return tuple(line)


def for_a_stand_in(
    part: Part,
    model: str,
    limit: int | None,
    data: Data | None = None,
    features: str = "auto",
) -> tuple[str, ...]:
    """The command line for another model, without ``attnscope``.

    Args:
        part: of a figure or table.
        model: the stand-in: one of the box draws captions of its own world, unless others are given.
        limit: captions; ``None`` is the part's own number.
        data: captions and images to compare with, of a model that brings none.
        features: for FID, where there are images to compare with.
    """
    line = [*part.command.split()]
    if part.command in MODELLESS:
        return (*line, *part.options, *part.embedded)
    line += ["--model", model, *part.options, *part.embedded]
    if part.plans:
        line += ["--plans", ";".join(part.plans)]
    if data is not None and data.captions is not None and part.captioned:
        line += ["--captions", str(data.captions)]
        if part.judges and data.reference is not None:
            line += ["--reference", str(data.reference), "--features", features]
    if part.limit and part.captioned:
        line += ["--limit", str(limit or part.limit)]
    return tuple(line)


def stood_in(parts: Sequence[Part]) -> list[tuple[Part, str]]:
    """Parts for the stand-ins: those that come to the same command but for their plans are one.

    Args:
        parts: of a figure or table.

    Returns:
        Parts with the stand-in of each; those that have none are left out.
    """
    found: dict[tuple[object, ...], tuple[Part, str]] = {}
    for part in parts:
        if part.command in MODELLESS:
            found[part.command, part.options] = part, ""
            continue
        if part.model not in STAND_INS:
            continue
        model = STAND_INS[part.model]
        key = part.command, model, part.options, part.embedded
        if key in found:
            known = found[key][0]
            plans = tuple(dict.fromkeys((*known.plans, *part.plans)))
            part = replace(known, plans=plans, limit=max(known.limit, part.limit))
        found[key] = part, model
    return list(found.values())
