"""Counts of runs, the processes of the service, and how it is set up."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse

from api.context import Context
from api.parameters import PageQuery
from api.problems import problem
from api.processes import JobQuery
from api.schemas.overview import (
    ConfigResponse,
    DagStatsCollection,
    JobCollection,
    JobResponse,
    PluginCollection,
    PluginErrorCollection,
    ProviderCollection,
    config_response,
    dag_stats_collection,
    scheduler_job,
    worker_job,
)
from orchestrator.bootstrap import Services
from orchestrator.errors import NotFoundError, RequestInvalidError, did_you_mean
from orchestrator.settings import PREFIX, describe

__all__ = ["router"]

SECTION = "orchestrator"
_FAR_OFF = datetime.max.replace(tzinfo=UTC)
_JOB_ORDER = ("id", "state", "job_type", "start_date", "end_date", "latest_heartbeat", "hostname")

router = APIRouter()


@router.get("/dagStats", tags=["DagStats"])
def get_dag_stats(
    context: Context,
    dag_ids: Annotated[list[str], Query(max_length=1000)] = [],  # noqa: B006 - FastAPI copies it
) -> DagStatsCollection:
    """Count the runs of DAGs (of all without `dag_ids`) by state."""
    return dag_stats_collection(context.reads.run_counts(dag_ids))


@router.get("/jobs", tags=["Job"])
def get_jobs(context: Context, query: Annotated[JobQuery, Query()]) -> JobCollection:
    """List the schedulers and workers, those that are gone too."""
    jobs = [scheduler_job(each) for each in context.reads.schedulers()]
    jobs += [worker_job(each) for each in context.reads.workers(includes_offline=True)]
    found = [job for job in jobs if query.lets_pass(job)]
    for name in reversed(query.order_by or ["id"]):
        _sort(found, name)
    page = query.page()
    return JobCollection(
        jobs=found[page.offset : page.offset + page.limit], total_entries=len(found)
    )


@router.get(
    "/config",
    tags=["Config"],
    response_model=ConfigResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_config(
    context: Context, section: str | None = None, accept: Annotated[str, Header()] = "*/*"
) -> Any:
    """Show the settings; secrets read ***. Only where this machine alone is served."""
    if section is not None and section != SECTION:
        raise NotFoundError(f"there is no section {section[:80]!r}; all settings are in {SECTION}")
    return _config(context, _options(context), accept)


@router.get(
    "/config/section/{section}/option/{option}",
    tags=["Config"],
    response_model=ConfigResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_config_value(
    context: Context, section: str, option: str, accept: Annotated[str, Header()] = "*/*"
) -> Any:
    """Show one setting."""
    options = _options(context)
    if section != SECTION or option not in options:
        raise NotFoundError(
            f"section {section[:80]!r} has no setting {option[:80]!r}; all settings are in "
            f"{SECTION}{did_you_mean(option, options)}"
        )
    return _config(context, {option: options[option]}, accept)


@router.get("/plugins", tags=["Plugin"])
def get_plugins(query: Annotated[PageQuery, Query()]) -> PluginCollection:  # noqa: ARG001
    """List plugins: there are none."""
    return PluginCollection()


@router.get("/plugins/importErrors", tags=["Plugin"])
def import_errors() -> PluginErrorCollection:
    """List plugins that do not import: there are none."""
    return PluginErrorCollection()


@router.get("/providers", tags=["Provider"])
def get_providers(query: Annotated[PageQuery, Query()]) -> ProviderCollection:  # noqa: ARG001
    """List providers: there are none, operators come with the product."""
    return ProviderCollection()


def _config(context: Services, options: dict[str, str], accept: str) -> Any:
    if context.settings.api_allow_anonymous:
        return problem(
            403,
            "the settings are shown to nobody while whoever reaches this server is served "
            f"({PREFIX}API_ALLOW_ANONYMOUS); `orchestrator config list` shows them",
        )
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    if "text/plain" in kinds and "application/json" not in kinds:
        lines = [f"[{SECTION}]", *(f"{key} = {value}" for key, value in options.items())]
        return PlainTextResponse("\n".join(lines) + "\n")
    return config_response(SECTION, options)


def _options(context: Services) -> dict[str, str]:
    return {row.name.removeprefix(PREFIX).lower(): row.value for row in describe(context.settings)}


def _sort(jobs: list[JobResponse], order: str) -> None:
    name = order.removeprefix("-")
    if name not in _JOB_ORDER:
        raise RequestInvalidError(
            f"order_by={order[:80]!r} names no field that jobs can be ordered by"
            f"{did_you_mean(name, _JOB_ORDER)}; possible are {', '.join(_JOB_ORDER)}"
        )
    is_instant = name in ("start_date", "end_date", "latest_heartbeat")

    def key(job: JobResponse) -> Any:
        value = getattr(job, name)
        return _FAR_OFF if value is None and is_instant else value

    jobs.sort(key=key, reverse=order.startswith("-"))
