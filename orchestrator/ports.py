"""What the services ask of the store and the broker: one small Protocol for each reader.

The SQL store and the Redis broker implement them. The simulation uses the same store on SQLite in
memory, so there is no second, imagined one that could disagree with the first (ADR 6).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from orchestrator.core.admission import Candidate, Capacity
from orchestrator.core.assignments import Assignment, RunFacts
from orchestrator.core.callbacks import CallbackAssignment, CallbackId, CallbackReport
from orchestrator.core.ids import RunUid, Slot, TiId, VersionId
from orchestrator.core.planning import DagSnapshot, Plan
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Decision, Instance
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import TaskState

# --- the broker -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMessage:
    """A pointer on a Celery queue: which try to start. Everything else is read from SQL."""

    ti_id: TiId
    epoch: int
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMessage:
    """A pointer on a Celery queue: which callback to run."""

    callback_id: CallbackId
    queue: str


Message = TaskMessage | CallbackMessage


class Publisher(Protocol):
    """Puts messages on Celery queues."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Send all in one pipeline; raise BrokerUnavailableError when it is not known that all
        arrived. A repeated message is harmless."""

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        """Return how many messages wait on each queue."""

    def generation(self) -> str:
        """Return a name that changes when the broker has lost its memory (flush, restart)."""


class Doorbell(Protocol):
    """Tells sleeping schedulers that SQL has news. Silence costs latency, nothing else: ringing
    never raises, and waiting returns after the timeout."""

    def ring(self) -> None:
        """Wake one scheduler."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the bell rings (True) or the time is over (False)."""

    def ring_worker(self, worker_id: str) -> None:
        """Ask a worker to look at its task instances now: one of them was cancelled."""


# --- the scheduler's store ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """A run that left the state queued in this transaction."""

    facts: RunFacts
    version_id: VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRun:
    """A locked running run that has news or whose `wake_at` has come.

    `news` are the facts reported since the last decision, oldest first. They complete a ledger
    that was valid at `revision`; a ledger of another revision must be loaded anew. `fails_later` is
    why the run shall fail once its teardowns are done, whatever its leaves say.
    """

    uid: RunUid
    dag_id: str
    run_id: str
    version_id: VersionId
    revision: int
    started_at: datetime
    news: tuple[tuple[Slot, Instance], ...]
    fails_later: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """The run before a run, as its tasks that depend on the past see it. `is_locked` says that it
    stays as it is until this transaction ends; if not, somebody else is changing it and nothing is
    known of it yet."""

    uid: RunUid
    run_id: str = ""
    revision: int = 0
    has_instances: bool = False
    """False until it has started for the first time."""
    is_locked: bool = False


class SchedulerTransaction(Protocol):
    """One short transaction. Lock order: runs or DAGs (skipping locked ones), then pools by name,
    then task instances by id. Nothing here commits; leaving the context does."""

    def now(self) -> datetime:
        """Return the database's clock."""

    def lock_due_dags(self, limit: int) -> list[DagSnapshot]:
        """Lock DAGs whose `wake_at` has come and return them, the longest due first."""

    def carry_out_plan(self, dag: DagSnapshot, plan: Plan) -> list[StartedRun]:
        """Create and start runs as planned and store the DAG's `wake_at`. A started run gets its
        task instances in state none, and `wake_at` now. A run that exists already (same logical
        date) is left as it is."""

    def lock_due_runs(self, limit: int) -> list[DueRun]:
        """Lock running runs with news or a due `wake_at`, skipping locked ones; take the news."""

    def load_instances(self, uid: RunUid) -> list[tuple[Slot, Instance]]:
        """Read every task instance of a locked run."""

    def lock_predecessor(self, run: DueRun, *, skips_manual: bool) -> Predecessor | None:
        """Return the run of the same DAG with the latest logical date before this one's, without
        the manual ones or with them; None if there is none. From now on, and as long as `run` runs,
        every change of that one makes `run` due."""

    def states_of_tasks(
        self, uid: RunUid, task_ids: Collection[str]
    ) -> Mapping[str, frozenset[TaskState]]:
        """Return the states that some tasks' instances are in, by task id."""

    def carry_out_decision(self, run: DueRun, decision: Decision) -> int:
        """Write expansions (each guarded by what is not expanded yet), then moves (each guarded by
        the states its event may come from), the end of the run and its `wake_at`; return the run's
        new revision. Raise StaleLedgerError when a guard failed. The end of a run wakes its DAG. An
        ABANDONED task instance that was running is cancelled."""

    def owes_callbacks(self) -> bool:
        """Say whether what this transaction wrote owes callbacks that can be sent now."""

    def cancelled_workers(self) -> frozenset[str]:
        """Return the workers that may run what this transaction abandoned."""

    def lock_capacity(self) -> Capacity:
        """Lock the pools (so one scheduler claims at a time) and count who holds what."""

    def candidates(self, capacity: Capacity, *, per_dag: int) -> list[Candidate]:
        """Read scheduled task instances of unpaused DAGs, at most `per_dag` of each by priority,
        those behind a full pool, a full queue or a full run left out."""

    def claim(
        self, admitted: Sequence[Candidate], *, republish_after_s: float
    ) -> list[TaskMessage]:
        """Move candidates scheduled -> queued (epoch + 1, due for republishing after so long) and
        return what to publish once this transaction has committed."""


