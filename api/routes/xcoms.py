"""Values that tasks left for others."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.context import Context
from api.parameters import Index, XComQuery
from api.problems import problem
from api.schemas.tasks import (
    XComCollection,
    XComValueResponse,
    xcom_response,
    xcom_value_response,
)
from orchestrator.core.ids import UNMAPPED

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
