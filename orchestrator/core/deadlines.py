"""When must a run be done?"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.core.specs import DeadlineSpec


class Reference(StrEnum):
    """What a deadline counts from."""

    LOGICAL_DATE = "logical_date"
    QUEUED_AT = "queued_at"
    FIXED = "fixed"
    AVERAGE_RUNTIME = "average_runtime"


RENEWED = frozenset({Reference.QUEUED_AT, Reference.AVERAGE_RUNTIME})
"""What counts anew when a person sends a run back to the start."""


def due_at(
    deadline: DeadlineSpec,
    *,
    logical_date: datetime | None,
    queued_at: datetime,
    runtimes_s: Sequence[float],
) -> datetime | None:
    """Return when a run that was queued at `queued_at` must be done; None when that cannot be
    said: it has no logical date, or its DAG has not succeeded often enough. `runtimes_s` are the
    durations of the DAG's last successful runs, the newest first."""
    interval = timedelta(seconds=deadline.interval_s)
    match Reference(deadline.reference):
        case Reference.LOGICAL_DATE:
            return None if logical_date is None else logical_date + interval
        case Reference.QUEUED_AT:
            return queued_at + interval
        case Reference.FIXED:
            assert deadline.fixed_at is not None, "a fixed deadline has its instant"
            return deadline.fixed_at + interval
        case Reference.AVERAGE_RUNTIME:
            counted = runtimes_s[: deadline.max_runs]
            if len(counted) < max(1, deadline.min_runs):
                return None
            return queued_at + timedelta(seconds=sum(counted) / len(counted)) + interval
