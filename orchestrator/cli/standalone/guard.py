"""How nothing outlives a standalone orchestrator, whichever of its processes is killed.

Two processes hold the data folder: the guard, which the person started, and the supervisor, its
child, which runs the services. Each adopts what its descendants leave behind (Linux's subreaper),
so each can end everything below it when the other one is gone:

    guard killed       -> the kernel tells the supervisor, which kills all below it and leaves
    supervisor killed  -> the guard sees its child end and kills all that it inherited

Their lock on the data folder is one lock, free when both are gone: whoever takes it knows that no
process of an earlier start is left. On other systems than Linux the services end by missing
their parent, and what a task started may live on.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from orchestrator.lifeline import bind_to_parent

__all__ = ["adopt_orphans", "children_of", "kill", "kill_descendants", "reap", "run_guarded"]

_PR_SET_CHILD_SUBREAPER = 36
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.01
_PARENT_DIED = signal.SIGUSR1


def run_guarded(supervise: Callable[[], int]) -> int:
    """Run `supervise` in a child of this process and return its exit code; leave nothing behind."""
    adopt_orphans()
    guard_pid = os.getpid()
    supervisor_pid = os.fork()
    if supervisor_pid == 0:
        _become_supervisor(guard_pid, supervise)
    for forwarded in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(forwarded, lambda signum, _: _send(supervisor_pid, signal.Signals(signum)))
    _, status = os.waitpid(supervisor_pid, 0)
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def adopt_orphans() -> None:
    """Have the orphans among our descendants become our children instead of init's."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants(*, spared: Collection[int] = ()) -> None:
    """Kill every process below this one, and reap it, until there is none but those spared (and
    what is below them). In rounds: killing a parent makes its children ours."""
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while pids := set(children_of(os.getpid())).difference(spared):
        for pid in sorted(pids):
            kill(pid)
            reap(pid)
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def children_of(parent_pid: int) -> list[int]:
    """Return the ids of a process's children, zombies included; nothing where there is no /proc."""
    return sorted(
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if _parent_of(stat) == parent_pid
    )


def kill(pid: int) -> None:
    """End a process that may have ended by itself."""
    _send(pid, signal.SIGKILL)


def reap(pid: int) -> None:
    """Let an adopted process that has ended go; one that runs is left alone."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _become_supervisor(guard_pid: int, supervise: Callable[[], int]) -> None:
    """Never return: the guard's half of the program must not run twice."""
    code = 1
    try:
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the guard, who passes it on once
        signal.signal(_PARENT_DIED, _leave_at_once)
        bind_to_parent(guard_pid, on_death=_PARENT_DIED)
        adopt_orphans()
        code = supervise()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:  # before the supervisor could say that it handles it
        code = 128 + signal.SIGINT
    except Exception:
        traceback.print_exc()
    finally:
        kill_descendants()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave_at_once(*_: object) -> None:
    kill_descendants()
    os._exit(128 + signal.SIGKILL)


def _send(pid: int, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def _parent_of(stat: Path) -> int | None:
    """Read a process's parent; the command before it may hold any character but ends with `)`."""
    try:
        return int(stat.read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
