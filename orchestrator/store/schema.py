"""Which revision of the schema a database has, and how it gets to the one this version needs.

Asking is one cheap query. Alembic, which takes seconds to import, is loaded only when a migration
is due.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import insert, text

from orchestrator.core.specs import DEFAULT_POOL
from orchestrator.errors import StoreUnavailableError
from orchestrator.store import (  # noqa: F401 - what is not imported is not in Row.metadata
    tables_callbacks,
    tables_imports,
    tables_limits,
    tables_requests,
    tables_secrets,
    tables_values,
)
from orchestrator.store.engine import Database, MissingTableError, wall_clock
from orchestrator.store.ids import uuid7
from orchestrator.store.tables import Row, pool_table

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Every revision of the schema, oldest first; the last is the one this version needs."""
DEFAULT_POOL_SLOTS = 128

_SELECT_REVISION = text("SELECT version_num FROM alembic_version")


def check(database_url: str) -> None:
    """Raise StoreUnavailableError, which names the cure, unless the database can be used now."""
    with _opened(database_url) as database:
        check_database(database)


def check_database(database: Database) -> None:
    """As `check`, for a database that is open."""
    revision = _revision(database)
    if revision == REVISIONS[-1]:
        return
    if revision is None:
        raise StoreUnavailableError(
            f"the database {database.name} has no tables yet; run `orchestrator db migrate`"
        )
    if revision in REVISIONS:
        raise StoreUnavailableError(
            f"the database {database.name} has schema {revision}, this version needs "
            f"{REVISIONS[-1]}; run `orchestrator db migrate`"
        )
    raise StoreUnavailableError(
        f"the database {database.name} has schema {revision}, which this version does not know "
        f"(it knows {', '.join(REVISIONS)}); use the version of orchestrator that made it"
    )


def migrate(database_url: str) -> bool:
    """Bring the database to the schema this version needs; False when it has it already.
    Processes that do so at the same time wait for the first."""
    with _opened(database_url) as database:
        if _revision(database) == REVISIONS[-1]:
            return False
        from alembic import command  # noqa: PLC0415 - takes seconds, seldom needed

        with database.writing() as connection:
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return True


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the database back to an older schema: what the newer one added is lost."""
    from alembic import command  # noqa: PLC0415 - takes seconds, seldom needed

    with _opened(database_url) as database, database.writing() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def create_in_memory(database: Database) -> None:
    """Give a new database in memory its tables, as the migrations would."""
    assert database.is_in_memory
    with database.writing() as connection:
        Row.metadata.create_all(connection)
        connection.execute(
            insert(pool_table).values(
                name=DEFAULT_POOL, slots=DEFAULT_POOL_SLOTS, include_deferred=False
            )
        )
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(
            text("INSERT INTO alembic_version VALUES (:head)"), {"head": REVISIONS[-1]}
        )


def _revision(database: Database) -> str | None:
    try:
        with database.reading() as connection:
            revision: str | None = connection.scalar(_SELECT_REVISION)
    except MissingTableError:
        return None
    return revision


def _alembic_config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - takes seconds, seldom needed

    config = Config()
    config.set_main_option("script_location", "orchestrator.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _opened(database_url: str) -> Iterator[Database]:
    database = Database(
        database_url,
        clock=wall_clock,
        new_id=uuid7,
        pool_size=1,
        tries=1,
        application_name="orchestrator-db",
    )
    try:
        yield database
    finally:
        database.close()
