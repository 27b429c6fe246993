"""The databases and brokers a test can ask for; all are real, and a missing one is a failure.

    database_url         a migrated database, once on SQLite and once on PostgreSQL
    empty_database_url   the same without tables, for the tests of the migrations themselves
    sqlite_url, postgres_url, empty_sqlite_url, empty_postgres_url      one of them
    postgres_server      the server's maintenance database
    redis_server         the running server; redis_url, redis_client_url: the same, emptied

Each xdist worker has its own servers (PostgreSQL starts in 0.8 s), so tests never share any.
"""

import shutil
import sqlite3
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
import structlog

from tests.servers import RedisServer, run_postgres, run_redis

BOTH_DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", action="store_true", help="a skipped test fails: CI has all that tests need"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("no_skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and --no-skips forbids it: {call.excinfo}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `-m 'not postgres'` means what it says."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "postgres_server" in fixtures:
            item.add_marker(pytest.mark.postgres)
        if "redis_server" in fixtures:
            item.add_marker(pytest.mark.redis)


@pytest.fixture(scope="session", autouse=True)
def loggers_that_can_be_listened_to() -> Iterator[None]:
    """A test that runs a command in this process configures its loggers for good, and those that
    have written once would escape `capture_logs` in every later test."""
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            structlog,
            "configure",
            lambda **given: configure(**{**given, "cache_logger_on_first_use": False}),
        )
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with run_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    name = _create_database(postgres_server)
    _migrate(_with_database(postgres_server, name))
    yield name
    _drop_database(postgres_server, name)


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    name = _create_database(postgres_server)
    yield _with_database(postgres_server, name)
    _drop_database(postgres_server, name)


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    name = _create_database(postgres_server, template=postgres_template)
    yield _with_database(postgres_server, name)
    _drop_database(postgres_server, name)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'orchestrator.db'}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file with its write-ahead log folded in."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def sqlite_url(empty_sqlite_url: str, sqlite_template: Path) -> str:
    shutil.copy(sqlite_template, empty_sqlite_url.removeprefix("sqlite:///"))
    return empty_sqlite_url


@pytest.fixture(params=BOTH_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=BOTH_DATABASES)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with run_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_client_url(redis_server: RedisServer) -> str:
    """The emptied database as redis-py names it."""
    with redis.Redis.from_url(redis_server.client_url) as client:
        client.flushdb()
    return redis_server.client_url


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_client_url: str) -> str:
    """The emptied database as Celery and our settings name it."""
    return redis_server.url


def _migrate(url: str) -> None:
    from orchestrator.store import migrate  # Alembic costs a second that few tests need

    migrate(url)


def _with_database(server: str, name: str) -> str:
    before, _, options = server.partition("?")
    return f"{before.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")


def _create_database(server: str, *, template: str = "template1") -> str:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return name


def _drop_database(server: str, name: str) -> None:
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
