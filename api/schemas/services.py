"""How pools, import errors, warnings, health and version look in requests and answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from orchestrator.core.views import ImportErrorView, PoolView, Pulse, WarningView

__all__ = [
    "BaseInfo",
    "DagPatchBody",
    "DagWarningCollection",
    "HealthResponse",
    "ImportErrorCollection",
    "ImportErrorResponse",
    "PoolBody",
    "PoolCollection",
    "PoolPatchBody",
    "PoolResponse",
    "VersionResponse",
    "import_error_response",
    "pool_response",
    "scheduler_info",
    "warning_response",
]

Status = Literal["healthy", "unhealthy"]
Slots = Annotated[StrictInt, Field(ge=-1, le=2**31 - 1)]
VARYING_VALUE = "runtime varying value"
"""The nearest of the closed set of warning types that Airflow's clients accept."""
_STRICT = ConfigDict(extra="forbid", populate_by_name=True)


class DagPatchBody(BaseModel):
    """What can be changed of a DAG."""

    model_config = _STRICT

    is_paused: StrictBool


class PoolBody(BaseModel):
    """A pool to make. `queue`, which Airflow's pools do not have, is the Celery queue of its tasks
    that name none."""

    model_config = _STRICT

    name: str = Field(validation_alias=AliasChoices("name", "pool"))
    slots: Slots
    description: str | None = None
    include_deferred: StrictBool = False
    queue: str | None = None
    team_name: None = None


class PoolPatchBody(BaseModel):
    """Changes of a pool; what is left out stays."""

    model_config = _STRICT

    pool: str | None = Field(default=None, validation_alias=AliasChoices("pool", "name"))
    slots: Slots | None = None
    description: str | None = None
    include_deferred: StrictBool | None = None
    queue: str | None = None
    team_name: None = None


class PoolResponse(BaseModel):
    """One pool with its use, in slots."""

    name: str
    slots: int
    description: str | None
    include_deferred: bool
    occupied_slots: int
    running_slots: int
    queued_slots: int
    scheduled_slots: int
    open_slots: int
    deferred_slots: int = 0
    team_name: str | None = None
    queue: str | None


class PoolCollection(BaseModel):
    """A page of pools."""

    pools: list[PoolResponse]
    total_entries: int


class ImportErrorResponse(BaseModel):
    """Why a DAG file does not import."""

    import_error_id: int
    timestamp: datetime
    filename: str
    bundle_name: str | None
    stack_trace: str
    kind: str
    message: str


class ImportErrorCollection(BaseModel):
    """A page of import errors."""

    import_errors: list[ImportErrorResponse]
    total_entries: int


class DagWarningResponse(BaseModel):
    """What is odd about a DAG that imports."""

    dag_id: str
    dag_display_name: str
    warning_type: str
    """One of Airflow's three; `kind` says it in this product's words."""
    kind: str
    message: str
    timestamp: datetime


class DagWarningCollection(BaseModel):
    """A page of warnings."""

    dag_warnings: list[DagWarningResponse]
    total_entries: int


class BaseInfo(BaseModel):
    """How a part is."""

    status: Status | None


class SchedulerInfo(BaseInfo):
    """How the schedulers are, and when one was last heard of."""

    latest_scheduler_heartbeat: str | None


class TriggererInfo(BaseInfo):
    """There is no triggerer."""

    latest_triggerer_heartbeat: str | None = None


class WorkersInfo(BaseInfo):
    """How many workers are alive, and the queues they serve."""

    alive: int
    queues: list[str]


class HealthResponse(BaseModel):
    """How the parts are. `broker` and `workers` are this product's own; the scheduler reads the DAG
    files, so there is no DAG processor."""

    metadatabase: BaseInfo
    scheduler: SchedulerInfo
    triggerer: TriggererInfo = TriggererInfo(status=None)
    dag_processor: None = None
    broker: BaseInfo
    workers: WorkersInfo


class VersionResponse(BaseModel):
    """`version` is the Airflow release whose API this one is compatible with; `git_version` names
    this product and its own version."""

    version: str
    git_version: str | None


def pool_response(pool: PoolView) -> PoolResponse:
    """Answer one pool."""
    return PoolResponse(
        name=pool.name,
        slots=pool.slots,
        description=pool.description,
        include_deferred=pool.include_deferred,
        occupied_slots=pool.occupied,
        running_slots=pool.running,
        queued_slots=pool.queued,
        scheduled_slots=pool.scheduled,
        open_slots=pool.open,
        queue=pool.queue,
    )


def import_error_response(error: ImportErrorView, bundle: str) -> ImportErrorResponse:
    """Answer one import error."""
    return ImportErrorResponse(
        import_error_id=error.error_id,
        timestamp=error.recorded_at,
        filename=error.path,
        bundle_name=bundle,
        stack_trace=error.stacktrace or error.message,
        kind=error.kind,
        message=error.message,
    )


def warning_response(warning: WarningView) -> DagWarningResponse:
    """Answer one warning."""
    return DagWarningResponse(
        dag_id=warning.dag_id,
        dag_display_name=warning.dag_display_name,
        warning_type=VARYING_VALUE,
        kind=warning.kind,
        message=warning.message,
        timestamp=warning.recorded_at,
    )


def scheduler_info(pulse: Pulse | None) -> SchedulerInfo:
    """Answer how the schedulers are; None when the store could not be asked."""
    last = pulse.last_heartbeat_at if pulse else None
    return SchedulerInfo(
        status="healthy" if pulse and pulse.alive else "unhealthy",
        latest_scheduler_heartbeat=None if last is None else last.isoformat(),
    )
