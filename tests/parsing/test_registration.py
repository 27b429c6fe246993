"""What the store is told about one file."""

from dataclasses import replace

from orchestrator.core.specs import DagSpec, ParamSpec
from orchestrator.parsing.registration import carry_out, judge
from orchestrator.parsing.results import (
    ImportProblem,
    ParsedDag,
    ParsedFile,
    ParseWarning,
    ProblemKind,
    SpecPath,
    WarningKind,
)
from tests.parsing.catalog import MemoryCatalog

BROKEN = ImportProblem(kind=ProblemKind.CRASH, message="a.py: crashed", line=3, stacktrace="stack")


def a_dag(dag_id: str, *, default: int = 0, volatile: tuple[SpecPath, ...] = ()) -> ParsedDag:
    params = (ParamSpec(name="p", has_default=True, default=default),)
    return ParsedDag(
        spec=DagSpec(dag_id=dag_id, tasks=(), params=params), volatile=volatile, line=7
    )


def a_file(*dags: ParsedDag, text: str = "text") -> ParsedFile:
    return ParsedFile(path="a.py", digest="digest", text=text, dags=dags)


def test_a_good_file_is_registered_and_its_error_cleared() -> None:
    catalog = MemoryCatalog(errors={"a.py": ("syntax", "")}, visible={"old": "a.py"})
    carry_out(judge(a_file(a_dag("x"), a_dag("y")), {}), catalog)
    assert catalog.visible == {"x": "a.py", "y": "a.py"}
    assert catalog.errors == {}
    (version,) = catalog.versions["x"]
    assert (version.path, version.source, version.source_digest) == ("a.py", "text", "digest")


def test_told_twice_nothing_more_happens() -> None:
    catalog = MemoryCatalog()
    registration = judge(a_file(a_dag("x")), {})
    carry_out(registration, catalog)
    carry_out(registration, catalog)
    assert len(catalog.versions["x"]) == 1


def test_a_volatile_value_is_no_version_but_another_value_or_text_is() -> None:
    def content_hash(default: int, text: str = "text", *, is_volatile: bool) -> str:
        volatile: tuple[SpecPath, ...] = (("params", 0, "default"),) if is_volatile else ()
        parsed = a_file(a_dag("x", default=default, volatile=volatile), text=text)
        return judge(parsed, {}).versions[0].content_hash

    assert content_hash(1, is_volatile=True) == content_hash(2, is_volatile=True)
    assert content_hash(1, is_volatile=False) != content_hash(2, is_volatile=False)
    assert content_hash(1, is_volatile=True) != content_hash(1, "other", is_volatile=True)


def test_a_broken_file_keeps_its_dags() -> None:
    catalog = MemoryCatalog(visible={"x": "a.py"})
    carry_out(judge(replace(a_file(), error=BROKEN), {}), catalog)
    assert catalog.visible == {"x": "a.py"}
    assert catalog.errors == {"a.py": ("crash", "a.py: crashed")}


def test_a_quarantine_says_when_the_file_is_tried_again() -> None:
    registration = judge(replace(a_file(), error=BROKEN), {}, quarantined_s=600)
    assert registration.error is not None
    assert registration.error.message == (
        "a.py: crashed (so ended every import in a row; the file is tried again when it changes, "
        "or in 10 min)"
    )


def test_a_taken_dag_id_is_an_error_beside_the_files_other_dags() -> None:
    catalog = MemoryCatalog(visible={"x": "b.py"})
    carry_out(judge(a_file(a_dag("x"), a_dag("y")), {"x": "b.py"}), catalog)
    assert catalog.visible == {"x": "b.py", "y": "a.py"}
    kind, message = catalog.errors["a.py"]
    assert kind == "duplicate"
    assert message.startswith("a.py:7: dag_id is taken by another file, which keeps it: 'x' (by b")


def test_a_warning_about_the_file_goes_to_each_dag_and_old_ones_go() -> None:
    catalog = MemoryCatalog(warnings={"x": {"old": "m"}})
    about_file = ParseWarning(kind=WarningKind.LEFT_RUNNING, message="threads")
    about_x = ParseWarning(kind=WarningKind.RUNTIME_VARYING_VALUE, message="now", dag_id="x")
    parsed = replace(a_file(a_dag("x"), a_dag("y")), warnings=(about_file, about_x, about_x))
    carry_out(judge(parsed, {}), catalog)
    assert catalog.warnings == {
        "x": {"left running": "threads", "runtime varying value": "now\nnow"},
        "y": {"left running": "threads"},
    }
