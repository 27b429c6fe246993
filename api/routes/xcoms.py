"""Values that tasks left for others."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.context import Context
from api.parameters import Index, XComQuery
from api.problems import problem
from api.schemas.tasks import (
    XComBody,
    XComCollection,
    XComPatchBody,
    XComValueResponse,
    xcom_response,
    xcom_value_response,
)
from orchestrator.bootstrap import Services
from orchestrator.core.ids import UNMAPPED, TaskKey

__all__ = ["router"]

router = APIRouter(
    prefix="/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries",
    tags=["XCom"],
)


@router.get("")
def get_xcom_entries(
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    query: Annotated[XComQuery, Query()],
) -> XComCollection:
    """List XComs without their values; `~` in place of DAG, run or task lists those of all."""
    page = context.reads.xcoms(query.wanted(dag_id, dag_run_id, task_id), query.page())
    return XComCollection(
        xcom_entries=[xcom_response(xcom) for xcom in page.items], total_entries=page.total
    )


@router.post("", status_code=201)
def create_xcom_entry(
    context: Context, dag_id: str, dag_run_id: str, task_id: str, body: XComBody
) -> XComValueResponse:
    """Leave a value for other tasks, in the name of a task instance that is not at work."""
    of_task = TaskKey(dag_id, dag_run_id, task_id, body.map_index)
    context.xcoms.create(of_task, body.key, body.value)
    return _seen(context, of_task, body.key)


@router.patch("/{xcom_key:path}")
def update_xcom_entry(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    xcom_key: str,
    body: XComPatchBody,
) -> XComValueResponse:
    """Put another value in the place of one that a task instance left."""
    of_task = TaskKey(dag_id, dag_run_id, task_id, body.map_index)
    context.xcoms.update(of_task, xcom_key, body.value)
    return _seen(context, of_task, xcom_key)


@router.delete("/{xcom_key:path}", status_code=204)
def delete_xcom_entry(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    xcom_key: str,
    map_index: Index = UNMAPPED,
) -> None:
    """Remove a value that a task instance left."""
    context.xcoms.delete(TaskKey(dag_id, dag_run_id, task_id, map_index), xcom_key)


@router.get("/{xcom_key:path}", response_model=XComValueResponse)
def get_xcom_entry(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    xcom_key: str,
    map_index: Index = UNMAPPED,
    deserialize: bool = False,
    stringify: bool = False,
) -> Any:
    """Get one XCom with its value, as JSON or (`stringify`) as text."""
    if deserialize:
        return problem(400, "XComs are shown as plain JSON: there is nothing to deserialize")
    xcom = context.reads.xcom(dag_id, dag_run_id, task_id, xcom_key, map_index=map_index)
    value = json.dumps(xcom.value, ensure_ascii=False) if stringify else xcom.value
    return xcom_value_response(xcom, value)


def _seen(context: Services, of_task: TaskKey, xcom_key: str) -> XComValueResponse:
    dag_id, run_id, task_id, map_index = of_task
    xcom = context.reads.xcom(dag_id, run_id, task_id, xcom_key, map_index=map_index)
    return xcom_value_response(xcom, xcom.value)
