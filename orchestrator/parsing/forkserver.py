"""How this process has files imported elsewhere: its line to a zygote and the children of that."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

import orchestrator
from orchestrator.parsing.results import ImportProblem, ParsedFile, ProblemKind
from orchestrator.parsing.wire import ParseRequest, receive, send

__all__ = ["HASH_SEED", "ForkServer", "ForkServerClosedError"]

HASH_SEED = "0"
"""PYTHONHASHSEED of every import. Workers should have the same: task ids that an author numbers
along a set then agree."""

_SHARED_SETTINGS = ("ORCHESTRATOR_HOME", "ORCHESTRATOR_DAGS_FOLDER")
_SHARED_PREFIXES = ("ORCHESTRATOR_CONN_", "ORCHESTRATOR_VAR_")

_ONE_THREAD = {
    # An import computes nothing: a pool of threads per core would only reserve memory.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

_ANSWER_PATIENCE_S = 15.0
"""On top of the three imports that the overseer allows at most: reaping, a busy machine."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from orchestrator.parsing.zygote import serve; serve(int(sys.argv[1]))"
)


class ForkServerClosedError(Exception):
    """The server was closed while or before it was asked; there is no answer."""


class ForkServer:
    """Imports DAG files in confined children; safe to use from several threads.

    The zygote starts with the first file and again should it die. `environ` is what the children
    see: this process's own without the product's secrets (database, broker, keys).
    """

    def __init__(self, *, environ: Mapping[str, str] | None = None) -> None:
        self._environ = child_environment(os.environ if environ is None else environ)
        self._lock = threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the zygote now, so that the first file does not wait for it."""
        with self._lock:
            if not self._is_closed:
                self._ready_control()

    def parse(self, request: ParseRequest) -> ParsedFile:
        """Import a file's text; whatever its code does, the answer is a ParsedFile.

        Raise ForkServerClosedError when `close()` was called meanwhile.
        """
        for _ in range(2):  # a zygote that was killed is replaced once
            answer = self._ask(request)
            if answer is not None:
                return answer
        return ParsedFile(
            path=request.path,
            digest=request.digest,
            text=request.text,
            error=ImportProblem(
                kind=ProblemKind.CRASH,
                message=(
                    f"{request.path}: the parser's processes were killed twice while they imported "
                    "it; look for the host's out-of-memory killer, or for os.kill in the file"
                ),
            ),
        )

    def close(self) -> None:
        """End the zygote and every child, now."""
        with self._lock:
            self._is_closed = True
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._stop_zygote()

    def _ask(self, request: ParseRequest) -> ParsedFile | None:
        connection = self._connect()
        try:
            connection.settimeout(3 * request.limits.timeout_s + _ANSWER_PATIENCE_S)
            send(connection, request)
            return receive(connection, ParsedFile)
        except (OSError, ValueError, msgspec.DecodeError):
            return None
        finally:
            self._disconnect(connection)

    def _connect(self) -> socket.socket:
        """Hand one end of a new connection to the zygote and return the other."""
        with self._lock:
            if self._is_closed:
                raise ForkServerClosedError
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._ready_control(), [b"."], [theirs.fileno()])
                except OSError:
                    self._stop_zygote()
                    socket.send_fds(self._ready_control(), [b"."], [theirs.fileno()])
            self._open.add(ours)
            return ours

    def _disconnect(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
            connection.close()
            if self._is_closed:
                raise ForkServerClosedError

    def _ready_control(self) -> socket.socket:
        if self._control is None:
            self._start_zygote()
        assert self._control is not None
        return self._control

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        package_root = str(Path(orchestrator.__file__).parents[1])
        path = [entry for entry in sys.path if entry] + [package_root]
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), json.dumps(path)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,  # Ctrl-C at the terminal is for whoever owns us to handle
            )
        self._control = ours

    def _stop_zygote(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
            self._zygote = None


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what an author's import may see of an environment: all but this product's settings,
    which hold secrets, save where the folders are and the author's variables and connections."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("ORCHESTRATOR_")
        or name in _SHARED_SETTINGS
        or name.startswith(_SHARED_PREFIXES)
    }
    return {**_ONE_THREAD, **kept, "PYTHONHASHSEED": HASH_SEED}
