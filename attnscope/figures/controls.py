"""The controls of Figure 2, from the table ``controls`` of a convergence run."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from attnscope import plots
from attnscope.figures.layout import panels, shared_legend
from attnscope.figures.registry import draws
from attnscope.kinds import KINDS

_REPLAYED = "random-replayed"
_CURVES = {
    ("trained", "caption"): "to another caption",
    ("trained", "final"): "to the last step",
    ("trained", "step"): "step to step",
    ("other-caption", "step"): "step to step, other caption",
}
_WIDE = 1000.0
"""Of a logarithmic axis, largest to smallest: more, and labels between its decades lie on each other."""
_TIGHT = {
    "labelspacing": 0.15,
    "fontsize": plots.SMALLEST_TEXT,
    "handlelength": 1.4,
    "borderpad": 0,
}


@draws("convergence", "controls", name="controls")
def figure_controls(controls: pd.DataFrame) -> Figure:
    """Six panels: steps, steps per nat, the last step; random weights, captions, branches."""
    controls = controls.astype({"arm": str, "measure": str, "kind": str, "site": str})
    trained = controls[controls["arm"] == "trained"]
    drawn: list[tuple[str, Callable[[Axes], None]]] = [
        ("Step to step", lambda ax: _by_kind(_of(trained, "step"), ax)),
        ("Per nat of log-SNR", lambda ax: _by_kind(_of(trained, "step"), ax, per_nat=True)),
        ("To the last step", lambda ax: _by_kind(_of(trained, "final"), ax)),
        ("Random weights", lambda ax: _random(controls, ax)),
        ("Captions, cross", lambda ax: _captions(controls, ax)),
        ("Guidance branches", lambda ax: _branches(trained, ax)),
    ]
    figure, axes = panels(len(drawn), columns=2, height=1.55, extra=0.45)
    for letter, ax, (title, draw) in zip("abcdef", axes, drawn, strict=True):
        draw(ax)
        ax.set_title(f"({letter}) {title}", loc="left", fontsize=6.5)
    for ax in axes[:4]:
        ax.set_xlabel("")
    for ax in axes[1::2]:
        ax.set_ylabel("")
    axes[1].set_ylabel("Per nat")
    own = [ax.get_legend() for ax in axes[3:]]  # of dashes, captions and predictions
    shared_legend(figure, axes[:3], columns=3)
    for ax, legend in zip(axes[3:], own, strict=True):
        if legend is not None:
            ax.add_artist(legend)
    return figure


def _of(controls: pd.DataFrame, measure: str) -> pd.DataFrame:
    return controls[controls["measure"] == measure]


def _by_kind(table: pd.DataFrame, ax: Axes, *, per_nat: bool = False) -> None:
    value = "relative_per_nat" if per_nat else "relative"
    if not (table[value] > 0).any():
        ax.set_axis_off()
        return
    plots.controls(table, value=value, ax=ax)


def _random(controls: pd.DataFrame, ax: Axes) -> None:
    """Attention, trained and not, over the same latents."""
    table = _of(controls, "final")
    table = table[table["arm"].isin(["trained", _REPLAYED])]
    table = table[table["kind"].isin(KINDS)]
    if not (table["relative"] > 0).any():
        ax.set_axis_off()
        return
    plots.controls(table.sort_values("arm", ascending=False), style="arm", ax=ax)
    lines = [Line2D([], [], color="0.3", ls=style) for style in ("-", "--")]
    _room_below(ax, 0.35)
    ax.legend(lines, ["trained", "random weights"], loc="lower left", **_TIGHT)


def _captions(controls: pd.DataFrame, ax: Axes) -> None:
    """Change from step to step against the distance to another caption's output."""
    table = controls[controls["branch"] != "uncond"]
    table = table[table["kind"].isin(["cross", "joint"])]
    pairs = zip(table["arm"], table["measure"], strict=True)
    table = table.assign(curve=[_CURVES.get(pair, "") for pair in pairs])
    table = table[table["curve"] != ""]
    if not (table["relative"] > 0).any():
        ax.set_axis_off()
        return
    plots.controls(table, hue="curve", ax=ax)
    _room_below(ax, 0.005)
    handles, labels = ax.get_legend_handles_labels()
    labels = [label.replace(", ", ",\n") for label in labels]
    ax.legend(handles, labels, loc="lower left", **_TIGHT)


def _branches(trained: pd.DataFrame, ax: Axes) -> None:
    table = _of(trained, "branches")
    predicted = table["kind"] == "prediction"
    table = table.assign(
        relative=table["relative"].where(~predicted, table["cosine"]),
        kind=table["kind"].where(~predicted, table["site"]),
    )
    if not (table["relative"] > 0).any():  # without guidance there is one branch
        ax.set_axis_off()
        return
    plots.controls(table, ax=ax)
    handles, labels = ax.get_legend_handles_labels()
    count = table.loc[predicted, "kind"].nunique()  # which come last; the others are known by now
    ax.legend(handles[-count:], labels[-count:], loc="lower left", **_TIGHT)
    _room_below(ax, 0.01)


def _room_below(ax: Axes, factor: float) -> None:
    """Room for a legend under the curves of a logarithmic axis."""
    low, high = ax.get_ylim()
    ax.set_ylim(bottom=low * factor)
    if high / (low * factor) > _WIDE:
        ax.yaxis.set_major_locator(LogLocator())