class StaleLedgerError(Exception):
    """What the ledger says is no longer what the store says: forget the ledger, decide anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What one janitor pass did: names of task instances by what became of them."""

    lost: tuple[TiId, ...] = ()
    offline_workers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCallbacks:
    """What has to be sent about callbacks, and what became of others."""

    messages: Sequence[CallbackMessage] = ()
    missed_deadlines: int = 0
    given_up: tuple[CallbackId, ...] = ()


class SchedulerStore(Protocol):
    """The store as the scheduler sees it."""

    def transaction(self) -> AbstractContextManager[SchedulerTransaction]:
        """Open a transaction; it commits when the block ends and rolls back when it raises."""

    def spec(self, version_id: VersionId) -> DagSpec:
        """Return a stored version's DAG. Versions never change while a run uses them."""

    def next_wake_at(self) -> datetime | None:
        """Return the earliest `wake_at` of any DAG or run, for how long to sleep."""

    def reap(self, *, infra_tries_max: int, limit: int, spares_leases: bool = False) -> Reaped:
        """Take running task instances whose lease ended or whose worker is offline away from
        their workers (LOST, or LOST_FOR_GOOD after so many losses), with news for their runs;
        mark workers that stopped their heartbeat offline. `spares_leases` (after an outage, when
        live workers could not renew theirs) takes only from workers that signed off."""

    def lease_undelivered(self, *, limit: int, republish_after_s: float) -> list[TaskMessage]:
        """Return queued task instances that no worker has started in time, oldest first, and put
        their next look off by `republish_after_s` times two to the number of looks (at most 10
        minutes)."""

    def queued_by_queue(self) -> Mapping[str, int]:
        """Count the queued task instances of each queue: fewer messages than that on the broker
        means that some are lost (or in the hands of a worker this very moment)."""

    def withdraw_undelivered(self, *, looks_min: int, limit: int) -> tuple[TiId, ...]:
        """Take back queued task instances that `lease_undelivered` has returned so often without
        any worker starting them (WAS_UNDELIVERABLE): others get a turn at their slots."""

    def expire_all_published(self) -> int:
        """Make every queued task instance due for republishing now (the broker lost its memory)."""

    def expire_published(self, queues: Collection[str], *, queued_for_s: float) -> int:
        """Make due for republishing now what has been queued for so long on these queues: they are
        empty, so its messages are lost. Return how many."""

    def lease_callbacks(self, *, limit: int, republish_after_s: float) -> DueCallbacks:
        """Turn deadlines that have passed into callbacks that are owed, each once; return owed
        callbacks whose message is due, oldest first, and put their next look off as
        `lease_undelivered` does. What was begun too often is given up."""

    def expire_published_callbacks(self) -> int:
        """Make every callback that no worker has begun due now (the broker lost its memory)."""

    def sweep_values(self, *, limit: int) -> int:
        """Delete large XComs that belong to nothing any more (their tries were followed by others,
        their runs deleted), at most so many at a time; return how many."""

    def register_scheduler(self, scheduler_id: str, *, lease_s: float) -> None:
        """Write this scheduler's heartbeat. On SQLite raise ConflictError while another lives."""

    def sign_off_scheduler(self, scheduler_id: str) -> None:
        """Remove this scheduler's heartbeat."""


