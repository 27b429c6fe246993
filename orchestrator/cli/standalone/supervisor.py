"""How the services of a standalone orchestrator are kept running, and stopped in order."""

import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from orchestrator.cli.standalone.guard import children_of, kill_descendants, reap
from orchestrator.cli.standalone.service_logs import last_line, limit_log
from orchestrator.errors import OperatorError

__all__ = ["Process", "Service", "ServiceFailedError", "StopRequested", "Supervisor"]

_STABLE_S = 60.0  # after so long a crash counts as the first one again
_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 30.0
_HOUSEKEEPING_S = 30.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServiceFailedError(OperatorError):
    """A service cannot start: its last words say why."""


class StopRequested(BaseException):
    """Someone pressed Ctrl-C or sent a stop signal. Not an Exception: nothing may swallow it."""

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(signum.name)
        self.signum = signum


class Process(Protocol):
    """A child as the supervisor sees it: forked by us, or a program's `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A child process to keep alive. `start` returns once the process exists."""

    name: str
    start: Callable[[], Process]
    log: Path
    stop_timeout_s: float


@dataclass(slots=True)
class _Child:
    """A service's process as of now; `restart_at` is set while there is none."""

    service: Service
    process: Process
    started_at: float
    failures: int = 0
    restart_at: float | None = None
    has_been_stable: bool = False


class Supervisor:
    """Runs services until told to stop. Use it from the main thread only: signals arrive there,
    and children are tied to the thread that starts them."""

    def __init__(
        self,
        *,
        announce: Callable[[str], None],
        on_start: Callable[[str, int], None],
        on_crash: Callable[[str, int], None],
    ) -> None:
        """`announce` tells the person; the others get the name and process id of what started or
        died."""
        self._announce = announce
        self._on_start = on_start
        self._on_crash = on_crash
        self._children: dict[str, _Child] = {}
        self._stop_signal: signal.Signals | None = None
        self._stop_signals_seen = 0
        self._stop_signals_answered = 0
        self._housekeeping_at = time.monotonic() + _HOUSEKEEPING_S
        self._wakeup, wakeup_writer = os.pipe()
        for end in (self._wakeup, wakeup_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is woken
        for signum in _STOP_SIGNALS:
            signal.signal(signum, self._note_stop_signal)

    def start(self, service: Service) -> None:
        """Start a service and keep it alive from now on."""
        process = service.start()
        self._children[service.name] = _Child(service, process, time.monotonic())
        self._on_start(service.name, process.pid)

    def wait(self, timeout_s: float) -> None:
        """Sleep so long, restarting what crashes meanwhile.

        Raise StopRequested at a stop signal, ServiceFailedError when a service cannot start.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self._stop_signal is not None:
                self._stop_signals_answered = 1
                raise StopRequested(self._stop_signal)
            self._look_after_children()
            self._keep_house()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            self._sleep(min(left_s, self._next_look_s()))

    def stop(self) -> None:
        """End the services, the last started first, each within its time; another stop signal
        kills the rest at once."""
        for child in reversed(self._children.values()):
            if child.restart_at is not None:
                continue
            child.process.terminate()
            deadline = time.monotonic() + child.service.stop_timeout_s
            while child.process.poll() is None:
                if time.monotonic() > deadline or self._is_pressed():
                    child.process.kill()
                    child.process.wait()
                    break
                self._sleep(deadline - time.monotonic())
        self._children.clear()

    def _is_pressed(self) -> bool:
        """Whether a stop signal came after the one that led to `stop`, if one did."""
        return self._stop_signals_seen > self._stop_signals_answered

    def _look_after_children(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.restart_at is None:
                self._check(child, now)
            elif now >= child.restart_at:
                self._restart(child, now)

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now < self._housekeeping_at:
            return
        self._housekeeping_at = now + _HOUSEKEEPING_S
        for child in self._children.values():
            limit_log(child.service.log)
        for pid in children_of(os.getpid()):
            if pid not in self._own_pids():  # adopted; let go what has ended meanwhile
                reap(pid)

    def _check(self, child: _Child, now: float) -> None:
        """Notice a service that ended, and plan its restart."""
        code = child.process.poll()
        if code is None:
            if now - child.started_at > _STABLE_S:
                child.failures = 0
                child.has_been_stable = True
            return
        service = child.service
        if code > 0 and not child.failures and not child.has_been_stable:
            # It gave up on its first start: it would not do better when started again.
            raise ServiceFailedError(
                f"the {service.name} cannot start: {last_line(service.log)} (see {service.log})"
            )
        kill_descendants(spared=self._own_pids())  # what it left behind became ours
        self._on_crash(service.name, child.process.pid)
        self._plan_restart(child, now, why=f"the {service.name} {_ending(code)}")

    def _restart(self, child: _Child, now: float) -> None:
        try:
            child.process = child.service.start()
        except OperatorError as error:
            self._plan_restart(child, now, why=str(error))
        else:
            child.restart_at, child.started_at = None, now
            self._on_start(child.service.name, child.process.pid)
            self._announce(f"the {child.service.name} runs again")

    def _plan_restart(self, child: _Child, now: float, *, why: str) -> None:
        delay_s = min(_BACKOFF_S * 2**child.failures, _BACKOFF_MAX_S)
        child.failures += 1
        child.restart_at = now + delay_s
        self._announce(f"{why}; starting it again in {delay_s:g} s (see {child.service.log})")

    def _own_pids(self) -> set[int]:
        return {child.process.pid for child in self._children.values() if not child.restart_at}

    def _next_look_s(self) -> float:
        """Return the seconds until something is due that no signal announces."""
        due = [child.restart_at for child in self._children.values() if child.restart_at]
        return max(0.0, min([*due, self._housekeeping_at]) - time.monotonic())

    def _sleep(self, timeout_s: float) -> None:
        """Sleep until the timeout, a child's end or a signal."""
        if select.select([self._wakeup], [], [], max(0.0, timeout_s))[0]:
            os.read(self._wakeup, 4096)

    def _note_stop_signal(self, signum: int, _: FrameType | None) -> None:
        self._stop_signal = signal.Signals(signum)
        self._stop_signals_seen += 1


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
