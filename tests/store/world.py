"""A stored DAG and its runs, and the few moves by which a test brings them into a state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, select, text, update

from orchestrator.core.admission import Candidate, admit
from orchestrator.core.assignments import Assignment
from orchestrator.core.codec import content_hash
from orchestrator.core.ids import RunUid, Slot, TiId
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.planning import Plan
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Decision, Expand, Move
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, RunType, TaskState, TriggeredBy
from orchestrator.ports import DueRun, ParsedVersion, TaskMessage, WorkerInfo
from orchestrator.store import Store
from orchestrator.store.tables import dag_run_table, dag_table, task_instance_table
from tests.builders import NOW, a_dag
from tests.store.guards import remove_transition_guards

LEASE_S = 60.0
SUCCEEDED = Conclusion(event=TaskEvent.SUCCEEDED)


def a_version(
    spec: DagSpec | None = None, *, source: str = "# d", path: str = "d.py"
) -> ParsedVersion:
    """A DAG as an import of its file gave it."""
    spec = spec or a_dag()
    return ParsedVersion(
        spec=spec,
        path=path,
        source=source,
        source_digest="0" * 64,
        content_hash=content_hash(spec, source),
    )


def a_worker(name: str = "w1", **fields: Any) -> WorkerInfo:
    """A worker of four slots on the default queue."""
    defaults: dict[str, Any] = {
        "worker_id": name,
        "hostname": "host",
        "pid": 100,
        "queues": ("default",),
        "concurrency": 4,
        "version": "1",
    }
    return WorkerInfo(**{**defaults, **fields})


@dataclass(slots=True)
class StoredWorld:
    """One store, and how a test acts on it through its ports."""

    store: Store
    runs: dict[str, RunUid] = field(default_factory=dict)

    def register(self, spec: DagSpec, **fields: Any) -> bool:
        """Store a DAG as the parser would."""
        return self.store.catalog.register(a_version(spec, **fields))

    def queued_run(
        self,
        run_id: str = "r1",
        *,
        dag_id: str = "d",
        run_after: datetime = NOW,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        run_type: RunType = RunType.MANUAL,
    ) -> RunUid:
        """Store a run that waits to start, and make its DAG due."""
        uid = RunUid(self.store.database.new_id())
        with self.store.database.writing() as connection:
            version_id = connection.scalar(
                update(dag_table)
                .where(dag_table.c.dag_id == dag_id)
                .values(wake_at=NOW - timedelta(days=365))
                .returning(dag_table.c.current_version_id)
            )
            connection.execute(
                insert(dag_run_table).values(
                    id=uid,
                    dag_id=dag_id,
                    run_id=run_id,
                    run_type=run_type,
                    state=RunState.QUEUED,
                    run_after=run_after,
                    queued_at=run_after,
                    logical_date=logical_date,
                    conf=dict(conf or {}),
                    triggered_by=TriggeredBy.TEST,
                    dag_version_id=version_id,
                    revision=0,
                )
            )
        self.runs[run_id] = uid
        return uid

    def started_run(self, spec: DagSpec, run_id: str = "r1", **fields: Any) -> RunUid:
        """Store a DAG and a run of it that has started; its instances are in state none."""
        self.register(spec)
        uid = self.queued_run(run_id, dag_id=spec.dag_id, **fields)
        with self.store.scheduler.transaction() as transaction:
            for dag in transaction.lock_due_dags(100):
                transaction.carry_out_plan(dag, Plan(start=tuple(run.uid for run in dag.waiting)))
        return uid

    def due(self, uid: RunUid) -> DueRun:
        """Lock the due runs and return this one (the lock ends with the call)."""
        with self.store.scheduler.transaction() as transaction:
            return next(run for run in transaction.lock_due_runs(100) if run.uid == uid)

    def decide(
        self,
        uid: RunUid,
        *moves: Move,
        expansions: tuple[Expand, ...] = (),
        wake_at: datetime | None = None,
    ) -> int:
        """Carry out a decision for a run, due or not, and return its revision."""
        self.write("UPDATE dag_run SET wake_at = started_at WHERE id = :uid", uid=self._key(uid))
        decision = Decision(expansions=expansions, moves=moves, wake_at=wake_at)
        with self.store.scheduler.transaction() as transaction:
            run = next(run for run in transaction.lock_due_runs(100) if run.uid == uid)
            return transaction.carry_out_decision(run, decision)

    def _key(self, uid: RunUid) -> str:
        return uid.hex if self.store.database.is_sqlite else str(uid)

    def schedule(self, uid: RunUid, *task_ids: str) -> None:
        """Make task instances ready."""
        self.decide(uid, *(Move(slot=Slot(t), event=TaskEvent.BECAME_READY) for t in task_ids))

    def claim(self, *, per_dag: int = 100) -> list[TaskMessage]:
        """Hand out free slots as the tick does."""
        with self.store.scheduler.transaction() as transaction:
            capacity = transaction.lock_capacity()
            found = transaction.candidates(capacity, per_dag=per_dag)
            return transaction.claim(admit(found, capacity), republish_after_s=LEASE_S)

    def candidates(self, *, per_dag: int = 100) -> list[Candidate]:
        """Read who waits for a slot."""
        with self.store.scheduler.transaction() as transaction:
            return transaction.candidates(transaction.lock_capacity(), per_dag=per_dag)

    def start(
        self, message: TaskMessage, *, worker: str = "w1", pid: int = 1, lease_s: float = LEASE_S
    ) -> Assignment | None:
        """Start what a message points at."""
        return self.store.worker.start(
            message.ti_id, message.epoch, worker_id=worker, pid=pid, lease_s=lease_s
        )

    def running(
        self, spec: DagSpec, run_id: str = "r1", *, worker: str = "w1", **fields: Any
    ) -> list[Assignment]:
        """Bring a run of `spec` to where all its tasks are running on one worker."""
        self.store.worker.register_worker(a_worker(worker))
        uid = self.started_run(spec, run_id, **fields)
        self.schedule(uid, *(task.task_id for task in spec.tasks))
        started = [self.start(message, worker=worker) for message in self.claim()]
        assignments = [assignment for assignment in started if assignment is not None]
        assert len(assignments) == len(spec.tasks)
        return sorted(assignments, key=lambda assignment: assignment.key)

    def finish(
        self,
        assignment: Assignment,
        conclusion: Conclusion = SUCCEEDED,
        *,
        worker: str = "w1",
        xcoms: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report the end of a try."""
        return self.store.worker.finish(assignment, conclusion, worker_id=worker, xcoms=xcoms or {})

    def instance(self, ti_id: TiId) -> Row[Any]:
        """Return a task instance's row."""
        table = task_instance_table
        with self.store.database.reading() as connection:
            return connection.execute(select(table).where(table.c.id == ti_id)).one()

    def run_row(self, uid: RunUid) -> Row[Any]:
        """Return a run's row."""
        table = dag_run_table
        with self.store.database.reading() as connection:
            return connection.execute(select(table).where(table.c.id == uid)).one()

    def states(self, uid: RunUid) -> dict[str, TaskState]:
        """Return the states of a run's task instances by task id."""
        table = task_instance_table
        with self.store.database.reading() as connection:
            rows = connection.execute(
                select(table.c.task_id, table.c.state).where(table.c.run_uid == uid)
            )
            return {row.task_id: TaskState(row.state) for row in rows}

    def rows(self, statement: str, **parameters: Any) -> Sequence[Row[Any]]:
        """Read with plain SQL."""
        with self.store.database.reading() as connection:
            return connection.execute(text(statement), parameters).all()

    def write(self, statement: Any, **parameters: Any) -> int:
        """Write beside the store's own statements, as a person at the database would."""
        given = text(statement) if isinstance(statement, str) else statement
        with self.store.database.writing() as connection:
            return connection.execute(given, parameters).rowcount

    def unguard(self) -> None:
        """Take the transition guards away, to make up a past."""
        with self.store.database.writing() as connection:
            remove_transition_guards(connection)

    def count(self, table: Any, *conditions: ColumnElement[bool]) -> int:
        """Count rows."""
        with self.store.database.reading() as connection:
            counted = connection.scalar(select(func.count()).select_from(table).where(*conditions))
        assert counted is not None
        return counted
