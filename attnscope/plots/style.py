"""Widths, colours and names that all plots share."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import matplotlib as mpl
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.legend import Legend
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

COLUMN_WIDTH = 3.25
"""Width of one column of a two-column paper, in inches: all figures are drawn for it."""
TEXT_WIDTH = 6.8
"""Width of the text of a paper, in inches."""
SMALLEST_TEXT = 6.0
"""In points: no text of a figure is smaller where the figure stands in one column."""
LEVEL = "log-SNR of $x_t$ (nats)"
"""What an axis of noise levels is called."""
KIND_COLORS = {
    "cross": "#0173b2",
    "self": "#de8f05",
    "joint": "#005c44",
    "feed-forward": "#e3a5d6",
    "block": "#7f7f7f",
    "latent": "#000000",
    "noise": "#a83200",
    "x_0": "#d9c88f",
}
"""From Wong (2011), some made lighter or darker: under simulated deuteranopia and protanopia any two are
20 apart at least in CIELAB (of the palette as it was, 10.8)."""
KIND_MARKERS = {
    "cross": "o",
    "self": "s",
    "joint": "^",
    "feed-forward": "v",
    "block": "D",
    "latent": "",
    "noise": "X",
    "x_0": "P",
}
"""They tell kinds apart in grey."""
LINE_COLORS = ("#000000", "#0173b2", "#d55e00", "#6cc0f0")
"""Of lines and points without colours of their own: few, so that they differ in grey and for
colour-blind readers; what is left is told apart by :data:`DASHES` or :data:`MARKERS`."""
DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (6, 1.2, 1, 1.2)),
    (0, (6, 1.2, 1, 1.2, 1, 1.2)),
    (0, (9, 2.5)),
    (0, (2, 0.8)),
    (0, (1, 3)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "<", ">", "h")
PLAIN, SLANTED, CROSSED, DOTTED = "", "////", "xxxx", "...."
"""Hatches of bars, which have neither dashes nor markers."""
KIND_NAMES = {
    "cross": "Cross-attention",
    "self": "Self-attention",
    "joint": "Joint attention",
    "feed-forward": "Feed-forward",
    "block": "Whole blocks",
    "latent": "Latents $x_t$",
    "noise": r"$1-\cos$ of the noise",
    "x_0": r"$1-\cos$ of $\hat x_0$",
}

_OWNER = "attnscope"


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """Style for print: small type, thin lines, fonts embedded as outlines, tight boxes."""
    style = {
        **sns.axes_style("ticks"),
        "font.family": "sans-serif",
        "font.size": 7.5,
        "axes.labelsize": 7.5,
        "axes.titlesize": 7.5,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "legend.fontsize": 6.5,
        "legend.title_fontsize": 6.5,
        "legend.frameon": False,
        "axes.linewidth": 0.7,
        "lines.linewidth": 1.2,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=list(LINE_COLORS)),
        "figure.figsize": (COLUMN_WIDTH, COLUMN_WIDTH * 0.7),
        "figure.dpi": 150,
        "figure.constrained_layout.use": True,
        "figure.titlesize": 7.5,
        "hatch.linewidth": 0.5,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
    }
    interactive = mpl.is_interactive()
    try:
        with mpl.rc_context(style):
            try:
                yield
            finally:
                interactive = mpl.is_interactive()
    finally:  # the backend of notebooks switches it on with the first figure, and shows none without it
        mpl.interactive(interactive)


def looks(count: int, colors: Sequence[str] = LINE_COLORS) -> list[dict[str, Any]]:
    """Colour, dashes and marker of so many lines, no two alike.

    Args:
        count: how many.
        colors: taken in turns; then the dashes change, and then a marker comes on top.

    Raises:
        ValueError: more than there are.
    """
    made = list(product(("", *MARKERS), DASHES, colors))
    if count > len(made):
        raise ValueError(
            f"{count} lines cannot be told apart in one plot (at most {len(made)} can)"
        )
    return [{"color": c, "ls": dash, "marker": mark} for mark, dash, c in made[:count]]


def letter(place: int) -> str:
    """``a`` to ``z``, then ``aa`` and on, as a sheet's columns are called."""
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(ord("a") + rest) + name
    return name


def bare_rows(ax: Axes, *, columns: int) -> None:
    """Rows without a spine, the legend above."""
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    legend_above(ax, columns=columns)


def legend_above(ax: Axes, *, columns: int, **options: Any) -> None:
    """A flat legend over the axes, each name once."""
    ax.legend(
        *once(ax), ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0), handlelength=1.2,
        handletextpad=0.5, columnspacing=1.2, **options,
    )  # fmt: skip


def once(ax: Axes) -> tuple[list[Any], list[str]]:
    """Handles and labels of an axes for a legend, each label once, though drawn into it twice."""
    handles, labels = ax.get_legend_handles_labels()
    first = dict(zip(reversed(labels), reversed(handles), strict=True))
    return [first[label] for label in dict.fromkeys(labels)], list(dict.fromkeys(labels))


@contextlib.contextmanager
def replacing(ax: Axes) -> Iterator[None]:
    """What is drawn inside takes the place of what was drawn so before into the same axes.

    For plots that own their axes: a second row of bars over the first, or a second bar of colours,
    would say nothing.
    """
    for container in [c for c in ax.containers if any(a.get_gid() == _OWNER for a in c)]:
        container.remove()
    for artist in [a for a in ax.get_children() if a.get_gid() == _OWNER]:
        bar = getattr(artist, "colorbar", None)
        if bar is not None:
            bar.remove()
        artist.remove()
    before = set(ax.get_children())
    yield
    for artist in ax.get_children():
        if artist not in before and not isinstance(artist, Legend):
            artist.set_gid(_OWNER)


def ink(color: str) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = to_rgb(color)
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"


def label_bars(ax: Axes, bars: BarContainer, texts: Sequence[str], color: str) -> None:
    """Numbers inside bars; a halo of the bar's colour keeps them legible on a hatch."""
    labels = ax.bar_label(
        bars, texts, label_type="center", fontsize=SMALLEST_TEXT, color=ink(color)
    )
    for label in labels:
        label.set_path_effects([withStroke(linewidth=2.5, foreground=color)])


def plain(text: str) -> str:
    """A caption's own words, none of which is to be read as mathematics."""
    return text.replace("$", r"\$")


def wrapped(title: str, width: int = 24) -> str:
    """A caption broken into lines of at most ``width`` characters."""
    return "\n".join(textwrap.wrap(title, width))


def label_steps(ax: Axes, label: str) -> None:
    """Name both axes of a plot over steps, with ticks at whole ones."""
    ax.set_xlabel("Denoising step")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
