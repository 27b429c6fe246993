"""When does a DAG run: what authors write, turned into a schedule, a time zone and instants."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from orchestrator.core.specs import CronSchedule, DeltaSchedule, OnceSchedule, Schedule
from orchestrator.errors import did_you_mean
from orchestrator.sdk.arguments import Subject, shown_value

PRESETS = (
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@quarterly",
    "@yearly",
    "@annually",
)
_QUARTERLY = "0 0 1 */3 *"
"""The one preset that is not an alias every reader of cron expressions knows."""
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def freeze_schedule(value: object, *, timezone: str, subject: Subject) -> Schedule:
    """Turn `schedule=` into a core schedule: a cron expression or preset, "@once", a timedelta, or
    None for runs that only people trigger."""
    match value:
        case None:
            return None
        case "@once":
            return OnceSchedule()
        case str():
            return _cron(value, timezone=timezone, subject=subject)
        case timedelta():
            period = subject.duration("schedule", value, zero=False)
            return DeltaSchedule(seconds=period.total_seconds())
        case _:
            raise subject.error(
                f"schedule is {shown_value(value)}; it must be a cron expression such as "
                "'0 6 * * *', a preset such as '@daily', a timedelta, or None (this version does "
                "not have assets or timetable classes)"
            )


def freeze_timezone(value: object, start_date: object, subject: Subject) -> str:
    """Return the name of the DAG's time zone: the one given, else the start date's, else UTC."""
    if value is None:
        value = start_date.tzinfo if isinstance(start_date, datetime) else None
    if value is None:
        return "UTC"
    if isinstance(value, str):
        return _known_zone(value, subject)
    name = getattr(value, "key", None) or getattr(value, "zone", None)
    if isinstance(name, str):
        return _known_zone(name, subject)
    if isinstance(value, tzinfo) and value.utcoffset(None) == timedelta(0):
        return "UTC"
    raise subject.error(
        f"timezone is {value!r}; it must be a named zone, such as ZoneInfo('Europe/Berlin')"
    )


def freeze_instant(name: str, value: object, *, timezone: str, subject: Subject) -> datetime | None:
    """Return a date in UTC; one without a zone is local time of the DAG's time zone."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise subject.error(f"{name} is {value!r}; it must be a datetime, or None")
    if value.utcoffset() is None:
        value = value.replace(tzinfo=ZoneInfo(timezone))
    instant = value.astimezone(UTC)
    # Rebuilt so that a subclass (pendulum's, say) is left behind.
    return datetime.combine(instant.date(), instant.time(), tzinfo=UTC)


def _cron(text: str, *, timezone: str, subject: Subject) -> CronSchedule:
    from croniter import croniter  # noqa: PLC0415 - only a DAG with a cron expression pays for it

    from orchestrator.core.cron import cron_after  # noqa: PLC0415 - likewise

    expression = _QUARTERLY if text == "@quarterly" else " ".join(text.split())
    fields = expression.count(" ") + 1
    if expression.startswith("@") and expression not in PRESETS:
        known = ("@once", *PRESETS)
        raise subject.error(
            f"schedule is {text!r}{did_you_mean(text, known)}; the presets are {', '.join(known)}"
        )
    if not expression.startswith("@") and fields != 5:
        raise subject.error(
            f"schedule is {text!r}, which has {fields} field{'s' * (fields != 1)}; a cron "
            "expression has five: minute, hour, day of month, month, day of week"
        )
    try:
        croniter(expression)
    except (ValueError, KeyError) as error:
        raise subject.error(f"schedule is {text!r}, which is no cron expression: {error}") from None
    schedule = CronSchedule(expression=expression, timezone=timezone)
    if cron_after(schedule, _ANY_DAY) is None:
        raise subject.error(f"schedule is {text!r}, which never comes; there is no such date")
    return schedule


def _known_zone(name: str, subject: Subject) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        from zoneinfo import available_timezones  # noqa: PLC0415 - reads the disk

        raise subject.error(
            f"timezone is {name!r}, which is not a known time zone"
            f"{did_you_mean(name, available_timezones())}; use a name such as 'Europe/Berlin'"
        ) from None
    return name
