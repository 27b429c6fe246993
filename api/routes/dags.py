"""DAGs, their tags, versions, sources and tasks."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from api.context import Context
from api.masks import UpdateMask
from api.parameters import DagQuery, Number, TagQuery, VersionQuery, text_match
from api.problems import problem
from api.schemas.dags import (
    DagCollection,
    DagDetailsResponse,
    DagResponse,
    DagSourceResponse,
    DagTagCollection,
    DagVersionCollection,
    DagVersionResponse,
    TaskCollection,
    TaskResponse,
    dag_details_response,
    dag_response,
    source_response,
    task_response,
    task_responses,
    version_response,
)
from api.schemas.services import DagPatchBody
from orchestrator.core.graph import build_graph
from orchestrator.errors import NotFoundError, RequestInvalidError, did_you_mean

__all__ = ["router"]

router = APIRouter()


class DagsPatchQuery(DagQuery):
    """Which DAGs to change, and in what."""

    update_mask: list[str] = Field(default_factory=list)


@router.get("/dags", tags=["DAG"])
def get_dags(context: Context, query: Annotated[DagQuery, Query()]) -> DagCollection:
    """List DAGs."""
    page = context.reads.dags(query.wanted(), query.page())
    folder = context.settings.dags_folder
    return DagCollection(
        dags=[dag_response(dag, folder) for dag in page.items], total_entries=page.total
    )


@router.get("/dags/{dag_id}", tags=["DAG"])
def get_dag(context: Context, dag_id: str) -> DagResponse:
    """Get one DAG."""
    return dag_response(context.reads.dag(dag_id), context.settings.dags_folder)


@router.get("/dags/{dag_id}/details", tags=["DAG"])
def get_dag_details(context: Context, dag_id: str) -> DagDetailsResponse:
    """Get one DAG with its definition."""
    return dag_details_response(context.reads.dag_details(dag_id), context.settings.dags_folder)


@router.patch("/dags", tags=["DAG"])
def patch_dags(
    context: Context, body: DagPatchBody, query: Annotated[DagsPatchQuery, Query()]
) -> DagCollection:
    """Pause or unpause the DAGs of a page of the listing. A filter by id is needed (`~` for all),
    so that none is changed by mistake."""
    _check_mask(query.update_mask)
    if query.dag_id_pattern is None and query.dag_id_prefix_pattern is None:
        raise RequestInvalidError(
            "which DAGs shall change? give dag_id_pattern or dag_id_prefix_pattern, ~ for all"
        )
    page = context.reads.dags(query.wanted(), query.page())
    change = context.control.pause if body.is_paused else context.control.unpause
    for dag in page.items:
        change(dag.dag_id)
    changed = [get_dag(context, dag.dag_id) for dag in page.items]
    return DagCollection(dags=changed, total_entries=page.total)


@router.patch("/dags/{dag_id}", tags=["DAG"])
def patch_dag(
    context: Context,
    dag_id: str,
    body: DagPatchBody,
    update_mask: UpdateMask = [],  # noqa: B006 - FastAPI copies it
) -> DagResponse:
    """Pause or unpause a DAG."""
    _check_mask(update_mask)
    change = context.control.pause if body.is_paused else context.control.unpause
    change(dag_id)
    return get_dag(context, dag_id)


@router.get("/dagTags", tags=["DAG"])
def get_dag_tags(context: Context, query: Annotated[TagQuery, Query()]) -> DagTagCollection:
    """List the tags in use."""
    asked = query.page()
    page = context.reads.dag_tags(
        text_match(query.tag_name_pattern, query.tag_name_prefix_pattern),
        limit=asked.limit,
        offset=asked.offset,
        is_descending="-name" in asked.order_by,
    )
    return DagTagCollection(tags=list(page.items), total_entries=page.total)


@router.get("/dags/{dag_id}/dagVersions", tags=["DagVersion"])
def get_dag_versions(
    context: Context, dag_id: str, query: Annotated[VersionQuery, Query()]
) -> DagVersionCollection:
    """List the versions of a DAG; `~` lists those of all."""
    page = context.reads.versions(dag_id, query.page(), version_number=query.version_number)
    return DagVersionCollection(
        dag_versions=[version_response(version) for version in page.items],
        total_entries=page.total,
    )


@router.get("/dags/{dag_id}/dagVersions/{version_number}", tags=["DagVersion"])
def get_dag_version(context: Context, dag_id: str, version_number: Number) -> DagVersionResponse:
    """Get one version of a DAG."""
    return version_response(context.reads.version(dag_id, version_number))


@router.get(
    "/dagSources/{dag_id}",
    tags=["DagSource"],
    response_model=DagSourceResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_dag_source(
    context: Context,
    dag_id: str,
    version_number: Number | None = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Any:
    """Get the text of a DAG's file, as JSON or (on Accept: text/plain) as it is."""
    source = context.reads.source(dag_id, version_number)
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    if kinds & {"application/json", "application/*", "*/*"}:
        return source_response(source)
    if kinds & {"text/plain", "text/*"}:
        return PlainTextResponse(source.text)
    return _not_acceptable()


@router.get("/dags/{dag_id}/tasks", tags=["Task"])
def get_tasks(context: Context, dag_id: str, order_by: str = "task_id") -> TaskCollection:
    """List the tasks of a DAG's current version."""
    tasks = task_responses(context.reads.current_spec(dag_id))
    name = order_by.removeprefix("-")
    if name not in TaskResponse.model_fields:
        raise RequestInvalidError(
            f"order_by={order_by[:80]!r} names no field of a task"
            f"{did_you_mean(name, TaskResponse.model_fields)}"
        )
    tasks.sort(key=lambda task: _sortable(getattr(task, name)), reverse=order_by.startswith("-"))
    return TaskCollection(tasks=tasks, total_entries=len(tasks))


@router.get("/dags/{dag_id}/tasks/{task_id}", tags=["Task"])
def get_task(context: Context, dag_id: str, task_id: str) -> TaskResponse:
    """Get one task of a DAG's current version."""
    graph = build_graph(context.reads.current_spec(dag_id))
    task = graph.tasks.get(task_id)
    if task is None:
        raise NotFoundError(
            f"DAG {dag_id!r} has no task {task_id!r}{did_you_mean(task_id, graph.tasks)}"
        )
    return task_response(graph, task)


def _check_mask(update_mask: Sequence[str]) -> None:
    for name in update_mask:
        if name != "is_paused":
            raise RequestInvalidError(
                f"update_mask names {name[:80]!r}; of a DAG only is_paused can be changed here, "
                "the rest is in its file"
            )


def _sortable(value: object) -> tuple[bool, float, str]:
    """Order nothing last, numbers by size, everything else by its text."""
    number = float(value) if isinstance(value, int | float) else 0.0
    return value is None, number, str(value)


def _not_acceptable() -> Response:
    return problem(406, "only application/json and text/plain are available")
