"""Health and version; neither needs a login, ever."""

from importlib.metadata import version

from fastapi import APIRouter

from api.context import Context
from api.schemas.services import (
    BaseInfo,
    HealthResponse,
    VersionResponse,
    WorkersInfo,
    scheduler_info,
)
from orchestrator.bootstrap import Services
from orchestrator.errors import BrokerUnavailableError, StoreUnavailableError

__all__ = ["COMPATIBLE_WITH", "router"]

COMPATIBLE_WITH = "3.3.2"
"""The Airflow release whose clients this API serves; they decide by it what they may ask."""

router = APIRouter()


@router.get("/monitor/health", tags=["Monitor"])
def get_health(context: Context) -> HealthResponse:
    """Say how the parts are. The answer is 200 also when some are not well."""
    broker = _broker(context)
    try:
        pulse = context.reads.scheduler_pulse()
        workers = context.reads.workers()
    except StoreUnavailableError:
        unhealthy = BaseInfo(status="unhealthy")
        return HealthResponse(
            metadatabase=unhealthy,
            scheduler=scheduler_info(None),
            broker=broker,
            workers=WorkersInfo(status="unhealthy", alive=0, queues=[]),
        )
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return HealthResponse(
        metadatabase=BaseInfo(status="healthy"),
        scheduler=scheduler_info(pulse),
        broker=broker,
        workers=WorkersInfo(
            status="healthy" if workers else "unhealthy", alive=len(workers), queues=queues
        ),
    )


def _broker(context: Services) -> BaseInfo:
    try:
        context.publisher.generation()
    except BrokerUnavailableError:
        return BaseInfo(status="unhealthy")
    return BaseInfo(status="healthy")


@router.get("/version", tags=["Version"])
def get_version() -> VersionResponse:
    """Say which API this is, and whose."""
    return VersionResponse(
        version=COMPATIBLE_WITH, git_version=f"orchestrator {version('orchestrator')}"
    )
