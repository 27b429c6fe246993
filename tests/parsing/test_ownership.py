"""Which file has a dag_id that two define."""

import pytest

from orchestrator.core.specs import DagSpec
from orchestrator.parsing.ownership import Ownership, Ruling
from orchestrator.parsing.results import ParsedDag, ParsedFile

FILES = ("a.py", "b.py", "c.py")


def a_file(path: str, *dag_ids: str) -> ParsedFile:
    dags = tuple(ParsedDag(spec=DagSpec(dag_id=dag_id, tasks=())) for dag_id in dag_ids)
    return ParsedFile(path=path, digest="", text="", dags=dags)


class Owners(dict[str, str]):
    """Who the store says owns each DAG; `rule` registers as the service does."""

    def rule(
        self, ownership: Ownership, parsed: ParsedFile, files: tuple[str, ...] = FILES
    ) -> Ruling:
        ruling = ownership.rule(parsed, owner_of=self.get, dag_files=files)
        defined = {dag.spec.dag_id for dag in parsed.dags} - ruling.rivals.keys()
        for dag_id, path in list(self.items()):
            if path == parsed.path and dag_id not in defined:
                del self[dag_id]
        self.update(dict.fromkeys(defined, parsed.path))
        return ruling


@pytest.fixture
def owners() -> Owners:
    return Owners()


def settled() -> Ownership:
    ownership = Ownership()
    ownership.end_first_scan()
    return ownership


def test_whoever_has_it_keeps_it(owners: Owners) -> None:
    ownership = settled()
    owners.rule(ownership, a_file("b.py", "x"))
    assert owners.rule(ownership, a_file("a.py", "x", "y")) == Ruling(rivals={"x": "b.py"})
    assert owners == {"x": "b.py", "y": "a.py"}


def test_whoever_had_it_before_a_restart_keeps_it(owners: Owners) -> None:
    owners["x"] = "b.py"
    assert owners.rule(Ownership(), a_file("a.py", "x")) == Ruling(rivals={"x": "b.py"})


def test_of_files_that_come_together_the_first_by_path_has_it(owners: Owners) -> None:
    ownership = Ownership()
    owners.rule(ownership, a_file("b.py", "x"))
    ruling = owners.rule(ownership, a_file("a.py", "x"))
    assert ruling == Ruling(reconsider=frozenset({"b.py"}))
    assert owners.rule(ownership, a_file("b.py", "x")) == Ruling(rivals={"x": "a.py"})
    assert owners.rule(ownership, a_file("c.py", "x")) == Ruling(rivals={"x": "a.py"})


def test_a_renamed_file_takes_its_dags_along(owners: Owners) -> None:
    ownership = settled()
    owners.rule(ownership, a_file("a.py", "x"))
    ownership.forget("a.py")
    assert owners.rule(ownership, a_file("b.py", "x"), files=("b.py",)) == Ruling()
    assert owners == {"x": "b.py"}


def test_the_one_turned_down_is_asked_when_the_owner_lets_go(owners: Owners) -> None:
    ownership = settled()
    owners.rule(ownership, a_file("a.py", "x"))
    owners.rule(ownership, a_file("b.py", "x"))
    ruling = owners.rule(ownership, a_file("a.py", "y"))
    assert ruling == Ruling(reconsider=frozenset({"b.py"}))
    assert owners.rule(ownership, a_file("b.py", "x")) == Ruling()
    assert ownership.forget("b.py") == frozenset()


def test_or_when_the_owner_is_deleted(owners: Owners) -> None:
    ownership = settled()
    owners.rule(ownership, a_file("a.py", "x"))
    owners.rule(ownership, a_file("b.py", "x"))
    assert ownership.forget("a.py") == {"b.py"}


def test_an_owner_not_parsed_yet_is_believed(owners: Owners) -> None:
    owners["x"] = "c.py"
    ownership = Ownership()
    assert owners.rule(ownership, a_file("a.py", "x")) == Ruling(rivals={"x": "c.py"})
    assert owners.rule(ownership, a_file("c.py", "z")) == Ruling(reconsider=frozenset({"a.py"}))
    assert owners.rule(ownership, a_file("a.py", "x")) == Ruling()
    assert owners == {"x": "a.py", "z": "c.py"}
