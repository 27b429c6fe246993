"""What `celery -A workers.app worker` starts: everything it needs is in the settings."""

import logging
from functools import cached_property
from typing import Any

from celery import Celery, signals

from orchestrator.bootstrap import configure_logging, redis_url_of
from orchestrator.broker.app import build_app
from orchestrator.broker.messages import TASK_NAME
from orchestrator.errors import OrchestratorError
from orchestrator.settings import Settings, load_settings
from workers.host import Host, OrchestratorWorker

__all__ = ["app", "build_worker_app"]


class WorkerApp(Celery):
    """The Celery app of workers, with its one host."""

    host: Host

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """Our kind of Celery worker."""
        return self.subclass_with_self(OrchestratorWorker)


def build_worker_app(settings: Settings) -> WorkerApp:
    """Return the app whose one task runs tries."""
    redis_url = redis_url_of(settings)
    app = build_app(redis_url, kind=WorkerApp)
    assert isinstance(app, WorkerApp)
    app.host = Host(settings, redis_url=redis_url)

    @app.task(name=TASK_NAME, bind=True, ignore_result=True)
    def run(task: Any, *arguments: object) -> None:
        app.host.run(arguments, queue=task.request.delivery_info["routing_key"])

    return app


@signals.setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Celery would set up logging its own way if nobody else said to have done so."""
    # Two lines a task that say less than our one; a stack of the pool for each child that died.
    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.getLogger("celery.worker.request").setLevel(logging.CRITICAL)


def _build_from_environment() -> WorkerApp:
    try:
        settings = load_settings()
        configure_logging(settings)
        return build_worker_app(settings)
    except OrchestratorError as error:
        raise SystemExit(f"the worker cannot start: {error}") from None


app = _build_from_environment()
