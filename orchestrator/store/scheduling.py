"""The store as the scheduler sees it: transactions that plan, decide and claim; the janitor's."""

import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    or_,
    select,
)

from orchestrator.core.admission import Candidate, Capacity
from orchestrator.core.ids import RunUid, Slot, TiId, VersionId
from orchestrator.core.planning import DagSnapshot, Plan
from orchestrator.core.scheduling import Decision, FinishRun, Instance
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import ConflictError
from orchestrator.ports import DueCallbacks, DueRun, Predecessor, Reaped, StartedRun, TaskMessage
from orchestrator.store import (
    callbacks,
    candidates,
    claims,
    deadlines,
    deciding,
    delivery,
    pasts,
    planning,
    reaping,
)
from orchestrator.store.conditions import for_each_dialect, is_one_of
from orchestrator.store.engine import Database
from orchestrator.store.expanding import write_expansions
from orchestrator.store.moving import write_moves
from orchestrator.store.spilling import Spills
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.tables import scheduler_table as scheduler
from orchestrator.store.tables import task_event_table as task_event
from orchestrator.store.types import now, now_plus
from orchestrator.store.versions import Versions

DEAD_SCHEDULER_KEPT = timedelta(days=1)
"""How long a scheduler that never signed off stays listed."""

_EARLIEST = select(
    select(dag.c.wake_at)
    .where(dag.c.wake_at.is_not(None))
    .order_by(dag.c.wake_at)
    .limit(1)
    .scalar_subquery()
    .label("of_dags"),
    select(dag_run.c.wake_at)
    .where(is_one_of(dag_run.c.state, RunState.RUNNING), dag_run.c.wake_at.is_not(None))
    .order_by(dag_run.c.wake_at)
    .limit(1)
    .scalar_subquery()
    .label("of_runs"),
    # News that a doorbell should have told, and did not.
    select(task_event.c.at)
    .where(
        is_one_of(
            select(dag_run.c.state).where(dag_run.c.id == task_event.c.run_uid).scalar_subquery(),
            RunState.RUNNING,
        )
    )
    .order_by(task_event.c.id)
    .limit(1)
    .scalar_subquery()
    .label("of_news"),
    callbacks.EARLIEST.label("of_callbacks"),
    deadlines.EARLIEST.label("of_deadlines"),
)

_IS_ANYTHING_OWED = select(or_(now() >= callbacks.EARLIEST, now() >= deadlines.EARLIEST))

_REGISTER = for_each_dialect(
    scheduler,
    lambda insert_: insert_.values(
        started_at=now(), heartbeat_at=now(), lease_until=now_plus(bindparam("lease_s"))
    ).on_conflict_do_update(
        index_elements=["id"],
        set_={name: insert_.excluded[name] for name in ("heartbeat_at", "lease_until")},
    ),
)
_SELECT_OTHER = (
    select(scheduler.c.id, scheduler.c.hostname, scheduler.c.pid)
    .where(scheduler.c.id != bindparam("scheduler_id"), scheduler.c.lease_until > now())
    .order_by(scheduler.c.id)
)
_FORGET_DEAD = delete(scheduler).where(scheduler.c.lease_until < now_plus(bindparam("kept_s")))
_SIGN_OFF = delete(scheduler).where(scheduler.c.id == bindparam("scheduler_id"))


