"""ports.SchedulerTransaction: runs with news, and decisions carried out or refused."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Decision, FinishRun, Instance, Move
from orchestrator.core.states import RunState, TaskState
from orchestrator.ports import StaleLedgerError
from orchestrator.store.tables import attempt_table, task_event_table
from tests.builders import a_dag, a_task
from tests.store.world import StoredWorld

LATER = datetime(2099, 1, 1, tzinfo=UTC)
READY = TaskEvent.BECAME_READY


def a_move(task_id: str, event: TaskEvent = READY, reason: str | None = None) -> Move:
    return Move(slot=Slot(task_id), event=event, reason=reason)


def test_a_started_run_is_due_and_a_decided_one_is_not(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    assert world.due(uid).news == ()
    world.decide(uid, a_move("a"))
    with world.store.scheduler.transaction() as transaction:
        assert transaction.lock_due_runs(10) == []
        assert transaction.load_instances(uid) == [(Slot("a"), Instance(state=TaskState.SCHEDULED))]


def test_a_run_is_due_again_when_its_time_has_come(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    world.decide(uid, wake_at=LATER)
    assert world.store.scheduler.next_wake_at() is not None
    with world.store.scheduler.transaction() as transaction:
        assert transaction.lock_due_runs(10) == []
    world.write("UPDATE dag_run SET wake_at = started_at")
    assert world.due(uid).uid == uid


def test_the_revision_rises_with_what_moved_and_with_nothing_else(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    before = world.due(uid).revision
    assert world.decide(uid, wake_at=datetime.now(UTC) - timedelta(hours=1)) == before
    assert world.decide(uid, a_move("a"), wake_at=datetime(2000, 1, 1, tzinfo=UTC)) == before + 1
    assert world.due(uid).revision == before + 1


def test_news_are_consumed_with_the_decision_oldest_first(world: StoredWorld) -> None:
    one, two = world.running(a_dag(a_task("a"), a_task("b")))
    world.finish(two, Conclusion(event=TaskEvent.SUCCEEDED, skip=("x", "y")))
    world.finish(one, Conclusion(event=TaskEvent.WILL_RETRY, retry_in_s=300.0))
    uid = one.run.uid
    eligible_at = world.instance(one.ti_id).eligible_at
    ended_at = world.instance(two.ti_id).ended_at

    def lose_a_decision() -> None:
        with world.store.scheduler.transaction() as transaction:
            assert len(transaction.lock_due_runs(10)[0].news) == 2
            raise RuntimeError("the decision is lost")

    with pytest.raises(RuntimeError, match="lost"):
        lose_a_decision()
    assert world.due(uid).news == (
        (
            Slot("b"),
            Instance(state=TaskState.SUCCESS, epoch=1, skip=("x", "y"), ended_at=ended_at),
        ),
        (Slot("a"), Instance(state=TaskState.UP_FOR_RETRY, epoch=1, eligible_at=eligible_at)),
    )
    assert world.count(task_event_table) == 0


def test_a_move_from_a_state_it_may_not_come_from_undoes_the_transaction(
    world: StoredWorld,
) -> None:
    uid = world.started_run(a_dag(a_task("a"), a_task("b")))
    world.decide(uid, a_move("a"), wake_at=datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(StaleLedgerError, match="became_ready"):
        world.decide(uid, a_move("b"), a_move("a"))
    assert world.states(uid) == {"a": TaskState.SCHEDULED, "b": TaskState.NONE}


def test_a_decision_of_another_revision_is_refused(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())

    def decide_twice() -> None:
        with world.store.scheduler.transaction() as transaction:
            (run,) = transaction.lock_due_runs(10)
            transaction.carry_out_decision(run, Decision(moves=(a_move("a"),)))
            transaction.carry_out_decision(run, Decision(wake_at=LATER))

    with pytest.raises(StaleLedgerError, match="revision"):
        decide_twice()
    assert world.states(uid) == {"a": TaskState.NONE}


def test_each_event_leaves_its_marks(world: StoredWorld) -> None:
    spec = a_dag(*(a_task(name) for name in "abcd"))
    uid = world.started_run(spec)
    world.decide(
        uid,
        a_move("a"),
        a_move("b", TaskEvent.SUCCEEDED_INLINE),
        a_move("c", TaskEvent.RULE_SKIPPED, "not followed by 'x'"),
        a_move("d", TaskEvent.RULE_UPSTREAM_FAILED, "all_success over 1 failed\0"),
    )
    rows = world.rows(
        "SELECT task_id, state, epoch, reason, scheduled_at IS NOT NULL AS was_scheduled,"
        " started_at IS NOT NULL AS was_started, ended_at IS NOT NULL AS has_ended"
        " FROM task_instance ORDER BY task_id"
    )
    assert [tuple(row) for row in rows] == [
        ("a", "scheduled", 0, None, True, False, False),
        ("b", "success", 0, None, False, True, True),
        ("c", "skipped", 0, "not followed by 'x'", False, False, True),
        ("d", "upstream_failed", 0, "all_success over 1 failed\ufffd", False, False, True),
    ]


def test_the_end_of_a_run_wakes_its_dag_and_only_once(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    assert world.rows("SELECT wake_at FROM dag")[0].wake_at is None
    with world.store.scheduler.transaction() as transaction:
        (run,) = transaction.lock_due_runs(10)
        transaction.carry_out_decision(
            run,
            Decision(
                moves=(a_move("a", TaskEvent.SUCCEEDED_INLINE),),
                finish=FinishRun(state=RunState.SUCCESS, reason="no leaf task failed"),
            ),
        )
    row = world.run_row(uid)
    assert (row.state, row.reason, row.wake_at) == ("success", "no leaf task failed", None)
    assert row.ended_at is not None
    with world.store.scheduler.transaction() as transaction:
        assert transaction.lock_due_runs(10) == []
        assert [dag.spec.dag_id for dag in transaction.lock_due_dags(10)] == ["d"]


def test_an_abandoned_running_task_is_taken_from_its_worker(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    uid = assignment.run.uid
    world.write("UPDATE dag_run SET wake_at = started_at")
    world.decide(uid, a_move("a", TaskEvent.ABANDONED, "it took too long"))
    assert world.store.worker.beat("w1", lease_s=60) == frozenset()
    assert not world.finish(assignment)
    assert world.states(uid) == {"a": TaskState.SKIPPED}
    (attempt,) = world.rows("SELECT epoch, try_number, state, worker, reason FROM attempt")
    assert tuple(attempt) == (1, 1, "skipped", "w1", "it took too long")


def test_who_runs_what_was_abandoned_is_named_so_that_it_can_be_told(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.write("UPDATE dag_run SET wake_at = started_at")
    with world.store.scheduler.transaction() as transaction:
        (run,) = transaction.lock_due_runs(10)
        move = a_move("a", TaskEvent.ABANDONED, "it took too long")
        transaction.carry_out_decision(run, Decision(moves=(move,)))
        assert transaction.cancelled_workers() == {"w1"}
    assert world.states(assignment.run.uid) == {"a": TaskState.SKIPPED}


def test_the_longest_due_run_comes_first(world: StoredWorld) -> None:
    for name in ("x", "y", "z"):
        world.started_run(a_dag(), name)
    world.write("UPDATE dag_run SET wake_at = NULL WHERE run_id = 'y'")
    runs = {name: world.runs[name] for name in ("x", "z")}
    with world.store.scheduler.transaction() as transaction:
        due = transaction.lock_due_runs(10)
    assert [run.uid for run in due] == [runs["x"], runs["z"]]
    with world.store.scheduler.transaction() as transaction:
        assert [run.uid for run in transaction.lock_due_runs(1)] == [runs["x"]]


def test_removed_and_retried_instances(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    uid = assignment.run.uid
    world.finish(assignment, Conclusion(event=TaskEvent.WILL_RETRY, reason="x", retry_in_s=0.0))
    world.decide(uid, a_move("a"))
    assert world.instance(assignment.ti_id).try_number == 1
    world.write("UPDATE dag_run SET wake_at = started_at")
    world.decide(uid, a_move("a", TaskEvent.WAS_REMOVED))
    row = world.instance(assignment.ti_id)
    assert (row.state, row.epoch) == ("removed", 2)
    assert world.count(attempt_table) == 1


def test_news_of_a_run_make_the_scheduler_look_at_once(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    assert world.store.scheduler.next_wake_at() is None
    world.finish(assignment)
    wake_at = world.store.scheduler.next_wake_at()
    assert wake_at is not None
    assert wake_at >= world.instance(assignment.ti_id).ended_at


@pytest.mark.postgres
def test_two_schedulers_split_the_due_runs(postgres_url: str) -> None:
    from orchestrator.store import open_store

    first, second = open_store(postgres_url), open_store(postgres_url)
    world = StoredWorld(first)
    for name in ("x", "y", "z"):
        world.started_run(a_dag(), name)
    with first.scheduler.transaction() as one, second.scheduler.transaction() as other:
        mine = one.lock_due_runs(2)
        assert [run.run_id for run in mine] == ["x", "y"]
        assert [run.run_id for run in other.lock_due_runs(2)] == ["z"]
    first.close()
    second.close()
