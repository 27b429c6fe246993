"""How task instances, their tries, logs and XComs look in answers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from api.schemas.dags import DagVersionResponse, version_response
from orchestrator.core.ids import UNMAPPED
from orchestrator.core.listings import Page
from orchestrator.core.states import TaskState
from orchestrator.core.views import TaskInstanceView, TryView, XComView

__all__ = [
    "DependencyCollection",
    "ExtraLinkCollection",
    "LogResponse",
    "TaskInstanceCollection",
    "TaskInstanceResponse",
    "TryCollection",
    "TryResponse",
    "XComBody",
    "XComCollection",
    "XComPatchBody",
    "XComResponse",
    "XComValueResponse",
    "dependency_collection",
    "log_response",
    "task_instance_collection",
    "task_instance_response",
    "try_response",
    "xcom_response",
    "xcom_value_response",
]

EXECUTOR = "CeleryExecutor"


class _TaskInstanceFields(BaseModel):
    task_id: str
    dag_id: str
    dag_run_id: str
    map_index: int
    start_date: datetime | None
    end_date: datetime | None
    duration: float | None
    state: str | None
    try_number: int
    max_tries: int
    task_display_name: str
    dag_display_name: str
    hostname: str | None
    unixname: str | None = None
    pool: str
    pool_slots: int
    queue: str | None
    priority_weight: int | None
    operator: str | None
    operator_name: str | None
    queued_when: datetime | None
    scheduled_when: datetime | None
    pid: int | None
    executor: str | None = EXECUTOR
    executor_config: str = "{}"
    dag_version: DagVersionResponse | None
    reason: str | None


class TaskInstanceResponse(_TaskInstanceFields):
    """One task instance. `state` is null while nothing is decided about it."""

    id: UUID
    logical_date: datetime | None
    run_after: datetime
    note: str | None
    rendered_map_index: str | None = None
    rendered_fields: dict[str, Any] = {}
    trigger: dict[str, Any] | None = None
    triggerer_job: dict[str, Any] | None = None


class TaskInstanceCollection(BaseModel):
    """A page of task instances. The cursors are there when the page was asked for by cursor."""

    task_instances: list[TaskInstanceResponse]
    total_entries: int
    next_cursor: str | None
    previous_cursor: str | None


class TryResponse(_TaskInstanceFields):
    """One try of a task instance."""


class TryCollection(BaseModel):
    """The tries of a task instance."""

    task_instances: list[TryResponse]
    total_entries: int


class Dependency(BaseModel):
    """One reason, in words."""

    name: str
    reason: str


class DependencyCollection(BaseModel):
    """What a task instance waits for, the most telling first."""

    dependencies: list[Dependency]


class ExtraLinkCollection(BaseModel):
    """Links by their names."""

    extra_links: dict[str, str | None] = {}
    total_entries: int = 0


class LogLine(BaseModel):
    """One line of a log, with whatever else its logger said."""

    model_config = ConfigDict(extra="allow")

    event: str


class LogResponse(BaseModel):
    """Lines of a try's log. `continuation_token` asks for those that follow; null at the end."""

    content: list[LogLine]
    continuation_token: str | None


class XComResponse(BaseModel):
    """One XCom without its value: of one with `is_preview` only the beginning is shown."""

    key: str
    timestamp: datetime
    logical_date: datetime | None
    map_index: int
    task_id: str
    dag_id: str
    run_id: str
    dag_display_name: str
    task_display_name: str
    run_after: datetime
    size_bytes: int
    is_preview: bool


class XComCollection(BaseModel):
    """A page of XComs."""

    xcom_entries: list[XComResponse]
    total_entries: int


class XComValueResponse(XComResponse):
    """One XCom with its value as plain JSON: typed values in a form that people read."""

    value: Any


class XComPatchBody(BaseModel):
    """A value to put in the place of another."""

    model_config = ConfigDict(extra="forbid")

    value: Any
    map_index: Annotated[StrictInt, Field(ge=-1, le=2**53 - 1)] = UNMAPPED


