"""Images of several arms side by side, prompt by prompt, as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from attnscope.pages.parts import Part
from attnscope.pages.pictures import Picture, Sheet


@dataclass(frozen=True, eq=False)
class Prompt:
    """What several arms made of a caption.

    Args:
        caption: of the images.
        pictures: by arm; an arm may have none.
        told: what is said of an arm's image, by arm.
    """

    caption: str
    pictures: Mapping[str, Picture]
    told: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def sheets(self) -> dict[str, Sheet]:
        """The pictures as the album has them, by arm."""
        return {arm: Sheet([picture]) for arm, picture in self.pictures.items()}


@dataclass(frozen=True)
class Arms(Part):
    """Images of arms side by side, and two of them under a slider.

    Args:
        title: above them.
        arms: their names; the first two are compared at first. One alone is a gallery.
        prompts: what they made.
        note: below.
    """

    macro: ClassVar[str] = "arms"

    title: str
    arms: Sequence[str]
    prompts: Sequence[Prompt]
    note: str = ""

    def sheets(self) -> Iterator[Sheet]:
        """A sheet per image."""
        for prompt in self.prompts:
            yield from prompt.sheets.values()
