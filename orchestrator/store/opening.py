"""How does a process get its store?"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.ports import Clock, NewId
from orchestrator.store.catalog import SqlDagCatalog
from orchestrator.store.engine import Database, wall_clock
from orchestrator.store.ids import uuid7
from orchestrator.store.scheduling import SqlSchedulerStore
from orchestrator.store.schema import check_database, create_in_memory
from orchestrator.store.sealing import SecretSealer
from orchestrator.store.secrets import SqlSecrets
from orchestrator.store.spilling import SpillRules, Spills
from orchestrator.store.values import SqlValueStore
from orchestrator.store.versions import Versions
from orchestrator.store.workers import SqlWorkerStore
from orchestrator.store.xcom_changes import XComChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One database as each of its readers sees it. `database` is for the reads and commands of
    people, which live in this package."""

    database: Database
    scheduler: SqlSchedulerStore
    worker: SqlWorkerStore
    values: SqlValueStore
    catalog: SqlDagCatalog
    xcom_changes: XComChanges

    def secrets(self, fernet_keys: Sequence[str]) -> SqlSecrets:
        """Return Connections and Variables; the first key seals, all of them open."""
        return SqlSecrets(self.database, SecretSealer(fernet_keys))

    def check(self) -> None:
        """Raise StoreUnavailableError, which names the cure, unless the database can be used."""
        check_database(self.database)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


def open_store(
    database_url: str,
    *,
    clock: Clock = wall_clock,
    new_id: NewId = uuid7,
    pool_size: int = 5,
    tries: int = 4,
    application_name: str = "orchestrator",
    spill: SpillRules = SpillRules(),  # noqa: B008 - frozen
) -> Store:
    """Open a store; it connects when it is first used, except that `sqlite://`, a database in
    memory, gets its tables at once.

    `clock` is SQLite's; PostgreSQL uses its own. `pool_size` is the number of connections: as many
    as threads use the store. `tries` is how often a call that is safe to repeat is made when the
    database has passing trouble, before StoreUnavailableError is raised. `spill` says which XComs
    are stored beside their rows, and where.
    """
    database = Database(
        database_url,
        clock=clock,
        new_id=new_id,
        pool_size=pool_size,
        tries=tries,
        application_name=application_name,
    )
    if database.is_in_memory:
        create_in_memory(database)
    versions = Versions(database)
    spills = Spills(database, spill)
    return Store(
        database=database,
        scheduler=SqlSchedulerStore(database, versions, spills),
        worker=SqlWorkerStore(database, versions, spills),
        values=SqlValueStore(database, spills),
        catalog=SqlDagCatalog(database),
        xcom_changes=XComChanges(database, versions, spills),
    )
