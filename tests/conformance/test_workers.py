"""ports.WorkerStore: tries are started, renewed and finished under their epoch, once."""

from datetime import UTC, datetime

import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import Slot, TaskKey
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.specs import RetryPolicy
from orchestrator.core.states import RunType
from orchestrator.ports import TaskMessage
from orchestrator.store.tables import attempt_table, task_event_table, xcom_table
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld, a_version, a_worker


def queued(world: StoredWorld, **fields: object) -> TaskMessage:
    """One task that waits for a worker."""
    world.store.worker.register_worker(a_worker())
    uid = world.started_run(a_dag(), **fields)  # type: ignore[arg-type]
    world.schedule(uid, "a")
    (message,) = world.claim()
    return message


def test_an_assignment_has_all_that_a_worker_needs(world: StoredWorld) -> None:
    world.store.worker.register_worker(a_worker())
    spec = a_dag(a_task("a", retry=RetryPolicy(retries=2)))
    uid = world.started_run(spec, conf={"k": [1, None]}, logical_date=NOW)
    world.schedule(uid, "a")
    (message,) = world.claim()
    assignment = world.start(message)
    assert assignment is not None
    assert assignment.key == TaskKey("d", "r1", "a")
    assert (assignment.epoch, assignment.try_number, assignment.max_tries) == (1, 1, 2)
    assert assignment.dag == spec
    assert assignment.task == spec.tasks[0]
    assert assignment.run.conf == {"k": [1, None]}
    assert assignment.run.logical_date == NOW
    assert (assignment.run.run_type, assignment.run.uid) == (RunType.MANUAL, uid)
    version = a_version(spec)
    source = assignment.source
    assert (source.path, source.text) == (version.path, version.source)
    row = world.instance(assignment.ti_id)
    assert (row.state, row.lease_owner, row.worker, row.pid) == ("running", "w1", "w1", 1)
    assert (row.lease_until - row.started_at).total_seconds() == pytest.approx(60, abs=1)
    assert row.publish_due_at is None
    assert assignment.started_at == row.started_at


def test_a_doubled_message_starts_once(world: StoredWorld) -> None:
    message = queued(world)
    first = world.start(message)
    assert first is not None
    assert world.start(message, pid=2) is None
    assert world.start(message, worker="w2") is None
    assert world.start(message) == first, "the same asker gets the same answer"
    assert world.instance(message.ti_id).try_number == 1


def test_a_message_of_another_epoch_starts_nothing(world: StoredWorld) -> None:
    message = queued(world)
    stale = TaskMessage(ti_id=message.ti_id, epoch=message.epoch - 1, queue=message.queue)
    future = TaskMessage(ti_id=message.ti_id, epoch=message.epoch + 1, queue=message.queue)
    assert world.start(stale) is None
    assert world.start(future) is None
    assert world.instance(message.ti_id).state == "queued"


