"""Which faults would the tests let pass? Mutants of a module, and those that survive its tests.

    nice python benchmarks/mutants.py plans.base

A mutant is the module with one small fault: a number off by one, a comparison turned round, a
statement left out. cosmic-ray makes them. It would start a process for each, and import torch and
diffusers in it for longer than the tests take; here one process imports what the tests need but
attnscope, and forks for every mutant. The mutant exists in the fork's memory alone: no file changes,
so a run can be stopped at any time, and others can work beside it.

Which tests a module has to answer to stands in ``[tool.mutants]`` in pyproject.toml: those that take
seconds. What survives is a missing test, or a mutant that does what the module does.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import functools
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import parso
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
LEAST_SECONDS = 10.0
"""Of the processor, before a mutant counts as one that does not end; and five times what the tests take."""
TURNED = {
    "BinaryOperator": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_FloorDiv Pow_Mul",
    "ComparisonOperator": "Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt "
    "Eq_NotEq Eq_LtE Eq_GtE NotEq_Eq Is_IsNot IsNot_Is",
    "UnaryOperator": "Delete_Not Delete_USub Delete_Invert",
}
"""Of the 180 ways in which cosmic-ray puts one operator for another, those that are hardest to see."""
BROKEN = ("ExceptionReplacer",)
"""Operators of cosmic-ray 8.7 that fail on valid code: on ``except (A, B)`` with a dotted name in it."""
OPPOSITES = {"min": "max", "any": "all", "argmin": "argmax"}


class Opposite(Operator):
    """Calls ``max`` for ``min`` and the like."""

    names = OPPOSITES | {there: here for here, there in OPPOSITES.items()}

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Names of functions that have an opposite, where they are called."""
        if node.type == "name" and node.value in self.names:
            following = node.get_next_leaf()
            if following is not None and following.value == "(":
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The opposite in its place."""
        node.value = self.names[node.value]
        return node

    @classmethod
    def examples(cls) -> Sequence[Any]:
        """None: cosmic-ray's own tests do not see this operator."""
        return ()


