"""How a service starts as a fork of the supervisor, which has the libraries all of them share.

Importing them takes more than a second of CPU; four processes that each do so keep two cores busy
for four. A fork has them at once, and shares their memory.
"""

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from orchestrator.cli.standalone.service_logs import open_log
from orchestrator.errors import OrchestratorError
from orchestrator.lifeline import bind_to_parent

__all__ = ["ForkedProcess", "fork_service"]

_POLL_S = 0.01
_INHERITED_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
_PR_SET_NAME = 15
_ARGUMENTS_START, _ARGUMENTS_END = 48, 49  # fields of /proc/self/stat, as proc(5) counts them


@dataclass(slots=True)
class ForkedProcess:
    """A forked child, with as much of `subprocess.Popen` as a supervisor needs."""

    pid: int
    returncode: int | None = field(default=None)

    def poll(self) -> int | None:
        """Return the exit code once it has ended, below zero for a signal."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Wait for its end."""
        while (code := self.poll()) is None:
            time.sleep(_POLL_S)
        return code

    def terminate(self) -> None:
        """Ask it to stop."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        if self.poll() is None:  # else the process id may be another's by now
            os.kill(self.pid, signum)


def fork_service(title: str, serve: Callable[[], None], *, log: Path) -> ForkedProcess:
    """Run `serve` in a child that writes to `log` and dies with this process.

    The caller has no thread and no open database connection: neither survives a fork.
    """
    with open_log(log) as output:
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # what is here now stays: collecting it would only unshare its memory
        supervisor_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_service(title, serve, output.fileno(), supervisor_pid)
    return ForkedProcess(pid)


def _become_service(
    title: str, serve: Callable[[], None], output_fd: int, supervisor_pid: int
) -> NoReturn:
    """Never return: above us on the stack is the supervisor's half of the program."""
    code = 1
    try:
        os.setsid()  # Ctrl-C is for the supervisor, which stops its services in order
        signal.set_wakeup_fd(-1)
        for signum in _INHERITED_SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        bind_to_parent(supervisor_pid, on_death=signal.SIGKILL)
        _redirect(output_fd)
        _rename_process(title)
        serve()
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
    except OrchestratorError as error:
        sys.stderr.write(f"error: {error}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(output_fd: int) -> None:
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    assert sys.__stdout__ is not None
    assert sys.__stderr__ is not None
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # a live display may have had them
    sys.stdout.reconfigure(line_buffering=True)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1


def _rename_process(title: str) -> None:
    """Show this title in `ps` and `top` instead of the supervisor's; Linux only."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_NAME, title.encode())  # the kernel takes 15 bytes of it
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Behind the `)` comes the third field. The memory of the command line is ours to write to.
    start, end = (int(fields[number - 3]) for number in (_ARGUMENTS_START, _ARGUMENTS_END))
    size = end - start
    if start > 0 and size > 1:
        ctypes.memmove(start, title.encode()[: size - 1].ljust(size, b"\0"), size)
