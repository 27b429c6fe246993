"""What may a try ask of the orchestrator? All of it is answered from the store."""

from pathlib import Path

from orchestrator.control import Clearing, Control
from orchestrator.core.assignments import Assignment
from orchestrator.ports import Doorbell
from orchestrator.sdk.secrets import Secrets
from orchestrator.sdk.services import TaskServices
from orchestrator.store import Store
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.commands import Commands
from orchestrator.store.reads_foreign import ForeignReads
from orchestrator.store.versions import Versions
from workers.stored_runs import StoredRuns
from workers.stored_values import NoState, StoredResults, StoredState, StoredXComs

__all__ = ["TryServices"]


class TryServices:
    """The services of one process's tries, over its own connection."""

    def __init__(
        self, store: Store, doorbell: Doorbell, *, secrets: Secrets, venvs_folder: Path
    ) -> None:
        database, versions = store.database, Versions(store.database)
        self._secrets = secrets
        self._venvs_folder = venvs_folder
        self._values = store.values
        self._other_runs = StoredRuns(
            ForeignReads(database, versions),
            Control(Commands(database, versions), doorbell),
            Clearing(SqlClearing(database, versions), doorbell),
        )

    def of_a_callback(self) -> TaskServices:
        """Return the services of a callback that starts now: what a try has, but its state."""
        return TaskServices(
            xcoms=StoredXComs(self._values),
            secrets=self._secrets,
            state=NoState(),
            other_runs=self._other_runs,
            venvs_folder=self._venvs_folder,
        )

    def of_a_try(self, assignment: Assignment, *, worker_id: str) -> TaskServices:
        """Return the services of the try that starts now."""
        return TaskServices(
            xcoms=StoredXComs(self._values),
            secrets=self._secrets,
            state=StoredState(self._values, assignment, worker_id=worker_id),
            results=StoredResults(self._values),
            venvs_folder=self._venvs_folder,
            other_runs=self._other_runs,
        )
