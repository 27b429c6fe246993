"""Which processes make up a standalone orchestrator, and how each is started."""

import os
import runpy
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import cast

from orchestrator.bootstrap import Services, run_scheduler_service
from orchestrator.broker.embedded import start_embedded
from orchestrator.cli.serving import serve_api, worker_command
from orchestrator.cli.standalone.forking import fork_service
from orchestrator.cli.standalone.supervisor import Process, Service
from orchestrator.settings import Settings

__all__ = ["WORKER", "ServiceForks", "redis_service"]

WORKER = "worker"
_STOP_S = 10.0
_HAND_BACK_S = 12.0  # what a worker needs after the grace of its tasks


def redis_service(settings: Settings) -> Service:
    """The embedded Redis server; started first and stopped last, since everybody talks to it."""
    return Service(
        name="Redis server",
        start=lambda: cast("Process", start_embedded(settings.home).process),
        log=settings.home / "redis" / "redis.log",
        stop_timeout_s=_STOP_S,
    )


class ServiceForks:
    """The services that are forks of this process. What it has open for itself it lets go of."""

    def __init__(self, services: Services, listener: socket.socket, *, private: Callable[[], None]):
        """`private` closes, in a child, what is the supervisor's alone."""
        self._services = services
        self._settings = services.settings
        self._listener = listener
        self._private = private

    def api(self) -> Service:
        """The API on the socket that listens already."""
        return self._service("API", lambda: serve_api(self._settings, self._listener))

    def worker(self) -> Service:
        """One Celery worker on the queues of the settings."""
        stop_s = self._settings.shutdown_grace_s + _HAND_BACK_S
        return self._service(WORKER, lambda: _work(self._settings), stop_s=stop_s)

    def scheduler(self, scheduler_id: str, *, ready_fd: int) -> Service:
        """The scheduler with the watch over the DAG folder. It writes to `ready_fd` when it has
        looked at every file once. Started again after a crash it has the same id, and so need not
        wait until the crashed one counts as dead."""
        return self._service(
            "scheduler",
            lambda: run_scheduler_service(
                self._settings, scheduler_id=scheduler_id, on_ready=lambda: _tell(ready_fd)
            ),
        )

    def _service(self, name: str, serve: Callable[[], None], *, stop_s: float = _STOP_S) -> Service:
        title = f"orchestrator {name.lower()}"
        log = self._settings.home / "logs" / f"{name.lower()}.log"

        def serve_as_child() -> None:
            self._private()
            if name != "API":
                self._listener.close()
            serve()

        def start() -> Process:
            self._services.let_go()
            return fork_service(title, serve_as_child, log=log)

        return Service(name=name, start=start, log=log, stop_timeout_s=stop_s)


def _work(settings: Settings) -> None:
    """Be what `celery -A workers.app worker` is."""
    # Before Celery looks for a module of this name in the current folder.
    import_module("workers.app")
    _, *arguments = worker_command(settings)
    sys.argv = ["celery", *arguments[arguments.index("celery") + 1 :]]
    runpy.run_module("celery", run_name="__main__", alter_sys=True)


def _tell(ready_fd: int) -> None:
    os.write(ready_fd, b"1")
