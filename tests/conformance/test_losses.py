"""ports.SchedulerStore: lost workers, lost messages, and one scheduler on SQLite."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from orchestrator.core.ids import Slot
from orchestrator.core.scheduling import Instance
from orchestrator.core.states import TaskState
from orchestrator.errors import ConflictError
from orchestrator.ports import Reaped
from orchestrator.store.tables import attempt_table, scheduler_table, task_event_table
from tests.builders import a_dag, a_task
from tests.store.world import StoredWorld, a_worker

EXPIRE_LEASES = "UPDATE task_instance SET lease_until = started_at WHERE state = 'running'"
EXPIRE_WORKERS = "UPDATE worker SET lease_until = started_at"


def reap(world: StoredWorld, *, infra_tries_max: int = 3, limit: int = 100) -> Reaped:
    return world.store.scheduler.reap(infra_tries_max=infra_tries_max, limit=limit)


def test_a_live_workers_tasks_are_left_alone(world: StoredWorld) -> None:
    world.running(a_dag())
    assert reap(world) == Reaped()


def test_a_task_whose_lease_ended_gets_another_try_that_costs_it_none(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.write(EXPIRE_LEASES)
    assert reap(world) == Reaped(lost=(assignment.ti_id,))
    row = world.instance(assignment.ti_id)
    assert (row.state, row.epoch, row.infra_tries, row.max_tries) == ("up_for_retry", 2, 1, 1)
    assert (row.lease_owner, row.lease_until, row.try_number) == (None, None, 1)
    assert row.reason == "heartbeat lost: worker w1 stopped reporting"
    (attempt,) = world.rows("SELECT epoch, try_number, state, worker, reason FROM attempt")
    assert tuple(attempt) == (1, 1, "up_for_retry", "w1", row.reason)
    assert world.due(assignment.run.uid).news == (
        (
            Slot("a"),
            Instance(state=TaskState.UP_FOR_RETRY, epoch=2, eligible_at=row.eligible_at),
        ),
    )
    assert not world.finish(assignment), "the lost worker's report comes late"
    assert world.store.worker.beat("w1", lease_s=60) == frozenset()
    assert world.count(attempt_table) == 1


def test_a_worker_that_stopped_beating_loses_all_it_ran(world: StoredWorld) -> None:
    one, two = world.running(a_dag(a_task("a"), a_task("b")))
    world.write(EXPIRE_WORKERS)
    reaped = reap(world)
    assert reaped == Reaped(lost=tuple(sorted((one.ti_id, two.ti_id))), offline_workers=("w1",))
    assert reap(world) == Reaped()


def test_a_worker_that_signed_off_is_reaped_at_once(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.store.worker.sign_off_worker("w1")
    assert reap(world) == Reaped(lost=(assignment.ti_id,))


def test_after_an_outage_only_who_signed_off_is_reaped(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.write(EXPIRE_LEASES)
    world.write(EXPIRE_WORKERS)

    def reap_sparing() -> Reaped:
        return world.store.scheduler.reap(infra_tries_max=3, limit=100, spares_leases=True)

    assert reap_sparing() == Reaped()
    world.store.worker.sign_off_worker("w1")
    assert reap_sparing() == Reaped(lost=(assignment.ti_id,))


def test_a_task_that_is_lost_too_often_fails(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.write(EXPIRE_LEASES)
    reap(world, infra_tries_max=1)
    row = world.instance(assignment.ti_id)
    assert (row.state, row.epoch, row.infra_tries, row.max_tries) == ("failed", 2, 1, 0)
    assert row.ended_at is not None
    assert row.reason.endswith("lost 1 times, so not tried again")
    assert world.due(assignment.run.uid).news == (
        (Slot("a"), Instance(state=TaskState.FAILED, epoch=2, ended_at=row.ended_at)),
    )


def test_a_pass_reaps_no_more_than_its_limit(world: StoredWorld) -> None:
    world.running(a_dag(*(a_task(name) for name in "abcde")))
    world.write(EXPIRE_LEASES)
    assert [len(reap(world, limit=2).lost) for _ in range(4)] == [2, 2, 1, 0]


def test_news_of_a_run_that_ended_otherwise_are_cleared_away(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.finish(assignment)
    world.write("UPDATE dag_run SET state = 'failed'")
    assert world.store.scheduler.next_wake_at() is None
    reap(world)
    assert world.count(task_event_table) == 0


def queued(world: StoredWorld, *task_ids: str) -> list[object]:
    uid = world.started_run(a_dag(*(a_task(name) for name in task_ids)))
    world.schedule(uid, *task_ids)
    return [message.ti_id for message in world.claim()]


def lease(world: StoredWorld, *, limit: int = 10, after_s: float = 60.0) -> list[object]:
    messages = world.store.scheduler.lease_undelivered(limit=limit, republish_after_s=after_s)
    return [message.ti_id for message in messages]


def test_a_queued_task_is_looked_for_when_it_was_not_started_in_time(world: StoredWorld) -> None:
    a, b = queued(world, "a", "b")
    assert lease(world) == []
    assert world.store.scheduler.expire_all_published() == 2
    assert lease(world, limit=1) == [a]
    assert lease(world) == [b]
    assert lease(world) == []
    assert world.store.scheduler.queued_by_queue() == {"default": 2}


def test_each_look_puts_the_next_one_off_twice_as_far_up_to_ten_minutes(
    world: StoredWorld,
) -> None:
    (ti_id,) = queued(world, "a")
    waits = []
    for _ in range(6):
        world.store.scheduler.expire_all_published()
        before = world.instance(ti_id).publish_due_at  # type: ignore[arg-type]
        (message,) = world.store.scheduler.lease_undelivered(limit=1, republish_after_s=60)
        assert message.epoch == 1
        after = world.instance(ti_id).publish_due_at  # type: ignore[arg-type]
        waits.append(round((after - before).total_seconds(), -1))
    assert waits == [60, 120, 240, 480, 600, 600]


def test_a_started_task_owes_no_message(world: StoredWorld) -> None:
    world.running(a_dag())
    assert world.store.scheduler.expire_all_published() == 0
    assert lease(world) == []
    assert world.store.scheduler.queued_by_queue() == {}


def test_an_undeliverable_task_gives_its_slots_back(world: StoredWorld) -> None:
    (ti_id,) = queued(world, "a")
    for looks in (0, 1):
        withdrawn = world.store.scheduler.withdraw_undelivered(looks_min=2, limit=10)
        assert withdrawn == (), looks
        world.store.scheduler.expire_all_published()
        lease(world)
    assert world.store.scheduler.withdraw_undelivered(looks_min=2, limit=10) == (ti_id,)
    row = world.instance(ti_id)  # type: ignore[arg-type]
    assert (row.state, row.epoch, row.queue, row.publish_due_at) == ("scheduled", 2, None, None)
    (again,) = world.claim()
    assert again.epoch == 3
    assert world.instance(again.ti_id).publish_count == 0


def test_a_second_scheduler_is_refused_on_sqlite_and_welcome_on_postgresql(
    world: StoredWorld,
) -> None:
    scheduler = world.store.scheduler
    scheduler.register_scheduler("one", lease_s=60)
    scheduler.register_scheduler("one", lease_s=60)
    if world.store.database.is_sqlite:
        with pytest.raises(ConflictError, match=r"scheduler 'one' .* SQLite takes one scheduler"):
            scheduler.register_scheduler("two", lease_s=60)
    else:
        scheduler.register_scheduler("two", lease_s=60)
        assert len(world.rows("SELECT id FROM scheduler")) == 2
    scheduler.sign_off_scheduler("one")
    scheduler.register_scheduler("two", lease_s=60)
    assert [row.id for row in world.rows("SELECT id FROM scheduler")] == ["two"]


def test_a_dead_scheduler_stands_in_nobodys_way(world: StoredWorld) -> None:
    world.store.scheduler.register_scheduler("one", lease_s=-1)
    world.store.scheduler.register_scheduler("two", lease_s=60)
    assert sorted(row.id for row in world.rows("SELECT id FROM scheduler")) == ["one", "two"]
    world.write(
        update(scheduler_table)
        .where(scheduler_table.c.id == "one")
        .values(lease_until=datetime.now(UTC) - timedelta(days=2))
    )
    world.store.scheduler.register_scheduler("two", lease_s=60)
    assert [row.id for row in world.rows("SELECT id FROM scheduler")] == ["two"]


def test_the_store_says_when_something_is_due_next(world: StoredWorld) -> None:
    assert world.store.scheduler.next_wake_at() is None
    world.register(a_dag())
    (row,) = world.rows("SELECT dag_id FROM dag")
    assert row.dag_id == "d"
    assert world.store.scheduler.next_wake_at() is not None


def test_a_worker_that_never_came_back_is_found_by_its_own_lease(world: StoredWorld) -> None:
    world.store.worker.register_worker(a_worker("idle"))
    world.write(EXPIRE_WORKERS)
    assert reap(world) == Reaped(offline_workers=("idle",))
