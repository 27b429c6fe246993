"""How runs look in requests and answers."""

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from api.schemas.dags import DagVersionResponse, version_response
from orchestrator.control import RunRequest
from orchestrator.core.listings import Page
from orchestrator.core.states import RunState, RunType, TriggeredBy
from orchestrator.core.views import RunView

__all__ = ["RunCollection", "RunResponse", "TriggerBody", "run_collection", "run_response"]


class TriggerBody(BaseModel):
    """A run to trigger. `logical_date` must be given, and may be null."""

    model_config = ConfigDict(extra="forbid")

    logical_date: AwareDatetime | None
    dag_run_id: str | None = None
    data_interval_start: AwareDatetime | None = None
    data_interval_end: AwareDatetime | None = None
    run_after: AwareDatetime | None = None
    conf: dict[str, Any] | None = None
    note: str | None = None
    partition_key: None = None

    def request(self, idempotency_key: str | None) -> RunRequest:
        """Return what `control` is asked for."""
        return RunRequest(
            run_id=self.dag_run_id,
            logical_date=self.logical_date,
            data_interval_start=self.data_interval_start,
            data_interval_end=self.data_interval_end,
            run_after=self.run_after,
            conf=self.conf,
            note=self.note,
            idempotency_key=idempotency_key,
        )


class RunResponse(BaseModel):
    """One run."""

    dag_run_id: str
    dag_id: str
    dag_display_name: str
    logical_date: datetime | None
    queued_at: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    duration: float | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    last_scheduling_decision: datetime | None = None
    run_type: RunType
    state: RunState
    triggered_by: TriggeredBy | None
    triggering_user_name: str | None
    conf: dict[str, Any] | None
    note: str | None
    reason: str | None
    dag_versions: list[DagVersionResponse]
    bundle_version: str | None = None
    partition_key: str | None = None
    partition_date: datetime | None = None


class RunCollection(BaseModel):
    """A page of runs. The cursors are there when the page was asked for by cursor."""

    dag_runs: list[RunResponse]
    total_entries: int
    next_cursor: str | None
    previous_cursor: str | None


def run_response(run: RunView) -> RunResponse:
    """Answer one run."""
    ended = run.started_at is not None and run.ended_at is not None
    return RunResponse(
        dag_run_id=run.run_id,
        dag_id=run.dag_id,
        dag_display_name=run.dag_display_name,
        logical_date=run.logical_date,
        queued_at=run.queued_at,
        start_date=run.started_at,
        end_date=run.ended_at,
        duration=run.duration_s if ended else None,
        data_interval_start=run.data_interval_start,
        data_interval_end=run.data_interval_end,
        run_after=run.run_after,
        run_type=run.run_type,
        state=run.state,
        triggered_by=run.triggered_by,
        triggering_user_name=run.user,
        conf=dict(run.conf),
        note=run.note,
        reason=run.reason,
        dag_versions=[version_response(run.version)],
    )


def run_collection(page: Page[RunView]) -> RunCollection:
    """Answer a page of runs."""
    return RunCollection(
        dag_runs=[run_response(run) for run in page.items],
        total_entries=page.total,
        next_cursor=page.next_cursor,
        previous_cursor=page.previous_cursor,
    )
