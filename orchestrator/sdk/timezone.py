"""Instants with a zone, by the names that DAG files written for Airflow use."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pendulum

from orchestrator.sdk.exceptions import TaskException

__all__ = [
    "datetime",
    "is_localized",
    "is_naive",
    "make_aware",
    "parse",
    "parse_timezone",
    "utc",
    "utcnow",
]

utc = UTC


def utcnow() -> pendulum.DateTime:
    """Return now, in UTC."""
    return pendulum.instance(datetime.now(UTC))


def parse_timezone(name: str | int) -> tzinfo:
    """Return a zone by its name, or by its offset from UTC in seconds."""
    if isinstance(name, int):
        return pendulum.FixedTimezone(name)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise TaskException(
            f"timezone {name!r} is unknown; use a name such as 'Europe/Berlin' or 'UTC'"
        ) from None


def parse(text: str, timezone: str | tzinfo = UTC) -> pendulum.DateTime:
    """Read an ISO 8601 instant; `timezone` is the zone of one that names none."""
    zone = parse_timezone(timezone) if isinstance(timezone, str) else timezone
    try:
        return pendulum.instance(datetime.fromisoformat(text), tz=zone)
    except ValueError:
        raise TaskException(
            f"{text!r} is no instant; write it as 2024-05-06T07:08:09 or with an offset"
        ) from None


def is_localized(value: datetime) -> bool:
    """Say whether an instant names its zone."""
    return value.utcoffset() is not None


def is_naive(value: datetime) -> bool:
    """Say whether an instant names no zone."""
    return not is_localized(value)


def make_aware(value: datetime, timezone: str | tzinfo = UTC) -> pendulum.DateTime:
    """Give an instant that names no zone one; one that does is refused."""
    if is_localized(value):
        raise TaskException(f"{value} has a zone already; use .astimezone() to see it in another")
    zone = parse_timezone(timezone) if isinstance(timezone, str) else timezone
    return pendulum.instance(value.replace(tzinfo=zone))