def test_the_end_of_a_try_is_recorded_with_its_news_and_xcoms(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    xcoms = {"return_value": {"n": 1.5, "t": "ü\0\ud800"}, "none": None}
    assert world.finish(assignment, Conclusion(event=TaskEvent.SUCCEEDED, skip=("x",)), xcoms=xcoms)
    row = world.instance(assignment.ti_id)
    assert (row.state, row.lease_owner, row.lease_until, row.skip) == ("success", None, None, ["x"])
    (attempt,) = world.rows("SELECT try_number, state, worker, pid, queue, reason FROM attempt")
    assert tuple(attempt) == (1, "success", "w1", 1, "default", None)
    (event,) = world.rows("SELECT task_id, map_index, epoch, state FROM task_event")
    assert tuple(event) == ("a", -1, 1, "success")
    pulled = world.store.values.pull_xcoms(dag_id="d", run_id="r1", task_ids=None, key="none")
    assert pulled == [(Slot("a"), None)]
    pulled = world.store.values.pull_xcoms(
        dag_id="d", run_id="r1", task_ids=["a"], key="return_value"
    )
    assert pulled == [(Slot("a"), xcoms["return_value"])]


def test_a_repeated_report_is_accepted_once(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    failed = Conclusion(event=TaskEvent.FAILED, reason="it broke\0")
    assert world.finish(assignment, failed, xcoms={"k": 1})
    assert world.finish(assignment, failed, xcoms={"k": 1}), "its first answer was lost"
    assert not world.finish(assignment), "another outcome of a try that has one"
    assert world.instance(assignment.ti_id).reason == "it broke\ufffd"
    for table in (attempt_table, task_event_table, xcom_table):
        assert world.count(table) == 1


def test_only_the_owner_may_report(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    assert not world.finish(assignment, worker="w2", xcoms={"k": 1})
    assert world.instance(assignment.ti_id).state == "running"
    assert world.count(xcom_table) == 0


def test_a_retry_waits_and_forgets_the_xcoms_of_the_try_before(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    later = Conclusion(event=TaskEvent.WILL_RETRY, reason="boom", retry_in_s=300.0)
    assert world.finish(assignment, later, xcoms={"k": "old"})
    row = world.instance(assignment.ti_id)
    assert (row.eligible_at - row.ended_at).total_seconds() == pytest.approx(300, abs=1)
    world.schedule(assignment.run.uid, "a")
    (message,) = world.claim()
    second = world.start(message)
    assert second is not None
    assert (second.epoch, second.try_number) == (2, 2)
    assert world.count(xcom_table) == 0
    assert world.instance(assignment.ti_id).reason is None
    assert not world.finish(assignment), "a late report of the first try"
    assert world.finish(second)
    states = world.rows("SELECT epoch, state FROM attempt ORDER BY epoch")
    assert [tuple(row) for row in states] == [(1, "up_for_retry"), (2, "success")]


def test_a_beat_renews_what_the_worker_holds_and_names_it(world: StoredWorld) -> None:
    one, two = world.running(a_dag(a_task("a"), a_task("b")))
    world.write("UPDATE task_instance SET lease_until = started_at")
    assert world.store.worker.beat("w1", lease_s=60) == {(one.ti_id, 1), (two.ti_id, 1)}
    row = world.instance(one.ti_id)
    assert row.lease_until > row.started_at
    assert world.finish(one)
    assert world.store.worker.beat("w1", lease_s=60) == {(two.ti_id, 1)}
    assert world.store.worker.beat("w2", lease_s=60) == frozenset()


def test_a_worker_that_was_given_up_for_dead_comes_back_with_its_beat(world: StoredWorld) -> None:
    world.store.worker.register_worker(a_worker())
    world.store.worker.sign_off_worker("w1")
    assert world.rows("SELECT state FROM worker")[0].state == "offline"
    world.store.worker.beat("w1", lease_s=60)
    assert world.rows("SELECT state FROM worker")[0].state == "online"
    world.store.worker.register_worker(a_worker(queues=("gpu",), concurrency=9))
    (row,) = world.rows("SELECT concurrency, queues, state FROM worker")
    assert tuple(row) == (9, '["gpu"]', "online")


def test_a_log_is_appended_piece_by_piece_and_safe_to_repeat(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    append = world.store.worker.append_log
    append(assignment.ti_id, 1, offset=0, data=b"one ")
    append(assignment.ti_id, 1, offset=4, data=b"tw")
    append(assignment.ti_id, 1, offset=0, data=b"one ")
    append(assignment.ti_id, 1, offset=4, data=b"two\xff")
    append(assignment.ti_id, 1, offset=4, data=b"t")
    append(assignment.ti_id, 2, offset=0, data=b"second try")
    rows = world.rows('SELECT data FROM log_chunk WHERE try_number = 1 ORDER BY "offset"')
    assert b"".join(row.data for row in rows) == b"one two\xff"


def test_a_log_of_a_task_instance_that_is_gone_is_dropped(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.store.worker.append_log(assignment.ti_id, 1, offset=0, data=b"x")
    world.write("DELETE FROM dag_run")
    world.store.worker.append_log(assignment.ti_id, 1, offset=1, data=b"y")
    assert world.rows("SELECT 1 FROM log_chunk") == []


def test_xcoms_come_by_task_and_map_index(world: StoredWorld) -> None:
    spec = a_dag(*(a_task(name) for name in "abc"))
    for assignment in world.running(spec):
        world.finish(assignment, xcoms={"k": assignment.key.task_id})
    pull = world.store.values.pull_xcoms
    assert pull(dag_id="d", run_id="r1", task_ids=["c", "a"], key="k") == [
        (Slot("a"), "a"),
        (Slot("c"), "c"),
    ]
    assert len(pull(dag_id="d", run_id="r1", task_ids=None, key="k")) == 3
    assert pull(dag_id="d", run_id="r2", task_ids=None, key="k") == []
    assert pull(dag_id="d", run_id="r1", task_ids=[], key="k") == []


def test_a_mapped_task_is_read_by_a_range_of_its_indexes(world: StoredWorld) -> None:
    for assignment in world.running(a_dag(*(a_task(name) for name in "abc"))):
        task_id = assignment.key.task_id
        state = TaskEvent.WAS_SKIPPED if task_id == "b" else TaskEvent.SUCCEEDED
        world.finish(assignment, Conclusion(event=state), xcoms={"k": task_id})
    for index, task_id in enumerate("abc"):
        for table in ("xcom", "task_instance"):
            world.write(
                f"UPDATE {table} SET task_id = 't', map_index = {index} WHERE task_id = '{task_id}'"
            )
    values = world.store.values
    assert values.pull_xcoms(
        dag_id="d", run_id="r1", task_ids=["t"], key="k", indexes=range(1, 3)
    ) == [(Slot("t", 1), "b"), (Slot("t", 2), "c")]

    def succeeded(indexes: range, position: int | None = None) -> list[int]:
        return values.succeeded_indexes(
            dag_id="d", run_id="r1", task_id="t", indexes=indexes, position=position
        )

    assert succeeded(range(2**51)) == [0, 2]
    assert succeeded(range(1, 2**51)) == [2]
    assert (succeeded(range(2**51), 1), succeeded(range(2**51), 2)) == ([2], [])


def test_a_reschedule_of_the_same_epoch_is_not_a_workers_to_report(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    with pytest.raises(AssertionError, match="became_ready"):
        world.finish(assignment, Conclusion(event=TaskEvent.BECAME_READY))


def test_a_finished_assignment_keeps_its_instants_in_utc(world: StoredWorld) -> None:
    assignment: Assignment
    (assignment,) = world.running(a_dag(), logical_date=datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    assert assignment.run.logical_date is not None
    assert assignment.run.logical_date.isoformat() == "2026-03-29T01:30:00+00:00"
