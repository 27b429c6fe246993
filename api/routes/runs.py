"""Runs of DAGs."""

from typing import Annotated

from fastapi import APIRouter, Header, Query

from api.context import Context
from api.parameters import RunQuery
from api.schemas.batches import RunBatchBody
from api.schemas.runs import (
    RunCollection,
    RunResponse,
    TriggerBody,
    run_collection,
    run_response,
)
from orchestrator.core.states import TriggeredBy

__all__ = ["router"]

router = APIRouter(prefix="/dags/{dag_id}/dagRuns", tags=["DagRun"])


@router.get("")
def get_dag_runs(
    context: Context, dag_id: str, query: Annotated[RunQuery, Query()]
) -> RunCollection:
    """List the runs of a DAG; `~` lists those of all."""
    return run_collection(context.reads.runs(query.wanted(dag_id), query.page()))


@router.post("")
def trigger_dag_run(
    context: Context,
    dag_id: str,
    body: TriggerBody,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> RunResponse:
    """Ask for a run. It is answered as stored, in state queued. With the header Idempotency-Key
    the same request again is answered with the same run, as it stands by then."""
    request = body.request(idempotency_key)
    run = context.control.trigger(dag_id, request, triggered_by=TriggeredBy.REST_API)
    return run_response(run)


@router.post("/list")
def get_list_dag_runs_batch(context: Context, dag_id: str, body: RunBatchBody) -> RunCollection:
    """List the runs of many DAGs (`~` in the path), or of one."""
    return run_collection(context.reads.runs(body.wanted(dag_id), body.page()))


@router.get("/{dag_run_id}")
def get_dag_run(context: Context, dag_id: str, dag_run_id: str) -> RunResponse:
    """Get one run."""
    return run_response(context.reads.run(dag_id, dag_run_id))
