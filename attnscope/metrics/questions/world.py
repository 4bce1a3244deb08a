"""Questions about scenes of the embedded world, in the form of DPG-Bench, and what answers them.

Of "a large striped red circle above a small blue square on a gray background":

    1 global     Is the background gray?
    2 entity     Is there a circle?
    3 attribute  Is the circle large?                 if 2
    4 attribute  Is the circle striped?               if 2
    5 attribute  Is the circle red?                   if 2
    6 entity     Is there a square?                   ... and its attributes
    . relation   Is the circle above the square?      if both are there
    . other      Are there two things?

Things are called by their shape; where two have one shape, by colour and shape ("a red star"), and their
colour is asked for by whether they are there. A plain fill, which a caption leaves unsaid, is asked for,
too. :func:`meaning` reads such a question back, so that a file of them can be one's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attnscope.errors import InputError
from attnscope.metrics.questions.base import Item, Question, Questionnaire
from attnscope.metrics.questions.dpg import Dpg
from attnscope.shapes.scenes import (
    BACKGROUNDS,
    COLORS,
    FILLS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    scene_of,
)

_COUNTS = {1: "Is there only one thing?", 2: "Are there two things?"}
_ATTRIBUTES = {
    word: attribute
    for attribute, words in (("size", SIZES), ("fill", FILLS), ("color", COLORS))
    for word in words
}
"""Every word for an attribute to which one it is."""


@dataclass(frozen=True)
class Kind:
    """Things with some attributes: those that are said.

    Args:
        said: pairs of an attribute and its value, such as ``("shape", "star")``.
    """

    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Meaning:
    """What is to be so for yes: one of its parts is said.

    Args:
        background: it is this.
        things: there is one of this kind; with ``relation`` two kinds.
        relation: the first stands so to the second.
        count: there are so many things.
    """

    background: str | None = None
    things: tuple[Kind, ...] = ()
    relation: str | None = None
    count: int | None = None


def questionnaire(source: str, texts: Sequence[str]) -> Questionnaire:
    """The questions of captions of the embedded world.

    Args:
        source: where they come from, for people.
        texts: captions.

    Raises:
        InputError: one is no caption of this world.
    """
    return Questionnaire(Dpg(), source, items_of(texts, questions, "scenes"))


def items_of(
    texts: Sequence[str], asked: Callable[[Scene], Sequence[Question]], name: str, remedy: str = ""
) -> dict[str, Item]:
    """What is asked of every caption.

    Args:
        texts: captions of the embedded world.
        asked: makes the questions of a scene.
        name: by which these questions are chosen.
        remedy: what to do about captions of another world.

    Raises:
        InputError: one is no caption of this world.
    """
    try:
        return {text: Item(tuple(asked(scene_of(text)))) for text in texts}
    except ValueError as error:
        raise InputError(
            f"`questions={name!r}` makes questions of captions of the embedded world: {error}{remedy}"
        ) from error


def questions(scene: Scene) -> list[Question]:
    """The questions of a scene, in the order of what they depend on."""
    asked = [Question(1, f"Is the background {scene.background}?", "global")]
    names = names_of(scene)
    there = []
    for thing, name in zip(scene.things, names, strict=True):
        entity = len(asked) + 1
        there.append(entity)
        asked.append(Question(entity, f"Is there {article(name)} {name}?", "entity"))
        for value in (thing.size, thing.fill, thing.color):
            if value not in name.split():
                text = f"Is the {name} {value}?"
                asked.append(Question(len(asked) + 1, text, "attribute", (entity,)))
    if scene.relation is not None:
        text = f"Is the {names[0]} {scene.relation} the {names[1]}?"
        asked.append(Question(len(asked) + 1, text, "relation", tuple(there)))
    asked.append(Question(len(asked) + 1, _COUNTS[len(scene.things)], "other"))
    return asked


def names_of(scene: Scene) -> list[str]:
    """What the things are called: as short as tells them apart."""
    if len({thing.shape for thing in scene.things}) == len(scene.things):
        return [thing.shape for thing in scene.things]
    return [f"{thing.color} {thing.shape}" for thing in scene.things]


def article(name: str) -> str:
    """What stands before a noun phrase."""
    return "an" if name[0] in "aeiou" else "a"


def meaning(text: str) -> Meaning:
    """What a question, or a noun phrase with a question mark, asks.

    Raises:
        InputError: it is none of this world.
    """
    for count, question in _COUNTS.items():
        if text == question:
            return Meaning(count=count)
    relation = "|".join(RELATIONS)
    if found := re.fullmatch(r"Is the background (\w+)\?", text):
        if found[1] in BACKGROUNDS:
            return Meaning(background=found[1])
    elif found := re.fullmatch(rf"Is the ([\w ]+) ({relation}) the ([\w ]+)\?", text):
        return Meaning(things=(_kind(text, found[1]), _kind(text, found[3])), relation=found[2])
    elif found := re.fullmatch(r"(?:Is there )?an? ([\w ]+)\?", text):
        return Meaning(things=(_kind(text, found[1]),))
    elif found := re.fullmatch(r"Is the ([\w ]+) (\w+)\?", text):
        return Meaning(things=(_kind(text, f"{found[2]} {found[1]}"),))
    raise _unknown(text)


def _kind(text: str, phrase: str) -> Kind:
    *words, shape = phrase.split(" ")
    if shape not in SHAPES or not set(words) <= set(_ATTRIBUTES):
        raise _unknown(text)
    said = [(_ATTRIBUTES[word], word) for word in words]
    if len({attribute for attribute, _ in said}) < len(said):
        raise _unknown(text)
    return Kind((*said, ("shape", shape)))


def _unknown(text: str) -> InputError:
    return InputError(
        f"the reader answers questions about its own world alone, such as 'Is there a star?', 'Is the star "
        f"blue?', 'Is the star left of the circle?', not {text!r}: choose another `vqa`"
    )


def is_so(asked: Meaning, scene: Scene) -> bool:
    """Whether it is so in a scene: the truth that answers are held against."""
    if asked.background is not None:
        return scene.background == asked.background
    if asked.count is not None:
        return len(scene.things) == asked.count
    scene = scene.canonical()
    if asked.relation is None:
        return any(_is_of(thing, asked.things[0]) for thing in scene.things)
    first, second = asked.things
    if asked.relation in ("right of", "below"):
        first, second = second, first
    axis = "left of" if asked.relation in ("left of", "right of") else "above"
    return (
        scene.relation == axis
        and _is_of(scene.things[0], first)
        and _is_of(scene.things[1], second)
    )


def _is_of(thing: Thing, kind: Kind) -> bool:
    return all(getattr(thing, attribute) == value for attribute, value in kind.said)
