"""What is served: the API under /api/v2, its description, and a plain page at /."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from api import pages
from api.problems import API_PREFIX, install_problem_handlers
from api.protection import Protection, accepted_hosts
from api.routes import (
    clearing,
    connections,
    dags,
    import_errors,
    logs,
    monitor,
    overview,
    pools,
    runs,
    task_instances,
    unserved,
    variables,
    waiting,
    xcoms,
)
from orchestrator.bootstrap import Services, open_services
from orchestrator.settings import load_settings, refuse_open_door

__all__ = ["create_app"]


def create_app(services: Services | None = None) -> FastAPI:
    """Build the application. Without services it opens those of this process's settings, and
    closes them when it ends; raise an OperatorError that names what must change."""
    if services is None:
        settings = load_settings()
        refuse_open_door(settings, host=settings.api_host)
        opened = open_services(settings)
        return _build(opened, closes_services=True)
    return _build(services, closes_services=False)


def _build(services: Services, *, closes_services: bool) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if closes_services:
            services.close()

    app = FastAPI(
        title="Orchestrator",
        description="The REST API v2 of Apache Airflow, as far as it is served here.",
        version=monitor.COMPATIBLE_WITH,
        docs_url=None,  # the page of FastAPI loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        lifespan=lifespan,
    )
    app.state.services = services
    install_problem_handlers(app)
    app.include_router(_api_router(), prefix=API_PREFIX)
    app.include_router(pages.router)
    app.add_middleware(
        Protection,
        hosts=accepted_hosts(services.settings),
        is_local_only=not services.settings.api_allow_anonymous,
    )
    return app


def _api_router() -> APIRouter:
    router = APIRouter()
    # Before the task instances: what follows a task id is tried in this order.
    modules = (
        *(monitor, overview, unserved, dags, waiting, runs, logs, xcoms, task_instances),
        *(clearing, import_errors, pools, connections, variables),
    )
    for module in modules:
        router.include_router(module.router)
    return router


def _operation_id(route: APIRoute) -> str:
    return route.name
