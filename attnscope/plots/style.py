"""Widths, colours and names that all plots share."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator

import matplotlib as mpl
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

COLUMN_WIDTH = 3.3
"""Width of one column of a two-column paper, in inches."""
TEXT_WIDTH = 6.8
"""Width of the text of a paper, in inches."""
KIND_COLORS = {
    "cross": "#0173b2",
    "self": "#de8f05",
    "joint": "#029e73",
    "feed-forward": "#cc78bc",
    "block": "#949494",
    "latent": "#000000",
    "noise": "#d55e00",
    "x_0": "#ca9161",
}
KIND_NAMES = {
    "cross": "Cross-attention",
    "self": "Self-attention",
    "joint": "Joint attention",
    "feed-forward": "Feed-forward",
    "block": "Whole blocks",
    "latent": "Latents $x_t$",
    "noise": r"Noise: $1-\cos(\epsilon_c,\epsilon_u)$",
    "x_0": r"Image: $1-\cos(\hat x_{0,c},\hat x_{0,u})$",
}


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """Style for print: small type, thin lines, fonts embedded as outlines, tight boxes."""
    style = {
        **sns.axes_style("ticks"),
        "font.family": "sans-serif",
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "legend.frameon": False,
        "axes.linewidth": 0.7,
        "lines.linewidth": 1.4,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=sns.color_palette("colorblind")),
        "figure.figsize": (COLUMN_WIDTH, COLUMN_WIDTH * 0.7),
        "figure.dpi": 150,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
    }
    with mpl.rc_context(style):
        yield


def bare_rows(ax: Axes, *, columns: int) -> None:
    """Rows without a spine, the legend above."""
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.legend(
        ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0), handlelength=1,
        handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip


def short_site(name: str) -> str:
    """A site's name for an axis: ``down 0.0.0 attn2`` for a U-Net's long path."""
    first, *rest = name.split(".")
    *path, leaf = [part for part in rest if part not in ("attentions", "transformer_blocks")] or [
        ""
    ]
    return " ".join(filter(None, (re.sub("_blocks?$", "", first), ".".join(path), leaf)))


def wrapped(title: str, width: int = 24) -> str:
    """A caption broken into lines of at most ``width`` characters."""
    return "\n".join(textwrap.wrap(title, width))


def label_steps(ax: Axes, label: str) -> None:
    """Name both axes of a plot over steps, with ticks at whole ones."""
    ax.set_xlabel("Denoising step")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
