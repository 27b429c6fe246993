"""What must hold before a standalone orchestrator starts anything: a folder, its lock, a port."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.cli.listening import open_listener, url_of
from orchestrator.cli.session import read_settings
from orchestrator.cli.standalone.folder_lock import FolderLock, lock_folder
from orchestrator.cli.standalone.guard import run_guarded
from orchestrator.settings import Settings, prepare_home, refuse_open_door, secret_key

__all__ = ["Installation", "WantedRun", "run_installation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRun:
    """A run to make at the start. `is_all`: leave when it has ended."""

    dag_id: str
    conf: Mapping[str, Any] | None
    is_all: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One data folder, taken by this process and its children."""

    settings: Settings
    lock: FolderLock
    listener: socket.socket

    @property
    def url(self) -> str:
        """Where the API and the web page are."""
        return url_of(self.listener)


def run_installation(wanted: WantedRun | None) -> int:
    """Start all services, make a run if one is wanted, and serve until told to stop; return the
    exit code. Whatever ends this, nothing that it started is left running."""
    settings = read_settings()
    refuse_open_door(settings, host=settings.api_host)
    lock = lock_folder(prepare_home(settings))
    secret_key(settings)
    installation = Installation(
        settings=settings,
        lock=lock,
        listener=open_listener(settings.api_host, settings.api_port),
    )

    def supervise() -> int:
        # The guard need not hold what this imports.
        from orchestrator.cli.standalone.crew import supervise_crew  # noqa: PLC0415 - heavy

        return supervise_crew(installation, wanted)

    return run_guarded(supervise)
