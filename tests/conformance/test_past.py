"""ports.SchedulerTransaction: the run before a run, and that its changes make the later one due."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from orchestrator.core.clearing import RunChange
from orchestrator.core.ids import RunUid, Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Decision, FinishRun, Move
from orchestrator.core.states import RunState, RunType, TaskState
from orchestrator.ports import DueRun, Predecessor, SchedulerTransaction
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.versions import Versions
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld

T = TypeVar("T")
SPEC = a_dag(a_task("a"), a_task("b", "a"), max_active_runs=9)


def a_day(number: int) -> datetime:
    return NOW - timedelta(days=100 - number)


@pytest.fixture
def days(world: StoredWorld) -> Mapping[str, RunUid]:
    """Runs of four days, the third one manual, and one without a date."""
    run_types = {"r1": RunType.SCHEDULED, "r2": RunType.SCHEDULED, "r4": RunType.SCHEDULED}
    for number in (1, 2, 3, 4):
        name = f"r{number}"
        a_run(world, name, number, run_types.get(name, RunType.MANUAL))
    world.started_run(SPEC, "undated")
    with world.store.scheduler.transaction() as transaction:
        transaction.lock_due_runs(10)
    world.write("UPDATE dag_run SET wake_at = NULL")
    return world.runs


def a_run(world: StoredWorld, name: str, number: int, run_type: RunType) -> RunUid:
    return world.started_run(SPEC, name, logical_date=a_day(number), run_type=run_type)


@contextmanager
def locking(world: StoredWorld, uid: RunUid) -> Iterator[tuple[SchedulerTransaction, DueRun]]:
    """Lock one run that is due by now, as a scheduler does."""
    make_due(world, uid)
    with world.store.scheduler.transaction() as transaction:
        yield transaction, next(r for r in transaction.lock_due_runs(10) if r.uid == uid)


def make_due(world: StoredWorld, uid: RunUid) -> None:
    name = next(name for name, known in world.runs.items() if known == uid)
    world.write("UPDATE dag_run SET wake_at = started_at WHERE run_id = :name", name=name)


def look_back(world: StoredWorld, uid: RunUid, *, skips_manual: bool = True) -> Predecessor | None:
    """Have a run look at the one before, and leave it with nothing to do."""
    with locking(world, uid) as (transaction, run):
        before = transaction.lock_predecessor(run, skips_manual=skips_manual)
        transaction.carry_out_decision(run, Decision())
        return before


def due(world: StoredWorld) -> list[str]:
    """Name the runs that are due; from then on they are not."""
    with world.store.scheduler.transaction() as transaction:
        runs = transaction.lock_due_runs(10)
        for run in runs:
            assert run.news == (), "a nudge says nothing"
            transaction.carry_out_decision(run, Decision())
        return sorted(run.run_id for run in runs)


def change(world: StoredWorld, uid: RunUid, decision: Decision) -> None:
    with locking(world, uid) as (transaction, run):
        transaction.carry_out_decision(run, decision)


def elsewhere(act: Callable[[], T]) -> T:
    """Do something as another process would."""
    with ThreadPoolExecutor(max_workers=1) as other:
        return other.submit(act).result(timeout=30)


def a_skip(task_id: str) -> Decision:
    return Decision(moves=(Move(slot=Slot(task_id), event=TaskEvent.RULE_SKIPPED),))


@pytest.mark.parametrize(
    ("name", "skips_manual", "before"),
    [
        ("r1", True, None),
        ("r1", False, None),
        ("r2", True, "r1"),
        ("r4", True, "r2"),
        ("r4", False, "r3"),
        ("r3", True, "r2"),
        ("undated", True, None),
        ("undated", False, None),
    ],
)
def test_s7_the_run_before_goes_by_logical_date(
    world: StoredWorld,
    days: Mapping[str, RunUid],
    name: str,
    skips_manual: bool,
    before: str | None,
) -> None:
    found = look_back(world, days[name], skips_manual=skips_manual)
    assert (found and found.run_id) == before
    assert found is None or (found.uid == days[found.run_id] and found.is_locked)


def test_s7_a_run_that_has_not_started_has_no_instances_yet(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    world.queued_run("r5", logical_date=a_day(5), run_type=RunType.SCHEDULED)
    later = a_run(world, "r6", 6, RunType.SCHEDULED)
    world.write("UPDATE dag_run SET state = 'queued', revision = 0 WHERE run_id = 'r5'")

    before = look_back(world, later)

    assert before is not None
    assert (before.run_id, before.has_instances) == ("r5", False)


def test_the_states_of_some_tasks(world: StoredWorld, days: Mapping[str, RunUid]) -> None:
    change(world, days["r1"], a_skip("a"))
    with world.store.scheduler.transaction() as transaction:
        states = transaction.states_of_tasks(days["r1"], ["a", "gone"])
    assert states == {"a": {TaskState.SKIPPED}}


@pytest.mark.parametrize(
    "finish", [None, FinishRun(state=RunState.FAILED, reason="x")], ids=["goes on", "ends"]
)
def test_a_change_makes_the_next_run_due_that_looks_back(
    world: StoredWorld, days: Mapping[str, RunUid], finish: FinishRun | None
) -> None:
    look_back(world, days["r2"])
    look_back(world, days["r4"])

    change(world, days["r1"], replace(a_skip("a"), finish=finish))

    assert due(world) == ["r2"]
    assert due(world) == []


def test_what_comes_between_and_is_manual_hides_nothing(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    for name in ("r3", "r4"):
        look_back(world, days[name])

    change(world, days["r2"], a_skip("a"))
    assert due(world) == ["r3", "r4"]
    change(world, days["r3"], a_skip("a"))
    assert due(world) == ["r4"]


def test_a_decision_that_changes_nothing_and_runs_that_do_not_look_back_are_left_alone(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    look_back(world, days["r2"])
    change(world, days["r1"], Decision(wake_at=NOW + timedelta(days=9999)))
    assert due(world) == []
    change(world, days["r2"], a_skip("a"))
    assert due(world) == []


def test_a_report_of_a_worker_reaches_the_next_run_through_the_decision_on_it(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    look_back(world, days["r2"])
    world.schedule(days["r1"], "a")
    assert due(world) == ["r2"]
    (message,) = world.claim()
    assignment = world.start(message)
    assert assignment is not None
    world.finish(assignment)

    with world.store.scheduler.transaction() as transaction:
        (run,) = transaction.lock_due_runs(10)
        transaction.carry_out_decision(run, Decision())
    assert due(world) == ["r2"]


def test_a_run_that_somebody_else_decides_is_not_waited_for(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    if world.store.database.is_sqlite:
        return  # there is one writer at a time
    look_back(world, days["r2"])
    make_due(world, days["r1"])
    with world.store.scheduler.transaction() as other:
        (changing,) = other.lock_due_runs(10)
        assert changing.uid == days["r1"]
        busy = elsewhere(lambda: look_back(world, days["r2"]))
        other.carry_out_decision(changing, a_skip("a"))
    assert busy == Predecessor(uid=days["r1"])
    assert due(world) == ["r2"]


def test_who_is_looked_at_is_not_changed_meanwhile(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    if world.store.database.is_sqlite:
        return  # there is one writer at a time
    make_due(world, days["r1"])
    with locking(world, days["r2"]) as (looking, run):
        before = looking.lock_predecessor(run, skips_manual=True)
        assert before is not None
        assert before.is_locked
        assert elsewhere(lambda: due(world)) == []
    assert due(world)[:1] == ["r1"]


def test_s7_what_a_person_marks_reaches_the_next_run(
    world: StoredWorld, days: Mapping[str, RunUid]
) -> None:
    change(world, days["r1"], Decision(finish=FinishRun(state=RunState.FAILED, reason="x")))
    look_back(world, days["r2"])
    clearing = SqlClearing(world.store.database, Versions(world.store.database))
    succeeded = Move(slot=Slot("a"), event=TaskEvent.MARKED_SUCCESS)

    clearing.change(days["r1"], lambda run: RunChange(moves=(succeeded,)))

    assert due(world) == ["r2"]
