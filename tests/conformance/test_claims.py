"""ports.SchedulerTransaction: capacity, candidates and claims, alone and in a race."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from orchestrator.core.admission import Holding, admit
from orchestrator.core.specs import WeightRule
from orchestrator.core.states import TaskState
from orchestrator.store import open_store
from tests.builders import a_dag, a_task
from tests.store.world import LEASE_S, StoredWorld, a_worker


def a_wide_dag(width: int = 10, dag_id: str = "d", **fields: object) -> object:
    return a_dag(*(a_task(f"t{n:02}") for n in range(width)), dag_id=dag_id, **fields)


def scheduled(world: StoredWorld, spec: object, run_id: str = "r1") -> object:
    """A run all of whose tasks wait for slots."""
    uid = world.started_run(spec, run_id)  # type: ignore[arg-type]
    world.schedule(uid, *(task.task_id for task in spec.tasks))  # type: ignore[attr-defined]
    return uid


def pool(world: StoredWorld, name: str, slots: int, queue: str | None = None) -> None:
    world.write(
        "INSERT INTO pool (name, slots, include_deferred, queue) VALUES (:name, :slots, :no, :q)",
        name=name,
        slots=slots,
        no=False,
        q=queue,
    )


def test_a_claim_queues_with_a_new_epoch_and_owes_a_message(world: StoredWorld) -> None:
    uid = scheduled(world, a_dag())
    (message,) = world.claim()
    row = world.instance(message.ti_id)
    assert (row.state, row.epoch, row.queue) == ("queued", 1, "default")
    assert (message.epoch, message.queue) == (1, "default")
    assert (row.publish_due_at - row.queued_at).total_seconds() == pytest.approx(LEASE_S, abs=1)
    assert world.claim() == []
    assert world.states(uid) == {"a": TaskState.QUEUED}  # type: ignore[arg-type]


def test_capacity_says_who_holds_what(world: StoredWorld) -> None:
    world.store.worker.register_worker(a_worker("w1", queues=("default", "gpu"), concurrency=3))
    world.store.worker.register_worker(a_worker("w2", queues=("default",), concurrency=2))
    world.store.worker.register_worker(a_worker("gone", queues=("default",), concurrency=50))
    world.store.worker.sign_off_worker("gone")
    pool(world, "open", -1)
    uid = scheduled(world, a_dag(a_task("a", pool_slots=2), a_task("b", queue="gpu")))
    world.start(next(m for m in world.claim() if m.queue == "default"))
    with world.store.scheduler.transaction() as transaction:
        capacity = transaction.lock_capacity()
    assert capacity.pools == {"default_pool": 128, "open": 2**31 - 1}
    assert capacity.worker_slots == {"default": 5, "gpu": 3}
    common = {"dag_id": "d", "run_uid": uid, "pool": "default_pool", "count": 1}
    assert sorted(capacity.holdings, key=lambda holding: holding.task_id) == [
        Holding(task_id="a", queue="default", slots=2, queued=0, **common),  # type: ignore[arg-type]
        Holding(task_id="b", queue="gpu", slots=1, queued=1, **common),  # type: ignore[arg-type]
    ]


def test_the_queue_is_the_tasks_else_its_pools_else_the_default(world: StoredWorld) -> None:
    pool(world, "with_queue", 10, "private")
    spec = a_dag(
        a_task("a", queue="named", pool="with_queue"), a_task("b", pool="with_queue"), a_task("c")
    )
    scheduled(world, spec)
    assert {c.key.task_id: c.queue for c in world.candidates()} == {
        "a": "named",
        "b": "private",
        "c": "default",
    }


def test_candidates_come_by_priority_and_no_more_than_a_dags_share(world: StoredWorld) -> None:
    tasks = [a_task(f"t{n}", priority_weight=n, weight_rule=WeightRule.ABSOLUTE) for n in range(6)]
    scheduled(world, a_dag(*tasks))
    scheduled(world, a_wide_dag(dag_id="other"))
    found = world.candidates(per_dag=3)
    assert [c.key.task_id for c in found if c.key.dag_id == "d"] == ["t5", "t4", "t3"]
    assert len([c for c in found if c.key.dag_id == "other"]) == 3


def test_a_full_lane_hides_nobody(world: StoredWorld) -> None:
    """However many wait behind a limit, those behind none are found in the same window."""
    pool(world, "tiny", 1)
    full_run = scheduled(world, a_wide_dag(dag_id="busy", max_active_tasks=2), "r1")
    world.claim()
    same_dag = scheduled(world, a_wide_dag(dag_id="busy", max_active_tasks=2), "r2")
    in_tiny = [a_task(f"t{n}", pool="tiny", priority_weight=100) for n in range(5)]
    scheduled(world, a_dag(*in_tiny, a_task("u"), dag_id="mixed"))
    (taken,) = [m for m in world.claim(per_dag=2) if world.instance(m.ti_id).pool == "tiny"]
    found = world.candidates(per_dag=2)
    assert world.instance(taken.ti_id).state == "queued"
    assert all(c.pool != "tiny" and c.run_uid != full_run for c in found)
    held = world.rows(
        "SELECT run_uid, count(*) AS held FROM task_instance"
        " WHERE state = 'queued' AND dag_id = 'busy' GROUP BY run_uid"
    )
    assert [row.held for row in held] == [2, 2]
    assert same_dag != full_run
    assert world.rows("SELECT state FROM task_instance WHERE task_id = 'u'")[0].state == "queued"


def test_a_full_queue_a_paused_dag_and_a_missing_pool_are_left_out(world: StoredWorld) -> None:
    scheduled(world, a_dag(a_task("a"), a_task("b"), dag_id="paused"))
    scheduled(world, a_dag(a_task("a", pool="nowhere"), dag_id="lost"))
    flood = [a_task(f"t{n:03}", queue="slow") for n in range(70)]
    scheduled(world, a_dag(*flood, a_task("u"), dag_id="flood", max_active_tasks=1000))
    world.write("UPDATE dag SET is_paused = :yes WHERE dag_id = 'paused'", yes=True)
    assert len([m for m in world.claim(per_dag=1000) if m.queue == "slow"]) == 64
    assert world.candidates(per_dag=1000) == []


def test_tasks_at_their_own_limit_are_left_out(world: StoredWorld) -> None:
    spec = a_dag(
        a_task("a", max_active_tis_per_dag=1, priority_weight=9),
        a_task("b", max_active_tis_per_dagrun=1, priority_weight=9),
        a_task("c"),
        max_active_tasks=100,
    )
    scheduled(world, spec, "r1")
    world.claim()
    scheduled(world, spec, "r2")
    found = {c.key.task_id: c for c in world.candidates()}
    assert set(found) == {"b", "c"}
    assert found["b"].max_active_tis_per_dagrun == 1
    assert found["c"].max_active_tis_per_dag is None


def test_a_candidate_that_changed_meanwhile_is_not_claimed(world: StoredWorld) -> None:
    scheduled(world, a_dag(a_task("a"), a_task("b")))
    with world.store.scheduler.transaction() as transaction:
        capacity = transaction.lock_capacity()
        stale = transaction.candidates(capacity, per_dag=10)
    world.write("UPDATE task_instance SET state = 'skipped', epoch = 1 WHERE task_id = 'a'")
    with world.store.scheduler.transaction() as transaction:
        (message,) = transaction.claim(stale, republish_after_s=LEASE_S)
    assert world.instance(message.ti_id).task_id == "b"


@pytest.mark.postgres
def test_two_schedulers_at_once_never_exceed_a_pool(postgres_url: str) -> None:
    stores = [open_store(postgres_url) for _ in range(2)]
    world = StoredWorld(stores[0])
    slots, rounds = 7, 5
    pool(world, "p", slots)
    tasks = [a_task(f"t{n:03}", pool="p") for n in range(200)]
    scheduled(world, a_dag(*tasks, max_active_tasks=1000))
    barrier = Barrier(2)

    def race(index: int) -> list[int]:
        """Claim and finish; return the slots that were out after each claim."""
        mine, seen = StoredWorld(stores[index]), []
        for _ in range(rounds):
            barrier.wait()
            messages = mine.claim(per_dag=50)
            seen.append(
                mine.rows(
                    "SELECT count(*) AS out FROM task_instance WHERE state IN ('queued','running')"
                )[0].out
            )
            barrier.wait()
            for message in messages:
                assignment = mine.start(message)
                assert assignment is not None
                assert mine.finish(assignment)
            barrier.wait()
        return seen

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(race, range(2)))
    for seen in both:
        assert max(seen) == slots
    finished = world.rows("SELECT count(*) AS done FROM task_instance WHERE state = 'success'")
    assert finished[0].done == slots * rounds
    for store in stores:
        store.close()


@pytest.mark.postgres
def test_an_instance_that_somebody_holds_is_skipped_not_waited_for(postgres_url: str) -> None:
    first, second = open_store(postgres_url), open_store(postgres_url)
    world = StoredWorld(first)
    scheduled(world, a_dag(a_task("a"), a_task("b")))
    with second.database.writing() as holder:
        holder.exec_driver_sql("SELECT 1 FROM task_instance WHERE task_id = 'a' FOR UPDATE")
        (message,) = world.claim()
    assert world.instance(message.ti_id).task_id == "b"
    first.close()
    second.close()


def test_admission_and_claim_agree_on_what_is_left(world: StoredWorld) -> None:
    pool(world, "p", 3)
    tasks = [a_task(f"t{n}", pool="p", pool_slots=2) for n in range(3)]
    scheduled(world, a_dag(*tasks))
    with world.store.scheduler.transaction() as transaction:
        capacity = transaction.lock_capacity()
        admitted = admit(transaction.candidates(capacity, per_dag=10), capacity)
        assert len(transaction.claim(admitted, republish_after_s=LEASE_S)) == 1
    assert world.claim() == []
