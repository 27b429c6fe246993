"""S11: when a DAG's next run is due."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.specs import CronSchedule, DeltaSchedule, OnceSchedule, Schedule
from orchestrator.core.timetables import describe, next_tick

DAILY = CronSchedule(expression="0 0 * * *")
HOURS6 = DeltaSchedule(seconds=6 * 3600)
NOW = datetime(2026, 6, 15, 10, 30, tzinfo=UTC)


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 6, number, hour, tzinfo=UTC)


def due(
    schedule: Schedule,
    *,
    last: datetime | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    catchup: bool = False,
    now: datetime = NOW,
) -> datetime | None:
    tick = next_tick(
        schedule, last_tick_at=last, start_date=start, end_date=end, catchup=catchup, now=now
    )
    return None if tick is None else tick.run_after


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("no schedule", {"schedule": None}, None),
        ("the latest past tick at once", {"schedule": DAILY, "start": day(1)}, day(15)),
        ("then the next one", {"schedule": DAILY, "start": day(1), "last": day(15)}, day(16)),
        (
            "missed ticks are left out",
            {"schedule": DAILY, "start": day(1), "last": day(3)},
            day(15),
        ),
        ("a start to come", {"schedule": DAILY, "start": day(20, 5)}, day(21)),
        ("no start date waits", {"schedule": DAILY}, day(16)),
        (
            "catchup from the start",
            {"schedule": DAILY, "start": day(1, 5), "catchup": True},
            day(2),
        ),
        (
            "catchup takes all",
            {"schedule": DAILY, "start": day(1), "last": day(3), "catchup": True},
            day(4),
        ),
        ("a start on a tick", {"schedule": DAILY, "start": day(1), "catchup": True}, day(1)),
        (
            "the end date",
            {
                "schedule": DAILY,
                "start": day(1),
                "last": day(3),
                "end": day(3, 12),
                "catchup": True,
            },
            None,
        ),
        (
            "the end date itself",
            {"schedule": DAILY, "start": day(1), "last": day(3), "end": day(4), "catchup": True},
            day(4),
        ),
        ("delta at once", {"schedule": HOURS6, "start": day(1)}, NOW),
        (
            "delta after the last",
            {"schedule": HOURS6, "start": day(1), "last": NOW},
            NOW + timedelta(hours=6),
        ),
        ("delta catchup", {"schedule": HOURS6, "start": day(1), "catchup": True}, day(1)),
        (
            "delta catchup on",
            {"schedule": HOURS6, "start": day(1), "last": day(1), "catchup": True},
            day(1, 6),
        ),
        ("once", {"schedule": OnceSchedule(), "start": day(1)}, day(1)),
        ("once without start", {"schedule": OnceSchedule()}, NOW),
        ("once is over", {"schedule": OnceSchedule(), "start": day(1), "last": day(1)}, None),
        ("a date that never comes", {"schedule": CronSchedule(expression="0 0 30 2 *")}, None),
    ],
)
def test_s11_next_tick(name: str, given: dict[str, object], expected: datetime | None) -> None:
    assert due(**given) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("minutes_ago", "runs"), [(4, True), (6, True), (143, True), (145, False)])
def test_s11_without_a_start_date_a_tick_just_passed_still_runs(
    minutes_ago: int, runs: bool
) -> None:
    """Daily: the grace is a tenth of the period, 144 minutes."""
    now = day(15) + timedelta(minutes=minutes_ago)
    assert due(DAILY, now=now) == (day(15) if runs else day(16))


def test_s11_the_interval_of_a_trigger_timetable_is_the_instant() -> None:
    tick = next_tick(
        DAILY, last_tick_at=day(3), start_date=day(1), end_date=None, catchup=True, now=NOW
    )
    assert tick is not None
    assert tick.logical_date == tick.data_interval_start == tick.data_interval_end == day(4)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [(None, "None"), (DAILY, "0 0 * * *"), (HOURS6, "6:00:00"), (OnceSchedule(), "@once")],
)
def test_describe(schedule: Schedule, words: str) -> None:
    assert describe(schedule) == words
