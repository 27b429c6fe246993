"""Task instances, their tries, and what they wait for."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.context import Context
from api.parameters import Index, MappedQuery, Number, TaskInstanceQuery
from api.schemas.batches import TaskInstanceBatchBody
from api.schemas.tasks import (
    DependencyCollection,
    ExtraLinkCollection,
    TaskInstanceCollection,
    TaskInstanceResponse,
    TryCollection,
    TryResponse,
    dependency_collection,
    task_instance_collection,
    task_instance_response,
    try_response,
)
from orchestrator.control import explain_task_instance
from orchestrator.core.ids import UNMAPPED
from orchestrator.errors import NotFoundError

__all__ = ["router"]

router = APIRouter(
    prefix="/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", tags=["Task Instance"]
)


@router.get("")
def get_task_instances(
    context: Context, dag_id: str, dag_run_id: str, query: Annotated[TaskInstanceQuery, Query()]
) -> TaskInstanceCollection:
    """List task instances; `~` in place of the DAG or run lists those of all."""
    page = context.reads.task_instances(query.wanted_of(dag_id, dag_run_id), query.page())
    return task_instance_collection(page)


@router.post("/list")
def get_task_instances_batch(
    context: Context, dag_id: str, dag_run_id: str, body: TaskInstanceBatchBody
) -> TaskInstanceCollection:
    """List the task instances of many DAGs and runs (`~` in the path), or of one."""
    page = context.reads.task_instances(body.wanted(dag_id, dag_run_id), body.page())
    return task_instance_collection(page)


@router.get("/{task_id}/links")
def get_extra_links(
    context: Context, dag_id: str, dag_run_id: str, task_id: str, map_index: Index = UNMAPPED
) -> ExtraLinkCollection:
    """List the links that a task's operator adds: none do here."""
    context.reads.task_instance(dag_id, dag_run_id, task_id, map_index=map_index)
    return ExtraLinkCollection()


@router.get("/{task_id}")
def get_task_instance(
    context: Context, dag_id: str, dag_run_id: str, task_id: str
) -> TaskInstanceResponse:
    """Get the task instance of a task that is not mapped."""
    return task_instance_response(context.reads.task_instance(dag_id, dag_run_id, task_id))


@router.get("/{task_id}/listMapped")
def get_mapped_task_instances(
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    query: Annotated[MappedQuery, Query()],
) -> TaskInstanceCollection:
    """List the instances of a mapped task."""
    wanted = query.wanted(dag_id, dag_run_id, task_id)
    page = context.reads.task_instances(wanted, query.page())
    if not page.total:
        context.reads.require_task(dag_id, dag_run_id, task_id)
    return task_instance_collection(page)


@router.get("/{task_id}/tries")
def get_task_instance_tries(
    context: Context, dag_id: str, dag_run_id: str, task_id: str, map_index: Index = UNMAPPED
) -> TryCollection:
    """List the tries of a task instance, oldest first, the running one last."""
    seen, tries = context.reads.tries(dag_id, dag_run_id, task_id, map_index=map_index)
    return TryCollection(
        task_instances=[try_response(seen, one) for one in tries], total_entries=len(tries)
    )


@router.get("/{task_id}/tries/{task_try_number}")
def get_task_instance_try_details(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    task_try_number: Number,
    map_index: Index = UNMAPPED,
) -> TryResponse:
    """Get one try of a task instance."""
    seen, tries = context.reads.tries(dag_id, dag_run_id, task_id, map_index=map_index)
    for one in reversed(tries):
        if one.try_number == task_try_number:
            return try_response(seen, one)
    raise NotFoundError(f"{seen.key} has no try {task_try_number}; it has {len(tries)}")


@router.get("/{task_id}/dependencies")
def get_task_instance_dependencies(
    context: Context, dag_id: str, dag_run_id: str, task_id: str
) -> DependencyCollection:
    """Say what a task instance waits for."""
    return get_task_instance_dependencies_by_map_index(
        context, dag_id, dag_run_id, task_id, UNMAPPED
    )


@router.get("/{task_id}/{map_index}")
def get_mapped_task_instance(
    context: Context, dag_id: str, dag_run_id: str, task_id: str, map_index: Index
) -> TaskInstanceResponse:
    """Get one instance of a mapped task."""
    return task_instance_response(
        context.reads.task_instance(dag_id, dag_run_id, task_id, map_index=map_index)
    )


@router.get("/{task_id}/{map_index}/tries")
def get_mapped_task_instance_tries(
    context: Context, dag_id: str, dag_run_id: str, task_id: str, map_index: Index
) -> TryCollection:
    """List the tries of one instance of a mapped task."""
    return get_task_instance_tries(context, dag_id, dag_run_id, task_id, map_index)


@router.get("/{task_id}/{map_index}/tries/{task_try_number}")
def get_mapped_task_instance_try_details(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: Index,
    task_try_number: Number,
) -> TryResponse:
    """Get one try of one instance of a mapped task."""
    return get_task_instance_try_details(
        context=context,
        dag_id=dag_id,
        dag_run_id=dag_run_id,
        task_id=task_id,
        task_try_number=task_try_number,
        map_index=map_index,
    )


@router.get("/{task_id}/{map_index}/dependencies")
def get_task_instance_dependencies_by_map_index(
    context: Context, dag_id: str, dag_run_id: str, task_id: str, map_index: Index
) -> DependencyCollection:
    """Say what one instance of a mapped task waits for."""
    reasons = explain_task_instance(context.reads, dag_id, dag_run_id, task_id, map_index=map_index)
    return dependency_collection(reasons)
