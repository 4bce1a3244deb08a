"""The rooms of the house build on one another in one direction."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import attnscope

ROOT = Path(attnscope.__file__).parent
FLOORS = [
    {"errors"},
    {
        "tables",
        "files",
        "lazy",
        "documents",
        "notices",
        "kinds",
        "html_tables",
        "plain",
        "versions",
    },
    {"images", "captions", "families"},
    {"videos"},
    {"plans", "sites"},
    {"models"},
    {"hooks", "runs", "cost"},
    {"observers", "shapes", "plots"},
    {"metrics"},
    {"figures", "analyses", "intervals"},
    {"pages"},
    {"cli"},
    {"__main__", "__init__"},
]
"""From the ground up: a room may import what stands below it, and itself."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PRINTERS = ("results.print", "messages.print")


def room(module):
    """The room of a dotted name such as ``attnscope.hooks.trace``; of the package, its own init."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(path):
    """Modules of attnscope that a file imports, anywhere in it, and on which line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "attnscope":
            names = [f"attnscope.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name.split(".")[0] == "attnscope")


def files():
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def test_no_two_files_of_tests_share_a_name():
    """Pytest imports them by name alone: the second would stop the whole suite."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


def test_every_room_has_its_floor():
    rooms = {path.parts[0].removesuffix(".py") for path in files()}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("path", files(), ids=str)
def test_no_file_imports_from_a_room_above_or_beside_its_own(path):
    here = path.parts[0].removesuffix(".py")
    wrong = [
        f"line {line}: {module}"
        for module, line in imported(ROOT / path)
        if room(module) in FLOOR and room(module) != here and FLOOR[room(module)] >= FLOOR[here]
    ]
    assert not wrong, f"attnscope/{path} imports from rooms that do not stand below it: {wrong}"


def broken_by_the_terminal(path):
    """Lines that print a sentence that the width of a terminal, or 80 columns in a pipe, would break."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTERS:
            with_values = any(isinstance(part, ast.JoinedStr) for part in ast.walk(node))
            if with_values and not any(keyword.arg == "soft_wrap" for keyword in node.keywords):
                yield node.lineno


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_a_printed_sentence_with_values_in_it_stays_one_line_to_search_for(path):
    assert list(broken_by_the_terminal(path)) == []
