"""Callbacks: owed with the transition that causes them, claimed by one worker at a time, given up
after so many attempts."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.callbacks import (
    ATTEMPTS_MAX,
    CallbackId,
    CallbackReport,
    callback_id_of,
)
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Decision, FinishRun, Move
from orchestrator.core.specs import CallbackKind, DagSpec, RetryPolicy
from orchestrator.core.states import RunState
from orchestrator.ports import CallbackMessage
from orchestrator.store.tables_callbacks import callback_table
from tests.builders import a_dag, a_task
from tests.store.world import StoredWorld

ALL = tuple(sorted(set(CallbackKind) - {CallbackKind.DEADLINE}))
DONE = CallbackReport(delivered=(0,), output="line\n")
BROKEN = CallbackReport(delivered=(), error="boom: ValueError: no network", output="tried\n")


def with_callbacks(**fields: Any) -> DagSpec:
    return a_dag(a_task("a", callbacks=ALL, retry=RetryPolicy(retries=1)), **fields)


def rows(world: StoredWorld) -> list[tuple[Any, ...]]:
    found = world.rows("SELECT kind, state, attempts, try_number, reason, queue FROM callback")
    return sorted(tuple(row) for row in found)


def due(world: StoredWorld) -> list[CallbackMessage]:
    return list(world.store.scheduler.lease_callbacks(limit=10, republish_after_s=60).messages)


def make_due(world: StoredWorld) -> None:
    """Let leases, waits and looks be over."""
    world.write(
        "UPDATE callback SET due_at = created_at,"
        " lease_until = CASE WHEN lease_until IS NULL THEN NULL ELSE created_at END"
        " WHERE state = 'owed'"
    )


def claim(world: StoredWorld, callback_id: CallbackId, worker: str = "w1") -> Any:
    return world.store.worker.claim_callback(callback_id, worker_id=worker, lease_s=60)


def lose(world: StoredWorld, infra_tries_max: int = 3) -> None:
    world.write("UPDATE task_instance SET lease_until = started_at WHERE state = 'running'")
    world.store.scheduler.reap(infra_tries_max=infra_tries_max, limit=10)


@pytest.mark.parametrize(
    ("conclusion", "kind"),
    [
        (Conclusion(event=TaskEvent.SUCCEEDED), "success"),
        (Conclusion(event=TaskEvent.FAILED, reason="boom"), "failure"),
        (Conclusion(event=TaskEvent.WILL_RETRY, reason="boom", retry_in_s=5.0), "retry"),
        (Conclusion(event=TaskEvent.WAS_SKIPPED, reason="boom"), "skipped"),
    ],
)
def test_s17_the_end_of_a_try_owes_its_callback(
    world: StoredWorld, conclusion: Conclusion, kind: str
) -> None:
    (assignment,) = world.running(with_callbacks())
    assert world.finish(assignment, conclusion)
    assert rows(world) == [(kind, "owed", 0, 1, conclusion.reason, "default")]
    expected = callback_id_of(assignment.ti_id, assignment.epoch, CallbackKind(kind))
    assert due(world) == [CallbackMessage(callback_id=expected, queue="default")]
    assert due(world) == [], "its next look is put off"


def test_what_gives_its_worker_back_has_not_ended(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    later = Conclusion(event=TaskEvent.WILL_RESCHEDULE, reason="not yet", retry_in_s=5.0)
    assert world.finish(assignment, later)
    assert rows(world) == []


def test_a_task_without_that_callback_owes_nothing(world: StoredWorld) -> None:
    spec = a_dag(a_task("a", callbacks=(CallbackKind.FAILURE,)))
    (assignment,) = world.running(spec)
    assert world.finish(assignment)
    assert world.count(callback_table) == 0


def test_a_repeated_report_owes_once_and_a_fenced_one_nothing(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    assert not world.finish(assignment, worker="w2")
    assert world.count(callback_table) == 0
    assert world.finish(assignment)
    assert world.finish(assignment), "its first answer was lost"
    assert world.count(callback_table) == 1


def test_who_reports_with_a_lease_runs_it_itself(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    assert world.store.worker.finish(
        assignment,
        Conclusion(event=TaskEvent.SUCCEEDED),
        worker_id="w1",
        xcoms={"k": 1},
        callback_lease_s=60.0,
    )
    owed = callback_id_of(assignment.ti_id, assignment.epoch, CallbackKind.SUCCESS)
    assert due(world) == []
    assert claim(world, owed, "w2") is None, "it is being run"
    assert world.store.worker.finish_callback(owed, DONE, attempt=1)
    assert rows(world) == [("success", "done", 1, 1, None, "default")]
    (row,) = world.rows("SELECT output, error, due_at, lease_until, worker FROM callback")
    assert tuple(row) == ("line\n", None, None, None, "w1")
    make_due(world)
    assert due(world) == []


def test_o9_a_lease_that_ends_hands_the_callback_out_again(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    world.store.worker.finish(
        assignment,
        Conclusion(event=TaskEvent.SUCCEEDED),
        worker_id="w1",
        xcoms={},
        callback_lease_s=60.0,
    )
    make_due(world)  # the worker was killed
    (message,) = due(world)
    claimed = claim(world, message.callback_id, "w2")
    assert (claimed.attempt, claimed.kind, claimed.delivered) == (2, CallbackKind.SUCCESS, ())
    late = world.store.worker.finish_callback(message.callback_id, DONE, attempt=1)
    assert not late, "the attempt that was given up may not report any more"
    assert world.store.worker.finish_callback(message.callback_id, DONE, attempt=2)


def test_a_claimed_callback_has_all_that_a_worker_needs(world: StoredWorld) -> None:
    spec = with_callbacks()
    (assignment,) = world.running(spec, conf={"k": 1})
    world.finish(assignment, Conclusion(event=TaskEvent.WILL_RETRY, reason="boom", retry_in_s=0.0))
    world.schedule(assignment.run.uid, "a")
    (message,) = world.claim()
    second = world.start(message)
    assert second is not None
    assert second.try_number == 2
    claimed = claim(world, due(world)[0].callback_id)
    assert claimed.tried == replace(assignment, max_tries=second.max_tries), "the try that failed"
    assert (claimed.reason, claimed.run_state, claimed.is_of_run) == ("boom", "running", False)
    assert (claimed.dag, claimed.source, claimed.run.conf) == (spec, assignment.source, {"k": 1})


def test_a_failed_attempt_is_followed_by_another_until_there_were_enough(
    world: StoredWorld,
) -> None:
    (assignment,) = world.running(with_callbacks())
    world.finish(assignment)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        make_due(world)
        (message,) = due(world)
        claimed = claim(world, message.callback_id)
        assert claimed.attempt == attempt
        assert claim(world, message.callback_id, "w2") is None, "a doubled message"
        assert world.store.worker.finish_callback(message.callback_id, BROKEN, attempt=attempt)
        assert not world.store.worker.finish_callback(message.callback_id, BROKEN, attempt=attempt)
    assert rows(world) == [("success", "failed", ATTEMPTS_MAX, 1, None, "default")]
    (row,) = world.rows("SELECT error, output FROM callback")
    assert tuple(row) == (BROKEN.error, "tried\n" * ATTEMPTS_MAX)
    make_due(world)
    assert due(world) == []


def test_what_an_attempt_completed_is_not_begun_again(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    world.finish(assignment)
    (message,) = due(world)
    claim(world, message.callback_id)
    half = CallbackReport(delivered=(0, 2), error="second: ValueError: no")
    world.store.worker.finish_callback(message.callback_id, half, attempt=1)
    make_due(world)
    assert claim(world, message.callback_id).delivered == (0, 2)


def test_a_callback_that_kills_every_worker_is_given_up(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    world.finish(assignment)
    for _ in range(ATTEMPTS_MAX):
        make_due(world)
        (message,) = due(world)
        assert claim(world, message.callback_id) is not None
    make_due(world)
    found = world.store.scheduler.lease_callbacks(limit=10, republish_after_s=60)
    assert (found.messages, found.given_up) == ([], (message.callback_id,))
    (row,) = world.rows("SELECT state, error FROM callback")
    assert tuple(row) == ("failed", "the worker died with it, each time")


@pytest.mark.parametrize(("infra_tries_max", "kind"), [(3, "retry"), (1, "failure")])
def test_o9_a_lost_try_owes_its_callback(
    world: StoredWorld, infra_tries_max: int, kind: str
) -> None:
    (assignment,) = world.running(with_callbacks())
    lose(world, infra_tries_max)
    ((found, state, _, _, reason, _),) = rows(world)
    assert (found, state) == (kind, "owed")
    assert reason.startswith("heartbeat lost: worker w1 stopped reporting")
    owed = callback_id_of(assignment.ti_id, assignment.epoch, CallbackKind(kind))
    assert [message.callback_id for message in due(world)] == [owed]


def test_an_abandoned_try_owes_its_failure_and_what_never_began_nothing(
    world: StoredWorld,
) -> None:
    spec = a_dag(a_task("a", callbacks=ALL), a_task("b", callbacks=ALL))
    uid = world.started_run(spec)
    world.store.worker.register_worker(_worker())
    world.schedule(uid, "a")
    (message,) = world.claim()
    assert world.start(message) is not None
    world.decide(
        uid,
        *(
            Move(slot=slot, event=TaskEvent.ABANDONED, reason="dagrun_timeout")
            for slot, _ in _instances(world, uid)
        ),
    )
    assert rows(world) == [("failure", "owed", 0, 1, "dagrun_timeout", "default")]


def test_s17_a_rule_or_a_branch_skips_without_a_callback(world: StoredWorld) -> None:
    uid = world.started_run(with_callbacks())
    ((slot, _),) = _instances(world, uid)
    world.decide(uid, Move(slot=slot, event=TaskEvent.RULE_SKIPPED, reason="not followed"))
    assert rows(world) == []


def test_an_expansion_that_fails_owes_the_failure_of_its_task(world: StoredWorld) -> None:
    uid = world.started_run(with_callbacks())
    ((slot, _),) = _instances(world, uid)
    world.decide(uid, Move(slot=slot, event=TaskEvent.EXPANSION_FAILED, reason="too long"))
    assert rows(world) == [("failure", "owed", 0, 0, "too long", "default")]


@pytest.mark.parametrize(
    ("state", "kind"), [(RunState.SUCCESS, "success"), (RunState.FAILED, "failure")]
)
def test_s17_the_end_of_a_run_owes_its_callback_to_a_queue_that_served_it(
    world: StoredWorld, state: RunState, kind: str
) -> None:
    spec = a_dag(a_task("a", queue="gpu"), callbacks=(CallbackKind.FAILURE, CallbackKind.SUCCESS))
    world.store.worker.register_worker(_worker(queues=("gpu",)))
    (assignment,) = world.running(spec)
    world.finish(assignment, Conclusion(event=TaskEvent.FAILED, reason="boom"))
    _end(world, assignment, state)
    assert rows(world) == [(kind, "owed", 0, 0, "a leaf said so", "gpu")]
    (message,) = due(world)
    claimed = claim(world, message.callback_id)
    assert (claimed.is_of_run, claimed.run_state, claimed.kind) == (True, state, kind)
    assert claimed.run_ended_at is not None
    assert claimed.tried.key == assignment.key, "what it is told as `ti`"


def test_a_run_without_callbacks_owes_nothing(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.finish(assignment)
    assert not _end(world, assignment, RunState.SUCCESS)
    assert world.count(callback_table) == 0


def test_the_end_of_a_transaction_says_whether_callbacks_wait(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag(callbacks=(CallbackKind.SUCCESS,)))
    world.finish(assignment)
    assert _end(world, assignment, RunState.SUCCESS)


def test_the_scheduler_wakes_for_the_next_callback(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    world.finish(assignment)
    world.write("DELETE FROM task_event")
    world.write("UPDATE dag_run SET wake_at = NULL")
    world.write("UPDATE dag SET wake_at = NULL")
    assert world.store.scheduler.next_wake_at() is not None
    (message,) = due(world)
    claim(world, message.callback_id)
    world.store.worker.finish_callback(message.callback_id, DONE, attempt=1)
    assert world.store.scheduler.next_wake_at() is None


def test_a_broker_that_lost_its_memory_is_sent_them_again(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    world.finish(assignment)
    (message,) = due(world)
    assert due(world) == []
    assert world.store.scheduler.expire_published_callbacks() == 1
    assert due(world) == [message]
    assert claim(world, message.callback_id) is not None
    assert world.store.scheduler.expire_published_callbacks() == 0, "a worker is at it"


def test_callbacks_go_with_their_run(world: StoredWorld) -> None:
    (assignment,) = world.running(with_callbacks())
    world.finish(assignment)
    (message,) = due(world)
    world.write("DELETE FROM dag_run")
    assert claim(world, message.callback_id) is None
    assert world.count(callback_table) == 0


def _end(world: StoredWorld, assignment: Assignment, state: RunState) -> bool:
    """End the run of a finished try; say whether that owes callbacks."""
    with world.store.scheduler.transaction() as transaction:
        run = next(r for r in transaction.lock_due_runs(10) if r.uid == assignment.run.uid)
        finish = FinishRun(state=state, reason="a leaf said so")
        transaction.carry_out_decision(run, Decision(finish=finish))
        return transaction.owes_callbacks()


def _instances(world: StoredWorld, uid: Any) -> list[Any]:
    with world.store.scheduler.transaction() as transaction:
        return transaction.load_instances(uid)


def _worker(**fields: Any) -> Any:
    from tests.store.world import a_worker

    return a_worker(**fields)
