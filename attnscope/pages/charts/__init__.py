"""Charts as SVG, from plain values: one sort of chart a file.

What stands in a chart carries ``data-tip`` (what is shown of it when it is pointed at) and ``data-key``
(the row of a table that it leads to); colours are classes, so that a page is light or dark.
"""

from attnscope.pages.charts.dots import Dot, dots
from attnscope.pages.charts.heat import HeatRow, heat
from attnscope.pages.charts.lines import Curve, curves, lines
from attnscope.pages.charts.points import Place, points
from attnscope.pages.charts.schedule import schedule
from attnscope.pages.charts.stacks import Stack, stacks

__all__ = [
    "Curve",
    "Dot",
    "HeatRow",
    "Place",
    "Stack",
    "curves",
    "dots",
    "heat",
    "lines",
    "points",
    "schedule",
    "stacks",
]
