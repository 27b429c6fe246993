"""How does a task see an instant?

As a pendulum.DateTime, like in Airflow: a datetime that also knows `.add(days=1)`,
`.in_timezone(...)` and `.to_date_string()`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import pendulum

__all__ = ["for_authors", "plain_utc"]


@overload
def for_authors(instant: datetime) -> pendulum.DateTime: ...
@overload
def for_authors(instant: None) -> None: ...
def for_authors(instant: datetime | None) -> pendulum.DateTime | None:
    """Return the same instant with pendulum's methods; None stays None."""
    if instant is None:
        return None
    import pendulum  # noqa: PLC0415 - only a running task needs it

    return pendulum.instance(instant)


def plain_utc(instant: datetime) -> datetime:
    """Return the same instant as Python's own datetime in UTC; one without a zone is in UTC."""
    aware = instant if instant.utcoffset() is not None else instant.replace(tzinfo=UTC)
    in_utc = aware.astimezone(UTC)
    return datetime.combine(in_utc.date(), in_utc.time(), tzinfo=UTC)
