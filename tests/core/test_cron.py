"""Cron in a world with clock changes; cronsim is the oracle for the calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.cron import cron_after, cron_at_or_before
from orchestrator.core.specs import CronSchedule

NEW_YORK = ZoneInfo("America/New_York")
SPRING = datetime(2024, 3, 9, 23, 45, tzinfo=NEW_YORK)
AUTUMN = datetime(2024, 11, 2, 23, 45, tzinfo=NEW_YORK)


def firings(expression: str, start: datetime, count: int, zone: ZoneInfo = NEW_YORK) -> list[str]:
    schedule = CronSchedule(expression=expression, timezone=str(zone))
    found = []
    instant: datetime | None = start
    for _ in range(count):
        assert instant is not None
        instant = cron_after(schedule, instant)
        assert instant is not None
        found.append(instant.astimezone(zone).strftime("%dT%H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("30 2 * * *", SPRING, ["10T03:00-0400", "11T02:30-0400"]),
        ("0 * * * *", SPRING, ["10T00:00-0500", "10T01:00-0500", "10T03:00-0400", "10T04:00-0400"]),
        ("0 */2 * * *", SPRING, ["10T00:00-0500", "10T03:00-0400", "10T04:00-0400"]),
        ("30 1 * * *", AUTUMN, ["03T01:30-0400", "04T01:30-0500"]),
        ("0 * * * *", AUTUMN, ["03T00:00-0400", "03T01:00-0400", "03T01:00-0500", "03T02:00-0500"]),
        (
            "*/30 1-2 * * *",
            AUTUMN,
            [
                "03T01:00-0400",
                "03T01:30-0400",
                "03T01:00-0500",
                "03T01:30-0500",
                "03T02:00-0500",
                "03T02:30-0500",
            ],
        ),
    ],
)
def test_ours_7_clock_changes(expression: str, start: datetime, expected: list[str]) -> None:
    assert firings(expression, start, len(expected)) == expected


@pytest.mark.parametrize(
    "zone_name",
    [
        "America/New_York",
        "Europe/London",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Asia/Tehran",
        "America/Santiago",
    ],
)
def test_ours_7_a_fixed_time_fires_once_per_local_day_for_ten_years(zone_name: str) -> None:
    zone = ZoneInfo(zone_name)
    schedule = CronSchedule(expression="30 2 * * *", timezone=zone_name)
    instant: datetime | None = datetime(2009, 1, 1, tzinfo=UTC)
    days = []
    for _ in range(3650):
        assert instant is not None
        following = cron_after(schedule, instant)
        assert following is not None
        assert following > instant
        days.append(following.astimezone(zone).date())
        instant = following
    assert len(set(days)) == len(days)
    missing = {days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days)} - set(days)
    # Samoa skipped the whole of 30 December 2011 when it crossed the date line.
    assert {str(day) for day in missing} <= (
        {"2011-12-30"} if zone_name == "Pacific/Apia" else set()
    )


@pytest.mark.parametrize("start", [SPRING, AUTUMN])
def test_ours_7_an_interval_fires_every_real_half_hour(start: datetime) -> None:
    schedule = CronSchedule(expression="*/30 * * * *", timezone="America/New_York")
    instant = cron_after(schedule, start)
    for _ in range(12):
        assert instant is not None
        following = cron_after(schedule, instant)
        assert following == instant + timedelta(minutes=30)
        instant = following


EXPRESSIONS = st.sampled_from(
    [
        "* * * * *",
        "*/7 * * * *",
        "15 4 * * *",
        "0 0 1 * *",
        "0 9 * * 1-5",
        "5,35 */3 * * *",
        "0 0 29 2 *",
    ]
)
INSTANTS = st.integers(
    int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2040, 1, 1, tzinfo=UTC).timestamp()),
).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(EXPRESSIONS, INSTANTS)
def test_in_utc_it_agrees_with_cronsim(expression: str, instant: datetime) -> None:
    assert cron_after(CronSchedule(expression=expression), instant) == next(
        CronSim(expression, instant)
    )


@settings(deadline=None)
@given(EXPRESSIONS, INSTANTS, st.sampled_from(["America/New_York", "Europe/Berlin", "UTC"]))
def test_before_is_the_inverse_of_after(expression: str, instant: datetime, zone: str) -> None:
    schedule = CronSchedule(expression=expression, timezone=zone)
    following = cron_after(schedule, instant)
    assert following is not None
    assert cron_at_or_before(schedule, following) == following
    previous = cron_at_or_before(schedule, following - timedelta(microseconds=1))
    assert previous is not None
    assert previous <= instant
    assert cron_after(schedule, previous) == following


def test_a_date_that_never_comes_never_fires() -> None:
    schedule = CronSchedule(expression="0 0 30 2 *")
    assert cron_after(schedule, SPRING) is None
    assert cron_at_or_before(schedule, SPRING) is None
