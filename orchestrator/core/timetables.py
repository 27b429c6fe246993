"""When is a DAG's next run due?

A schedule gives ticks. As in Airflow 3, a tick's data interval is the instant itself (the `cron
trigger` and `delta trigger` timetables), so a run starts at its logical date.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

from orchestrator.core.cron import cron_after, cron_at_or_before
from orchestrator.core.specs import CronSchedule, DeltaSchedule, OnceSchedule, Schedule

FIRST_RUN_GRACE = timedelta(minutes=5)
FIRST_RUN_GRACE_SHARE = 0.1


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
    """Return the first tick after `last_tick_at` that shall have a run, None if there is none.

    With catchup every tick from the start date on has one. Without it, ticks that passed while
    nobody looked are left out except the latest; a DAG without a start date waits for its next
    tick unless the last one passed at most max(5 minutes, a tenth of the period) ago.
    """
    due = _due(schedule, last_tick_at, start_date, catchup=catchup, now=now)
    if due is None or (end_date is not None and due > end_date):
        return None
    return Tick(run_after=due, logical_date=due, data_interval_start=due, data_interval_end=due)


def describe(schedule: Schedule) -> str:
    """Say a schedule in the words its author used."""
    match schedule:
        case None:
            return "None"
        case CronSchedule():
            return schedule.expression
        case DeltaSchedule():
            return str(timedelta(seconds=schedule.seconds))
        case OnceSchedule():
            return "@once"
        case _:
            assert_never(schedule)


def _due(
    schedule: Schedule,
    last: datetime | None,
    start: datetime | None,
    *,
    catchup: bool,
    now: datetime,
) -> datetime | None:
    match schedule:
        case None:
            return None
        case OnceSchedule():
            return None if last is not None else start or now
        case DeltaSchedule():
            return _delta_due(schedule, last, start, catchup=catchup, now=now)
        case CronSchedule() if catchup:
            return _cron_catchup_due(schedule, last, start, now)
        case CronSchedule():
            return _cron_latest_due(schedule, last, start, now)
        case _:
            assert_never(schedule)


def _delta_due(
    schedule: DeltaSchedule,
    last: datetime | None,
    start: datetime | None,
    *,
    catchup: bool,
    now: datetime,
) -> datetime:
    candidates = [] if catchup and (last or start) else [now]
    if last is not None:
        candidates.append(last + timedelta(seconds=schedule.seconds))
    if start is not None:
        candidates.append(start)
    return max(candidates)


def _cron_catchup_due(
    schedule: CronSchedule, last: datetime | None, start: datetime | None, now: datetime
) -> datetime | None:
    if last is None and start is None:
        return _cron_latest_due(schedule, last, start, now)
    candidates = []
    if last is not None:
        candidates.append(cron_after(schedule, last))
    if start is not None:
        candidates.append(_at_or_after(schedule, start))
    return _latest(candidates)


def _cron_latest_due(
    schedule: CronSchedule, last: datetime | None, start: datetime | None, now: datetime
) -> datetime | None:
    passed = cron_at_or_before(schedule, now)
    if last is not None:
        candidates = [cron_after(schedule, last), passed]
    elif start is None:
        return _first_without_start(schedule, passed, now)
    else:
        candidates = [passed]
    if start is not None:
        candidates.append(_at_or_after(schedule, start))
    if passed is None or (last is not None and passed <= last):
        candidates = [due for due in candidates if due is not passed]
    return _latest(candidates)


def _first_without_start(
    schedule: CronSchedule, passed: datetime | None, now: datetime
) -> datetime | None:
    upcoming = cron_after(schedule, now)
    if passed is None or upcoming is None:
        return upcoming
    grace = max((upcoming - passed) * FIRST_RUN_GRACE_SHARE, FIRST_RUN_GRACE)
    return passed if now <= passed + grace else upcoming


def _at_or_after(schedule: CronSchedule, instant: datetime) -> datetime | None:
    return cron_after(schedule, instant.astimezone(UTC) - timedelta(microseconds=1))


def _latest(candidates: list[datetime | None]) -> datetime | None:
    """The latest candidate; a None among them means the schedule has no further tick there."""
    known = [due for due in candidates if due is not None]
    return max(known) if known and len(known) == len(candidates) else None
