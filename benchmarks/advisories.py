"""Known vulnerabilities of what the sets of constraints pin, out of a copy of the PyPA's advisory database.

    git clone --depth 1 https://github.com/pypa/advisory-database
    python benchmarks/advisories.py advisory-database

For machines that do not reach the services that ``make audit`` asks, which know more: this database is one of
theirs. Ends with 1 where an advisory touches a pinned release.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
_PINNED = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def pinned(path: Path) -> dict[str, Version]:
    """The releases that a file of constraints pins, by normal name."""
    found = _PINNED.findall(path.read_text("utf-8"))
    return {canonicalize_name(name): Version(release) for name, release in found}


def touches(affected: dict, release: Version) -> bool:
    """Whether an advisory's entry names a release, or a range of releases that it lies in."""
    if str(release) in affected.get("versions", ()):
        return True
    ranges = [each for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]
    return any(_within(each["events"], release) for each in ranges)


def _within(events: list[dict[str, str]], release: Version) -> bool:
    inside = False
    for event in sorted(events, key=lambda event: Version(*event.values())):
        ((what, at),) = event.items()
        if what == "introduced":
            inside |= release >= Version(at)
        elif what == "fixed":
            inside &= release < Version(at)
        elif what == "last_affected":
            inside &= release <= Version(at)
    return inside


def advisories(folder: Path) -> Iterator[tuple[str, str, dict]]:
    """Number, package and entry of every advisory that was not taken back."""
    for path in sorted((folder / "vulns").rglob("*.yaml")):
        told = yaml.safe_load(path.read_text("utf-8"))
        if "withdrawn" not in told:
            for affected in told.get("affected", ()):
                yield told["id"], canonicalize_name(affected["package"]["name"]), affected


def main() -> None:
    """Print how many advisories touch each set, and which."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    known = list(advisories(folder))
    if not known:
        parser.error(f"{folder / 'vulns'} holds no advisories: give a clone of the database")
    hits = 0
    for path in sorted(ROOT.glob("constraints*.txt")):
        releases = pinned(path)
        about = [each for each in known if each[1] in releases]
        found = [each for each in about if touches(each[2], releases[each[1]])]
        hits += len(found)
        print(f"{path.name}: {len(releases)} releases, {len(about)} advisories, {len(found)} touch")
        for number, package, _ in found:
            print(f"  {number}: {package} {releases[package]}")
    raise SystemExit(bool(hits))


if __name__ == "__main__":
    main()
