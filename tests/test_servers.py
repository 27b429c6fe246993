"""The suite's own servers: real, private to a test, and gone with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from tests.servers import account_choices, run_postgres


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """A killed process stays as a zombie where nobody reaps it; that one does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_test_has_its_own_postgres_database(empty_postgres_url: str) -> None:
    with psycopg.connect(empty_postgres_url.replace("+psycopg", "")) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    assert tables == (0,)


@pytest.mark.parametrize("leftover", ["one", "two"])
def test_each_test_finds_redis_empty(redis_client_url: str, leftover: str) -> None:
    with redis.Redis.from_url(redis_client_url) as client:
        assert client.keys() == []
        client.set(leftover, 1)


@pytest.mark.parametrize("account", account_choices(), ids=lambda account: account.name)
def test_postgres_runs_under_every_account_it_can(
    account: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    with (
        run_postgres(account) as url,  # type: ignore[arg-type]
        psycopg.connect(url.replace("+psycopg", "")) as connection,
    ):
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to its parent")
@pytest.mark.parametrize("account", range(len(account_choices())))
def test_postgres_dies_with_a_killed_session(account: int) -> None:
    script = (
        "import os, signal, psycopg\n"
        "from tests.servers import account_choices, run_postgres\n"
        f"with run_postgres(account_choices()[{account}]) as url:\n"
        "    query = 'SELECT pg_backend_pid()'\n"
        "    connection = psycopg.connect(url.replace('+psycopg', ''))\n"
        "    folder = connection.execute('SHOW data_directory').fetchone()[0]\n"
        "    print(open(folder + '/postmaster.pid').readline(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    assert pid != os.getpid()
    wait_until(lambda: not is_running(pid))
