"""Run one try of one task of an authored DAG, as a worker would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.assignments import Assignment, DagSource, RunFacts
from orchestrator.core.ids import RETURN_VALUE, UNMAPPED, RunUid, TaskKey, TiId, VersionId
from orchestrator.core.outcomes import XCOM_BYTES_MAX, Outcome
from orchestrator.core.states import RunType
from orchestrator.core.values import item_at
from orchestrator.sdk import DAG
from orchestrator.sdk.execution import execute
from orchestrator.sdk.secrets import Secrets, import_time_secrets
from orchestrator.sdk.services import TaskServices
from orchestrator.sdk.xcoms import PulledXCom
from tests.builders import uuid_of

LOGICAL_DATE = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
RUN_ID = "manual__2024-05-06"


@dataclass
class StoredXComs:
    """XComs by (task id, key, map index), all of one run; remembers what was asked for."""

    values: Mapping[tuple[str, str, int], Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def pull(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Sequence[str],
        key: str,
        map_indexes: Sequence[int] | None,
    ) -> list[PulledXCom]:
        self.asked.append((dag_id, run_id))
        # In the reverse of the order a reader would like: order is the caller's affair.
        return [
            PulledXCom(task_id, value, index)
            for (task_id, stored_key, index), value in reversed(list(self.values.items()))
            if task_id in task_ids
            and stored_key == key
            and (map_indexes is None or index in map_indexes)
        ]

    def succeeded(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None = None
    ) -> list[int]:
        self.asked.append((dag_id, run_id))
        known = sorted({index for id_, _, index in self.values if id_ == task_id})
        found = [index for index in known if index in indexes]
        return found if position is None else found[position : position + 1]

    def latest_run(self, *, dag_id: str, task_id: str, key: str, until: datetime) -> str | None:
        """One run there is, of one DAG."""
        is_there = any((id_, stored_key) == (task_id, key) for id_, stored_key, _ in self.values)
        return RUN_ID if is_there and until >= LOGICAL_DATE else None

    def pull_item(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int,
        position: int,
        key: str = RETURN_VALUE,
    ) -> Any:
        self.asked.append((dag_id, run_id))
        name = f"XCom {key!r} of {task_id}"
        return item_at(self.values[task_id, key, map_index], position, name=name)


def stored(**returned: Any) -> StoredXComs:
    """XComs as if each named task had returned the value."""
    return StoredXComs({(id_, RETURN_VALUE, UNMAPPED): each for id_, each in returned.items()})


def try_task(
    dag: DAG,
    task_id: str,
    *,
    conf: Mapping[str, Any] | None = None,
    logical_date: datetime | None = LOGICAL_DATE,
    try_number: int = 1,
    epoch: int = 1,
    began_at: datetime = LOGICAL_DATE,
    run_after: datetime = LOGICAL_DATE,
    run_type: RunType = RunType.MANUAL,
    xcoms: StoredXComs | None = None,
    secrets: Secrets = import_time_secrets,
    xcom_bytes_max: int = XCOM_BYTES_MAX,
    map_index: int = UNMAPPED,
) -> Outcome:
    """Execute a task once and return the outcome."""
    spec = dag.spec()
    task = next(each for each in spec.tasks if each.task_id == task_id)
    assignment = Assignment(
        ti_id=TiId(uuid_of("ti")),
        epoch=epoch,
        key=TaskKey(dag.dag_id, RUN_ID, task_id, map_index),
        try_number=try_number,
        max_tries=task.retry.retries,
        started_at=LOGICAL_DATE,
        began_at=began_at,
        run=RunFacts(
            uid=RunUid(uuid_of("run")),
            dag_id=dag.dag_id,
            run_id=RUN_ID,
            run_type=run_type,
            logical_date=logical_date,
            data_interval_start=logical_date,
            data_interval_end=logical_date,
            run_after=run_after,
            started_at=LOGICAL_DATE,
            conf=conf or {},
        ),
        dag=spec,
        task=task,
        source=DagSource(version_id=VersionId(uuid_of("v")), path="d.py", text="", digest=""),
    )
    services = TaskServices(xcoms=xcoms or StoredXComs(), secrets=secrets)
    return execute(dag, assignment, services=services, xcom_bytes_max=xcom_bytes_max)