class XComBody(XComPatchBody):
    """A value to leave for other tasks."""

    key: StrictStr


def task_instance_response(seen: TaskInstanceView) -> TaskInstanceResponse:
    """Answer one task instance."""
    return TaskInstanceResponse(
        **_common(seen),
        start_date=seen.started_at,
        end_date=seen.ended_at,
        duration=seen.duration_s,
        state=None if seen.state is TaskState.NONE else seen.state.value,
        try_number=seen.try_number,
        hostname=seen.hostname,
        queue=seen.queue,
        queued_when=seen.queued_at,
        pid=seen.pid,
        reason=seen.reason,
        id=seen.ti_id,
        logical_date=seen.logical_date,
        run_after=seen.run_after,
        note=seen.note,
        rendered_map_index=seen.rendered_map_index,
    )


def task_instance_collection(page: Page[TaskInstanceView]) -> TaskInstanceCollection:
    """Answer a page of task instances."""
    return TaskInstanceCollection(
        task_instances=[task_instance_response(seen) for seen in page.items],
        total_entries=page.total,
        next_cursor=page.next_cursor,
        previous_cursor=page.previous_cursor,
    )


def try_response(seen: TaskInstanceView, one: TryView) -> TryResponse:
    """Answer one try of a task instance."""
    return TryResponse(
        **_common(seen),
        start_date=one.started_at,
        end_date=one.ended_at,
        duration=one.duration_s,
        state=one.state.value,
        try_number=one.try_number,
        hostname=one.hostname,
        queue=one.queue,
        queued_when=one.queued_at,
        pid=one.pid,
        reason=one.reason,
    )


def dependency_collection(reasons: Sequence[str]) -> DependencyCollection:
    """Answer what a task instance waits for."""
    dependencies = [Dependency(name="explanation", reason=reason) for reason in reasons]
    return DependencyCollection(dependencies=dependencies)


def log_response(lines: Sequence[Mapping[str, Any]], token: str | None) -> LogResponse:
    """Answer a piece of a log."""
    return LogResponse(
        content=[LogLine.model_validate(line) for line in lines], continuation_token=token
    )


def xcom_response(xcom: XComView) -> XComResponse:
    """Answer one XCom without its value."""
    return XComResponse.model_validate(_xcom_fields(xcom))


def xcom_value_response(xcom: XComView, value: Any) -> XComValueResponse:
    """Answer one XCom with its value, as JSON or as text."""
    return XComValueResponse.model_validate({**_xcom_fields(xcom), "value": value})


def _common(seen: TaskInstanceView) -> dict[str, Any]:
    """Return what a task instance and each of its tries share."""
    return {
        "task_id": seen.key.task_id,
        "dag_id": seen.key.dag_id,
        "dag_run_id": seen.key.run_id,
        "map_index": seen.key.map_index,
        "max_tries": seen.max_tries,
        "task_display_name": seen.display_name,
        "dag_display_name": seen.dag_display_name,
        "pool": seen.pool,
        "pool_slots": seen.pool_slots,
        "priority_weight": seen.priority,
        "operator": seen.operator,
        "operator_name": seen.operator,
        "scheduled_when": seen.scheduled_at,
        "dag_version": version_response(seen.version),
    }


def _xcom_fields(xcom: XComView) -> dict[str, Any]:
    return {
        "key": xcom.key,
        "timestamp": xcom.created_at,
        "logical_date": xcom.logical_date,
        "map_index": xcom.task.map_index,
        "task_id": xcom.task.task_id,
        "dag_id": xcom.task.dag_id,
        "run_id": xcom.task.run_id,
        "dag_display_name": xcom.dag_display_name,
        "task_display_name": xcom.task_display_name,
        "run_after": xcom.run_after,
        "size_bytes": xcom.size_bytes,
        "is_preview": xcom.is_preview,
    }
