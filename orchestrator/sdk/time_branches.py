"""Branches that follow the clock or the calendar."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from orchestrator.sdk.python import BaseBranchOperator
from orchestrator.sdk.services import current_services
from orchestrator.sdk.time_sensors import today
from orchestrator.sdk.weekdays import WeekDay, weekdays

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.context import Context

__all__ = ["BranchDateTimeOperator", "BranchDayOfWeekOperator"]


class _YesNoBranch(BaseBranchOperator):
    """Follows one of two branches."""

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Iterable[str],
        follow_task_ids_if_false: str | Iterable[str],
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.follow_task_ids_if_true = _ids(
            "follow_task_ids_if_true", follow_task_ids_if_true, self.subject
        )
        self.follow_task_ids_if_false = _ids(
            "follow_task_ids_if_false", follow_task_ids_if_false, self.subject
        )
        self.use_task_logical_date = self.subject.flag(
            "use_task_logical_date", use_task_logical_date
        )

    def choose_branch(self, context: Context) -> list[str]:
        """Return the ids of the branch that the answer leads to."""
        answer = self._answer(context)
        return self.follow_task_ids_if_true if answer else self.follow_task_ids_if_false

    def _answer(self, context: Context) -> bool:
        raise NotImplementedError


class BranchDateTimeOperator(_YesNoBranch):
    """Follows one branch while it is between `target_lower` and `target_upper` (both included),
    the other before and after.

    A `datetime.time` means that time of the present day in the DAG's time zone, of the next day if
    the upper one is earlier than the lower one; None is no limit. The present moment is the
    clock's, or with `use_task_logical_date` the run's logical date.
    """

    def __init__(
        self,
        *,
        target_lower: datetime | time | None = None,
        target_upper: datetime | time | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if target_lower is None and target_upper is None:
            raise self.subject.error(
                "neither target_lower nor target_upper is given; give at least one of them"
            )
        for name, value in (("target_lower", target_lower), ("target_upper", target_upper)):
            if value is not None and not isinstance(value, datetime | time):
                raise self.subject.error(
                    f"{name} is {value!r}; it must be a datetime or a datetime.time"
                )
        self.target_lower = target_lower
        self.target_upper = target_upper

    def _answer(self, context: Context) -> bool:
        zone = ZoneInfo(context["dag"].timezone)
        now = self._now(context).astimezone(zone)
        lower = _on_day(self.target_lower, now, zone)
        upper = _on_day(self.target_upper, now, zone)
        if lower is not None and upper is not None and upper < lower:
            upper += timedelta(days=1)
        self.log.info("is it between %s and %s? It is %s", lower, upper, now)
        return (lower is None or lower <= now) and (upper is None or now <= upper)

    def _now(self, context: Context) -> datetime:
        if not self.use_task_logical_date:
            return current_services().clock.now()
        instant: datetime = context["logical_date"] or context["dag_run"].run_after
        return instant


class BranchDayOfWeekOperator(_YesNoBranch):
    """Follows one branch on these days of the week (in the DAG's time zone), the other on all
    others. The day is the present one, or with `use_task_logical_date` the logical date's."""

    def __init__(self, *, week_day: str | WeekDay | Iterable[str | WeekDay], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.week_day = weekdays(week_day, self.subject)

    def _answer(self, context: Context) -> bool:
        day = today(context, by_logical_date=self.use_task_logical_date)
        return WeekDay(day.isoweekday()) in self.week_day


def _on_day(target: datetime | time | None, day: datetime, zone: ZoneInfo) -> datetime | None:
    if isinstance(target, time):
        return datetime.combine(day.date(), target, tzinfo=target.tzinfo or zone)
    if target is not None and target.utcoffset() is None:
        return target.replace(tzinfo=zone)
    return target


def _ids(name: str, value: object, subject: Subject) -> list[str]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, Iterable):
        raise subject.error(f"{name} is {value!r}; it must be a task or group id, or several")
    ids = list(several)
    if not all(isinstance(each, str) and each for each in ids):
        raise subject.error(f"{name} is {value!r}; it must be a task or group id, or several")
    return ids
