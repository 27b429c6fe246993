"""What may a try ask of the orchestrator? All of it is answered from the store."""

from orchestrator.bootstrap import secret_chain, spill_rules
from orchestrator.control import Clearing, Control
from orchestrator.core.assignments import Assignment
from orchestrator.ports import Doorbell
from orchestrator.sdk.services import TaskServices
from orchestrator.settings import Settings, fernet_keys
from orchestrator.store import Store, open_store
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.commands import Commands
from orchestrator.store.reads_foreign import ForeignReads
from orchestrator.store.secret_backend import StoreSecretsBackend
from orchestrator.store.versions import Versions
from workers.dag_cache import DagCache
from workers.stored_runs import StoredRuns
from workers.stored_values import NoState, StoredResults, StoredState, StoredXComs

__all__ = ["TryServices", "open_own_store", "own_dag_cache"]


def open_own_store(settings: Settings, user: str) -> Store:
    """Open the store for one process that does one thing at a time; `user` is what the database
    calls it."""
    return open_store(
        settings.database_url,
        pool_size=1,
        application_name=f"orchestrator-{user}",
        spill=spill_rules(settings),
    )


def own_dag_cache(settings: Settings, store: Store) -> DagCache:
    """Return the DAGs of one process; their files may read what is kept in the store."""
    kept = StoreSecretsBackend(store.secrets(fernet_keys(settings)))
    return DagCache(settings.dags_folder, stored_variable=kept.get_variable)


class TryServices:
    """The services of one process's tries, over its own connection."""

    def __init__(self, settings: Settings, store: Store, doorbell: Doorbell) -> None:
        database, versions = store.database, Versions(store.database)
        self._secrets = secret_chain(settings, store)
        self._venvs_folder = settings.home / "venvs"
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
