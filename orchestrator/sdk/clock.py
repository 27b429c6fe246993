"""What time is it for a task, and how does it wait?

Sensors ask the clock of their try instead of the machine's, so that in `orchestrator.testing` a
wait of a week takes no time. Whatever cuts a try short (a cancellation, its time limit) also ends
a wait.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from orchestrator.sdk.exceptions import TaskTimeoutError

__all__ = ["MovedClock", "TaskClock", "WallClock"]

_STEP_S_MIN = 0.001
"""A wait of no time would let a loop that waits for the clock run for as long as that takes."""


class TaskClock(Protocol):
    """The clock of one try."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""

    def sleep(self, wait_s: float) -> None:
        """Let so much time pass."""


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""
        return datetime.now(UTC)

    def sleep(self, wait_s: float) -> None:
        """Sleep. A signal whose handler raises ends it at once."""
        time.sleep(wait_s)


class MovedClock:
    """The machine's clock, except that a wait moves it forward instead of taking time."""

    def __init__(self) -> None:
        self._moved = timedelta(0)
        self._ends_at: datetime | None = None

    def now(self) -> datetime:
        """Return the present instant, in UTC."""
        return datetime.now(UTC) + self._moved

    def sleep(self, wait_s: float) -> None:
        """Move the clock; raise TaskTimeoutError where the time limit of a block is met."""
        wait = timedelta(seconds=max(wait_s, _STEP_S_MIN))
        if self._ends_at is not None and self.now() + wait >= self._ends_at:
            self.move_to(self._ends_at)
            raise TaskTimeoutError
        self._moved += wait

    def move_to(self, instant: datetime) -> None:
        """Be at this instant, or where the clock is if that is later."""
        self._moved += max(timedelta(0), instant - self.now())

    @contextmanager
    def limited(self, limit_s: float | None) -> Iterator[None]:
        """Let what is waited for in this block last no longer than this."""
        self._ends_at = None if limit_s is None else self.now() + timedelta(seconds=limit_s)
        try:
            yield
        finally:
            self._ends_at = None
