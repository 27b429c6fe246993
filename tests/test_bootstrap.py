"""Settings become the same running parts for every process."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from orchestrator.bootstrap import (
    check_database,
    configure_logging,
    migrate_database,
    new_service_id,
    open_services,
    redis_url_of,
)
from orchestrator.errors import StoreUnavailableError
from orchestrator.settings import Settings, load_settings


def settings_of(home: Path, **others: str) -> Settings:
    return load_settings({"ORCHESTRATOR_HOME": str(home), **others})


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**config)


def test_a_new_data_folder_gets_its_secret_key_and_database(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "home")
    services = open_services(settings)
    assert services.reads.scheduler_pulse().alive == 0
    services.close()
    key = tmp_path / "home" / "secret_key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    before = key.read_text()
    open_services(settings).close()
    assert key.read_text() == before


def test_only_the_embedded_database_is_migrated_without_being_asked(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    url = empty_postgres_url.replace("+psycopg", "")
    settings = settings_of(tmp_path, ORCHESTRATOR_DATABASE_URL=url)
    with pytest.raises(StoreUnavailableError, match="run `orchestrator db migrate`"):
        open_services(settings)
    assert migrate_database(settings) is True
    assert migrate_database(settings) is False
    check_database(settings)


def test_redis_is_the_one_of_the_settings_or_the_data_folders(tmp_path: Path) -> None:
    assert redis_url_of(settings_of(tmp_path)) == f"redis+socket://{tmp_path}/redis/redis.sock"
    named = settings_of(tmp_path, ORCHESTRATOR_REDIS_URL="redis://there:1/2")
    assert redis_url_of(named) == "redis://there:1/2"


def test_no_database_file_stays_open_over_a_fork(tmp_path: Path) -> None:
    """SQLite would believe in the child that it holds its parent's locks, and when the parent goes
    take away the log that the child still writes to."""
    services = open_services(settings_of(tmp_path))
    services.reads.scheduler_pulse()
    assert open_files_of(tmp_path) != set()
    services.let_go()
    assert open_files_of(tmp_path) == set()
    assert services.reads.scheduler_pulse().alive == 0  # it opens again by itself
    services.close()


def open_files_of(home: Path) -> set[str]:
    files = {fd.resolve() for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
    return {file.name for file in files if file.parent == home}


def test_service_ids_never_repeat() -> None:
    assert new_service_id() != new_service_id()


@pytest.mark.usefixtures("logging_as_before")
def test_machines_read_one_json_object_a_line(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logging(settings_of(tmp_path), stream)
    structlog.get_logger("ours").info("task_started", key="a/b")
    logging.getLogger("theirs").warning("%s is odd", "this", extra={"size": 3})
    structlog.get_logger("ours").debug("not wanted")
    try:
        raise ValueError("no such luck")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    ours, theirs, failed = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (ours["event"], ours["key"], ours["level"], ours["logger"]) == (
        "task_started",
        "a/b",
        "info",
        "ours",
    )
    assert (theirs["event"], theirs["level"], theirs["size"]) == ("this is odd", "warning", 3)
    assert "ValueError: no such luck" in failed["exception"]
    assert ours["timestamp"].endswith("Z")


@pytest.mark.usefixtures("logging_as_before")
def test_people_read_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logging(settings_of(tmp_path, ORCHESTRATOR_LOG_FORMAT="console"), stream)
    structlog.get_logger("ours").info("task_started", key="a/b")
    (line,) = stream.getvalue().splitlines()
    assert "task_started" in line
    assert "key=a/b" in line
    assert "\x1b" not in line  # no colours but on a terminal
