"""ports.SchedulerTransaction: DAGs that are due, runs created and started."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from orchestrator.core.ids import Slot
from orchestrator.core.planning import CreateRun, Plan, plan
from orchestrator.core.scheduling import Instance
from orchestrator.core.specs import CronSchedule, GroupSpec, RetryPolicy, WeightRule
from orchestrator.core.states import RunState, RunType
from orchestrator.core.timetables import Tick
from orchestrator.store.tables import dag_run_table
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld

DAILY = CronSchedule(expression="0 0 * * *")


def a_tick(day: int) -> Tick:
    """One day of March 2026 under a daily schedule."""
    start = datetime(2026, 3, day, tzinfo=UTC)
    return Tick(
        run_after=start + timedelta(days=1),
        logical_date=start,
        data_interval_start=start,
        data_interval_end=start + timedelta(days=1),
    )


def test_a_registered_dag_is_due_once(world: StoredWorld) -> None:
    world.register(a_dag())
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(10)
        assert transaction.carry_out_plan(dag, Plan()) == []
    with world.store.scheduler.transaction() as transaction:
        assert transaction.lock_due_dags(10) == []
    assert dag.spec == a_dag()
    assert (dag.is_paused, dag.is_stale, dag.last_tick_at, dag.running) == (False, False, None, 0)


def test_the_longest_due_dag_comes_first_and_the_limit_holds(world: StoredWorld) -> None:
    for name in ("b", "a", "c"):
        world.register(a_dag(dag_id=name), path=f"{name}.py")
    world.queued_run(dag_id="c")  # due for a year
    with world.store.scheduler.transaction() as transaction:
        assert [dag.spec.dag_id for dag in transaction.lock_due_dags(2)] == ["c", "b"]


def test_the_snapshot_counts_runs_and_lists_waiting_ones_in_order(world: StoredWorld) -> None:
    spec = a_dag(max_active_runs=2)
    world.started_run(spec, "r0")
    late = world.queued_run("late", run_after=NOW + timedelta(hours=2))
    early = world.queued_run("early", run_after=NOW)
    middle = world.queued_run("middle", run_after=NOW + timedelta(hours=1))
    world.queued_run("latest", run_after=NOW + timedelta(hours=3))
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(10)
    assert dag.running == 1
    # As many as may ever start at once, and one to see that there are more.
    assert [run.uid for run in dag.waiting] == [early, middle, late]


def test_a_created_run_is_queued_once_for_its_logical_date(world: StoredWorld) -> None:
    world.register(a_dag(schedule=DAILY, start_date=NOW))
    first = Plan(create=(CreateRun(run_id="scheduled__1", tick=a_tick(2)),), wake_at=NOW)
    same_date = Plan(create=(CreateRun(run_id="scheduled__2", tick=a_tick(2)),), wake_at=NOW)
    same_name = Plan(create=(CreateRun(run_id="scheduled__1", tick=a_tick(3)),), wake_at=NOW)
    for planned in (first, same_date, same_name):
        with world.store.scheduler.transaction() as transaction:
            (dag,) = transaction.lock_due_dags(10)
            transaction.carry_out_plan(dag, planned)
    assert world.count(dag_run_table) == 1
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(10)
    assert dag.last_tick_at == a_tick(2).run_after
    (run,) = dag.waiting
    row = world.run_row(run.uid)
    assert (row.run_id, row.run_type, row.state) == ("scheduled__1", "scheduled", "queued")
    assert row.logical_date == a_tick(2).logical_date
    assert row.data_interval_end == a_tick(2).data_interval_end


def test_a_started_run_gets_its_instances_with_limits_and_priorities(world: StoredWorld) -> None:
    spec = a_dag(
        a_task("a", retry=RetryPolicy(retries=3), queue="gpu", pool="big", pool_slots=2),
        a_task("b", "a", group_id="g", weight_rule=WeightRule.ABSOLUTE, priority_weight=7),
        groups=(GroupSpec(group_id="g"),),
    )
    uid = world.started_run(spec, conf={"x": [1, "ü\0"]}, logical_date=NOW)
    rows = world.rows(
        "SELECT task_id, state, epoch, map_index, max_tries, named_queue, pool, pool_slots,"
        " priority, group_id, try_number FROM task_instance ORDER BY task_id"
    )
    assert [tuple(row) for row in rows] == [
        ("a", "none", 0, -1, 3, "gpu", "big", 2, 8, None, 0),
        ("b", "none", 0, -1, 0, "", "default_pool", 1, 7, "g", 0),
    ]
    row = world.run_row(uid)
    assert (row.state, row.revision) == (RunState.RUNNING, 1)
    assert row.conf == {"x": [1, "ü\0"]}
    assert world.due(uid).started_at == row.started_at
    with world.store.scheduler.transaction() as transaction:
        assert transaction.load_instances(uid) == [(Slot("a"), Instance()), (Slot("b"), Instance())]


def test_started_runs_are_returned_in_the_order_of_the_plan(world: StoredWorld) -> None:
    world.register(a_dag())
    first, second = world.queued_run("x", conf={"k": 1}), world.queued_run("a")
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(10)
        started = transaction.carry_out_plan(dag, Plan(start=(first, second)))
        again = transaction.carry_out_plan(dag, Plan(start=(first, second)))
    assert [run.facts.uid for run in started] == [first, second]
    assert again == []
    facts = started[0].facts
    assert (facts.run_id, facts.run_type, facts.conf) == ("x", RunType.MANUAL, {"k": 1})
    assert facts.started_at is not None
    assert started[0].version_id == dag.version_id


def test_the_next_tick_is_kept_for_people_to_see(world: StoredWorld) -> None:
    world.register(a_dag(schedule=DAILY, start_date=NOW, catchup=True))
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(10)
        transaction.carry_out_plan(
            dag, Plan(create=(CreateRun(run_id="r", tick=a_tick(4)),), wake_at=None)
        )
    (row,) = world.rows("SELECT next_tick_at, next_logical_date, wake_at FROM dag")
    assert row.next_tick_at is not None
    assert row.next_logical_date is not None
    assert row.wake_at is None


@pytest.mark.postgres
def test_two_schedulers_split_the_due_dags(postgres_url: str) -> None:
    from orchestrator.store import open_store

    first, second = open_store(postgres_url), open_store(postgres_url)
    for name in ("a", "b"):
        StoredWorld(first).register(a_dag(dag_id=name), path=f"{name}.py")
    with first.scheduler.transaction() as one, second.scheduler.transaction() as other:
        (mine,), (yours,) = one.lock_due_dags(1), other.lock_due_dags(1)
        assert {mine.spec.dag_id, yours.spec.dag_id} == {"a", "b"}
        assert other.lock_due_dags(2)[0].spec.dag_id == yours.spec.dag_id
    first.close()
    second.close()


def test_a_run_of_ten_thousand_tasks_is_inserted_by_one_statement(world: StoredWorld) -> None:
    spec = a_dag(*(a_task(f"t{n:05}") for n in range(10_000)))
    uid = world.started_run(spec)
    assert len(world.states(uid)) == 10_000


@pytest.mark.postgres
def test_two_schedulers_at_once_never_start_more_than_max_active_runs(postgres_url: str) -> None:
    from orchestrator.store import open_store

    stores = [open_store(postgres_url) for _ in range(2)]
    world = StoredWorld(stores[0])
    world.register(a_dag(max_active_runs=3))
    for number in range(12):
        world.queued_run(f"r{number:02}")
    barrier = Barrier(2)

    def race(index: int) -> int:
        """Plan again and again; return the most runs that were running at once."""
        mine, most = StoredWorld(stores[index]), 0
        for _ in range(10):
            barrier.wait()
            mine.write("UPDATE dag SET wake_at = last_parsed_at")
            with stores[index].scheduler.transaction() as transaction:
                now = transaction.now()
                for dag in transaction.lock_due_dags(1):
                    transaction.carry_out_plan(dag, plan(dag, now))
            (row,) = mine.rows("SELECT count(*) AS running FROM dag_run WHERE state = 'running'")
            most = max(most, row.running)
        return most

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(race, range(2))) == [3, 3]
    for store in stores:
        store.close()
