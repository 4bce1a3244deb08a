"""Make the paper's figures and tables on the models in the box, and write ``docs/paper.md`` of them.

    python benchmarks/paper.py                         all that is not in runs/paper yet, then the page
    python benchmarks/paper.py table2 --limit 40       one of them
    python benchmarks/paper.py --page                  the page alone, of what there is in runs/paper

What is finished in the folder of runs is not made again. One that fails is named, and others go on.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from attnscope.analyses.paper.items import items
from attnscope.analyses.paper.page import keep, page
from attnscope.runs.contents import is_finished
from attnscope.runs.folder import Run

ROOT = Path(__file__).parent.parent
DOCUMENT, KEPT = ROOT / "docs/paper.md", ROOT / "docs/paper"


def made(name: str, runs: Path, limit: int | None) -> None:
    """Make a figure or table, unless it is there."""
    path = runs / name
    if (path / "run.json").exists() and is_finished(Run(path)):
        return
    more = [] if limit is None else ["--limit", str(limit)]
    line = [sys.executable, "-m", "attnscope", "paper", name, "--out", str(path), *more]
    if subprocess.run(line, check=False).returncode:
        print(f"{name} was not made", file=sys.stderr)


def main() -> None:
    """Make what was asked for, keep it, write the page."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="figures and tables; all if none is named")
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"), help="folder of runs")
    parser.add_argument("--limit", type=int, help="captions of each")
    parser.add_argument("--page", action="store_true", help="make nothing: write the page alone")
    asked = parser.parse_args()
    names = asked.names or [name for name, item in items().items() if item.parts]
    for name in names:
        if not asked.page:
            made(name, asked.runs, asked.limit)
        path = asked.runs / name
        if (path / "run.json").exists() and is_finished(Run(path)):
            keep(Run(path), KEPT)
    DOCUMENT.write_text(page(KEPT), "utf-8")


if __name__ == "__main__":
    main()
