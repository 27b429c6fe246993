"""How a child process dies with its parent, even when the parent is killed with -9.

Linux tells a child of its parent's death when asked to (`PR_SET_PDEATHSIG`). The tie is to the
thread that started the child: start long-lived children from the main thread. Other systems have
no such call; there a killed parent's children end when they next miss it.

Run as a script this module ties itself to its parent, then becomes the command it is given; so
nothing runs between fork and exec in a parent that has threads.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

__all__ = ["bind_to_parent", "bound_command"]

_PR_SET_PDEATHSIG = 1


def bound_command(
    command: Sequence[str], *, on_death: signal.Signals = signal.SIGTERM
) -> list[str]:
    """Return the command line that runs `command` tied to this process.

    Its process id is the command's own: the tie is made before the program is loaded.
    """
    if sys.platform != "linux":
        return list(command)
    launcher = [sys.executable, "-I", "-S", __file__, str(int(on_death)), str(os.getpid())]
    return [*launcher, *command]


def bind_to_parent(parent_pid: int, *, on_death: signal.Signals = signal.SIGTERM) -> None:
    """Have this process receive `on_death` when its parent dies; exit if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(on_death))
    if os.getppid() != parent_pid:
        raise SystemExit(f"the parent process {parent_pid} is gone")


if __name__ == "__main__":
    bind_to_parent(int(sys.argv[2]), on_death=signal.Signals(int(sys.argv[1])))
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    except OSError as error:
        raise SystemExit(f"cannot run {sys.argv[3]}: {error.strerror}") from None
