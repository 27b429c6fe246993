"""Limits that task instances share by key or over time, on each database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.admission import refusal
from orchestrator.core.critical_path import weighted_priorities
from orchestrator.core.graph import build_graph
from orchestrator.core.specs import DagSpec, ParamSpec, RateLimit, WeightRule
from orchestrator.store.durations import mean_durations_s
from orchestrator.store.reads import Reads
from orchestrator.store.tables import task_instance_table
from orchestrator.store.tables_limits import rate_start_table
from orchestrator.store.versions import Versions
from tests.builders import a_dag, a_task
from tests.store.world import StoredWorld


def waiting(world: StoredWorld, spec: DagSpec, run_id: str = "r1", **fields: Any) -> None:
    """Start a run all of whose tasks wait for slots."""
    uid = world.started_run(spec, run_id, **fields)
    world.schedule(uid, *(task.task_id for task in spec.tasks))


def claimed(world: StoredWorld) -> list[str]:
    """Hand out what is free; name it as dag/run/task."""
    rows = [world.instance(message.ti_id) for message in world.claim()]
    return sorted(f"{row.dag_id}/{row.run_id}/{row.task_id}" for row in rows)


def keyed(dag_id: str, key: str, *task_ids: str, limit: int = 1, **fields: Any) -> DagSpec:
    tasks = [a_task(t, concurrency_key=key, concurrency_limit=limit) for t in task_ids]
    return a_dag(*tasks, dag_id=dag_id, **fields)


TENANT = (ParamSpec(name="tenant", has_default=True, default="acme"),)


def test_a_key_is_shared_over_tasks_runs_and_dags(world: StoredWorld) -> None:
    waiting(world, keyed("d", "{{ params.tenant }}", "a", "b", limit=2, params=TENANT))
    waiting(world, keyed("e", "acme", "c", limit=2))
    waiting(world, keyed("f", "{{ params.tenant }}", "x", params=TENANT), conf={"tenant": "zeta"})
    first = claimed(world)
    assert "f/r1/x" in first, "another key has slots of its own"
    assert len(first) == 3
    assert claimed(world) == [], "two of acme's are out already"


def test_who_ends_makes_room_for_the_next_of_its_key(world: StoredWorld) -> None:
    (assignment,) = world.running(keyed("d", "k", "a"))
    waiting(world, keyed("e", "k", "b"))
    assert claimed(world) == []
    assert world.finish(assignment)
    assert claimed(world) == ["e/r1/b"]


def test_those_behind_a_full_key_hide_nobody(world: StoredWorld) -> None:
    many = [a_task(f"t{n:02}", concurrency_key="k", priority_weight=9) for n in range(30)]
    waiting(world, a_dag(*many, a_task("free"), dag_id="d"))
    assert len(world.claim(per_dag=3)) >= 1
    world.claim(per_dag=3)
    assert world.rows("SELECT state FROM task_instance WHERE task_id = 'free'")[0].state == "queued"
    assert world.candidates(per_dag=3) == []


def test_a_rate_limit_counts_starts_over_runs_and_frees_them_with_time(world: StoredWorld) -> None:
    spec = a_dag(
        *(a_task(f"t{n}", rate_limit=RateLimit(count=1, per_s=3600)) for n in range(2)), dag_id="d"
    )
    waiting(world, spec, "r1")
    waiting(world, spec, "r2")
    messages = world.claim()
    assert sorted(world.instance(each.ti_id).task_id for each in messages) == ["t0", "t1"]
    assert world.claim() == [], "what is queued may start any moment"
    for message in messages:
        assignment = world.start(message)
        assert assignment is not None
        world.finish(assignment)
    assert world.claim() == [], "they have started of late"
    with world.store.scheduler.transaction() as transaction:
        capacity, now = transaction.lock_capacity(), transaction.now()
    free_at = [use.free_at for use in capacity.rates.values()]
    assert all(each and now < each <= now + timedelta(seconds=3600) for each in free_at)
    assert [use.starts for use in capacity.rates.values()] == [1, 1]
    world.write(rate_start_table.update().values(until=datetime(2000, 1, 1, tzinfo=UTC)))
    assert len(world.claim()) == 2
    assert world.rows("SELECT count(*) AS n FROM rate_start")[0].n == 0, "old starts are forgotten"


def test_a_start_counts_from_when_it_was_not_from_when_it_was_queued(world: StoredWorld) -> None:
    limit = RateLimit(count=2, per_s=0.001)
    waiting(
        world,
        a_dag(
            *(
                a_task(f"t{n}", rate_limit=limit, concurrency_key="k", concurrency_limit=9)
                for n in range(5)
            )
        ),
    )
    queued = world.claim()
    assert len(queued) == 2
    world.rows("SELECT 1 AS a_while_passes")
    assert world.claim() == [], "workers are busy: both may still start at once"


def test_a_rate_limit_of_a_key_counts_all_of_its_task_instances(world: StoredWorld) -> None:
    limit = RateLimit(count=3, per_s=60)
    tasks = [
        a_task(t, concurrency_key="api", concurrency_limit=99, rate_limit=limit) for t in "abcde"
    ]
    waiting(world, a_dag(*tasks))
    assert len(claimed(world)) == 3
    assert claimed(world) == []


def test_priorities_by_the_critical_path_are_measured(world: StoredWorld) -> None:
    ways = {"slow": 40.0, "fast": 2.0}
    spec = a_dag(
        *(a_task(t, weight_rule=WeightRule.CRITICAL_PATH) for t in ("fast", "slow")), dag_id="d"
    )
    for assignment in world.running(spec, "r1"):
        world.finish(assignment)
    world.unguard()
    for task_id, took_s in ways.items():
        began = datetime(2024, 1, 1, tzinfo=UTC)
        world.write(
            task_instance_table.update()
            .where(task_instance_table.c.task_id == task_id)
            .values(started_at=began, ended_at=began + timedelta(seconds=took_s))
        )
    world.write("UPDATE dag_run SET state = 'success'")
    with world.store.database.reading() as connection:
        measured = mean_durations_s(connection, "d")
    assert measured == pytest.approx(ways)
    world.started_run(spec, "r2")
    rows = world.rows("SELECT task_id, priority FROM task_instance WHERE run_id = 'r2'")
    assert {row.task_id: row.priority for row in rows} == weighted_priorities(
        build_graph(spec), measured
    )
    assert {row.task_id: row.priority for row in rows} == {"fast": 3, "slow": 41}


def test_who_waits_for_a_key_or_a_rate_is_told_so(world: StoredWorld) -> None:
    limit = RateLimit(count=1, per_s=3600)
    waiting(world, a_dag(a_task("a", rate_limit=limit), dag_id="d"), "r1")
    waiting(world, keyed("e", "k", "a", "b"))
    claimed(world)
    waiting(world, a_dag(a_task("a", rate_limit=limit), dag_id="d"), "r2")
    reads = Reads(world.store.database, Versions(world.store.database))
    rated = reads.task_instance_facts("d", "r2", "a")
    assert rated.candidate is not None
    refused = refusal(rated.candidate, rated.capacity)
    assert refused is not None
    assert refused.reason.startswith("task d.a had 1 in 3600 s, its rate_limit")
    (left,) = world.rows("SELECT task_id FROM task_instance WHERE state='scheduled' AND dag_id='e'")
    held = reads.task_instance_facts("e", "r1", left.task_id)
    assert held.candidate is not None
    refused = refusal(held.candidate, held.capacity)
    assert refused is not None
    assert refused.reason == "concurrency_key 'k' has 1 of 1 allowed by concurrency_key"
