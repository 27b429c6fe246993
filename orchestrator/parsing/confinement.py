"""What a process that runs an author's file may take, and how it and its offspring end."""

import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

from orchestrator.lifeline import bind_to_parent
from orchestrator.parsing.results import ParseLimits

__all__ = ["adopt_orphans", "allow_last_words", "confine", "end_offspring"]

_PR_SET_CHILD_SUBREAPER = 36
_LAST_WORDS_BYTES = 64 * 1024 * 1024
_REAP_POLL_S, _REAP_POLL_MAX_S = 0.0005, 0.05
_REAP_PATIENCE_S = 5.0
"""A killed process is gone in milliseconds, unless the kernel itself waits for a dead disk."""


def confine(limits: ParseLimits, *, supervisor_pid: int) -> None:
    """Put this process into a session of its own, tied to its supervisor, within its limits.

    Memory is counted as private data (RLIMIT_DATA), so that exceeding it raises MemoryError at the
    guilty line; address space would punish libraries that only reserve it.
    """
    os.setsid()
    bind_to_parent(supervisor_pid, on_death=signal.SIGKILL)
    cpu_s = int(limits.timeout_s) * 2 + 2
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bytes_max = limits.memory_mb * 1024 * 1024
    if sys.platform == "linux":
        bytes_max += _data_bytes()
        resource.setrlimit(resource.RLIMIT_DATA, (bytes_max, bytes_max + _LAST_WORDS_BYTES))
        with contextlib.suppress(OSError):
            # Should the host run out of memory all the same, this process is to go first.
            Path("/proc/self/oom_score_adj").write_text("1000")
    else:
        with contextlib.suppress(ValueError, OSError):  # macOS knows the limit but may refuse it
            resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))


def allow_last_words() -> None:
    """Let a process that may have used up its memory say so."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def adopt_orphans() -> None:
    """Have descendants whose parent dies become this process's children (Linux)."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only Linux has the call

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_offspring(child: int) -> int:
    """Kill the child's process group and every descendant; return how many besides the child
    had to be killed. On Linux a descendant cannot hide in a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    killed = 0
    pause_s = _REAP_POLL_S
    patience_ends = time.monotonic() + _REAP_PATIENCE_S
    while time.monotonic() < patience_ends:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return killed
        if pid == 0:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _REAP_POLL_MAX_S)
        elif pid != child and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            killed += 1
    return killed


def _children() -> list[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def _data_bytes() -> int:
    """Return how much private data this process holds already."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * resource.getpagesize()
