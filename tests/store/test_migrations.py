"""The schema by migration is the schema by the tables, up, down and up again."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

import orchestrator.store
from orchestrator.errors import StoreUnavailableError
from orchestrator.store import check, downgrade, migrate, open_store
from orchestrator.store.schema import REVISIONS
from orchestrator.store.tables import Row

_DESCRIBE = {
    "sqlite": (
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index'"
        " AND name NOT LIKE 'sqlite_%' AND tbl_name <> 'alembic_version' ORDER BY name",
        # A column that a later migration added stands last in the text of its table.
        'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk'
        " FROM sqlite_master m, pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND m.name <> 'alembic_version' ORDER BY m.name, c.name",
        'SELECT m.name, k."table", k."from", k."to", k.on_delete'
        " FROM sqlite_master m, pragma_foreign_key_list(m.name) k"
        " WHERE m.type = 'table' ORDER BY m.name, k.\"from\"",
        'SELECT m.name, i."unique", i.origin, group_concat(c.name)'
        " FROM sqlite_master m, pragma_index_list(m.name) i, pragma_index_info(i.name) c"
        " WHERE m.type = 'table' AND m.name <> 'alembic_version' AND i.origin <> 'c'"
        " GROUP BY m.name, i.name ORDER BY 1, 4",
    ),
    "postgresql": (
        "SELECT tablename, indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2",
        "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL"
        " ORDER BY 1",
        "SELECT table_name, column_name, data_type, is_nullable, column_default"
        " FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
        " AND conrelid <> 'alembic_version'::regclass ORDER BY 1",
    ),
}


def _is_comparable(_thing: object, name: str | None, kind: str, *_: object) -> bool:
    """Alembic cannot compare an index with a descending column."""
    return (kind, name) != ("index", "ix_task_instance_scheduled")


def describe(connection: Connection) -> list[tuple[object, ...]]:
    """Everything that makes two databases' tables and indexes the same, white space apart."""
    return [
        tuple(" ".join(str(cell).replace('"', "").split()) for cell in row)
        for statement in _DESCRIBE[connection.dialect.name]
        for row in connection.exec_driver_sql(statement)
    ]


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_down_and_up_again(empty_database_url: str) -> None:
    url = empty_database_url
    assert migrate(url)
    full = tables(url)
    assert set(Row.metadata.tables) < full
    assert not migrate(url), "there is nothing left to do"
    downgrade(url)
    assert tables(url) == {"alembic_version"}
    assert migrate(url)
    assert tables(url) == full
    check(url)


def test_the_migrations_make_exactly_what_the_tables_say(empty_database_url: str) -> None:
    """Also where Alembic's own comparison is blind: conditions and order of partial indexes."""
    migrate(empty_database_url)
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": _is_comparable}
        )
        assert compare_metadata(context, Row.metadata) == []
        migrated = describe(connection)
        Row.metadata.drop_all(connection)
        Row.metadata.create_all(connection)
        assert describe(connection) == migrated
    engine.dispose()


def test_a_fresh_database_has_the_default_pool(empty_database_url: str) -> None:
    migrate(empty_database_url)
    store = open_store(empty_database_url)
    with store.database.reading() as connection:
        row = connection.execute(text("SELECT name, slots, include_deferred FROM pool")).one()
    assert tuple(row) == ("default_pool", 128, False)
    store.close()


def test_a_database_in_memory_is_like_a_migrated_one(empty_sqlite_url: str) -> None:
    migrate(empty_sqlite_url)
    migrated, in_memory = open_store(empty_sqlite_url), open_store("sqlite://")
    in_memory.check()
    for store in (migrated, in_memory):
        store.check()
    with migrated.database.reading() as one, in_memory.database.reading() as other:
        assert describe(other) == describe(one)
        pools = text("SELECT * FROM pool")
        assert other.execute(pools).all() == one.execute(pools).all()
    migrated.close()
    in_memory.close()


def test_the_known_revisions_are_the_scripts_there_are() -> None:
    folder = Path(orchestrator.store.__file__).parent / "migrations"
    script = ScriptDirectory(str(folder))
    oldest_first = [revision.revision for revision in script.walk_revisions()][::-1]
    assert tuple(oldest_first) == REVISIONS


def test_processes_that_migrate_at_once_wait_for_the_first(empty_database_url: str) -> None:
    program = f"from orchestrator.store import migrate; migrate({empty_database_url!r})"
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    check(empty_database_url)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "has no tables yet; run `orchestrator db migrate`"),
        ("0099", "has schema 0099, which this version does not know"),
    ],
)
def test_check_names_the_cure(sqlite_url: str, stored: str | None, message: str) -> None:
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        if stored is None:
            connection.execute(text("DROP TABLE alembic_version"))
        else:
            connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": stored})
    engine.dispose()
    with pytest.raises(StoreUnavailableError, match=message):
        check(sqlite_url)


def test_an_older_schema_asks_for_migration(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.schema.REVISIONS", (*REVISIONS, "9999"))
    with pytest.raises(StoreUnavailableError, match="run `orchestrator db migrate`"):
        check(sqlite_url)
