"""Scenes of one or two objects: what they are, how they look, what their captions say.

A :class:`Scene` is what a caption can say: objects with a size, a fill, a colour and a shape,
a relation between two of them, and a background. Where exactly the objects stand is not part of
the caption; :func:`render` draws it from a generator. Captions and scenes are exact inverses::

    scene_of(caption(scene)) == scene

The world is split by *combination*, not by position: every triple (fill, colour, shape) belongs
to one of train, validation and test, and a scene belongs to the strictest split among its
objects. A test scene therefore always shows a combination that no training image contains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Split = Literal["train", "validation", "test"]

SIZES = ("small", "large")
FILLS = ("plain", "striped", "dotted", "checkered")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star", "heart", "hourglass")
RELATIONS = ("left of", "right of", "above", "below")
BACKGROUNDS = ("white", "gray", "black", "beige", "navy", "lavender")

RESOLUTION = 64
"""Height and width of a rendered scene in pixels."""

_OBJECT_RGB = {
    "red": (220, 38, 38),
    "orange": (245, 130, 20),
    "yellow": (250, 215, 30),
    "green": (30, 150, 60),
    "cyan": (45, 205, 220),
    "blue": (45, 85, 230),
    "purple": (135, 45, 185),
    "pink": (250, 125, 185),
}
_BACKGROUND_RGB = {
    "white": (246, 246, 246),
    "gray": (150, 150, 150),
    "black": (16, 16, 16),
    "beige": (226, 206, 166),
    "navy": (24, 30, 84),
    "lavender": (206, 194, 238),
}
# The second tone of a fill is a tint of dark colours and a shade of light ones, so that a
# silhouette never dissolves into a background.
_LIGHT_COLORS = frozenset({"orange", "yellow", "cyan", "pink"})
_RADIUS = {"small": 9.2, "large": 13.5}
_MARGIN = 1.5
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Thing:
    """One object of a scene, by its four attributes.

    Raises:
        ValueError: an attribute is not one of :data:`SIZES`, :data:`FILLS`, :data:`COLORS`,
            :data:`SHAPES`.
    """

    size: str
    fill: str
    color: str
    shape: str

    def __post_init__(self) -> None:
        _require("size", self.size, SIZES)
        _require("fill", self.fill, FILLS)
        _require("color", self.color, COLORS)
        _require("shape", self.shape, SHAPES)

    @property
    def phrase(self) -> str:
        """The noun phrase of the caption; a plain fill goes unsaid."""
        fill = "" if self.fill == "plain" else f"{self.fill} "
        return f"a {self.size} {fill}{self.color} {self.shape}"

    @property
    def split(self) -> Split:
        """The split of this combination of fill, colour and shape.

        A Latin-square-like rule, so that every pair of two attributes occurs in training.
        """
        code = 3 * FILLS.index(self.fill) + COLORS.index(self.color) + 3 * SHAPES.index(self.shape)
        return {0: "test", 5: "validation"}.get(code % 8, "train")  # type: ignore[return-value]


@dataclass(frozen=True)
class Scene:
    """What a caption says: one or two things, the relation of the first to the second, a background.

    Raises:
        ValueError: not one or two things, or a relation that is missing, superfluous or unknown.
    """

    things: tuple[Thing, ...]
    relation: str | None
    background: str

    def __post_init__(self) -> None:
        if len(self.things) not in (1, 2):
            raise ValueError(f"a scene has 1 or 2 things, not {len(self.things)}")
        if len(self.things) == 1 and self.relation is not None:
            raise ValueError(f"relation={self.relation!r} needs 2 things; this scene has 1")
        if len(self.things) == 2:
            _require("relation", self.relation, RELATIONS)
        _require("background", self.background, BACKGROUNDS)

    @property
    def split(self) -> Split:
        """The strictest split among the things: test, then validation, then train."""
        splits = {thing.split for thing in self.things}
        if "test" in splits:
            return "test"
        return "validation" if "validation" in splits else "train"

    def canonical(self) -> Scene:
        """The same scene with its things from left to right or from top to bottom."""
        flipped = {"right of": "left of", "below": "above"}
        if self.relation not in flipped:
            return self
        return Scene(self.things[::-1], flipped[self.relation], self.background)


def _require(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not in this world (choose {', '.join(allowed)})")


def caption(scene: Scene) -> str:
    """The caption of a scene.

    Example:
        ``a large striped red circle above a small blue square on a gray background``
    """
    things = f" {scene.relation} ".join(thing.phrase for thing in scene.things)
    return f"{things} on a {scene.background} background"


def scene_of(text: str) -> Scene:
    """The scene that a caption describes; the exact inverse of :func:`caption`.

    Raises:
        ValueError: the text is not a caption of this world.
    """
    body, on, ground = text.partition(" on a ")
    background, _, end = ground.rpartition(" ")
    if not on or end != "background":
        raise ValueError(f"{text!r} is not a caption of this world: it lacks 'on a … background'")
    for relation in RELATIONS:
        first, found, second = body.partition(f" {relation} ")
        if found:
            return Scene((_parse_thing(first), _parse_thing(second)), relation, background)
    return Scene((_parse_thing(body),), None, background)


def _parse_thing(phrase: str) -> Thing:
    match phrase.split(" "):
        case ["a", size, color, shape]:
            return Thing(size, "plain", color, shape)
        case ["a", size, fill, color, shape] if fill != "plain":
            return Thing(size, fill, color, shape)
    raise ValueError(f"{phrase!r} is not 'a SIZE [FILL] COLOR SHAPE'")


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can contain, sorted."""
    words = {"a", "on", "background", *SIZES, *FILLS, *COLORS, *SHAPES, *BACKGROUNDS} - {"plain"}
    return tuple(sorted(words.union(*(relation.split() for relation in RELATIONS))))


