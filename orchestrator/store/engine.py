"""How the database is reached: connections, transactions, their limits, and what its errors mean.

PostgreSQL runs READ COMMITTED, so that a statement after a lock sees what the lock waited for.
SQLite runs in WAL mode and takes its one write lock when a transaction begins, so that no
transaction fails half way for want of it.
"""

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import StaticPool

from orchestrator.errors import StoreUnavailableError
from orchestrator.ports import Clock, NewId
from orchestrator.store.forking import ForkGate
from orchestrator.store.types import NOW_FUNCTION, microseconds, now

Result = TypeVar("Result")

SQLITE_VERSION_MIN = (3, 35, 0)
"""The first with RETURNING."""
BUSY_TIMEOUT_MS = 5000
"""How long a SQLite writer waits for another: many times the longest transaction."""
BEGIN_WAIT_MIN_S = 0.000_3
BEGIN_WAIT_MAX_S = 0.004
RETRY_WAIT_S = 0.05
"""First wait before a repeated transaction; doubled each time, with jitter."""

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}
_NO_TRANSACTION = "orchestrator_no_transaction"
"""Execution option: let SQLite commit each statement by itself."""

_POSTGRESQL_OPTIONS = " ".join(
    (
        "-c timezone=UTC",
        # A lock waited for so long is held by a frozen process: give up, do something else.
        "-c lock_timeout=2s",
        # A process frozen inside a transaction loses it, and with it the locks others need.
        "-c idle_in_transaction_session_timeout=10s",
        "-c statement_timeout=30s",
        # What the services ask for is in memory; the default is for disks that turn.
        "-c random_page_cost=1.1",
        # Compiling a plan takes longer than any statement here.
        "-c jit=off",
    )
)
_PASSING_SQLSTATES = frozenset(
    {
        "25P03",  # idle in transaction for too long
        "40001",  # serialization failure
        "40P01",  # deadlock
        "53300",  # too many connections
        "55P03",  # lock not available in time
        "57P01",  # the server is shutting down
        "57P02",
        "57P03",  # the server is starting up
        "57P05",  # idle for too long
    }
)
_UNDEFINED_TABLE = "42P01"
_PASSING_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)


class MissingTableError(StoreUnavailableError):
    """The database answers, but its migrations have not run."""


def wall_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


