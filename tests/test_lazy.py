"""Public names of packages load late, and stand in one place."""

import subprocess
import sys
from importlib import import_module
from types import FunctionType

import pytest

PACKAGES = ["attnscope", *(f"attnscope.{room}" for room in
                           ("cost", "metrics", "observers", "plans", "sites"))]  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_loads_and_is_listed(package):
    module = import_module(package)
    assert module.__all__ == dir(module)
    assert len(module.__all__) > 4
    for name in module.__all__:
        found = getattr(module, name)
        if isinstance(found, type | FunctionType):
            assert found.__name__ == name


def test_what_there_is_not_is_named():
    with pytest.raises(
        AttributeError, match=r"module 'attnscope\.plans' has no attribute 'nothing'"
    ):
        _ = import_module("attnscope.plans").nothing


def test_only_what_is_imported_as_itself_is_public(tmp_path, monkeypatch):
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nfrom attnscope.lazy import lazily\n"
        "if TYPE_CHECKING:\n    from math import pi as pi\n    from math import tau\n"
        "    from shown import part as part\n"
        "__getattr__, __dir__, __all__ = lazily(__name__, __file__)\n"
    )
    (tmp_path / "shown" / "part.py").write_text("here = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    shown = import_module("shown")
    assert shown.__all__ == ["part", "pi"]
    assert shown.pi > 3
    assert shown.part.here
    with pytest.raises(AttributeError):
        _ = shown.tau


def test_naming_a_package_loads_no_torch():
    code = "import sys, attnscope.cost, attnscope.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
