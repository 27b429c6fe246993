"""How counts of runs, processes, settings, plugins and providers look in answers."""

import hashlib
from datetime import datetime

from pydantic import BaseModel

from orchestrator.core.states import RunState
from orchestrator.core.views import RunCounts, SchedulerView, WorkerView

__all__ = [
    "ConfigResponse",
    "DagStatsCollection",
    "JobCollection",
    "JobResponse",
    "PluginCollection",
    "PluginErrorCollection",
    "ProviderCollection",
    "config_response",
    "dag_stats_collection",
    "scheduler_job",
    "worker_job",
]

SCHEDULER_JOB = "SchedulerJob"
WORKER_JOB = "CeleryWorkerJob"
_ID_BITS = 52
"""A number that JavaScript keeps exact."""


class StateCount(BaseModel):
    """How many runs are in one state."""

    state: RunState
    count: int


class DagStats(BaseModel):
    """How many runs of one DAG are in which state."""

    dag_id: str
    dag_display_name: str
    stats: list[StateCount]


class DagStatsCollection(BaseModel):
    """The counts of all DAGs asked for."""

    dags: list[DagStats]
    total_entries: int


class JobResponse(BaseModel):
    """One process of the service. `name` is its own name, from which `id` is made."""

    id: int
    name: str
    dag_id: str | None = None
    state: str
    job_type: str
    start_date: datetime | None
    end_date: datetime | None
    latest_heartbeat: datetime | None
    executor_class: str | None
    hostname: str
    unixname: str | None = None
    dag_display_name: str | None = None


class JobCollection(BaseModel):
    """A page of processes."""

    jobs: list[JobResponse]
    total_entries: int


class ConfigOption(BaseModel):
    """One setting."""

    key: str
    value: str


class ConfigSection(BaseModel):
    """Settings."""

    name: str
    options: list[ConfigOption]


class ConfigResponse(BaseModel):
    """The settings, in their one section; secrets read ***."""

    sections: list[ConfigSection]


class PluginCollection(BaseModel):
    """There are no plugins."""

    plugins: list[str] = []
    total_entries: int = 0


class PluginErrorCollection(BaseModel):
    """There are no plugins that could fail to import."""

    import_errors: list[str] = []
    total_entries: int = 0


class ProviderCollection(BaseModel):
    """There are no providers: operators come with the product."""

    providers: list[str] = []
    total_entries: int = 0


def dag_stats_collection(counted: tuple[RunCounts, ...]) -> DagStatsCollection:
    """Answer how many runs there are."""
    return DagStatsCollection(
        dags=[
            DagStats(
                dag_id=each.dag_id,
                dag_display_name=each.dag_display_name,
                stats=[
                    StateCount(state=state, count=each.by_state.get(state, 0)) for state in RunState
                ],
            )
            for each in counted
        ],
        total_entries=len(counted),
    )


def config_response(section: str, options: dict[str, str]) -> ConfigResponse:
    """Answer the settings."""
    listed = [ConfigOption(key=key, value=value) for key, value in options.items()]
    return ConfigResponse(sections=[ConfigSection(name=section, options=listed)])


def scheduler_job(seen: SchedulerView) -> JobResponse:
    """Answer one scheduler."""
    return JobResponse(
        id=_number(seen.scheduler_id),
        name=seen.scheduler_id,
        state="running" if seen.is_alive else "failed",
        job_type=SCHEDULER_JOB,
        start_date=seen.started_at,
        end_date=None if seen.is_alive else seen.last_heartbeat_at,
        latest_heartbeat=seen.last_heartbeat_at,
        executor_class="CeleryExecutor",
        hostname=seen.hostname,
    )


def worker_job(seen: WorkerView) -> JobResponse:
    """Answer one worker."""
    return JobResponse(
        id=_number(seen.worker_id),
        name=seen.worker_id,
        state="running" if seen.is_alive else "success",
        job_type=WORKER_JOB,
        start_date=seen.started_at,
        end_date=None if seen.is_alive else seen.last_heartbeat_at,
        latest_heartbeat=seen.last_heartbeat_at,
        executor_class=None,
        hostname=seen.hostname,
    )


def _number(name: str) -> int:
    """Return the number that Airflow's clients want in the place of a process's name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> (64 - _ID_BITS)
