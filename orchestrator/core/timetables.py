"""When is a DAG's next run due?"""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.specs import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One due time of a schedule. Instants are aware UTC."""

    run_after: datetime
    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime


def next_tick(
    schedule: Schedule,
    *,
    last_tick_at: datetime | None,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    now: datetime,
) -> Tick | None:
    """PLACEHOLDER while the module is being written."""
    raise AssertionError
