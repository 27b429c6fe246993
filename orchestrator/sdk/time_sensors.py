"""Tasks that wait for a time: a date, an hour of the day, a day of the week."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.references import Reference
from orchestrator.sdk.sensors import BaseSensorOperator
from orchestrator.sdk.services import current_services
from orchestrator.sdk.weekdays import WeekDay, weekdays

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["DateTimeSensor", "DayOfWeekSensor", "TimeDeltaSensor", "TimeSensor"]


class TimeDeltaSensor(BaseSensorOperator):
    """Waits until `delta` after the end of the run's data interval (or, in a run without one, after
    the instant it was due)."""

    def __init__(self, *, delta: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(delta, timedelta):
            raise self.subject.error(f"delta is {delta!r}; it must be a timedelta")
        self.delta = delta

    def poke(self, context: Context) -> bool:
        """Look at the clock."""
        start = context["data_interval_end"] or context["dag_run"].run_after
        return _is_over(start + self.delta, self)


class DateTimeSensor(BaseSensorOperator):
    """Waits until `target_time`: a datetime, or an ISO text (a template, say)."""

    template_fields: Sequence[str] = ("target_time",)

    def __init__(self, *, target_time: str | datetime | Reference, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, str | datetime | Reference):
            raise self.subject.error(
                f"target_time is {target_time!r}; it must be a datetime or an ISO text"
            )
        self.target_time: Any = (
            target_time.isoformat() if isinstance(target_time, datetime) else target_time
        )

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Look at the clock."""
        try:  # what a task returned may be a datetime
            target = datetime.fromisoformat(str(self.target_time))
        except ValueError:
            raise TaskException(
                f"target_time is {self.target_time!r}; it must be a date and time such as "
                "2026-01-31T08:00:00+00:00"
            ) from None
        return _is_over(target, self)


class TimeSensor(BaseSensorOperator):
    """Waits until `target_time` of the day on which the try began, in the DAG's time zone."""

    def __init__(self, *, target_time: time, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, time):
            raise self.subject.error(
                f"target_time is {target_time!r}; it must be a datetime.time, as in time(8, 30)"
            )
        self.target_time = target_time

    def poke(self, context: Context) -> bool:
        """Look at the clock."""
        zone = self.target_time.tzinfo or ZoneInfo(context["dag"].timezone)
        today = context["ti"].began_at.astimezone(zone).date()
        return _is_over(datetime.combine(today, self.target_time, tzinfo=zone), self)


class DayOfWeekSensor(BaseSensorOperator):
    """Waits until it is one of these days of the week in the DAG's time zone, or with
    `use_task_logical_date` until the run's logical date is one (which does not change)."""

    def __init__(
        self,
        *,
        week_day: str | WeekDay | Iterable[str | WeekDay],
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.week_day = weekdays(week_day, self.subject)
        self.use_task_logical_date = self.subject.flag(
            "use_task_logical_date", use_task_logical_date
        )

    def poke(self, context: Context) -> bool:
        """Look at the calendar."""
        day = today(context, by_logical_date=self.use_task_logical_date)
        return WeekDay(day.isoweekday()) in self.week_day


def today(context: Context, *, by_logical_date: bool) -> date:
    """Return the day it is for a task, in its DAG's time zone."""
    instant = context["logical_date"] if by_logical_date else current_services().clock.now()
    if instant is None:
        raise TaskException(
            "use_task_logical_date is set, and this run has no logical date; trigger it with one"
        )
    day: date = instant.astimezone(ZoneInfo(context["dag"].timezone)).date()
    return day


def _is_over(target: datetime, sensor: BaseSensorOperator) -> bool:
    if target.utcoffset() is None:
        target = target.replace(tzinfo=UTC)
    sensor.log.info("waiting until %s", target.isoformat())
    return current_services().clock.now() >= target
