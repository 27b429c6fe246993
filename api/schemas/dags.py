"""How DAGs, their versions, sources and tasks look in answers.

A field Airflow's clients require is here even where this product has but one value for it; such
constants are defaults of the models.
"""

import base64
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.specs import DagSpec, ParamSpec, TaskSpec
from orchestrator.core.timetables import describe
from orchestrator.core.views import DagDetails, DagView, SourceView, VersionView

__all__ = [
    "DagCollection",
    "DagDetailsResponse",
    "DagResponse",
    "DagSourceResponse",
    "DagTagCollection",
    "DagVersionCollection",
    "DagVersionResponse",
    "TaskCollection",
    "TaskResponse",
    "dag_details_response",
    "dag_response",
    "source_response",
    "task_response",
    "task_responses",
    "version_response",
]

BUNDLE = "dags-folder"
_ON_REQUEST = "Never, external triggers only"


class DagTag(BaseModel):
    """One tag of one DAG."""

    name: str
    dag_id: str
    dag_display_name: str


class DagVersionResponse(BaseModel):
    """One stored version of a DAG."""

    id: UUID
    version_number: int
    dag_id: str
    dag_display_name: str
    bundle_name: str | None = BUNDLE
    bundle_version: str | None = None
    bundle_url: str | None = None
    created_at: datetime


class DagVersionCollection(BaseModel):
    """A page of versions."""

    dag_versions: list[DagVersionResponse]
    total_entries: int


class DagResponse(BaseModel):
    """One DAG."""

    dag_id: str
    dag_display_name: str
    is_paused: bool
    is_stale: bool
    last_parsed_time: datetime | None
    last_parse_duration: float | None = None
    last_expired: datetime | None = None
    bundle_name: str | None = BUNDLE
    bundle_version: str | None = None
    relative_fileloc: str | None
    fileloc: str
    file_token: str
    description: str | None
    timetable_summary: str | None
    timetable_description: str | None
    timetable_partitioned: bool = False
    timetable_periodic: bool
    is_backfillable: bool
    tags: list[DagTag]
    max_active_tasks: int
    max_active_runs: int | None
    max_consecutive_failed_dag_runs: int = 0
    has_task_concurrency_limits: bool
    has_import_errors: bool
    next_dagrun_logical_date: datetime | None
    next_dagrun_data_interval_start: datetime | None
    next_dagrun_data_interval_end: datetime | None
    next_dagrun_run_after: datetime | None
    owners: list[str]
    allowed_run_types: list[str] | None = None


class DagCollection(BaseModel):
    """A page of DAGs."""

    dags: list[DagResponse]
    total_entries: int


class DagTagCollection(BaseModel):
    """A page of the tags in use."""

    tags: list[str]
    total_entries: int


class DagDetailsResponse(DagResponse):
    """One DAG with its definition."""

    catchup: bool
    dag_run_timeout: timedelta | None
    asset_expression: dict[str, Any] | None = None
    doc_md: str | None
    start_date: datetime | None
    end_date: datetime | None
    is_paused_upon_creation: bool | None
    params: dict[str, Any] | None
    render_template_as_native_obj: bool
    template_search_path: list[str] | None = None
    timezone: str | None
    last_parsed: datetime | None
    default_args: dict[str, Any] | None = None
    owner_links: dict[str, str] | None = None
    is_favorite: bool = False
    active_runs_count: int
    concurrency: int
    rerun_with_latest_version: bool | None = None
    latest_dag_version: DagVersionResponse | None


class DagSourceResponse(BaseModel):
    """The text of a DAG's file at one of its versions."""

    content: str | None
    dag_id: str
    version_number: int | None
    dag_display_name: str


class TimeDelta(BaseModel):
    """A duration as Airflow's clients read it."""

    type_: Literal["TimeDelta"] = Field(default="TimeDelta", serialization_alias="__type")
    days: int
    seconds: int
    microseconds: int


class TaskResponse(BaseModel):
    """One task of a DAG."""

    task_id: str
    task_display_name: str
    owner: str | None
    start_date: datetime | None
    end_date: datetime | None
    trigger_rule: str
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    retries: float
    queue: str | None
    pool: str
    pool_slots: float
    execution_timeout: TimeDelta | None
    retry_delay: TimeDelta | None
    retry_exponential_backoff: float
    priority_weight: float
    weight_rule: str
    ui_color: str = "#e8f7e4"
    ui_fgcolor: str = "#000000"
    template_fields: list[str]
    downstream_task_ids: list[str]
    upstream_task_ids: list[str]
    doc_md: str | None
    operator_name: str
    params: dict[str, Any] | None
    class_ref: dict[str, Any] | None
    is_mapped: bool = False
    extra_links: list[str] = []


class TaskCollection(BaseModel):
    """The tasks of a DAG."""

    tasks: list[TaskResponse]
    total_entries: int


