"""Which days of the week does an author mean?"""

from collections.abc import Iterable
from enum import IntEnum

from orchestrator.errors import did_you_mean
from orchestrator.sdk.arguments import Subject

__all__ = ["WeekDay", "weekdays"]


class WeekDay(IntEnum):
    """A day of the week by its ISO number."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7


def weekdays(given: object, subject: Subject) -> frozenset[WeekDay]:
    """Return the days named by `week_day`: one or several, as WeekDay or English name."""
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    days = frozenset(_day(each, subject) for each in several)
    if not days:
        raise subject.error("week_day names no day; name at least one")
    return days


def _day(given: object, subject: Subject) -> WeekDay:
    if isinstance(given, WeekDay):
        return given
    name = given.strip().upper() if isinstance(given, str) else ""
    if name in WeekDay.__members__:
        return WeekDay[name]
    known = [day.name.capitalize() for day in WeekDay]
    hint = did_you_mean(name.capitalize(), known)
    raise subject.error(
        f"week_day is {given!r}{hint}; it must be a WeekDay or a name such as 'Monday'"
    )
