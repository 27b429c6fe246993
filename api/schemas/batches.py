"""What may stand in the body of a batch listing: filters, for many DAGs and runs at once."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictInt, StrictStr, field_validator

from api.parameters import (
    INTEGER_MAX,
    PAGE_LIMIT_MAX,
    RUN_BOUNDS,
    SPAN_BOUNDS,
    RunDates,
    Span,
    StateName,
    bounds_of,
    named,
)
from orchestrator.core.listings import PageRequest, RunFilter, TaskInstanceFilter
from orchestrator.core.states import RunState

__all__ = ["RunBatchBody", "TaskInstanceBatchBody"]

NAMES_MAX = 1000
_INSTANTS = tuple(
    f"{name}_{side}"
    for name in ("run_after", "logical_date", "start_date", "end_date")
    for side in ("gte", "gt", "lte", "lt")
)
Names = Annotated[list[StrictStr], Field(max_length=NAMES_MAX)]
Count = Annotated[StrictInt, Field(ge=0, le=INTEGER_MAX)]


class _BatchBody(RunDates, Span):
    model_config = ConfigDict(extra="forbid")

    dag_ids: Names | None = None
    page_limit: Count = PAGE_LIMIT_MAX
    page_offset: Count = 0
    order_by: StrictStr | None = None

    @field_validator(*_INSTANTS, mode="before")
    @classmethod
    def _has_a_zone(cls, value: Any) -> Any:
        """In a body, unlike in an address, an instant without a zone is a mistake."""
        if isinstance(value, str) and datetime.fromisoformat(value.strip()).tzinfo is None:
            raise ValueError("the instant has no time zone; add one, such as Z")
        if value is not None and not isinstance(value, str):
            raise ValueError("an instant is a text such as 2026-01-01T00:00:00Z")
        return value

    def page(self) -> PageRequest:
        """Return the piece asked for."""
        return PageRequest(
            limit=min(self.page_limit, PAGE_LIMIT_MAX),
            offset=self.page_offset,
            order_by=() if self.order_by is None else (self.order_by,),
        )


class RunBatchBody(_BatchBody):
    """Filters of runs."""

    states: list[RunState] | None = None
    conf_contains: StrictStr | None = None

    def wanted(self, dag_id: str) -> RunFilter:
        """Return the filter for the runs of one DAG, or of all."""
        return RunFilter(
            dag_id=named(dag_id),
            dag_ids=tuple(self.dag_ids or ()),
            states=tuple(self.states or ()),
            conf_contains=self.conf_contains,
            bounds=bounds_of(self, RUN_BOUNDS | SPAN_BOUNDS),
        )


class TaskInstanceBatchBody(_BatchBody):
    """Filters of task instances. A state of null finds those about which nothing is decided."""

    dag_run_ids: Names | None = None
    task_ids: Names | None = None
    state: list[StateName] | None = None
    pool: Names | None = None
    queue: Names | None = None
    executor: list[Literal["CeleryExecutor"]] | None = None

    def wanted(self, dag_id: str, run_id: str) -> TaskInstanceFilter:
        """Return the filter for the task instances of one run, or of all."""
        return TaskInstanceFilter(
            dag_id=named(dag_id),
            run_id=named(run_id),
            dag_ids=tuple(self.dag_ids or ()),
            run_ids=tuple(self.dag_run_ids or ()),
            task_ids=tuple(self.task_ids or ()),
            states=tuple(self.state or ()),
            pools=tuple(self.pool or ()),
            queues=tuple(self.queue or ()),
            bounds=bounds_of(self, RUN_BOUNDS | SPAN_BOUNDS),
        )
