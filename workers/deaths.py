"""How a child's death is noticed at once, and what it is put down to.

A pidfd becomes readable when its process ends. Why it ended is peeked at without reaping (WNOWAIT):
reaping is for Celery's pool, which may have been quicker; then it knows. Where the kernel has no
pidfd, the pool's knowledge is polled.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EXIT_DEFECT", "EXIT_IN_DOUBT", "ChildWatch", "OomCounter", "death_reason"]

EXIT_IN_DOUBT = 75
"""A child ends with it when it cannot know whether it holds a try: its supervisor finds out."""
EXIT_DEFECT = 70
"""A child ends with it when it failed where no user code is to blame."""

_STATUS_TRIES = 50
_STATUS_POLL_S = 0.002
"""Celery's pool needs a moment between reaping a child and noting how it ended."""

ReturnCode = Callable[[int], int | None]
"""Asks the pool how a process ended (negative: by a signal); None: it does not know yet."""


class ChildWatch:
    """The living children of one worker."""

    def __init__(self, waker: select.poll, return_code_of: Callable[[int], ReturnCode]) -> None:
        """`waker` is to wake up when one dies. `return_code_of` remembers a living process and is
        asked for its end later."""
        self._waker = waker
        self._poller = select.poll()
        self._return_code_of = return_code_of
        self._descriptors: dict[int, int] = {}
        self._return_codes: dict[int, ReturnCode] = {}

    def add(self, pid: int) -> None:
        """Begin to watch a process, which may be dead already."""
        self._return_codes[pid] = self._return_code_of(pid)
        if sys.platform == "linux":
            with suppress(OSError):  # no such call before Linux 5.3, or no such process any more
                descriptor = os.pidfd_open(pid)
                self._descriptors[pid] = descriptor
                for poller in (self._waker, self._poller):
                    poller.register(descriptor, select.POLLIN)

    def __contains__(self, pid: int) -> bool:
        return pid in self._return_codes

    def dead(self) -> list[int]:
        """Return which of the watched processes have ended."""
        readable = {descriptor for descriptor, _ in self._poller.poll(0)}
        return [pid for pid in self._return_codes if self._is_dead(pid, readable)]

    def _is_dead(self, pid: int, readable: Collection[int]) -> bool:
        descriptor = self._descriptors.get(pid)
        if descriptor is None:
            return self._return_codes[pid](pid) is not None or not _exists(pid)
        return descriptor in readable

    def remove(self, pid: int) -> int | None:
        """Stop watching a dead process; return its return code, None if nobody knows."""
        descriptor = self._descriptors.pop(pid, None)
        ask_pool = self._return_codes.pop(pid)
        code = None
        if descriptor is not None:
            code = _peek(descriptor)
            for poller in (self._waker, self._poller):
                poller.unregister(descriptor)
            os.close(descriptor)
        for _ in range(_STATUS_TRIES):
            if code is not None:
                break
            time.sleep(_STATUS_POLL_S)
            code = ask_pool(pid)
        return code


class OomCounter:
    """Tells whether the kernel has killed something for want of memory since the last look."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._files = _counter_files(root)
        self._last = self._read()

    def has_risen(self) -> bool:
        """Look at the counters: of our control group if it has one, else of the machine."""
        last, self._last = self._last, self._read()
        return self._last > last

    def _read(self) -> int:
        return sum(_oom_kills(path) for path in self._files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a child ended: by itself with a code, by a signal (negative code), or unknown."""

    return_code: int | None
    is_out_of_memory: bool = False


def death_reason(death: Death) -> str:
    """Say in one line why a try whose process died did so."""
    match death.return_code:
        case int(code) if code == -signal.SIGKILL and death.is_out_of_memory:
            return "oom: the kernel killed the task's process because memory ran out (SIGKILL)"
        case int(code) if code < 0:
            return f"the task's process was killed by {_signal_name(-code)}"
        case int(code) if code == EXIT_IN_DOUBT:
            return "the database did not answer when the try was started"
        case int(code) if code == EXIT_DEFECT:
            return "the worker itself failed while it had the task; the worker's log says how"
        case int(code):
            return f"the task's process ended with exit code {code} in the middle of the task"
        case None:
            return "the task's process ended in the middle of the task"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _peek(descriptor: int) -> int | None:
    """Return how the process of a pidfd ended, unless it has been reaped."""
    try:
        ended = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _counter_files(root: Path) -> list[Path]:
    """Find the counters that tell most about this process: control group v2, v1, machine."""
    groups: dict[str, str] = {}
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _number, controllers, group = line.split(":", 2)
            for controller in controllers.split(","):
                groups[controller] = group.lstrip("/")
    candidates = [
        root / "sys/fs/cgroup" / groups.get("", "") / "memory.events",
        root / "sys/fs/cgroup/memory.events",
        root / "sys/fs/cgroup/memory" / groups.get("memory", "") / "memory.oom_control",
        root / "sys/fs/cgroup/memory/memory.oom_control",
        root / "proc/vmstat",
    ]
    return next(([path] for path in candidates if _has_counter(path)), [])


def _has_counter(path: Path) -> bool:
    try:
        return any(line.startswith("oom_kill ") for line in path.read_text().splitlines())
    except OSError:
        return False


def _oom_kills(path: Path) -> int:
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
