"""How is a try ended that takes too long, where no supervisor watches it?"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.sdk.exceptions import TaskTimeoutError
from orchestrator.sdk.interruption import interrupt

__all__ = ["time_limit"]


@contextmanager
def time_limit(limit_s: float | None) -> Iterator[None]:
    """Raise TaskTimeoutError inside the block when its time is over, unless a debugger is at work.

    It takes a signal, so it needs the main thread of a POSIX system; elsewhere there is no limit.
    """
    if (
        limit_s is None
        or not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        if sys.gettrace() is None:
            interrupt(TaskTimeoutError())

    began = time.monotonic()
    handler_before = signal.signal(signal.SIGALRM, stop)
    timer_before, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler_before)
        if timer_before:  # someone else's timer (a test runner's) goes on
            left_s = timer_before - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 0.001))