def version_response(version: VersionView) -> DagVersionResponse:
    """Answer one version."""
    return DagVersionResponse(
        id=version.version_id,
        version_number=version.version_number,
        dag_id=version.dag_id,
        dag_display_name=version.dag_display_name,
        created_at=version.created_at,
    )


def dag_response(dag: DagView, dags_folder: Path) -> DagResponse:
    """Answer one DAG."""
    return DagResponse.model_validate(_dag_fields(dag, dags_folder))


def dag_details_response(details: DagDetails, dags_folder: Path) -> DagDetailsResponse:
    """Answer one DAG with its definition."""
    dag, spec = details.dag, details.spec
    timeout_s = spec.dagrun_timeout_s
    return DagDetailsResponse.model_validate(
        {
            **_dag_fields(dag, dags_folder),
            "timetable_summary": None if spec.schedule is None else describe(spec.schedule),
            "catchup": spec.catchup,
            "dag_run_timeout": None if timeout_s is None else timedelta(seconds=timeout_s),
            "doc_md": spec.doc_md,
            "start_date": spec.start_date,
            "end_date": spec.end_date,
            "is_paused_upon_creation": spec.is_paused_upon_creation,
            "params": _params(spec.params),
            "render_template_as_native_obj": spec.render_template_as_native_obj,
            "timezone": spec.timezone,
            "last_parsed": dag.last_parsed_at,
            "active_runs_count": details.running_runs,
            "concurrency": spec.max_active_tasks,
            "latest_dag_version": version_response(dag.version),
        }
    )


def source_response(source: SourceView) -> DagSourceResponse:
    """Answer a version's source text."""
    return DagSourceResponse(
        content=source.text,
        dag_id=source.version.dag_id,
        version_number=source.version.version_number,
        dag_display_name=source.version.dag_display_name,
    )


def task_responses(spec: DagSpec) -> list[TaskResponse]:
    """Answer every task of a DAG, by id."""
    graph = build_graph(spec)
    return [task_response(graph, task) for task in sorted(spec.tasks, key=lambda t: t.task_id)]


def task_response(graph: Graph, task: TaskSpec) -> TaskResponse:
    """Answer one task."""
    spec = graph.spec
    return TaskResponse(
        task_id=task.task_id,
        task_display_name=task.display_name or task.task_id,
        owner=task.owner,
        start_date=spec.start_date,
        end_date=spec.end_date,
        trigger_rule=task.trigger_rule,
        retries=task.retry.retries,
        queue=task.queue,
        pool=task.pool,
        pool_slots=task.pool_slots,
        execution_timeout=_time_delta(task.execution_timeout_s),
        retry_delay=_time_delta(task.retry.delay_s),
        retry_exponential_backoff=task.retry.backoff,
        priority_weight=task.priority_weight,
        weight_rule=task.weight_rule,
        template_fields=sorted(task.template_fields),
        downstream_task_ids=list(graph.downstream[task.task_id]),
        upstream_task_ids=list(task.upstream),
        doc_md=task.doc_md,
        operator_name=task.operator,
        params=_params(spec.params),
        class_ref={"class_name": task.operator},
    )


def _dag_fields(dag: DagView, dags_folder: Path) -> dict[str, Any]:
    return {
        "dag_id": dag.dag_id,
        "dag_display_name": dag.display_name,
        "is_paused": dag.is_paused,
        "is_stale": dag.is_stale,
        "last_parsed_time": dag.last_parsed_at,
        "relative_fileloc": dag.path,
        "fileloc": str(dags_folder / dag.path),
        "file_token": base64.urlsafe_b64encode(dag.path.encode(errors="replace")).decode(),
        "description": dag.description,
        "timetable_summary": dag.schedule,
        "timetable_description": dag.schedule or _ON_REQUEST,
        "timetable_periodic": dag.is_periodic,
        "is_backfillable": dag.is_periodic,
        "tags": [
            {"name": tag, "dag_id": dag.dag_id, "dag_display_name": dag.display_name}
            for tag in dag.tags
        ],
        "max_active_tasks": dag.max_active_tasks,
        "max_active_runs": dag.max_active_runs,
        "has_task_concurrency_limits": dag.has_task_limits,
        "has_import_errors": dag.has_import_error,
        "next_dagrun_logical_date": dag.next_run_at,
        "next_dagrun_data_interval_start": dag.next_run_at,
        "next_dagrun_data_interval_end": dag.next_run_at,
        "next_dagrun_run_after": dag.next_run_at,
        "owners": list(dag.owners),
    }


def _params(params: Iterable[ParamSpec]) -> dict[str, Any]:
    return {
        param.name: {
            "value": param.default,
            "schema": param.schema,
            "description": param.description,
            "source": "dag",
        }
        for param in params
    }


def _time_delta(seconds: float | None) -> TimeDelta | None:
    if seconds is None:
        return None
    delta = timedelta(seconds=seconds)
    return TimeDelta(days=delta.days, seconds=delta.seconds, microseconds=delta.microseconds)
