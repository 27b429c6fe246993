"""What may stand in a query: paging, filters, and how each becomes a listing's filter.

A parameter that is not listed here is refused with the nearest name: a filter that is silently
ignored gives a wrong answer.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.core.listings import (
    Bounds,
    DagFilter,
    PageRequest,
    RunFilter,
    TaskInstanceFilter,
    TextMatch,
    XComFilter,
)
from orchestrator.core.states import RunState, RunType, TaskState

__all__ = [
    "ANY",
    "INTEGER_MAX",
    "PAGE_LIMIT_MAX",
    "RUN_BOUNDS",
    "SPAN_BOUNDS",
    "ConnectionQuery",
    "DagQuery",
    "ImportErrorQuery",
    "Index",
    "Instant",
    "MappedQuery",
    "PageQuery",
    "PoolQuery",
    "RunDates",
    "RunQuery",
    "Span",
    "StateName",
    "TagQuery",
    "TaskInstanceQuery",
    "VariableQuery",
    "VersionQuery",
    "WarningQuery",
    "XComQuery",
    "bounds_of",
    "named",
    "text_match",
]

ANY = "~"
"""In place of a DAG id or run id: whichever."""
PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 100
"""A larger limit is cut, silently, as in Airflow."""
INTEGER_MAX = 2**31 - 1

_PLUS_READ_AS_SPACE = re.compile(r"(.*\d) (\d\d:?\d\d)")


def _instant(value: Any) -> Any:
    """Read an instant as URLs carry it: without a zone it is UTC, and an offset's plus sign that
    was not written as %2B has become a space."""
    if not isinstance(value, str):
        return value
    instant = datetime.fromisoformat(_PLUS_READ_AS_SPACE.sub(r"\1+\2", value.strip()))
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("the instant is outside of the years 1 to 9999 in UTC") from None


Instant = Annotated[datetime | None, BeforeValidator(_instant)]
Seconds = Annotated[float | None, Field(allow_inf_nan=False)]
Index = Annotated[int, Field(ge=-1, le=2**53 - 1)]
Number = Annotated[int, Field(ge=0, le=INTEGER_MAX)]


class PageQuery(BaseModel):
    """Which piece of a listing, in which order."""

    model_config = ConfigDict(extra="forbid")

    limit: Number = PAGE_LIMIT_DEFAULT
    offset: Number = 0
    order_by: list[str] = []

    def page(self) -> PageRequest:
        """Return the piece asked for."""
        return PageRequest(
            limit=min(self.limit, PAGE_LIMIT_MAX),
            offset=self.offset,
            order_by=tuple(self.order_by),
        )


class CursorQuery(PageQuery):
    """The same for listings that are also read by cursor: an empty one starts."""

    cursor: str | None = None

    def page(self) -> PageRequest:
        """Return the piece asked for."""
        return PageRequest(
            limit=min(self.limit, PAGE_LIMIT_MAX),
            offset=0 if self.cursor is not None else self.offset,
            order_by=tuple(self.order_by),
            cursor=self.cursor,
        )


class RunDates(BaseModel):
    """Bounds of what every run has."""

    run_after_gte: Instant = None
    run_after_gt: Instant = None
    run_after_lte: Instant = None
    run_after_lt: Instant = None
    logical_date_gte: Instant = None
    logical_date_gt: Instant = None
    logical_date_lte: Instant = None
    logical_date_lt: Instant = None


class Span(BaseModel):
    """Bounds of when something ran, and for how many seconds."""

    start_date_gte: Instant = None
    start_date_gt: Instant = None
    start_date_lte: Instant = None
    start_date_lt: Instant = None
    end_date_gte: Instant = None
    end_date_gt: Instant = None
    end_date_lte: Instant = None
    end_date_lt: Instant = None
    duration_gte: Seconds = None
    duration_gt: Seconds = None
    duration_lte: Seconds = None
    duration_lt: Seconds = None


class DagQuery(PageQuery):
    """Filters of DAGs."""

    tags: list[str] = []
    tags_match_mode: Literal["any", "all"] | None = None
    owners: list[str] = []
    dag_id_pattern: str | None = None
    dag_id_prefix_pattern: str | None = None
    dag_display_name_pattern: str | None = None
    dag_display_name_prefix_pattern: str | None = None
    exclude_stale: bool = True
    paused: bool | None = None
    has_import_errors: bool | None = None
    last_dag_run_state: RunState | None = None

    def wanted(self) -> DagFilter:
        """Return the filter."""
        return DagFilter(
            tags=tuple(self.tags),
            needs_all_tags=self.tags_match_mode == "all",
            owners=tuple(self.owners),
            dag_id=text_match(self.dag_id_pattern, self.dag_id_prefix_pattern),
            display_name=text_match(
                self.dag_display_name_pattern, self.dag_display_name_prefix_pattern
            ),
            is_paused=self.paused,
            has_import_error=self.has_import_errors,
            includes_stale=not self.exclude_stale,
            last_run_state=self.last_dag_run_state,
        )


class TagQuery(PageQuery):
    """Filters of tags; the order is by name."""

    tag_name_pattern: str | None = None
    tag_name_prefix_pattern: str | None = None
    order_by: list[Literal["name", "-name"]] = []  # type: ignore[assignment]


class VersionQuery(PageQuery):
    """Filters of DAG versions."""

    version_number: Number | None = None


class RunQuery(CursorQuery, RunDates, Span):
    """Filters of runs."""

    run_type: list[RunType] = []
    state: list[RunState] = []
    dag_version: list[Number] = []
    conf_contains: str | None = None
    run_id_pattern: str | None = None
    run_id_prefix_pattern: str | None = None
    dag_id_pattern: str | None = None
    dag_id_prefix_pattern: str | None = None
    triggering_user_name_pattern: str | None = None
    triggering_user_name_prefix_pattern: str | None = None

    def wanted(self, dag_id: str) -> RunFilter:
        """Return the filter for the runs of one DAG, or of all."""
        return RunFilter(
            dag_id=named(dag_id),
            run_id=text_match(self.run_id_pattern, self.run_id_prefix_pattern),
            dag_id_match=text_match(self.dag_id_pattern, self.dag_id_prefix_pattern),
            user=text_match(
                self.triggering_user_name_pattern, self.triggering_user_name_prefix_pattern
            ),
            conf_contains=self.conf_contains,
            states=tuple(self.state),
            run_types=tuple(self.run_type),
            version_numbers=tuple(self.dag_version),
            bounds=bounds_of(self, RUN_BOUNDS | SPAN_BOUNDS),
        )


def _task_state(value: Any) -> Any:
    """Read a state; a task instance about which nothing is decided is asked for as `none`."""
    return TaskState.NONE if value in ("no_status", "null", "", None) else value


StateName = Annotated[TaskState, BeforeValidator(_task_state)]


class MappedQuery(PageQuery, RunDates, Span):
    """Filters of the task instances of one mapped task."""

    state: list[StateName] = []
    pool: list[str] = []
    pool_name_pattern: str | None = None
    pool_name_prefix_pattern: str | None = None
    queue: list[str] = []
    queue_name_pattern: str | None = None
    queue_name_prefix_pattern: str | None = None
    operator: list[str] = []
    operator_name_pattern: str | None = None
    operator_name_prefix_pattern: str | None = None
    executor: list[Literal["CeleryExecutor"]] = []
    version_number: list[Number] = []
    try_number: list[Number] = []
    map_index: list[Index] = []

    def wanted(self, dag_id: str, run_id: str, task_id: str) -> TaskInstanceFilter:
        """Return the filter for the mapped instances of one task."""
        return TaskInstanceFilter(
            dag_id=dag_id, run_id=run_id, task_ids=(task_id,), is_mapped=True, **_of_task(self)
        )


class TaskInstanceQuery(CursorQuery, MappedQuery):
    """Filters of task instances."""

    task_id: str | None = None
    task_group_id: str | None = None
    dag_id_pattern: str | None = None
    dag_id_prefix_pattern: str | None = None
    run_id_pattern: str | None = None
    run_id_prefix_pattern: str | None = None

    def wanted_of(self, dag_id: str, run_id: str) -> TaskInstanceFilter:
        """Return the filter for the task instances of one run, or of all."""
        return TaskInstanceFilter(
            dag_id=named(dag_id),
            run_id=named(run_id),
            task_ids=() if self.task_id is None else (self.task_id,),
            group_id=self.task_group_id,
            dag_id_match=text_match(self.dag_id_pattern, self.dag_id_prefix_pattern),
            run_id_match=text_match(self.run_id_pattern, self.run_id_prefix_pattern),
            **_of_task(self),
        )


class XComQuery(PageQuery, RunDates):
    """Filters of XComs."""

    xcom_key: str | None = None
    map_index: Index | None = None
    map_index_filter: Index | None = None
    xcom_key_pattern: str | None = None
    xcom_key_prefix_pattern: str | None = None
    dag_id_pattern: str | None = None
    dag_id_prefix_pattern: str | None = None
    run_id_pattern: str | None = None
    run_id_prefix_pattern: str | None = None
    task_id_pattern: str | None = None
    task_id_prefix_pattern: str | None = None

    def wanted(self, dag_id: str, run_id: str, task_id: str) -> XComFilter:
        """Return the filter for the XComs of one task in one run, or of all."""
        index = self.map_index if self.map_index is not None else self.map_index_filter
        return XComFilter(
            dag_id=named(dag_id),
            run_id=named(run_id),
            task_id=named(task_id),
            map_index=index,
            key=self.xcom_key,
            key_match=text_match(self.xcom_key_pattern, self.xcom_key_prefix_pattern),
            dag_id_match=text_match(self.dag_id_pattern, self.dag_id_prefix_pattern),
            run_id_match=text_match(self.run_id_pattern, self.run_id_prefix_pattern),
            task_id_match=text_match(self.task_id_pattern, self.task_id_prefix_pattern),
            bounds=bounds_of(self, RUN_BOUNDS),
        )


class ImportErrorQuery(PageQuery):
    """Filters of import errors."""

    filename: str | None = None
    filename_pattern: str | None = None
    filename_prefix_pattern: str | None = None


class PoolQuery(PageQuery):
    """Filters of pools."""

    pool_name_pattern: str | None = None
    pool_name_prefix_pattern: str | None = None


class ConnectionQuery(PageQuery):
    """Filters of Connections."""

    connection_id_pattern: str | None = None
    connection_id_prefix_pattern: str | None = None


class VariableQuery(PageQuery):
    """Filters of Variables."""

    variable_key_pattern: str | None = None
    variable_key_prefix_pattern: str | None = None


class WarningQuery(PageQuery):
    """Filters of warnings."""

    dag_id: str | None = None


RUN_BOUNDS = {"run_after": "run_after", "logical_date": "logical_date"}
SPAN_BOUNDS = {"start_date": "started_at", "end_date": "ended_at", "duration": "duration_s"}


def named(path_part: str) -> str | None:
    """Return the id in a path, None where it stands for any."""
    return None if path_part == ANY else path_part


def text_match(pattern: str | None, prefix: str | None) -> TextMatch:
    """Read Airflow's patterns: alternatives between `|`; `~` lets everything pass."""
    return TextMatch(substrings=_alternatives(pattern), prefixes=_alternatives(prefix))


