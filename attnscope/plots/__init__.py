"""Axes-level plots for papers: each takes a tidy table and an axes, and returns the axes.

Saving belongs to the caller. Tables that mix what is not to be averaged are refused. For a figure that goes straight into a paper::

    with attnscope.plots.paper_style():
        ax = attnscope.plots.convergence(table)
        ax.figure.savefig("figure2.pdf")

Nothing here needs torch.
"""

from attnscope.plans.display import ACTION_COLORS
from attnscope.plots.ablation import (
    MOST_ARMS,
    TRAJECTORY_COLORS,
    TRAJECTORY_MARKERS,
    arm_looks,
    by_arm,
    by_gate,
    math_name,
    noise_mean,
)
from attnscope.plots.costs import (
    cost_attribution,
    cost_scaling,
)
from attnscope.plots.curves import (
    BRANCH_COLORS,
    CURVE_COLORS,
    METRIC_LABELS,
    controls,
    convergence,
    convergence_by_site,
    convergence_heatmap,
)
from attnscope.plots.features import (
    feature_colors,
    feature_maps,
)
from attnscope.plots.fronts import (
    fronts,
)
from attnscope.plots.images import (
    image_grid,
)
from attnscope.plots.maps import (
    attention_entropy,
    head_map,
    is_added,
    word_maps,
)
from attnscope.plots.points import (
    point_maps,
)
from attnscope.plots.schedule import (
    plan,
)
from attnscope.plots.style import (
    COLUMN_WIDTH,
    KIND_COLORS,
    SMALLEST_TEXT,
    TEXT_WIDTH,
    legend_above,
    letter,
    once,
    paper_style,
    wrapped,
)
from attnscope.plots.times import (
    frontier,
    saved_alone,
    time_breakdown,
)
from attnscope.plots.tuning import (
    candidates,
    stale_modules,
    staleness,
)
from attnscope.sites.names import short_site

__all__ = [
    "ACTION_COLORS",
    "BRANCH_COLORS",
    "COLUMN_WIDTH",
    "CURVE_COLORS",
    "KIND_COLORS",
    "METRIC_LABELS",
    "MOST_ARMS",
    "SMALLEST_TEXT",
    "TEXT_WIDTH",
    "TRAJECTORY_COLORS",
    "TRAJECTORY_MARKERS",
    "arm_looks",
    "attention_entropy",
    "by_arm",
    "by_gate",
    "candidates",
    "controls",
    "convergence",
    "convergence_by_site",
    "convergence_heatmap",
    "cost_attribution",
    "cost_scaling",
    "feature_colors",
    "feature_maps",
    "frontier",
    "fronts",
    "head_map",
    "image_grid",
    "is_added",
    "legend_above",
    "letter",
    "math_name",
    "noise_mean",
    "once",
    "paper_style",
    "plan",
    "point_maps",
    "saved_alone",
    "short_site",
    "stale_modules",
    "staleness",
    "time_breakdown",
    "word_maps",
    "wrapped",
]
