"""Which processes make up a standalone orchestrator, and how each is started."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from orchestrator.broker.embedded import start_embedded
from orchestrator.cli.serving import worker_command
from orchestrator.cli.standalone.service_logs import open_log
from orchestrator.cli.standalone.supervisor import Service
from orchestrator.lifeline import bound_command
from orchestrator.settings import Settings

__all__ = ["WORKER", "api_service", "redis_service", "scheduler_service", "worker_service"]

WORKER = "worker"
_STOP_S = 10.0
_HAND_BACK_S = 12.0  # what a worker needs after the grace of its tasks


def redis_service(settings: Settings) -> Service:
    """The embedded Redis server; stopped last, since everybody talks to it."""
    return Service(
        name="Redis server",
        start=lambda: start_embedded(settings.home).process,
        log=settings.home / "redis" / "redis.log",
        stop_timeout_s=_STOP_S,
    )


def scheduler_service(settings: Settings, *, scheduler_id: str, ready_fd: int) -> Service:
    """The scheduler with the watch over the DAG folder. It writes to `ready_fd` when it has looked
    at every file once. Started again after a crash it has the same id, and so need not wait until
    the crashed one counts as dead."""
    command = [*_cli(), "scheduler", "--ready-fd", str(ready_fd), "--scheduler-id", scheduler_id]
    return _python_service("scheduler", settings, command, stop_s=_STOP_S, pass_fds=(ready_fd,))


def worker_service(settings: Settings) -> Service:
    """One Celery worker on the queues of the settings."""
    return _python_service(
        WORKER,
        settings,
        worker_command(settings),
        stop_s=settings.shutdown_grace_s + _HAND_BACK_S,
    )


def api_service(settings: Settings, listener: socket.socket) -> Service:
    """The API on a socket that listens already."""
    descriptor = listener.fileno()
    command = [*_cli(), "api", "--listen-fd", str(descriptor)]
    return _python_service("API", settings, command, stop_s=_STOP_S, pass_fds=(descriptor,))


def _cli() -> list[str]:
    # -P: a module of the folder we were started in must not pass for one of ours.
    return [sys.executable, "-P", "-m", "orchestrator.cli"]


def _python_service(
    name: str,
    settings: Settings,
    command: list[str],
    *,
    stop_s: float,
    pass_fds: tuple[int, ...] = (),
) -> Service:
    log = settings.home / "logs" / f"{name.lower()}.log"
    return Service(
        name=name,
        start=lambda: _spawn(command, log, pass_fds),
        log=log,
        stop_timeout_s=stop_s,
    )


def _spawn(command: list[str], log: Path, pass_fds: tuple[int, ...]) -> "subprocess.Popen[bytes]":
    with open_log(log) as output:
        return subprocess.Popen(
            bound_command(command, on_death=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops them in order
            pass_fds=pass_fds,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
