"""docs/semantics.md: every statement names the tests that prove it, and there are such tests."""

import ast
import re

from tests.tidy.files import ROOT

PAGE = (ROOT / "docs" / "semantics.md").read_text()
STATEMENT = re.compile(
    r"^- \*\*(S\d+\.\d+)(?: \(ours\))?\*\* (.*?)(?=^- \*\*S|^## |\Z)", re.M | re.S
)
TEST = re.compile(r"`(test_\w+)`")


def statements() -> list[tuple[str, str]]:
    return [(match.group(1), match.group(2)) for match in STATEMENT.finditer(PAGE)]


def known_tests() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def test_statements_are_numbered_in_order() -> None:
    numbers = [tuple(map(int, name[1:].split("."))) for name, _ in statements()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == PAGE.count("\n- **S")


def test_every_statement_names_a_test() -> None:
    assert [name for name, text in statements() if not TEST.search(text)] == []


def test_every_test_that_is_named_exists() -> None:
    known = known_tests()
    unknown = {(name, test) for name, text in statements() for test in TEST.findall(text)}
    assert {(name, test) for name, test in unknown if test not in known} == set()


def test_every_test_that_is_named_after_a_statement_is_of_one_that_stands_here() -> None:
    sections = {name.split(".")[0][1:] for name, _ in statements()}
    named = {match for test in known_tests() for match in re.findall(r"^test_s(\d+)_", test)}
    assert named - sections == set()