class Database:
    """Connections to one database, and the two ways to use one: `reading` and `writing`."""

    def __init__(
        self,
        database_url: str,
        *,
        clock: Clock,
        new_id: NewId,
        pool_size: int,
        tries: int,
        application_name: str,
    ) -> None:
        self._url = _parse(database_url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.is_in_memory = self.is_sqlite and self._url.database in (None, "", ":memory:")
        self.clock = clock
        self.new_id = new_id
        self._tries = tries
        self._local = threading.local()
        # A database in memory has one connection: threads take turns.
        self._turn = threading.RLock() if self.is_in_memory else nullcontext()
        self._gate = ForkGate(self._close_idle) if self._is_file else None
        self._alone: dict[str, Any] = (
            {_NO_TRANSACTION: True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        )
        self.engine = self._connect(pool_size, application_name)
        # A forked child must not speak on its parent's connections.
        pool_of = weakref.ref(self.engine)
        os.register_at_fork(after_in_child=lambda: _forget_connections(pool_of()))

    @property
    def name(self) -> str:
        """The URL as it may be shown: without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that commits when the block ends and rolls back when it raises.

        It raises StoreUnavailableError when the database is out of reach or has rolled the
        transaction back (deadlock, lock timeout, busy). Then nothing happened, except that a commit
        whose answer was lost may have."""
        assert self._current() is None, "a transaction is open in this thread"
        with self._turn, self._unforked(), self._explained(), self.engine.begin() as connection:
            self._local.connection = connection
            try:
                yield connection
            finally:
                self._local.connection = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection on which each statement stands alone and holds nothing afterwards.
        Inside `writing`, it is that transaction's."""
        current = self._current()
        if current is not None:
            yield current
            return
        with self.each_alone() as connection:
            yield connection

    @contextmanager
    def each_alone(self) -> Iterator[Connection]:
        """Open a connection on which each statement is a transaction of its own, committed when it
        returns: the cheapest way to write with one statement."""
        assert self._current() is None, "a transaction is open in this thread"
        with self._turn, self._unforked(), self._explained(), self.engine.connect() as connection:
            yield connection.execution_options(**self._alone)

    def retrying(self, work: Callable[[], Result]) -> Result:
        """Do `work`, which must be safe to repeat, again while the database has passing trouble."""
        wait_s = RETRY_WAIT_S
        for left in reversed(range(self._tries)):
            try:
                return work()
            except StoreUnavailableError:
                if not left:
                    raise
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            wait_s *= 2
        raise AssertionError("a store is opened with at least one try")

    def now(self, connection: Connection) -> datetime:
        """Return the time by the clock that statements compare with."""
        if self.is_sqlite:
            return self.clock()
        instant = connection.scalar(_SELECT_NOW)
        assert instant is not None
        return instant

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @property
    def _is_file(self) -> bool:
        return self.is_sqlite and not self.is_in_memory

    def _unforked(self) -> AbstractContextManager[None]:
        return nullcontext() if self._gate is None else self._gate.use()

    def _close_idle(self) -> None:
        self.engine.dispose()

    def _current(self) -> Connection | None:
        return getattr(self._local, "connection", None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what an operator can cure into one sentence; leave broken statements as they are."""
        try:
            yield
        except PoolTimeoutError as error:
            raise StoreUnavailableError(
                f"no connection to the database {self.name} became free in time"
            ) from error
        except DBAPIError as error:
            if _is_missing_table(error.orig):
                raise MissingTableError(
                    f"the database {self.name} has not all tables; run `orchestrator db migrate`"
                ) from error
            message = self._explain(error)
            if message is None:
                raise
            raise StoreUnavailableError(message) from error

    def _explain(self, error: DBAPIError) -> str | None:
        cause = error.orig
        said = (str(cause).splitlines() or [""])[0].rstrip(".")
        if isinstance(cause, sqlite3.Error):
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            return f"the database {self.name}: {said}" if code in _PASSING_SQLITE_CODES else None
        sqlstate = getattr(cause, "sqlstate", None)
        if sqlstate in _PASSING_SQLSTATES:
            return f"the database {self.name} gave a transaction up: {said}"
        if error.connection_invalidated or _is_connection_trouble(error, sqlstate):
            return (
                f"the database {self.name} does not answer: {said}; start it, or set "
                "ORCHESTRATOR_DATABASE_URL"
            )
        return None

    def _connect(self, pool_size: int, application_name: str) -> Engine:
        if not self.is_sqlite:
            return create_engine(
                self._url,
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=10,
                pool_use_lifo=True,
                isolation_level="READ COMMITTED",
                connect_args={
                    "application_name": application_name,
                    "connect_timeout": 5,
                    "keepalives_idle": 10,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 20_000,
                    "options": _POSTGRESQL_OPTIONS,
                },
            )
        _check_sqlite_version()
        pool: dict[str, Any] = (
            {"poolclass": StaticPool}
            if self.is_in_memory
            else {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 10}
        )
        engine = create_engine(
            self._url, connect_args={"check_same_thread": False, "isolation_level": None}, **pool
        )
        event.listen(engine, "connect", self._prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _prepare_sqlite(self, connection: sqlite3.Connection, _record: Any) -> None:
        connection.create_function(NOW_FUNCTION, 0, lambda: microseconds(self.clock()))
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


_SELECT_NOW = select(now())


def _parse(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except ArgumentError:
        url = None
    drivername = None if url is None else _DRIVERS.get(url.drivername)
    if url is None or drivername is None:
        raise StoreUnavailableError(
            "the database URL is not one of postgresql://user:password@host/database and "
            "sqlite:///path; set ORCHESTRATOR_DATABASE_URL"
        )
    return url.set(drivername=drivername)


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock. SQLite waits for it in steps of up to 100 ms, in which writers that come
    later pass those that wait; short steps of our own cut the longest wait by three quarters."""
    if connection.get_execution_options().get(_NO_TRANSACTION):
        return
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    deadline, wait_s = time.monotonic() + BUSY_TIMEOUT_MS / 1000, BEGIN_WAIT_MIN_S
    while not _try_begin(connection, is_last=time.monotonic() > deadline):
        time.sleep(wait_s)
        wait_s = min(1.5 * wait_s, BEGIN_WAIT_MAX_S)
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _try_begin(connection: Connection, *, is_last: bool) -> bool:
    cursor = connection.connection.cursor()
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if is_last or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    finally:
        cursor.close()
    return True


def _check_sqlite_version() -> None:
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise StoreUnavailableError(
            f"SQLite {sqlite3.sqlite_version} is too old, "
            f"{'.'.join(map(str, SQLITE_VERSION_MIN))} is needed; use a newer Python or PostgreSQL"
        )


def _is_missing_table(cause: BaseException | None) -> bool:
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause).startswith("no such table")
    return getattr(cause, "sqlstate", None) == _UNDEFINED_TABLE


def _is_connection_trouble(error: DBAPIError, sqlstate: str | None) -> bool:
    """A server that never answered sends no SQLSTATE; class 08 is what one says of a connection."""
    name = type(error.orig).__name__
    return (sqlstate or "").startswith("08") or (sqlstate is None and name == "OperationalError")


def _forget_connections(engine: Engine | None) -> None:
    if engine is not None:
        engine.dispose(close=False)