# --- the worker's store ---------------------------------------------------------------------


LOG_BYTES_PER_EPOCH = 2**32
"""Far more than a try may log. So who goes on with a try (after a reschedule) writes behind what
others wrote, without asking how much that is, and late pieces of theirs still find their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker process as it presents itself."""

    worker_id: str
    hostname: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    version: str


class WorkerStore(Protocol):
    """The store as a worker sees it. All writes for a try are guarded by its epoch and owner."""

    def register_worker(self, worker: WorkerInfo) -> None:
        """Write the worker's row, online."""

    def beat(self, worker_id: str, *, lease_s: float) -> frozenset[tuple[TiId, int]]:
        """Renew the worker's heartbeat and the leases of all it runs, in one statement each; return
        the (task instance, epoch) pairs that are still its own. What it runs and is not among them
        was cancelled or taken away."""

    def sign_off_worker(self, worker_id: str) -> None:
        """Mark the worker offline: what it still holds can be reaped at once."""

    def start(
        self, ti_id: TiId, epoch: int, *, worker_id: str, pid: int, lease_s: float
    ) -> Assignment | None:
        """queued -> running for this epoch; None when it is no longer this epoch's to start (the
        message is dropped). Asked again by the same worker and pid, the same answer is given."""

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
        """Record how a try ended: state, attempt, XComs, the callback it owes and news for the run
        in one transaction. `masked` is what people see of those XComs that hold a secret. With
        `callback_lease_s` the reporter runs the callback itself, within so long. False when the
        try was no longer this worker's. Safe to repeat."""

    def claim_callback(
        self, callback_id: CallbackId, *, worker_id: str, lease_s: float
    ) -> CallbackAssignment | None:
        """Begin an attempt; None when the callback is not owed (any more) or someone is at it."""

    def finish_callback(
        self, callback_id: CallbackId, report: CallbackReport, *, attempt: int
    ) -> bool:
        """Record what an attempt came to; False when a later one has begun."""

    def append_log(self, ti_id: TiId, try_number: int, *, offset: int, data: bytes) -> None:
        """Store a piece of a try's log at a byte offset. Safe to repeat. What is logged under one
        epoch begins at epoch * LOG_BYTES_PER_EPOCH: a try may go on under several."""


# --- the parser's store ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedVersion:
    """A DAG as one import of its file gave it."""

    spec: DagSpec
    path: str
    source: str
    source_digest: str
    content_hash: str


class DagCatalog(Protocol):
    """The store as the parser sees it. Each call is one transaction and safe to repeat."""

    def register(self, version: ParsedVersion) -> bool:
        """Make a version current if its content hash is new for the DAG (a version without runs is
        replaced in place, otherwise version_number + 1); the DAG becomes visible. True if new."""

    def owner_of(self, dag_id: str) -> str | None:
        """Return the path of the file a visible DAG comes from."""

    def keep_only(self, path: str, dag_ids: Collection[str]) -> None:
        """Hide (stale, history kept) the DAGs of a file that it no longer defines."""

    def record_import_error(self, path: str, *, kind: str, message: str, stacktrace: str) -> None:
        """Store why a file does not import; replaces the file's earlier error. Its DAGs stay."""

    def clear_import_error(self, path: str) -> None:
        """The file imports again."""

    def record_warnings(self, dag_id: str, warnings: Mapping[str, str]) -> None:
        """Replace a DAG's warnings: kind -> message."""

    def forget_missing(self, existing_paths: Collection[str]) -> None:
        """Hide the DAGs and drop the import errors of files that are gone."""


Clock = Callable[[], datetime]
"""Where a SQLite store takes the time from; PostgreSQL uses its own clock."""

NewId = Callable[[], UUID]
"""Where new row keys come from (time-ordered UUIDs; a seeded source in the simulation)."""
