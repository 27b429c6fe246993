"""How a supervisor reaches into a child: a signal that becomes an exception in the user's code.

Only between `arm` and the end of its block, and only if the interruption on the board is meant for
the very try that runs: a signal that comes late must not hit the next one.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.sdk.exceptions import TaskTimeoutError
from orchestrator.sdk.interruption import interrupt
from workers.board import Interruption, Slot

__all__ = ["INTERRUPT_SIGNAL", "InterruptHandler", "TaskCancelledError"]

INTERRUPT_SIGNAL = signal.SIGUSR1


class TaskCancelledError(BaseException):
    """The task instance was cancelled, cleared or marked: nobody waits for this try any more."""


class InterruptHandler:
    """The signal handlers of one child."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._is_armed = False
        self.cut_short_by = Interruption.NONE
        """Why the present try was interrupted, if it was."""

    def install(self) -> None:
        """Take over the signals that Celery's pool would answer by ending the process."""
        signal.signal(INTERRUPT_SIGNAL, self._interrupt)
        # Handlers, not SIG_IGN: a program that the user starts would inherit that.
        signal.signal(signal.SIGINT, _stay)
        signal.signal(signal.SIGTERM, self._leave_if_idle)

    @contextmanager
    def arm(self) -> Iterator[None]:
        """Let interruptions raise in this block."""
        self.cut_short_by = Interruption.NONE
        self._is_armed = True
        try:
            yield
        finally:
            self._is_armed = False

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_armed:
            return
        why = self._slot.see_interruption()
        if why is Interruption.NONE:
            return
        self.cut_short_by = why
        interrupt(TaskTimeoutError() if why is Interruption.TIMEOUT else TaskCancelledError())

    def _leave_if_idle(self, _number: int, _frame: FrameType | None) -> None:
        # The worker's main process decides when a try has had its time; a service manager that
        # signals every process of the service must not shorten it.
        if not self._slot.view().is_busy:
            sys.exit(0)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C is for the worker's main process."""
