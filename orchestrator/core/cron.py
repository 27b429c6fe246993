"""At which instants does a cron expression fire, also where local time jumps?

croniter knows the calendar and is asked for local wall times only; how those become instants is
decided here, because it fires a fixed time twice where clocks go back:

- A time in the gap (clocks go forward) fires at the first instant after the gap.
- A time that comes twice (clocks go back) fires at its first coming if minute and hour are fixed
  (`30 1 * * *`), and at both if either repeats (`*/30 * * * *`): every real half hour.
- Instants rise strictly: two wall times that fall on one instant fire once.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from orchestrator.core.specs import CronSchedule

_SHIFT_MAX = timedelta(hours=26)
"""No zone has ever moved its clock by more than a day."""
_YEARS_SEARCHED = 50
"""How far ahead a next time is searched: longer than the 40 years between two 29 February that
fall on one weekday around 2100."""
_SECOND = timedelta(seconds=1)


def cron_after(schedule: CronSchedule, instant: datetime) -> datetime | None:
    """Return the first firing strictly after `instant` (aware), in UTC; None if it never fires."""
    zone = _zone(schedule.timezone)
    start = instant.astimezone(UTC)
    shift = _shift_near(start, zone)
    firings: list[datetime] = []
    for wall in _walls(schedule, _wall(start, zone) - shift, forward=True):
        firings.extend(f for f in _firings(schedule, wall, zone) if f > start)
        # Where clocks jump, a later wall time may fire earlier: look on for as long as they may.
        if firings and wall >= _wall(min(firings), zone) + _shift_near(min(firings), zone):
            break
    return min(firings, default=None)


def cron_at_or_before(schedule: CronSchedule, instant: datetime) -> datetime | None:
    """Return the last firing at or before `instant` (aware), in UTC; None if there was none."""
    zone = _zone(schedule.timezone)
    start = instant.astimezone(UTC)
    shift = _shift_near(start, zone) + _SECOND
    firings: list[datetime] = []
    for wall in _walls(schedule, _wall(start, zone) + shift, forward=False):
        firings.extend(f for f in _firings(schedule, wall, zone) if f <= start)
        if firings and wall <= _wall(max(firings), zone) - _shift_near(max(firings), zone):
            break
    return max(firings, default=None)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=1024)
def _repeats(expression: str) -> bool:
    """Whether minute or hour is written with `*`: then it means an interval, not a time of day."""
    fields = expression.split()
    if len(fields) == 1:
        return expression == "@hourly"
    return "*" in fields[0] or "*" in fields[1]


def _firings(schedule: CronSchedule, wall: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    return _instants(wall, zone, twice=_repeats(schedule.expression))


def _instants(wall: datetime, zone: ZoneInfo, *, twice: bool) -> tuple[datetime, ...]:
    """Return the instants a wall time stands for, in UTC: both comings only if `twice`."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if _wall(first, zone) != wall:
        resumed = _shift_between(second, first, zone)
        # A zone that crosses the date line loses a whole day: that day does not fire at all.
        return (resumed,) if _wall(resumed, zone).date() == wall.date() else ()
    return (first, second) if twice and second != first else (first,)


def _shift_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant, to the second, at which the offset of `after` holds."""
    target = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + ((after - before) // 2 // _SECOND or 1) * _SECOND
        if middle.astimezone(zone).utcoffset() == target:
            after = middle
        else:
            before = middle
    return after


def _shift_near(instant: datetime, zone: ZoneInfo) -> timedelta:
    """Return by how much clocks jump around an instant; zero on all but a few days of the year."""
    points = (instant - _SHIFT_MAX, instant, instant + _SHIFT_MAX)
    offsets = [point.astimezone(zone).utcoffset() or timedelta() for point in points]
    return max(offsets) - min(offsets)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _walls(schedule: CronSchedule, start: datetime, *, forward: bool) -> Iterator[datetime]:
    """Yield the expression's wall times after (before) `start`, that one left out."""
    times = croniter(schedule.expression, start, max_years_between_matches=_YEARS_SEARCHED)
    try:
        while True:
            yield times.get_next(datetime) if forward else times.get_prev(datetime)
    except (CroniterBadDateError, OverflowError, ValueError):
        return