class LeftOut(Operator):
    """Leaves out a call made for its effect, a ``del``, a ``raise``, or an assignment to an attribute or item."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Such statements."""
        if node.type in ("del_stmt", "raise_stmt") or _acts(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """``pass`` in its place."""
        return parso.parse(node.get_first_leaf().prefix + "pass")

    @classmethod
    def examples(cls) -> Sequence[Any]:
        """None: cosmic-ray's own tests do not see this operator."""
        return ()


def _acts(node: Any) -> bool:
    if node.parent is None or node.parent.type != "simple_stmt":
        return False
    target = node.children[0] if node.type == "expr_stmt" else node
    return target.type in ("atom_expr", "power") and (target is not node or _is_call(node))


def _is_call(node: Any) -> bool:
    return node.children[-1].type == "trailer" and node.children[-1].children[0].value == "("


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Args:
        number: from 1, the same in every run while the module is the same.
        operator: that made it.
        source: of the whole module.
    """

    number: int
    operator: str
    source: str

    def shown(self, original: str) -> str:
        """The lines that differ."""
        lines = difflib.unified_diff(
            original.split("\n"), self.source.split("\n"), n=0, lineterm=""
        )
        return "\n".join([f"#{self.number} {self.operator}", *list(lines)[2:]])


def mutants(original: str) -> Iterator[Mutant]:
    """Every mutant of a source once, without those that differ in annotations alone."""
    tree, seen = get_ast(original), {_meaning(original)}
    for name, operator in _operators():
        count = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(tree))
        for occurrence in range(count):
            source = mutate_code(original, operator, occurrence)
            meaning = source and _meaning(source)
            if meaning and meaning not in seen:
                seen.add(meaning)
                yield Mutant(len(seen) - 1, name, source)


def _operators() -> Iterator[tuple[str, Operator]]:
    turned = {f"Replace{kind}_{pair}" for kind, all_ in TURNED.items() for pair in all_.split()}
    for name in operator_names():
        short = name.removeprefix("core/")
        made = get_operator(name)
        usable = not made.arguments() and short not in BROKEN
        if usable and ("Operator_" not in short or short in turned):
            yield short, made()
    yield "Opposite", Opposite()
    yield "LeftOut", LeftOut()


def _meaning(source: str) -> str | None:
    """What a source says apart from its annotations, which are never evaluated here."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.Compare) and _is_text(node.comparators[0]):
            ordered = (ast.LtE, ast.GtE)  # of names, where only equality has a meaning
            node.ops = [ast.Eq() if isinstance(op, ordered) else op for op in node.ops]
        elif isinstance(node, ast.arguments):  # "*" and "/" say how to call, not what is done
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
            node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
    return ast.dump(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


class _Finder:
    """Gives a module another source than its file's."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, _Loader(name, str(self.path), self.source))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


def forked(work: Callable[[], int], seconds: float, *, quiet: bool = True) -> str:
    """Do something in a copy of this process: survived if it returns 0, killed, or timed out.

    Args:
        work: what to do.
        seconds: of the processor that it may take; by the clock ten times as many.
        quiet: whether to throw away what it prints.
    """
    child = os.fork()
    if not child:
        _in_the_fork(work, int(seconds) + 1, quiet)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests started and did not end
    if os.WIFSIGNALED(status):
        late = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM)
        return "timed out" if late else "killed"
    return "killed" if os.WEXITSTATUS(status) else "survived"


def _in_the_fork(work: Callable[[], int], seconds: int, quiet: bool) -> None:
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        signal.alarm(10 * seconds)
        if quiet:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def tested(tests: Sequence[str], finder: _Finder | None) -> int:
    """Run the tests until the first that fails; 0 if none does."""
    if finder is not None:
        sys.meta_path.insert(0, finder)
    return int(pytest.main(["-x", "-p", "no:cacheprovider", "--durations=0", *tests]))


def warm(tests: Sequence[str]) -> None:
    """Run the tests once and import what they imported."""
    with tempfile.NamedTemporaryFile("r+") as told:

        def first() -> int:
            code = tested(tests, None)
            Path(told.name).write_text(json.dumps(_installed_modules()))
            return code

        if forked(first, 3600, quiet=False) != "survived":
            raise SystemExit("the tests fail on the module as it is")
        for name in json.loads(told.read()):
            with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
                importlib.import_module(name)
    gc.freeze()  # so that a fork's collector leaves shared pages alone


def _installed_modules() -> list[str]:
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if file and "site-packages" in file]


def seconds_of(tests: Sequence[str], finder: _Finder) -> float:
    """Seconds of the processor that the tests take on the module as it is, in a fork as for mutants."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if forked(functools.partial(tested, tests, finder), 3600, quiet=False) != "survived":
        raise SystemExit("the tests fail in a fork, so they would say that every mutant is killed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Parse, run, print what survives and the count."""
    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="+", metavar="MODULE", help=", ".join(chosen))
    parser.add_argument("--only", help="numbers of mutants, as in 3,17")
    options = parser.parse_args()
    unknown = [module for module in options.modules if module not in chosen]
    if unknown:
        parser.error(f"no tests are chosen for {', '.join(unknown)} (choose {', '.join(chosen)})")
    os.chdir(ROOT)
    # Plugins of pytest that were imported before it starts cannot be rewritten, and it warns of them.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(ROOT))
    for module in options.modules:
        only = {int(number) for number in options.only.split(",")} if options.only else None
        judge(module, chosen[module], only)


def judge(module: str, tests: Sequence[str], only: set[int] | None) -> None:
    """Print a module's surviving mutants and how many there were.

    Args:
        module: dotted, below attnscope.
        tests: arguments for pytest.
        only: numbers of mutants; ``None`` is all.
    """
    start = time.monotonic()
    path = ROOT / "attnscope" / f"{module.replace('.', '/')}.py"
    original = path.read_text()
    warm(tests)
    instead = functools.partial(_Finder, f"attnscope.{module}", path)
    seconds = max(LEAST_SECONDS, 5 * seconds_of(tests, instead(original)))
    counts: Counter[str] = Counter()
    for mutant in mutants(original):
        if only is not None and mutant.number not in only:
            continue
        became = forked(functools.partial(tested, tests, instead(mutant.source)), seconds)
        counts[became] += 1
        if became != "killed":
            print(f"\n{became}: {mutant.shown(original)}", flush=True)
    minutes = (time.monotonic() - start) / 60
    print(f"\n{module}: {counts.total()} mutants, " + ", ".join(
        f"{counts[became]} {became}" for became in ("killed", "survived", "timed out")
    ) + f" in {minutes:.1f} minutes", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