class SqlSchedulerTransaction:
    """ports.SchedulerTransaction on one open connection."""

    def __init__(self, connection: Connection, database: Database, versions: Versions) -> None:
        self._connection = connection
        self._database = database
        self._versions = versions
        self._wake_at: Mapping[RunUid, datetime | None] = {}
        self._ended_in: set[str] = set()
        self._looked_at: list[RunUid] = []
        self._cancelled: frozenset[str] = frozenset()
        self._owes_callbacks = False

    def now(self) -> datetime:
        return self._database.now(self._connection)

    def lock_due_dags(self, limit: int) -> list[DagSnapshot]:
        return planning.lock_due_dags(self._connection, self._versions, limit=limit)

    def carry_out_plan(self, dag: DagSnapshot, plan: Plan) -> list[StartedRun]:
        return planning.carry_out_plan(self._connection, self._database, self._versions, dag, plan)

    def lock_due_runs(self, limit: int) -> list[DueRun]:
        runs, self._wake_at = deciding.lock_due_runs(self._connection, limit=limit)
        return runs

    def load_instances(self, uid: RunUid) -> list[tuple[Slot, Instance]]:
        return deciding.load_instances(self._connection, uid)

    def lock_predecessor(self, run: DueRun, *, skips_manual: bool) -> Predecessor | None:
        return pasts.lock_predecessor(self._connection, run.uid, skips_manual=skips_manual)

    def states_of_tasks(
        self, uid: RunUid, task_ids: Collection[str]
    ) -> Mapping[str, frozenset[TaskState]]:
        return pasts.states_of_tasks(self._connection, uid, task_ids)

    def carry_out_decision(self, run: DueRun, decision: Decision) -> int:
        finish, wake_at = decision.finish, decision.wake_at
        if decision.expansions or decision.moves:
            self._write_instances(run, decision)
        # Consumed news are known to nobody else: another scheduler's ledger is out of date by them.
        is_changed = bool(decision.expansions or decision.moves or decision.fails_later or run.news)
        if not is_changed and finish is None and wake_at == self._wake_at[run.uid]:
            return run.revision  # the row says so already
        revision = run.revision + is_changed
        is_looked_at = deciding.write_run(
            self._connection, run, revision=revision, decision=decision
        )
        if is_changed and is_looked_at:
            self._looked_at.append(run.uid)
        if finish is not None:
            self._ended_in.add(run.dag_id)
            self._settle(run, finish, revision=revision)
        return revision

    def owes_callbacks(self) -> bool:
        return self._owes_callbacks

    def cancelled_workers(self) -> frozenset[str]:
        return self._cancelled

    def lock_capacity(self) -> Capacity:
        self.tell_those_who_wait()  # DAG rows come before pools in the order of locks
        return claims.lock_capacity(self._connection)

    def candidates(self, capacity: Capacity, *, per_dag: int) -> list[Candidate]:
        return candidates.candidates(self._connection, self._versions, capacity, per_dag=per_dag)

    def claim(
        self, admitted: Sequence[Candidate], *, republish_after_s: float
    ) -> list[TaskMessage]:
        return claims.claim(self._connection, admitted, republish_after_s=republish_after_s)

    def _write_instances(self, run: DueRun, decision: Decision) -> None:
        tasks = self._versions.version(run.version_id).tasks
        write_expansions(self._connection, self._database, run.uid, tasks, decision.expansions)
        owed = callbacks.owed_by_moves(self._connection, run, tasks, decision.moves)
        self._cancelled |= write_moves(self._connection, run.uid, tasks, decision.moves)
        callbacks.owe(self._connection, owed)
        self._owes_callbacks = self._owes_callbacks or bool(owed)

    def _settle(self, run: DueRun, finish: FinishRun, *, revision: int) -> None:
        """Write what the end of a run owes, and settle the deadlines that it met."""
        spec = self._versions.version(run.version_id).spec
        if callbacks.owe_end(self._connection, run, spec, finish, revision=revision):
            self._owes_callbacks = True
        if spec.deadlines and finish.state is RunState.SUCCESS:
            deadlines.prune_met(self._connection, run.uid)

    def tell_those_who_wait(self) -> None:
        """Nudge the runs that look back at what this transaction changed, and wake the DAGs in
        which it ended runs."""
        if self._looked_at:
            pasts.nudge_next_runs(self._connection, self._looked_at)
            self._looked_at.clear()
        self._wake_ended()

    def _wake_ended(self) -> None:
        """Wake the DAGs whose runs ended in this transaction, all in one order: two schedulers that
        end runs of the same DAGs then never wait for each other in a circle."""
        if self._ended_in:
            deciding.wake_dags(self._connection, self._ended_in)
            self._ended_in.clear()


