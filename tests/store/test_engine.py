"""Connections: what fails is said in a sentence, what passes is waited out, none is half done."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import StoreUnavailableError
from orchestrator.store import Store, check, open_store
from orchestrator.store.ids import uuid7
from tests.builders import NOW, a_dag
from tests.store.world import StoredWorld, a_version

INSERT_POOL = text("INSERT INTO pool (name, slots, include_deferred) VALUES ('p', 1, :no)")


def pools(store: Store) -> int:
    with store.database.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM pool")).scalar_one())


def add_pool_then(store: Store, error: Exception) -> None:
    with store.database.writing() as connection:
        connection.execute(INSERT_POOL, {"no": False})
        raise error


def test_a_block_that_raises_writes_nothing(database_url: str) -> None:
    store = open_store(database_url)
    with pytest.raises(ValueError, match="half way"):
        add_pool_then(store, ValueError("half way"))
    assert pools(store) == 1
    store.close()


def test_a_broken_statement_is_not_passed_off_as_an_outage(database_url: str) -> None:
    store = open_store(database_url)

    def insert_twice() -> None:
        with store.database.writing() as connection:
            connection.execute(INSERT_POOL, {"no": False})
            connection.execute(INSERT_POOL, {"no": False})

    with pytest.raises(IntegrityError):
        insert_twice()
    assert pools(store) == 1
    store.close()


def test_a_read_inside_a_transaction_sees_it(database_url: str) -> None:
    store = open_store(database_url, pool_size=1)
    with store.database.writing() as connection:
        connection.execute(INSERT_POOL, {"no": False})
        assert pools(store) == 2
    store.close()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    url = "postgresql://ann:hunter2@127.0.0.1:1/orch"
    with pytest.raises(StoreUnavailableError) as caught:
        check(url)
    message = str(caught.value)
    assert "postgresql+psycopg://ann:***@127.0.0.1:1/orch does not answer" in message
    assert "ORCHESTRATOR_DATABASE_URL" in message
    assert "hunter2" not in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "postgresql+asyncpg://x/y"])
def test_a_url_of_another_kind_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="sqlite:///path; set ORCHESTRATOR_DATABASE"):
        open_store(url)


def test_a_folder_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="unable to open database file"):
        check(f"sqlite:///{tmp_path}/missing/x.db")


def test_a_database_without_tables_says_how_to_get_them(empty_database_url: str) -> None:
    store = open_store(empty_database_url, tries=1)
    with pytest.raises(StoreUnavailableError, match="run `orchestrator db migrate`"):
        store.scheduler.next_wake_at()
    store.close()


def test_passing_trouble_is_retried_and_lasting_trouble_raised() -> None:
    store = open_store("sqlite://", tries=3)
    asked = []

    def fail_twice() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise StoreUnavailableError("busy")
        return "done"

    assert store.database.retrying(fail_twice) == "done"
    with pytest.raises(StoreUnavailableError, match="for good"):
        store.database.retrying(_always_fail)
    store.close()


def _always_fail() -> None:
    raise StoreUnavailableError("for good")


def test_a_connection_the_server_closed_is_replaced(postgres_url: str) -> None:
    store, other = open_store(postgres_url), open_store(postgres_url)
    assert store.scheduler.next_wake_at() is None
    with other.database.each_alone() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert store.scheduler.next_wake_at() is None
    store.close()
    other.close()


def test_a_deadlock_is_an_outage_that_passes(postgres_url: str) -> None:
    """Two transactions that wait for each other: one is given up by the server and says so."""
    stores = [open_store(postgres_url) for _ in range(2)]
    with stores[0].database.writing() as connection:
        connection.execute(INSERT_POOL, {"no": False})
    barrier, errors = threading.Barrier(2), []

    def lock(store: Store, first: str, second: str) -> None:
        update = text("UPDATE pool SET slots = slots + 1 WHERE name = :name")
        try:
            with store.database.writing() as connection:
                connection.execute(update, {"name": first})
                barrier.wait()
                connection.execute(update, {"name": second})
        except StoreUnavailableError as error:
            errors.append(str(error))

    names = ("p", "default_pool")
    threads = [
        threading.Thread(target=lock, args=(stores[0], *names)),
        threading.Thread(target=lock, args=(stores[1], *names[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1
    assert "gave a transaction up" in errors[0]
    for store in stores:
        store.close()


def test_a_lock_that_is_not_released_is_given_up(postgres_url: str) -> None:
    first, second = open_store(postgres_url), open_store(postgres_url)
    with first.scheduler.transaction() as holder:
        holder.lock_capacity()
        with (
            pytest.raises(StoreUnavailableError, match="lock timeout"),
            second.scheduler.transaction() as waiter,
        ):
            waiter.lock_capacity()
    first.close()
    second.close()


def test_sqlite_is_durable_and_readers_do_not_wait_for_the_writer(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with store.database.reading() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 1, 5000]
    seen = []
    with store.database.writing() as connection:
        connection.execute(INSERT_POOL, {"no": False})
        reader = threading.Thread(target=lambda: seen.append(pools(store)))
        reader.start()
        reader.join(5)
    assert seen == [1]
    store.close()


def test_sqlite_takes_its_time_from_the_clock_it_was_given() -> None:
    instants = iter(NOW + timedelta(seconds=second) for second in range(1000))
    store = open_store("sqlite://", clock=lambda: next(instants))
    store.catalog.register(a_version(a_dag()))
    with store.scheduler.transaction() as transaction:
        assert NOW <= transaction.now() < NOW + timedelta(seconds=1000)
    wake_at = store.scheduler.next_wake_at()
    assert wake_at is not None
    assert NOW <= wake_at < NOW + timedelta(seconds=1000)
    store.close()


def test_a_database_in_memory_serves_threads_in_turn() -> None:
    store = open_store("sqlite://")
    world = StoredWorld(store)
    threads = [
        threading.Thread(target=lambda n=n: world.register(a_dag(dag_id=f"d{n}"), path=f"{n}.py"))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.rows("SELECT 1 FROM dag")) == 8
    store.close()


def test_a_forked_child_gets_connections_of_its_own(postgres_url: str) -> None:
    store = open_store(postgres_url)
    backend = "SELECT pg_backend_pid() AS pid"

    def backend_pid() -> int:
        with store.database.reading() as connection:
            return int(connection.execute(text(backend)).scalar_one())

    mine = backend_pid()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, str(backend_pid()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read_end, 20)) != mine
    assert backend_pid() == mine, "and the parent's still works"
    store.close()


def test_opening_and_checking_a_store_does_not_import_alembic(sqlite_url: str) -> None:
    program = (
        "import sys; from orchestrator.store import check, migrate, open_store;"
        f"check({sqlite_url!r}); migrate({sqlite_url!r}); open_store({sqlite_url!r}).check();"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_ids_rise_in_the_order_of_their_making() -> None:
    ids = [uuid7() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {one.version for one in ids} == {7}
    made_at = datetime.fromtimestamp((ids[-1].int >> 80) / 1000, tz=UTC)
    assert abs(datetime.now(UTC) - made_at) < timedelta(seconds=5)


def test_sqlite_without_returning_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreUnavailableError, match=r"3\.35\.0 is needed"):
        open_store("sqlite://")


def test_each_transaction_of_sqlite_takes_the_write_lock_at_its_beginning(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
    with store.database.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    with store.database.each_alone() as connection:
        connection.execute(text("SELECT 1"))
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    other.close()
    store.close()


def test_a_forked_process_loses_no_commit_on_sqlite(sqlite_url: str) -> None:
    """A child forked with a connection open takes no lock (SQLite remembers its parent's). The
    parent, closing, then removes the log under it, and what the child commits is gone."""
    store = open_store(sqlite_url)
    assert pools(store) == 1
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            assert pools(store) == 1
            theirs.send(b"open")
            theirs.recv(1)
            with store.database.writing() as connection:
                connection.execute(INSERT_POOL, {"no": False})
            theirs.send(b"committed")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert ours.recv(100) == b"open"
        store.close()
        ours.send(b"!")
        assert ours.recv(100) == b"committed"
        other = open_store(sqlite_url)
        assert pools(other) == 2
        other.close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ours.close()
        theirs.close()


def test_a_fork_waits_for_the_transaction_of_another_thread(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    inside, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def write() -> None:
        with store.database.writing() as connection:
            connection.execute(INSERT_POOL, {"no": False})
            inside.set()
            may_end.wait(10)
            order.append("committed")

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)

    writing, forking = threading.Thread(target=write), threading.Thread(target=fork)
    writing.start()
    assert inside.wait(10)
    forking.start()
    may_end.set()
    writing.join(10)
    forking.join(10)
    assert order == ["committed", "forked"]
    assert pools(store) == 2
    store.close()
