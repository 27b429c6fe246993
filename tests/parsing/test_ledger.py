"""When each file is looked at again."""

import pytest

from orchestrator.parsing.discovery import Listing
from orchestrator.parsing.ledger import Ledger, Observed
from orchestrator.parsing.results import ImportProblem, ParsedFile, ProblemKind

ONE, TWO = (1, 10, 7), (2, 10, 7)


def a_result(
    path: str = "a.py",
    kind: ProblemKind | None = None,
    *,
    digest: str = "d",
    dependencies: tuple[str, ...] = (),
    duration_s: float = 0.02,
) -> ParsedFile:
    return ParsedFile(
        path=path,
        digest=digest,
        text="",
        error=ImportProblem(kind=kind, message="m") if kind else None,
        dependencies=dependencies,
        duration_s=duration_s,
    )


def a_ledger(*paths: str) -> Ledger:
    ledger = Ledger(reparse_s=300)
    ledger.observe(Listing(files=dict.fromkeys(paths or ("a.py",), ONE)))
    return ledger


def test_what_comes_changes_and_goes() -> None:
    ledger = Ledger(reparse_s=300)
    a, b = frozenset({"a.py"}), frozenset({"b.py"})
    assert ledger.observe(Listing(files={"a.py": ONE})) == Observed(changed=a, added=a)
    assert ledger.observe(Listing(files={"a.py": ONE})) == Observed()
    assert ledger.observe(Listing(files={"a.py": TWO})) == Observed(changed=a)
    assert ledger.observe(Listing(files={"b.py": ONE})) == Observed(changed=b, added=b, gone=a)


def test_what_is_below_an_unreadable_folder_is_not_gone() -> None:
    ledger = a_ledger("a.py", "team/b.py")
    listing = Listing(files={"a.py": ONE}, unreadable=("team/",))
    assert ledger.observe(listing) == Observed()
    assert ledger.dag_files == {"a.py", "team/b.py"}


def test_a_good_file_is_imported_again_after_a_while() -> None:
    ledger = a_ledger()
    assert ledger.note_parsed(a_result(), now=1000) is None
    assert ledger.next_due_at() == 1300
    assert ledger.take_due(1299) == frozenset()
    assert ledger.take_due(1300) == {"a.py"}
    assert ledger.take_due(1300) == frozenset()


def test_importing_again_takes_a_fiftieth_of_the_time_at_most() -> None:
    ledger = a_ledger("a.py", "b.py")
    ledger.note_parsed(a_result("a.py", duration_s=20), now=0)
    ledger.note_parsed(a_result("b.py", duration_s=20), now=0)
    assert ledger.take_due(1999) == {"a.py"}
    assert ledger.next_due_at() == 2000


def test_a_broken_file_is_tried_again_ever_later() -> None:
    ledger = a_ledger()
    waits = []
    for _ in range(7):
        assert ledger.note_parsed(a_result(kind=ProblemKind.EXCEPTION), now=0) is None
        waits.append(ledger.next_due_at())
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_a_syntax_error_waits_for_a_change() -> None:
    ledger = a_ledger()
    ledger.note_parsed(a_result(kind=ProblemKind.SYNTAX), now=0)
    assert ledger.next_due_at() is None


@pytest.mark.parametrize(
    "kind", [ProblemKind.CRASH, ProblemKind.TIMEOUT, ProblemKind.MEMORY, ProblemKind.EXIT]
)
def test_three_crashes_unchanged_are_a_quarantine(kind: ProblemKind) -> None:
    ledger = a_ledger()
    quarantines = [ledger.note_parsed(a_result(kind=kind), now=0) for _ in range(5)]
    assert quarantines == [None, None, 600, 1200, 2400]
    assert ledger.next_due_at() == 2400
    assert ledger.note_parsed(a_result(kind=kind, digest="changed"), now=0) is None
    assert ledger.next_due_at() == 30


def test_a_quarantine_lasts_six_hours_at_most() -> None:
    ledger = a_ledger()
    for _ in range(50):
        wait_s = ledger.note_parsed(a_result(kind=ProblemKind.CRASH), now=0)
    assert wait_s == 6 * 3600


def test_dependents_of_a_file_and_of_a_folder() -> None:
    ledger = a_ledger("a.py", "b.py", "c.py")
    ledger.note_parsed(a_result("a.py", dependencies=("lib/x.py",)), now=0)
    ledger.note_parsed(a_result("b.py", dependencies=("tables/",)), now=0)
    assert ledger.dependents({"lib/x.py"}) == {"a.py"}
    assert ledger.dependents({"tables/new.json"}) == {"b.py"}
    assert ledger.dependents({"lib/y.py", "tables.py"}) == frozenset()


def test_a_changed_dependency_is_seen_without_a_watch() -> None:
    ledger = a_ledger("a.py")
    ledger.note_parsed(a_result(dependencies=("x.py",)), now=0)
    assert ledger.observe_dependencies({"x.py": None}) == frozenset()
    assert ledger.observe_dependencies({"x.py": ONE}) == {"a.py"}
    assert ledger.observe_dependencies({"x.py": ONE}) == frozenset()


def test_a_file_that_is_no_dag_file_any_more() -> None:
    ledger = a_ledger("a.py", "helper.py")
    assert ledger.note_no_dag_file("helper.py") is True  # until now it might have been one
    assert ledger.note_no_dag_file("helper.py") is False
    assert ledger.dag_files == {"a.py"}
    ledger.note_parsed(a_result("a.py"), now=0)
    assert ledger.note_no_dag_file("a.py") is True
    assert ledger.next_due_at() is None
