"""What ``--plan`` takes, for the help of the commands that have it."""

from __future__ import annotations

from attnscope.plan import PLANS

TEXT = (
    f"Another trajectory: {', '.join(name for name in PLANS if name != 'tgate')}, with its values, "
    "such as cross-reuse:m=10; several with +."
)
