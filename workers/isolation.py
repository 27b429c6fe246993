"""How a try runs in an interpreter of its own, as `isolation="process"` asks for.

The worker's child starts it, hands it the order and waits. What interrupts the child is passed on
by a signal, and code that does not notice is killed; what ends the interpreter ends the try, and
nothing else. Output goes to the child's log stream, which the interpreter inherits.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from orchestrator.core.assignments import Assignment
from orchestrator.core.outcomes import Failed, Outcome
from orchestrator.sdk.exceptions import TaskTimeoutError
from orchestrator.sdk.interruption import diverted
from orchestrator.settings import Settings
from workers.deaths import Death, OomCounter, death_reason
from workers.processes import kill_rest_of_session

__all__ = ["CANCEL_SIGNAL", "TIMEOUT_SIGNAL", "Ended", "Interpreter", "Order"]

TIMEOUT_SIGNAL, CANCEL_SIGNAL = signal.SIGUSR1, signal.SIGUSR2
NOTICE_S = 0.5
"""As for code in the worker's child: Python code notices a signal within milliseconds."""
_BOOT = (
    "import sys; sys.path[:] = {path!r}; from workers.isolated import main; main({pipe}, {seen})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the interpreter is to do. Its log, the file `log`, may grow up to byte `log_end_max`."""

    assignment: Assignment
    settings: Settings
    redis_url: str
    worker_id: str
    log: Path
    log_end_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a try ended: its outcome, and its XComs that hold secrets as they may be shown."""

    outcome: Outcome
    masked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The DAG is imported, and user code begins."""


class Interpreter:
    """Starts interpreters in the surroundings that a worker had when it started: what tasks have
    done to the child's own environment is not among them."""

    def __init__(
        self,
        settings: Settings,
        *,
        redis_url: str,
        worker_id: str,
        environment: Mapping[str, str],
        import_path: Sequence[str],
    ) -> None:
        self._settings = settings
        self._redis_url = redis_url
        self._worker_id = worker_id
        self._environment = dict(environment)
        self._import_path = list(import_path)

    def run(
        self,
        assignment: Assignment,
        *,
        log: Path,
        log_end_max: int,
        on_loaded: Callable[[], None],
    ) -> Ended:
        """Run a try to its end, in the main thread. `on_loaded` is called when user code begins."""
        order = Order(
            assignment=assignment,
            settings=self._settings,
            redis_url=self._redis_url,
            worker_id=self._worker_id,
            log=log,
            log_end_max=log_end_max,
        )
        watch = _Watch()
        with diverted(watch.pass_on):
            ended = watch.until_the_end(self._start, order, on_loaded)
        if ended is not None:
            return ended
        assert watch.interruption is not None, "nobody is killed without a reason"
        raise watch.interruption

    def _start(self, pipe: int, seen: int) -> subprocess.Popen[bytes]:
        code = _BOOT.format(path=self._import_path, pipe=pipe, seen=seen)
        return subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            env=self._environment,
            pass_fds=(pipe, seen),
        )


class _Watch:
    """One running interpreter, from the worker's child."""

    def __init__(self) -> None:
        self.interruption: BaseException | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_at = float("inf")

    def until_the_end(
        self,
        start: Callable[[int, int], subprocess.Popen[bytes]],
        order: Order,
        on_loaded: Callable[[], None],
    ) -> Ended | None:
        """Have the order carried out; None when that was cut short."""
        oom = OomCounter()
        ours, theirs = Pipe()
        seen_read, seen_write = os.pipe()
        try:
            with ours:
                with theirs:
                    self._process = start(theirs.fileno(), seen_write)
                os.close(seen_write)
                ended = self._converse(ours, seen_read, order, on_loaded)
        finally:
            os.close(seen_read)
        if ended is None:  # killed, or dead by itself: what it has started is ended too
            self._process.kill()
            kill_rest_of_session()
        code = self._process.wait()
        if ended is not None or self.interruption is not None:
            return ended
        death = Death(return_code=code, is_out_of_memory=oom.has_risen())
        return Ended(outcome=Failed(reason=death_reason(death)))

    def pass_on(self, error: BaseException) -> None:
        """Tell the interpreter of what interrupts the child. Called in a signal handler."""
        self.interruption = error
        self._kill_at = time.monotonic() + NOTICE_S
        is_timeout = isinstance(error, TaskTimeoutError)
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(TIMEOUT_SIGNAL if is_timeout else CANCEL_SIGNAL)

    def _converse(
        self, pipe: Connection, seen: int, order: Order, on_loaded: Callable[[], None]
    ) -> Ended | None:
        """Hand over the order and hear what comes of it; None when there is nobody any more."""
        sources: list[Connection | int] = [pipe, seen]
        with suppress(EOFError, ConnectionError):
            pipe.send(order)
            while time.monotonic() < self._kill_at:
                ready = wait_for(sources, timeout=NOTICE_S / 2)
                if seen in ready:
                    sources.remove(seen)
                    # Who has noticed has the time that the supervisor gives for cleaning up.
                    self._kill_at = float("inf") if os.read(seen, 1) else self._kill_at
                if pipe in ready:
                    message = pipe.recv()
                    if isinstance(message, Ended):
                        return message
                    on_loaded()
        return None