def _alternatives(pattern: str | None) -> tuple[str, ...]:
    if pattern is None or pattern == ANY:
        return ()
    return tuple(part.strip() for part in pattern.split("|") if part.strip())


def bounds_of(query: BaseModel, names: dict[str, str]) -> dict[str, Bounds]:
    """Return what a query (or body) says of the columns that `names` maps its own names to."""
    found = {
        column: {side: getattr(query, f"{name}_{side}") for side in ("gte", "gt", "lte", "lt")}
        for name, column in names.items()
    }
    return {column: Bounds(**sides) for column, sides in found.items() if _any_set(sides.values())}


def _any_set(values: Iterable[Any]) -> bool:
    return any(value is not None for value in values)


def _of_task(query: MappedQuery) -> dict[str, Any]:
    return {
        "states": tuple(query.state),
        "pools": tuple(query.pool),
        "pool_match": text_match(query.pool_name_pattern, query.pool_name_prefix_pattern),
        "queues": tuple(query.queue),
        "queue_match": text_match(query.queue_name_pattern, query.queue_name_prefix_pattern),
        "operators": tuple(query.operator),
        "operator_match": text_match(
            query.operator_name_pattern, query.operator_name_prefix_pattern
        ),
        "version_numbers": tuple(query.version_number),
        "try_numbers": tuple(query.try_number),
        "map_indexes": tuple(query.map_index),
        "bounds": bounds_of(query, RUN_BOUNDS | SPAN_BOUNDS),
    }
