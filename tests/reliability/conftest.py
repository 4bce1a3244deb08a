"""How many examples there are: few and always the same in the suite, many others by ``make soak``."""

import pytest
from hypothesis import HealthCheck, settings

_UNHURRIED = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("suite", max_examples=20, derandomize=True, **_UNHURRIED)
settings.register_profile("soak", max_examples=400, print_blob=True, **_UNHURRIED)


def pytest_configure(config):
    settings.load_profile(config.getoption("--hypothesis-profile") or "suite")


_COUNTS = {}


@pytest.fixture
def counted():
    """Counts how a command of a kind of bad input ended."""

    def count(kind, ended):
        found = _COUNTS.setdefault(kind, {"tried": 0, "refused": 0})
        found["tried"] += 1
        found["refused"] += ended.code == 2

    return count
