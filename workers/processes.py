"""How nothing that a task started outlives it when it is cut short.

Each child leads a session of its own, so whatever user code starts is in that session (unless it
left on purpose, as a daemon does) and can be found there even after the child is dead.
"""

import os
import signal
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from workers.board import TryBoard

__all__ = ["kill_rest_of_session", "kill_session", "start_guardian"]

_ROUNDS_MAX = 20
"""A process can fork while it is being looked for, but not for ever faster than it is killed."""


def kill_session(leader_pid: int) -> None:
    """Kill every process of the session that this process leads or led."""
    if sys.platform != "linux":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader_pid, signal.SIGKILL)
        return
    for _ in range(_ROUNDS_MAX):
        members = _session_members({leader_pid})
        if not members:
            return
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def kill_rest_of_session() -> None:
    """Kill every other process of the session that this process leads."""
    own = os.getpid()
    for _ in range(_ROUNDS_MAX):
        members = [pid for pid in _session_members({own}) if pid != own]
        if not members:
            return
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def start_guardian(board: TryBoard) -> Callable[[], None]:
    """Fork a process that waits for this one to die and then kills what its tries left running.

    Return what dismisses it. Call it before there are threads.
    """
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        try:
            os.close(write_end)
            _guard(read_end, board.whole())
        finally:
            os._exit(0)
    os.close(read_end)

    def forget() -> None:
        with suppress(OSError):
            os.close(write_end)

    # Otherwise a child would keep the guardian believing that the worker lives.
    os.register_at_fork(after_in_child=forget)

    def dismiss() -> None:
        with suppress(OSError):
            os.write(write_end, b"d")
        forget()

    return dismiss


def _guard(read_end: int, board: TryBoard) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(read_end, 1):
        return
    for view in board.views():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(view.pid, signal.SIGKILL)  # where the kernel has no PR_SET_PDEATHSIG
        kill_session(view.pid)


def _session_members(sessions: Collection[int]) -> list[int]:
    """Return the living processes of these sessions."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything; what follows it is numbers.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        state, session = fields[0], int(fields[3])
        if session in sessions and state not in "ZX":
            members.append(int(entry.name))
    return members