class SqlSchedulerStore:
    """ports.SchedulerStore on SQL."""

    def __init__(self, database: Database, versions: Versions, spills: Spills) -> None:
        self._database = database
        self._versions = versions
        self._spills = spills
        self._enrolled: set[str] = set()

    @contextmanager
    def transaction(self) -> Iterator[SqlSchedulerTransaction]:
        with self._database.writing() as connection:
            transaction = SqlSchedulerTransaction(connection, self._database, self._versions)
            yield transaction
            transaction.tell_those_who_wait()

    def spec(self, version_id: VersionId) -> DagSpec:
        return self._versions.version(version_id).spec

    def next_wake_at(self) -> datetime | None:
        def earliest() -> datetime | None:
            with self._database.reading() as connection:
                row = connection.execute(_EARLIEST).one()
            return min((instant for instant in row if instant is not None), default=None)

        return self._database.retrying(earliest)

    def reap(self, *, infra_tries_max: int, limit: int, spares_leases: bool = False) -> Reaped:
        def reap() -> Reaped:
            with self._database.writing() as connection:
                return reaping.reap(
                    connection,
                    self._versions,
                    infra_tries_max=infra_tries_max,
                    limit=limit,
                    spares_leases=spares_leases,
                )

        return self._database.retrying(reap)

    def lease_undelivered(self, *, limit: int, republish_after_s: float) -> list[TaskMessage]:
        with self._database.each_alone() as connection:
            return delivery.lease_undelivered(
                connection, limit=limit, republish_after_s=republish_after_s
            )

    def queued_by_queue(self) -> Mapping[str, int]:
        with self._database.reading() as connection:
            return delivery.queued_by_queue(connection)

    def withdraw_undelivered(self, *, looks_min: int, limit: int) -> tuple[TiId, ...]:
        with self._database.each_alone() as connection:
            return delivery.withdraw_undelivered(connection, looks_min=looks_min, limit=limit)

    def expire_all_published(self) -> int:
        with self._database.each_alone() as connection:
            return delivery.expire_all(connection)

    def expire_published(self, queues: Collection[str], *, queued_for_s: float) -> int:
        with self._database.each_alone() as connection:
            return delivery.expire_on(connection, queues, queued_for_s=queued_for_s)

    def lease_callbacks(self, *, limit: int, republish_after_s: float) -> DueCallbacks:
        with self._database.reading() as connection:
            if not connection.scalar(_IS_ANYTHING_OWED):
                return DueCallbacks()
        with self._database.writing() as connection:
            missed = deadlines.miss_deadlines(connection, limit=limit)
            given_up = callbacks.give_up(connection)
            messages = callbacks.lease_due(
                connection, limit=limit, republish_after_s=republish_after_s
            )
        return DueCallbacks(messages=messages, missed_deadlines=missed, given_up=given_up)

    def expire_published_callbacks(self) -> int:
        with self._database.each_alone() as connection:
            return callbacks.expire_published(connection)

    def sweep_values(self, *, limit: int) -> int:
        return self._database.retrying(lambda: self._spills.sweep(limit=limit))

    def register_scheduler(self, scheduler_id: str, *, lease_s: float) -> None:
        values = {
            "id": scheduler_id,
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "lease_s": lease_s,
        }

        def register() -> None:
            with self._database.writing() as connection:
                if self._database.is_sqlite:
                    self._refuse_second(connection, scheduler_id)
                connection.execute(_REGISTER[connection.dialect.name], values)
                connection.execute(_FORGET_DEAD, {"kept_s": -DEAD_SCHEDULER_KEPT.total_seconds()})

        self._database.retrying(register)
        self._enrolled.add(scheduler_id)

    def sign_off_scheduler(self, scheduler_id: str) -> None:
        def sign_off() -> None:
            with self._database.each_alone() as connection:
                connection.execute(_SIGN_OFF, {"scheduler_id": scheduler_id})

        self._database.retrying(sign_off)
        self._enrolled.discard(scheduler_id)

    def _refuse_second(self, connection: Connection, scheduler_id: str) -> None:
        for other in connection.execute(_SELECT_OTHER, {"scheduler_id": scheduler_id}):
            if other.id not in self._enrolled and _is_gone(other.hostname, other.pid):
                continue  # it was killed: nobody has to wait for its lease to end
            raise ConflictError(
                f"scheduler {other.id!r} (process {other.pid} on {other.hostname}) uses the "
                f"database {self._database.name} already, and SQLite takes one scheduler; stop it, "
                "or use PostgreSQL for several"
            )


def _is_gone(hostname: str, pid: int) -> bool:
    """Whether a process of this machine certainly does not live any more."""
    if hostname != socket.gethostname():
        return False
    if pid == os.getpid():
        return True  # an earlier process had our number, as in a container that was restarted
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
