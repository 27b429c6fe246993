"""A module longer than 400 lines or a function longer than 50 is a design question first."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.files import ROOT, product_modules

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50

# What may be longer, with the reason why it reads better whole.
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "orchestrator/sdk/dag.py::__init__": "a line for each argument of a DAG",
    "orchestrator/sdk/operators.py::__init__": "a line for each argument that all tasks have",
}
# A migration is a list of columns that nobody edits again; cutting it up would only hide some.
MIGRATIONS = ROOT / "orchestrator/store/migrations/versions"


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function's name and the lines of its body, the docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) else node.body
            if body:
                assert node.end_lineno is not None
                name = f"{path.relative_to(ROOT)}::{node.name}"
                yield name, node.end_lineno - body[0].lineno + 1


def test_modules_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in product_modules()
    }
    long = {name: lines for name, lines in lengths.items() if lines > MODULE_LINES_MAX}
    assert long.keys() == LONG_MODULES.keys(), long


def test_functions_are_short() -> None:
    modules = [path for path in product_modules() if not path.is_relative_to(MIGRATIONS)]
    lengths = dict(pair for path in modules for pair in function_lengths(path))
    long = {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX}
    assert long.keys() == LONG_FUNCTIONS.keys(), long


def test_the_ruler_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.tidy.test_sizes.ROOT", tmp_path)
    module = tmp_path / "module.py"
    module.write_text('def f():\n    """Doc."""\n    x = 1\n\n    return x\n\n\ndef g(): ...\n')
    assert dict(function_lengths(module)) == {"module.py::f": 3, "module.py::g": 1}
