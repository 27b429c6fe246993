"""How each service is started alone: the way of a production machine."""

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.listening import open_listener, url_of
from orchestrator.cli.session import read_settings

if TYPE_CHECKING:
    from orchestrator.settings import Settings

__all__ = ["api", "scheduler", "serve_api", "worker", "worker_command"]

_API_STOP_S = 3  # live streams never end by themselves


def scheduler() -> None:
    """Run a scheduler and the watch over the DAG folder, until SIGTERM or Ctrl-C."""
    from orchestrator.bootstrap import run_scheduler_service  # noqa: PLC0415 - heavy

    run_scheduler_service(read_settings())


def worker(
    queues: Annotated[
        str | None, typer.Option("-Q", "--queues", help="Queues to serve, separated by commas.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", help="Tasks to run at a time.", min=1)
    ] = None,
) -> None:
    """Run a Celery worker, until SIGTERM or Ctrl-C: `celery -A workers.app worker` with queues and
    concurrency from the settings and PYTHONHASHSEED=0."""
    from orchestrator.bootstrap import check_database  # noqa: PLC0415 - heavy

    settings = read_settings()
    check_database(settings)  # one sentence, rather than a retry for ever
    command = worker_command(settings, queues=queues, concurrency=concurrency)
    os.execv(command[0], command)  # the worker is this process: signals need no messenger


def worker_command(
    settings: "Settings", *, queues: str | None = None, concurrency: int | None = None
) -> list[str]:
    """Return the command line of a Celery worker; what is left out comes from the settings."""
    # -P: a module of the current folder must not pass for one of ours.
    command = [sys.executable, "-P", "-m", "celery", "-A", "workers.app", "worker"]
    command += ["-Q", queues or ",".join(settings.worker_queues)]
    return [*command, "-c", str(concurrency or settings.worker_concurrency)]


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)
    ] = None,
) -> None:
    """Serve the API and the web page, until SIGTERM or Ctrl-C."""
    from orchestrator.bootstrap import check_database  # noqa: PLC0415 - heavy
    from orchestrator.settings import refuse_open_door  # noqa: PLC0415 - heavy

    settings = read_settings()
    host = settings.api_host if host is None else host
    refuse_open_door(settings, host=host)
    check_database(settings)
    listener = open_listener(host, settings.api_port if port is None else port)
    typer.echo(f"serving {url_of(listener)}", err=True)
    serve_api(settings, listener)


def serve_api(settings: "Settings", listener: socket.socket) -> None:
    """Serve on a socket that listens already."""
    import uvicorn  # noqa: PLC0415 - heavy

    from orchestrator.bootstrap import configure_logging  # noqa: PLC0415 - heavy

    configure_logging(settings)
    config = uvicorn.Config(
        "api.app:create_app",
        factory=True,
        log_config=None,  # ours is set up already
        access_log=False,
        timeout_graceful_shutdown=_API_STOP_S,
    )
    uvicorn.Server(config).run(sockets=[listener])