def generate(split: Split, seed: int = 0) -> Iterator[Scene]:
    """An endless stream of scenes of one split; the same seed gives the same stream.

    Two thirds of the scenes show two things. The two always differ in colour or in shape.

    Raises:
        ValueError: ``split`` is not ``"train"``, ``"validation"`` or ``"test"``.
    """
    _require("split", split, get_args(Split))
    rng = np.random.default_rng([seed, get_args(Split).index(split)])

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    while True:
        count = 1 if rng.random() < 1 / 3 else 2
        things = tuple(
            Thing(pick(SIZES), pick(FILLS), pick(COLORS), pick(SHAPES)) for _ in range(count)
        )
        if len({(thing.color, thing.shape) for thing in things}) < count:
            continue
        scene = Scene(things, pick(RELATIONS) if count == 2 else None, pick(BACKGROUNDS))
        if scene.split == split:
            yield scene


def render(scene: Scene, rng: np.random.Generator | None = None) -> NDArray[np.uint8]:
    """Draw a scene, antialiased.

    Args:
        scene: what to draw.
        rng: where positions and exact sizes come from; ``None`` puts everything at its centre.

    Returns:
        uint8 ``[64, 64, 3]``, RGB.
    """
    side = RESOLUTION * _SUPERSAMPLING
    canvas = Image.new("RGB", (side, side), _BACKGROUND_RGB[scene.background])
    for thing, radius, (x, y) in arrange(scene, rng):
        phase = _jitter(rng, 0.0, 1.0)
        stamp, mask = _paint(thing, radius, phase), _silhouette(thing.shape, radius)
        corner = (round((x - radius) * _SUPERSAMPLING), round((y - radius) * _SUPERSAMPLING))
        canvas.paste(stamp, corner, mask)
    small = canvas.resize((RESOLUTION, RESOLUTION), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def arrange(
    scene: Scene, rng: np.random.Generator | None = None
) -> list[tuple[Thing, float, tuple[float, float]]]:
    """Where the things of a scene stand: each with its radius and its centre ``(x, y)`` in pixels.

    Args:
        scene: its things come from left to right, or from top to bottom.
        rng: as for :func:`render`, which draws them there.
    """
    ordered = scene.canonical()
    radii = [_RADIUS[thing.size] * _jitter(rng, 0.94, 1.06) for thing in ordered.things]
    centers = _place(radii, ordered.relation, rng)
    return list(zip(ordered.things, radii, centers, strict=True))


def _jitter(rng: np.random.Generator | None, low: float, high: float) -> float:
    return (low + high) / 2 if rng is None else float(rng.uniform(low, high))


def _place(
    radii: list[float], relation: str | None, rng: np.random.Generator | None
) -> list[tuple[float, float]]:
    """Centres ``(x, y)`` in pixels: things keep inside the frame and clear of each other."""

    def inside(radius: float) -> float:
        return _jitter(rng, radius + _MARGIN, RESOLUTION - radius - _MARGIN)

    if relation is None:
        return [(inside(radii[0]), inside(radii[0]))]
    # Along the axis of the relation: first thing, gap, second thing, with the slack shared out.
    first, second = radii
    slack = RESOLUTION - 2 * (first + second) - 3 * _MARGIN
    before, gap = sorted((_jitter(rng, 0.0, slack), _jitter(rng, 0.0, slack)))
    if rng is None:
        before, gap = slack / 3, 2 * slack / 3
    along_first = _MARGIN + before + first
    along_second = along_first + first + _MARGIN + (gap - before) + second
    # Across it both stay near the middle, closer than the things are apart along the axis.
    reach = (along_second - along_first) / 4
    middle = RESOLUTION / 2
    across = [middle + _jitter(rng, -reach, reach) for _ in radii]
    if relation == "left of":
        return [(along_first, across[0]), (along_second, across[1])]
    return [(across[0], along_first), (across[1], along_second)]


def _second_tone(color: str) -> tuple[int, int, int]:
    target = 0 if color in _LIGHT_COLORS else 255
    mix = 0.62
    red, green, blue = (round((1 - mix) * value + mix * target) for value in _OBJECT_RGB[color])
    return red, green, blue


def _stamp_side(radius: float) -> int:
    return math.ceil(2 * radius * _SUPERSAMPLING)


def _paint(thing: Thing, radius: float, phase: float) -> Image.Image:
    """The paint of a thing: an RGB square around it, with the fill anchored at its centre."""
    side = _stamp_side(radius)
    grid = (np.arange(side) + 0.5) / _SUPERSAMPLING - radius
    x, y = grid[None, :], grid[:, None]
    second = np.zeros((side, side), dtype=bool)
    if thing.fill == "striped":
        second = ((x + y) / 9.0 + phase) % 1.0 < 0.5
    elif thing.fill == "checkered":
        second = (np.floor(x / 5.0 + phase) + np.floor(y / 5.0 + phase)) % 2 == 0
    elif thing.fill == "dotted":
        u, v = (x / 7.0 + phase) % 1.0 - 0.5, (y / 7.0 + phase) % 1.0 - 0.5
        second = u**2 + v**2 < 0.3**2
    tones = np.array([_OBJECT_RGB[thing.color], _second_tone(thing.color)], dtype=np.uint8)
    return Image.fromarray(tones[second.astype(np.intp)])


def _silhouette(shape: str, radius: float) -> Image.Image:
    """The mask of a shape: an 8-bit square around it, 255 inside."""
    side = _stamp_side(radius)
    mask = Image.new("L", (side, side), 0)
    points = [((1 + x) * side / 2, (1 + y) * side / 2) for x, y in _outline(shape)]
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape inside the unit circle's bounding square, y pointing down."""
    turn = [2 * math.pi * step / 48 for step in range(48)]
    match shape:
        case "circle":
            return [(0.92 * math.cos(a), 0.92 * math.sin(a)) for a in turn]
        case "square":
            return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
        case "triangle":
            return [(0.0, -0.95), (1.0, 0.85), (-1.0, 0.85)]
        case "diamond":
            return [(0.0, -1.0), (0.85, 0.0), (0.0, 1.0), (-0.85, 0.0)]
        case "cross":
            a, b = 0.38, 1.0
            quarter = [(a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b)]
            return quarter + [(-x, -y) for x, y in quarter]
        case "star":
            tips = [math.pi * step / 5 - math.pi / 2 for step in range(10)]
            reach = [1.0 if step % 2 == 0 else 0.45 for step in range(10)]
            return [(r * math.cos(a), r * math.sin(a)) for a, r in zip(tips, reach, strict=True)]
        case "heart":
            # The classic heart curve, 16 sin^3 t and its companion, scaled to the unit square.
            return [
                (
                    math.sin(a) ** 3,
                    -(
                        13 * math.cos(a)
                        - 5 * math.cos(2 * a)
                        - 2 * math.cos(3 * a)
                        - math.cos(4 * a)
                    )
                    / 15
                    - 0.1,
                )
                for a in turn
            ]
        case "hourglass":
            return [(-0.9, -0.95), (0.9, -0.95), (0.2, 0.0), (0.9, 0.95), (-0.9, 0.95), (-0.2, 0.0)]
    raise ValueError(f"shape={shape!r} is not in this world (choose {', '.join(SHAPES)})")
