"""What `control` asks of the store: one Protocol for commands, one for explanations."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from orchestrator.core.clearing import RunChange, RunPicture
from orchestrator.core.explain import Surroundings
from orchestrator.core.ids import RunUid, Slot, TaskKey
from orchestrator.core.reasons import TaskInstanceFacts
from orchestrator.core.requests import CurrentDag, NewRun, RequestKey, RunsNamed
from orchestrator.core.secrets import ConnectionFields, VariableFields
from orchestrator.core.views import PoolView, RunView, TaskInstanceView

__all__ = [
    "ClearingStore",
    "CommandStore",
    "ConnectionStore",
    "ReasonStore",
    "SecretStore",
    "VariableStore",
    "XComStore",
]


class CommandStore(Protocol):
    """The store as a person's commands see it. Each call is one transaction."""

    def current_dag(self, dag_id: str) -> CurrentDag:
        """Return a DAG's current version; raise NotFoundError, naming similar ids."""

    def create_run_if_current(self, run: NewRun) -> RunView | None:
        """Store a queued run and make its DAG due now; None when the DAG has another version by
        now. Raise ConflictError naming the run that has its run id, logical date or key already."""

    def run_asked_for(self, dag_id: str, request: RequestKey) -> RunView | None:
        """Return the run of the first request with this key; None when there was none. Raise
        ConflictError if that one asked for something else."""

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause or unpause a DAG and make it due now; NotFoundError if there is none."""

    def create_pool(
        self,
        name: str,
        *,
        slots: int,
        queue: str | None,
        description: str | None,
        include_deferred: bool,
    ) -> PoolView:
        """Store a new pool; ConflictError if it exists."""

    def update_pool(self, name: str, changes: Mapping[str, int | str | None]) -> PoolView:
        """Change columns of a pool; NotFoundError if there is none."""

    def delete_pool(self, name: str) -> None:
        """Remove a pool; NotFoundError if there is none."""


class ConnectionStore(Protocol):
    """The store as changes of Connections see it. Each call is one transaction."""

    def connection_fields(self, conn_id: str) -> ConnectionFields | None:
        """Return a Connection with its secrets; None when it is not there."""

    def create_connection(self, fields: ConnectionFields, *, user: str | None) -> None:
        """Store a new Connection; ConflictError if it exists."""

    def put_connection(self, fields: ConnectionFields, *, user: str | None) -> None:
        """Store a Connection, in the place of one that has its id."""

    def delete_connection(self, conn_id: str) -> None:
        """Remove a Connection; NotFoundError if there is none."""

    def unknown_connection(self, conn_id: str) -> Exception:
        """Build the NotFoundError for a Connection that is not stored."""


class VariableStore(Protocol):
    """The store as changes of Variables see it. Each call is one transaction."""

    def variable_fields(self, key: str) -> VariableFields | None:
        """Return a Variable with its value; None when it is not there."""

    def create_variable(self, fields: VariableFields, *, user: str | None) -> None:
        """Store a new Variable; ConflictError if it exists."""

    def put_variable(self, fields: VariableFields, *, user: str | None) -> None:
        """Store a Variable, in the place of one that has its key."""

    def delete_variable(self, key: str) -> bool:
        """Remove a Variable; False when there is none."""

    def unknown_variable(self, key: str) -> Exception:
        """Build the NotFoundError for a Variable that is not stored."""


class SecretStore(ConnectionStore, VariableStore, Protocol):
    """Both, and what concerns them together."""

    def rotate(self) -> int:
        """Seal everything with the first key; return how many rows changed."""


class ClearingStore(Protocol):
    """The store as clearing and marking see it."""

    def runs_named(self, dag_id: str, named: RunsNamed) -> tuple[RunUid, ...]:
        """Return the runs that are meant, the earliest first; raise NotFoundError for
        a DAG or run that does not exist and RequestInvalidError for what means nothing."""

    def foresee(
        self, uid: RunUid, decide: Callable[[RunPicture], RunChange]
    ) -> tuple[RunPicture, RunChange]:
        """Return a run as it stands and what would change in it now, and change nothing."""

    def change(
        self, uid: RunUid, decide: Callable[[RunPicture], RunChange]
    ) -> tuple[RunPicture, RunChange, frozenset[str]]:
        """Change a run in one transaction; return it as it was, what changed, and the workers that
        may be running what was taken away. `decide` may be called again with a newer picture."""

    def task_instances_at(self, uid: RunUid, slots: Iterable[Slot]) -> tuple[TaskInstanceView, ...]:
        """Return these task instances of a run, in the order asked for, those that exist."""

    def set_notes(self, uid: RunUid, slots: Iterable[Slot], note: str | None) -> None:
        """Set the note of task instances."""

    def set_run_note(self, uid: RunUid, note: str | None) -> None:
        """Set the note of a run."""


class XComStore(Protocol):
    """The store as changes of XComs see it. Each call is one transaction; ConflictError for a task
    instance that is, or soon will be, at work, and NotFoundError for what does not exist."""

    def create_xcom(self, of_task: TaskKey, key: str, stored: Any) -> None:
        """Store a new XCom; ConflictError if there is one."""

    def update_xcom(self, of_task: TaskKey, key: str, stored: Any) -> None:
        """Replace an XCom."""

    def delete_xcom(self, of_task: TaskKey, key: str) -> None:
        """Remove an XCom."""


class ReasonStore(Protocol):
    """The store as explanations see it."""

    def task_instance_facts(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int
    ) -> TaskInstanceFacts:
        """Read what an explanation needs; raise NotFoundError naming what does not exist."""

    def surroundings_if_queued(self, dag_id: str, run_id: str, task_id: str) -> Surroundings | None:
        """Read why a run has not started; None when it has, or its DAG has no such task."""
