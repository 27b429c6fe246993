"""Airflow's little helpers for instants."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from orchestrator.sdk import TaskException, timezone

NAIVE = datetime(2024, 5, 6, 7, 8)  # noqa: DTZ001 - that it has none is the point


def test_now_is_in_utc() -> None:
    before = datetime.now(UTC)
    assert before <= timezone.utcnow() <= datetime.now(UTC)
    assert timezone.utcnow().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2024-05-06T07:08:00", "UTC", datetime(2024, 5, 6, 7, 8, tzinfo=UTC)),
        ("2024-05-06", "Asia/Seoul", datetime(2024, 5, 5, 15, tzinfo=UTC)),
        ("2024-05-06T07:08:00+02:00", "UTC", datetime(2024, 5, 6, 5, 8, tzinfo=UTC)),
    ],
)
def test_instants_are_read(text: str, zone: str, instant: datetime) -> None:
    assert timezone.parse(text, zone) == instant


def test_what_is_none_is_refused_by_name() -> None:
    with pytest.raises(TaskException, match="'yesterday' is no instant"):
        timezone.parse("yesterday")
    with pytest.raises(TaskException, match="timezone 'Mars/Base' is unknown"):
        timezone.parse_timezone("Mars/Base")
    with pytest.raises(TaskException, match="has a zone already"):
        timezone.make_aware(datetime.now(UTC))


def test_a_zone_can_be_given_and_asked_for() -> None:
    assert timezone.is_naive(NAIVE)
    aware = timezone.make_aware(NAIVE, "Europe/Berlin")
    assert aware == datetime(2024, 5, 6, 7, 8, tzinfo=ZoneInfo("Europe/Berlin"))
    assert timezone.is_localized(aware)
    assert timezone.datetime(2024, 1, 1, tzinfo=timezone.utc) == datetime(2024, 1, 1, tzinfo=UTC)
    assert timezone.parse_timezone(3600).utcoffset(NAIVE) == timedelta(hours=1)
