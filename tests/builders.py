"""Consistent values to start a test from: say only what the test is about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from orchestrator.core.admission import Candidate, Capacity, Holding
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import RunUid, Slot, TaskKey, TiId
from orchestrator.core.scheduling import Instance, RunLedger
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.core.states import TaskState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_task(task_id: str, *upstream: str, **fields: Any) -> TaskSpec:
    """A task that a worker runs, below `upstream`."""
    return TaskSpec(
        task_id=task_id, **{"operator": "PythonOperator", "upstream": tuple(upstream), **fields}
    )


def a_dag(*tasks: TaskSpec, **fields: Any) -> DagSpec:
    """A DAG of these tasks; one task `a` if none are given."""
    ordered = tuple(sorted(tasks or (a_task("a"),), key=lambda task: task.task_id))
    return DagSpec(**{"dag_id": "d", "tasks": ordered, **fields})


def a_ledger(
    dag: DagSpec,
    states: Mapping[str, TaskState | Instance] | None = None,
    *,
    started_at: datetime = NOW,
    fails_later: str | None = None,
) -> RunLedger:
    """A run of `dag`; tasks that `states` does not name are in state none."""
    given = states or {}
    return RunLedger(
        build_graph(dag),
        [(Slot(task.task_id), _instance(given.get(task.task_id))) for task in dag.tasks],
        started_at=started_at,
        fails_later=fails_later,
    )


def _instance(given: TaskState | Instance | None) -> Instance:
    match given:
        case None:
            return Instance()
        case Instance():
            return given
        case _:
            return Instance(state=given)


def a_candidate(name: str = "d/r/t", **fields: Any) -> Candidate:
    """A scheduled task instance named `dag/run/task`, in a pool `p`, on the queue `default`."""
    key = _key(name)
    defaults: dict[str, Any] = {
        "ti_id": TiId(uuid_of(name)),
        "key": key,
        "run_uid": RunUid(uuid_of(f"{key.dag_id}/{key.run_id}")),
        "epoch": 0,
        "pool": "p",
        "pool_slots": 1,
        "priority": 1,
        "queue": "default",
        "run_after": NOW,
        "max_active_tasks": 1000,
    }
    return Candidate(**{**defaults, **fields})


def a_holding(name: str = "d/r/t", **fields: Any) -> Holding:
    """One running instance of the task named `dag/run/task`."""
    key = _key(name)
    defaults: dict[str, Any] = {
        "dag_id": key.dag_id,
        "run_uid": RunUid(uuid_of(f"{key.dag_id}/{key.run_id}")),
        "task_id": key.task_id,
        "pool": "p",
        "queue": "default",
        "count": 1,
        "slots": 1,
        "queued": 0,
    }
    return Holding(**{**defaults, **fields})


def a_capacity(*holdings: Holding, slots: int = 4, workers: int = 100, **fields: Any) -> Capacity:
    """A pool `p` of so many slots and a queue `default` served by so many worker slots."""
    defaults: dict[str, Any] = {
        "pools": {"p": slots},
        "worker_slots": {"default": workers},
        "holdings": holdings,
    }
    return Capacity(**{**defaults, **fields})


def _key(name: str) -> TaskKey:
    dag_id, run_id, task_id = name.split("/")
    return TaskKey(dag_id, run_id, task_id)


def uuid_of(name: str) -> UUID:
    """A stable id for a name (at most 16 characters of ASCII)."""
    return UUID(bytes=name.encode()[:16].ljust(16, b"\0"))
