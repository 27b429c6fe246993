"""What happens between `orchestrator standalone` and the shell's next prompt."""

import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.cli.listening import open_listener, url_of
from orchestrator.cli.session import read_settings
from orchestrator.cli.standalone.folder_lock import FolderLock, lock_folder
from orchestrator.cli.standalone.guard import run_guarded
from orchestrator.cli.standalone.services import (
    WORKER,
    api_service,
    redis_service,
    scheduler_service,
    worker_service,
)
from orchestrator.cli.standalone.supervisor import StopRequested, Supervisor
from orchestrator.errors import NotFoundError, OperatorError, OrchestratorError
from orchestrator.settings import Settings, prepare_home, secret_key

if TYPE_CHECKING:
    from orchestrator.bootstrap import Services

__all__ = ["WantedRun", "run_installation"]

_SERVE_S = 3600.0
_NOT_FOUND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRun:
    """A run to make at the start. `is_all`: leave when it has ended."""

    dag_id: str
    conf: Mapping[str, Any] | None
    is_all: bool


def run_installation(wanted: WantedRun | None) -> int:
    """Start all services, make a run if one is wanted, and serve until told to stop; return the
    exit code. Whatever ends this, nothing that it started is left running."""
    settings = read_settings()
    lock = lock_folder(prepare_home(settings))
    secret_key(settings)
    listener = open_listener(settings.api_host, settings.api_port)
    installation = _Installation(settings=settings, lock=lock, listener=listener)
    return run_guarded(lambda: installation.supervise(wanted))


@dataclass(slots=True, kw_only=True)
class _Installation:
    """The services of one data folder while they run."""

    settings: Settings
    lock: FolderLock
    listener: socket.socket
    hostname: str = field(default_factory=socket.gethostname)
    services: "Services | None" = None

    def supervise(self, wanted: WantedRun | None) -> int:
        """Run in the guard's child until there is nothing left to do."""
        supervisor = Supervisor(
            announce=_announce, on_start=self._note_start, on_crash=self._note_crash
        )
        try:
            return self._serve(supervisor, wanted)
        except StopRequested as stop:
            typer.echo("\nstopping (Ctrl-C again kills what still runs)")
            return 128 + stop.signum if wanted is not None and wanted.is_all else 0
        except OrchestratorError as error:
            typer.echo(f"error: {error}", err=True)
            return _NOT_FOUND if isinstance(error, NotFoundError) else 1
        finally:
            supervisor.stop()
            self.lock.forget()  # whoever comes next has nothing to take over
            if self.services is not None:
                self.services.close()

    def _serve(self, supervisor: Supervisor, wanted: WantedRun | None) -> int:
        url = url_of(self.listener)
        typer.echo(f"starting: data in {self.settings.home}, DAGs in {self.settings.dags_folder}")
        ready_fd = self._start(supervisor, url)
        typer.echo(f"serving {url}")
        if wanted is not None:
            from orchestrator.cli.standalone.first_run import make_run  # noqa: PLC0415 - heavy

            code = make_run(self._open(), supervisor, wanted.dag_id, wanted.conf, ready_fd=ready_fd)
            if wanted.is_all:
                return code
        typer.echo(_farewell(self.settings, url))
        while True:
            supervisor.wait(_SERVE_S)

    def _start(self, supervisor: Supervisor, url: str) -> int:
        """Start everything. The descriptor is readable once every DAG file was looked at.

        The services import their libraries while this process does so too, if it needs to. Only
        what they must not see unprepared comes before them: a new database, and what an earlier
        start that was killed has left.
        """
        if self.settings.redis_url is None:
            supervisor.start(redis_service(self.settings))
        was_killed = "worker_pid" in self.lock.word
        if was_killed or not _is_old_sqlite(self.settings.database_url):
            services = self._open()
            if was_killed:
                self._take_over(services)
        scheduler_id = f"{self.hostname}-{os.getpid()}-{secrets.token_hex(3)}"
        # The guard is whom to stop: the process a person started.
        self.lock.leave_word(
            pid=os.getppid(), url=url, hostname=self.hostname, scheduler_id=scheduler_id
        )
        ready_fd, ready_writer = os.pipe()
        supervisor.start(api_service(self.settings, self.listener))
        supervisor.start(worker_service(self.settings))
        supervisor.start(
            scheduler_service(self.settings, scheduler_id=scheduler_id, ready_fd=ready_writer)
        )
        return ready_fd

    def _open(self) -> "Services":
        if self.services is None:
            from orchestrator.bootstrap import (  # noqa: PLC0415 - heavy
                migrate_database,
                open_services,
            )

            migrate_database(self.settings)
            self.services = open_services(self.settings)
        return self.services

    def _take_over(self, services: "Services") -> None:
        from orchestrator.cli.standalone.recovery import take_over  # noqa: PLC0415 - heavy

        take_over(services, self.lock.word)

    def _note_start(self, name: str, pid: int) -> None:
        if name == WORKER:
            self.lock.leave_word(worker_pid=pid)

    def _note_crash(self, name: str, pid: int) -> None:
        if name == WORKER:
            from orchestrator.cli.standalone.recovery import hand_back  # noqa: PLC0415 - heavy

            with suppress(OperatorError):  # a database out of reach: the leases will tell
                hand_back(self._open(), hostname=self.hostname, pid=pid)


def _is_old_sqlite(database_url: str) -> bool:
    """Whether this is an embedded database with tables: its services need not wait for us."""
    path = Path(database_url.removeprefix("sqlite:///"))
    return database_url.startswith("sqlite:") and path.exists() and path.stat().st_size > 0


def _announce(words: str) -> None:
    typer.echo(f"! {words}", err=True)


def _farewell(settings: Settings, url: str) -> str:
    example = settings.dags_folder / "my_dag.py"
    return (
        f"\n  web page and API   {url}"
        f"\n  data and logs      {settings.home}"
        f"\n  add a DAG          put a Python file into {settings.dags_folder}, for instance"
        f" {example.name}; it is live within a second"
        f"\n  look around        orchestrator dags list, orchestrator runs list, ... --help"
        f"\n  stop               Ctrl-C"
    )
