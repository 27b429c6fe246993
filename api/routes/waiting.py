"""Waiting for a run: its state, line after line, until it has ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.context import Context
from orchestrator.bootstrap import Services
from orchestrator.core.ids import RETURN_VALUE, UNMAPPED
from orchestrator.core.listings import PageRequest, XComFilter
from orchestrator.core.states import FINISHED_RUN_STATES
from orchestrator.core.views import RunView
from orchestrator.errors import NotFoundError, StoreUnavailableError

__all__ = ["router"]

INTERVAL_S_MIN = 0.1
INTERVAL_S_MAX = 3600.0
RESULTS_MAX = 1000
"""Map indexes of one task whose values are told."""

router = APIRouter(tags=["DagRun"])


@router.get(
    "/dags/{dag_id}/dagRuns/{dag_run_id}/wait",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def wait_dag_run_until_finished(
    context: Context,
    dag_id: str,
    dag_run_id: str,
    interval: Annotated[float, Query(gt=0, le=INTERVAL_S_MAX, allow_inf_nan=False)],
    result: Annotated[list[str], Query(max_length=100)] = [],  # noqa: B006 - FastAPI copies it
) -> StreamingResponse:
    """Tell a run's state every `interval` seconds as a line of JSON, until it has ended; the last
    line has what the tasks named by `result` returned. It comes without a content type, since
    Airflow's client refuses the one it has."""
    run = context.reads.run(dag_id, dag_run_id)
    lines = _lines(context, run, interval_s=max(interval, INTERVAL_S_MIN), results=result)
    return StreamingResponse(lines, media_type=None)


async def _lines(
    context: Services, run: RunView, *, interval_s: float, results: list[str]
) -> AsyncIterator[str]:
    """Sleep in the event loop, so that no number of waiting clients takes a thread."""
    while run.state not in FINISHED_RUN_STATES:
        yield json.dumps({"state": run.state}) + "\n"
        await asyncio.sleep(interval_s)
        try:
            run = await run_in_threadpool(context.reads.run, run.dag_id, run.run_id)
        except NotFoundError as error:
            yield json.dumps({"detail": str(error)}) + "\n"
            return
        except StoreUnavailableError:
            continue  # it may be back at the next look
    last: dict[str, Any] = {"state": run.state}
    if results:
        last["results"] = await run_in_threadpool(_results, context, run, results)
    yield json.dumps(last) + "\n"


def _results(context: Services, run: RunView, task_ids: list[str]) -> dict[str, Any]:
    """Return what tasks returned: of a mapped one a list, of one that returned nothing nothing."""
    found: dict[str, Any] = {}
    for task_id in dict.fromkeys(task_ids):
        wanted = XComFilter(dag_id=run.dag_id, run_id=run.run_id, task_id=task_id, key=RETURN_VALUE)
        listed = context.reads.xcoms(wanted, PageRequest(limit=RESULTS_MAX)).items
        values = [
            context.reads.xcom(
                *(run.dag_id, run.run_id, task_id, RETURN_VALUE), map_index=each.task.map_index
            ).value
            for each in listed
        ]
        if listed:
            is_single = listed[0].task.map_index == UNMAPPED
            found[task_id] = values[0] if is_single else values
    return found
