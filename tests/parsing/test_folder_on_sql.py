"""The same on the real store: what the scheduler and the API then read."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.parsing.folder import DagFolderService
from orchestrator.store.catalog import SqlDagCatalog
from orchestrator.store.engine import Database, wall_clock
from orchestrator.store.ids import uuid7
from tests.parsing.conftest import LIMITS, Write, eventually

GOOD = """
import time
from orchestrator.sdk import DAG, EmptyOperator

with DAG("etl", params={"now": time.time_ns()}):
    EmptyOperator(task_id="load")
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(
        database_url,
        clock=wall_clock,
        new_id=uuid7,
        pool_size=2,
        tries=3,
        application_name="tests",
    )
    yield database
    database.close()


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_from_a_file_to_rows_and_back(database: Database, folder: Path, write: Write) -> None:
    rung = threading.Event()
    catalog = SqlDagCatalog(database)
    path = write("etl.py", GOOD)

    def versions() -> list[tuple[object, ...]]:
        return rows(database, "SELECT dag_id, version_number, path FROM dag_version ORDER BY 2")

    def errors() -> list[tuple[object, ...]]:
        return rows(database, "SELECT path, kind FROM import_error")

    for _ in range(2):  # as after a restart: the same text, another `now`
        with DagFolderService(catalog, folder, limits=LIMITS, on_change=rung.set) as service:
            assert service.wait_for_first_scan(30)
        assert rung.is_set()
        assert versions() == [("etl", 1, "etl.py")]
        assert rows(database, "SELECT kind FROM dag_warning") == [("runtime varying value",)]

    with DagFolderService(catalog, folder, limits=LIMITS, on_change=rung.set) as service:
        assert service.wait_for_first_scan(30)
        write("etl.py", GOOD + "\n1 / 0\n")
        eventually(lambda: errors() == [("etl.py", "exception")], "an import error")
        assert catalog.owner_of("etl") == "etl.py"
        write("copy.py", GOOD)
        eventually(lambda: ("copy.py", "duplicate") in errors(), "a duplicate")
        path.unlink()
        eventually(lambda: catalog.owner_of("etl") == "copy.py", "the copy has it")
        eventually(lambda: errors() == [], "no error is left")
        (folder / "copy.py").unlink()
        eventually(lambda: catalog.owner_of("etl") is None, "the DAG is hidden")
        assert len(versions()) == 1  # its history is not
