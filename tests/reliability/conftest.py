"""How many examples there are: few and always the same in the suite, many others by ``make soak``."""

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

RESULT = Path(__file__).parents[2] / "docs/reliability/bad-input.csv"
_UNHURRIED = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("suite", max_examples=8, derandomize=True, **_UNHURRIED)
settings.register_profile("soak", max_examples=300, print_blob=True, **_UNHURRIED)
_COUNTS = {}


def _profile(config):
    return config.getoption("--hypothesis-profile") or "suite"


def pytest_configure(config):
    settings.load_profile(_profile(config))


@pytest.fixture
def counted():
    """Counts how commands on a kind of bad input ended; asked before anything is asserted."""

    def count(kind, ended):
        found = _COUNTS.setdefault(
            kind, {"kind": kind, "tried": 0, "refused": 0, "harmless": 0, "otherwise": 0}
        )
        found["tried"] += 1
        found[{2: "refused", 0: "harmless"}.get(ended.code, "otherwise")] += 1

    return count


def pytest_sessionfinish(session):
    if _profile(session.config) != "soak" or not _COUNTS:
        return
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(next(iter(_COUNTS.values()))), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_COUNTS.values())
