"""The store as a worker sees it: its own sign of life, its tries and their logs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    Uuid,
    bindparam,
    case,
    func,
    select,
    update,
)

from orchestrator.core.assignments import Assignment
from orchestrator.core.callbacks import (
    CallbackAssignment,
    CallbackId,
    CallbackReport,
    callback_id_of,
    callback_of,
)
from orchestrator.core.ids import TaskKey, TiId
from orchestrator.core.retries import Conclusion
from orchestrator.core.states import TaskState
from orchestrator.core.values import preview
from orchestrator.ports import WorkerInfo
from orchestrator.store import callback_runs, tries
from orchestrator.store.conditions import WorkerState, for_each_dialect, is_one_of, word
from orchestrator.store.engine import Database
from orchestrator.store.planning import run_facts
from orchestrator.store.spilling import Spills
from orchestrator.store.tables import log_chunk_table as log_chunk
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import worker_table as worker
from orchestrator.store.types import (
    json_text,
    now,
    now_plus,
    printable,
)
from orchestrator.store.versions import Versions

FIRST_LEASE_S = 60.0
"""How long a worker that registered may take to its first heartbeat."""

_REGISTER = for_each_dialect(
    worker,
    lambda insert_: insert_.values(
        started_at=now(),
        heartbeat_at=now(),
        lease_until=now_plus(bindparam("lease_s")),
        state=word(WorkerState.ONLINE),
    ).on_conflict_do_update(
        index_elements=["id"],
        set_={
            name: insert_.excluded[name]
            for name in (
                *("hostname", "pid", "queues", "concurrency", "version", "state"),
                *("started_at", "heartbeat_at", "lease_until"),
            )
        },
    ),
)
_BEAT = (
    update(worker)
    .where(worker.c.id == bindparam("worker_id"))
    .values(
        heartbeat_at=now(),
        lease_until=now_plus(bindparam("lease_s")),
        # One that was given up for dead is back.
        state=case(
            (is_one_of(worker.c.state, WorkerState.OFFLINE), word(WorkerState.ONLINE)),
            else_=worker.c.state,
        ),
    )
)
_RENEW = (
    update(task_instance)
    .where(
        task_instance.c.lease_owner == bindparam("worker_id"),
        is_one_of(task_instance.c.state, TaskState.RUNNING),
    )
    .values(lease_until=now_plus(bindparam("lease_s")))
    .returning(task_instance.c.id, task_instance.c.epoch)
)
_SIGN_OFF = (
    update(worker)
    .where(worker.c.id == bindparam("worker_id"))
    .values(state=word(WorkerState.OFFLINE), lease_until=now())
)

_LOG_PIECE = select(
    task_instance.c.id,
    bindparam("try_number", type_=Integer()),
    bindparam("offset", type_=BigInteger()),
    bindparam("data", type_=LargeBinary()),
).where(task_instance.c.id == bindparam("of_ti", type_=Uuid()))
# A repeated piece may be longer than the one that arrived: then it has more to say.
_APPEND_LOG = for_each_dialect(
    log_chunk,
    lambda insert_: insert_.from_select(
        ["ti_id", "try_number", "offset", "data"], _LOG_PIECE
    ).on_conflict_do_update(
        index_elements=["ti_id", "try_number", "offset"],
        set_={"data": insert_.excluded.data},
        where=func.length(log_chunk.c.data) < func.length(insert_.excluded.data),
    ),
)


class SqlWorkerStore:
    """ports.WorkerStore on SQL."""

    def __init__(self, database: Database, versions: Versions, spills: Spills) -> None:
        self._database = database
        self._versions = versions
        self._spills = spills

    def register_worker(self, worker: WorkerInfo) -> None:
        values = {
            "id": worker.worker_id,
            "hostname": worker.hostname,
            "pid": worker.pid,
            "queues": list(worker.queues),
            "concurrency": worker.concurrency,
            "version": worker.version,
            "lease_s": FIRST_LEASE_S,
        }

        def register() -> None:
            with self._database.each_alone() as connection:
                connection.execute(_REGISTER[connection.dialect.name], values)

        self._database.retrying(register)

    def beat(self, worker_id: str, *, lease_s: float) -> frozenset[tuple[TiId, int]]:
        parameters = {"worker_id": worker_id, "lease_s": lease_s}

        def beat() -> frozenset[tuple[TiId, int]]:
            with self._database.each_alone() as connection:
                connection.execute(_BEAT, parameters)
                return frozenset(
                    (row.id, row.epoch) for row in connection.execute(_RENEW, parameters)
                )

        return self._database.retrying(beat)

    def sign_off_worker(self, worker_id: str) -> None:
        def sign_off() -> None:
            with self._database.each_alone() as connection:
                connection.execute(_SIGN_OFF, {"worker_id": worker_id})

        self._database.retrying(sign_off)

    def start(
        self, ti_id: TiId, epoch: int, *, worker_id: str, pid: int, lease_s: float
    ) -> Assignment | None:
        who = {"of_ti": ti_id, "of_epoch": epoch, "worker_id": worker_id, "worker_pid": pid}
        row = self._database.retrying(lambda: tries.start(self._database, who, lease_s=lease_s))
        return None if row is None else self._assignment(row)

    def finish(
        self,
        assignment: Assignment,
        conclusion: Conclusion,
        *,
        worker_id: str,
        xcoms: Mapping[str, Any],
        masked: Mapping[str, Any] = MappingProxyType({}),
        callback_lease_s: float | None = None,
    ) -> bool:
        assert tries.may_report(conclusion.event), f"{conclusion.event} is not a worker's to report"
        parameters = {
            "of_ti": assignment.ti_id,
            "of_epoch": assignment.epoch,
            "worker_id": worker_id,
            "new_state": conclusion.state.value,
            "why": None if conclusion.reason is None else printable(conclusion.reason),
            "retry_in_s": conclusion.retry_in_s,
            "skipped": None if conclusion.skip is None else json_text(conclusion.skip),
            "new_length": conclusion.length,
            "map_name": None if conclusion.map_name is None else printable(conclusion.map_name),
        }
        kind = callback_of(assignment.task, conclusion.event)
        if kind is not None:
            parameters |= {
                "callback_id": callback_id_of(assignment.ti_id, assignment.epoch, kind),
                "callback_kind": kind.value,
                "callback_lease_s": callback_lease_s,
            }
        return self._database.retrying(
            lambda: tries.finish(
                self._database, parameters, self._pieces(assignment, parameters, xcoms, masked)
            )
        )

    def _pieces(
        self,
        assignment: Assignment,
        owner: Mapping[str, Any],
        xcoms: Mapping[str, Any],
        masked: Mapping[str, Any],
    ) -> list[tuple[str, str, str | None]]:
        """The rows of XComs: keys, JSON, and what people see instead. A large one is stored beside
        its row, which then holds a preview; a try that is lost meanwhile is refused by the
        statement that comes next."""
        pieces: list[tuple[str, str, str | None]] = []
        for name, value in xcoms.items():
            key, text = printable(name), json_text(value)
            if len(text) > self._spills.inline_bytes:
                self._spills.write(value, key=key, run_uid=assignment.run.uid, owner=owner)
                pieces.append((key, json_text(preview(masked.get(name, value))), None))
            else:
                pieces.append((key, text, json_text(masked[name]) if name in masked else None))
        return pieces

    def claim_callback(
        self, callback_id: CallbackId, *, worker_id: str, lease_s: float
    ) -> CallbackAssignment | None:
        return self._database.retrying(
            lambda: callback_runs.claim(
                self._database,
                self._versions,
                callback_id,
                worker_id=worker_id,
                lease_s=lease_s,
            )
        )

    def finish_callback(
        self, callback_id: CallbackId, report: CallbackReport, *, attempt: int
    ) -> bool:
        return self._database.retrying(
            lambda: callback_runs.finish(self._database, callback_id, report, attempt=attempt)
        )

    def append_log(self, ti_id: TiId, try_number: int, *, offset: int, data: bytes) -> None:
        piece = {"of_ti": ti_id, "try_number": try_number, "offset": offset, "data": data}

        def append() -> None:
            with self._database.each_alone() as connection:
                connection.execute(_APPEND_LOG[connection.dialect.name], piece)

        self._database.retrying(append)

    def _assignment(self, row: Any) -> Assignment:
        version = self._versions.version(row.dag_version_id)
        return Assignment(
            ti_id=row.ti_id,
            epoch=row.epoch,
            key=TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index),
            try_number=row.try_number,
            max_tries=row.max_tries,
            started_at=row.try_started_at,
            began_at=row.began_at or row.try_started_at,
            run=run_facts(row),
            dag=version.spec,
            task=version.tasks[row.task_id],
            source=version.source,
        )
