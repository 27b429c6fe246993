"""A try that gives its worker back goes on later: one try, one record, however often it does."""

import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Instance, Move
from orchestrator.core.states import TaskState
from tests.builders import a_dag
from tests.store.world import StoredWorld

LATER = Conclusion(event=TaskEvent.WILL_RESCHEDULE, reason="not there yet", retry_in_s=60.0)
RETRY = Conclusion(event=TaskEvent.WILL_RETRY, reason="boom", retry_in_s=0.0)


def goes_on(world: StoredWorld, assignment: Assignment, *, worker: str = "w1") -> Assignment:
    """Start what waits, as the scheduler and a worker do when its time has come."""
    world.schedule(assignment.run.uid, "a")
    (message,) = world.claim()
    started = world.start(message, worker=worker)
    assert started is not None
    return started


def attempts(world: StoredWorld) -> list[tuple[object, ...]]:
    rows = world.rows("SELECT try_number, epoch, state, worker FROM attempt ORDER BY epoch")
    return [tuple(row) for row in rows]


def test_s16_a_try_that_waits_for_its_next_look_has_news_and_no_record(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    assert assignment.began_at == assignment.started_at

    assert world.finish(assignment, LATER, xcoms={"k": 1})

    row = world.instance(assignment.ti_id)
    assert (row.state, row.reason, row.try_number) == ("up_for_reschedule", "not there yet", 1)
    assert (row.ended_at, row.lease_owner, row.lease_until) == (None, None, None)
    assert (row.eligible_at - assignment.started_at).total_seconds() == pytest.approx(60, abs=5)
    waiting = Instance(state=TaskState.UP_FOR_RESCHEDULE, epoch=1, eligible_at=row.eligible_at)
    assert world.due(assignment.run.uid).news == ((Slot("a"), waiting),)
    assert attempts(world) == []
    assert world.store.worker.beat("w1", lease_s=60) == frozenset()


def test_s8_a_try_that_goes_on_is_not_counted_again(world: StoredWorld) -> None:
    (first,) = world.running(a_dag())
    world.finish(first, LATER, xcoms={"k": "old"})
    second = goes_on(world, first, worker="w2")
    world.finish(second, LATER, worker="w2")
    third = goes_on(world, first)

    assert [(one.epoch, one.try_number) for one in (first, second, third)] == [
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    assert third.began_at == first.started_at
    assert third.started_at > first.started_at
    assert world.rows("SELECT 1 FROM xcom") == [], "each start forgets them"

    assert world.finish(third)
    assert attempts(world) == [(1, 3, "success", "w1")]
    (attempt,) = world.rows("SELECT * FROM attempt")
    row = world.instance(first.ti_id)
    assert row.started_at == first.started_at, "it took from its first look to its last"
    assert row.began_at is None
    assert attempt.ended_at is not None


def test_s16_a_retry_begins_a_new_try(world: StoredWorld) -> None:
    (first,) = world.running(a_dag())
    world.finish(first, LATER)
    second = goes_on(world, first)
    world.finish(second, RETRY)

    third = goes_on(world, first)

    assert third.try_number == 2
    assert third.began_at == third.started_at
    assert attempts(world) == [(1, 2, "up_for_retry", "w1")]


def test_a_repeated_report_is_recognized_also_after_its_time_has_come(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    assert world.finish(assignment, LATER)
    assert world.finish(assignment, LATER)
    assert not world.finish(assignment), "it has said something else"
    world.schedule(assignment.run.uid, "a")
    assert world.finish(assignment, LATER)
    world.claim()
    assert not world.finish(assignment, LATER), "it is somebody else's now"


def test_a_lost_look_ends_the_try_that_it_was_part_of(world: StoredWorld) -> None:
    (first,) = world.running(a_dag())
    world.finish(first, LATER)
    second = goes_on(world, first)
    world.store.worker.sign_off_worker("w1")
    world.store.scheduler.reap(infra_tries_max=3, limit=10)

    row = world.instance(first.ti_id)
    assert (row.state, row.began_at, row.started_at) == ("up_for_retry", None, first.started_at)
    assert attempts(world) == [(1, 2, "up_for_retry", "w1")]
    third = goes_on(world, first)
    assert (third.try_number, third.began_at) == (2, third.started_at)
    assert not world.finish(second)


def test_a_try_taken_away_between_two_looks_has_its_record(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.finish(assignment, LATER)
    uid = assignment.run.uid

    world.decide(uid, Move(slot=Slot("a"), event=TaskEvent.ABANDONED, reason="fail_fast"))

    assert attempts(world) == [(1, 1, "skipped", "w1")]
    assert world.instance(assignment.ti_id).began_at is None


def test_a_message_that_nobody_takes_does_not_end_the_try(world: StoredWorld) -> None:
    (first,) = world.running(a_dag())
    world.finish(first, LATER)
    world.schedule(first.run.uid, "a")
    world.claim()
    world.write("UPDATE task_instance SET publish_count = 9, publish_due_at = run_after")

    assert world.store.scheduler.withdraw_undelivered(looks_min=3, limit=10) == (first.ti_id,)

    (message,) = world.claim()
    again = world.start(message)
    assert again is not None
    assert (again.try_number, again.began_at) == (1, first.began_at)


def test_a_group_retry_or_a_clear_leaves_nothing_to_go_on_with(world: StoredWorld) -> None:
    (first,) = world.running(a_dag())
    world.finish(first, LATER)
    uid = first.run.uid

    world.decide(uid, Move(slot=Slot("a"), event=TaskEvent.CLEARED, reason="again"))

    assert world.instance(first.ti_id).began_at is None
    assert goes_on(world, first).try_number == 2
    assert [state for _, _, state, _ in attempts(world)] == ["failed"]
