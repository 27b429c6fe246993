"""Which processes of the service does somebody ask for?"""

from datetime import UTC, datetime
from typing import Any

from api.parameters import Instant, PageQuery, bounds_of
from api.schemas.overview import JobResponse
from orchestrator.core.listings import Bounds

__all__ = ["JobQuery"]


class JobQuery(PageQuery):
    """Filters of the processes of the service."""

    is_alive: bool | None = None
    job_state: str | None = None
    job_type: str | None = None
    hostname: str | None = None
    executor_class: str | None = None
    start_date_gte: Instant = None
    start_date_gt: Instant = None
    start_date_lte: Instant = None
    start_date_lt: Instant = None
    end_date_gte: Instant = None
    end_date_gt: Instant = None
    end_date_lte: Instant = None
    end_date_lt: Instant = None

    def lets_pass(self, job: JobResponse) -> bool:
        """Say whether a process is one of those asked for."""
        for value, wanted in (
            (job.state, self.job_state),
            (job.job_type, self.job_type),
            (job.hostname, self.hostname),
            (job.executor_class, self.executor_class),
        ):
            if wanted is not None and value != wanted:
                return False
        if self.is_alive is not None and (job.end_date is None) != self.is_alive:
            return False
        bounds = bounds_of(self, {"start_date": "start_date", "end_date": "end_date"})
        return all(_is_within(getattr(job, name), each) for name, each in bounds.items())


def _is_within(instant: datetime | None, bounds: Bounds) -> bool:
    """Say whether an instant is within bounds; one that is yet to come is after every one now."""
    seen: Any = instant or datetime.max.replace(tzinfo=UTC)
    return (
        (bounds.gte is None or seen >= bounds.gte)
        and (bounds.gt is None or seen > bounds.gt)
        and (bounds.lte is None or seen <= bounds.lte)
        and (bounds.lt is None or seen < bounds.lt)
    )
