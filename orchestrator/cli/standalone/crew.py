"""The services of a standalone orchestrator together: started, watched over, ended in order."""

import os
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import typer

from orchestrator.bootstrap import Services, migrate_database, new_service_id, open_services
from orchestrator.cli.session import program
from orchestrator.cli.standalone.first_run import make_run
from orchestrator.cli.standalone.installation import Installation, WantedRun
from orchestrator.cli.standalone.recovery import hand_back, take_over
from orchestrator.cli.standalone.services import WORKER, ServiceForks, redis_service
from orchestrator.cli.standalone.supervisor import StopRequested, Supervisor
from orchestrator.errors import CallerError, NotFoundError, OperatorError, OrchestratorError

__all__ = ["supervise_crew"]

_SERVE_S = 3600.0
_NOT_FOUND = 2


def supervise_crew(installation: Installation, wanted: WantedRun | None) -> int:
    """Run in the guard's child until there is nothing left to do; return the exit code."""
    with ExitStack() as stack:
        try:
            return _supervise(installation, wanted, stack)
        except StopRequested as stop:
            typer.echo("\nstopping (Ctrl-C again kills what still runs)")
            return 128 + stop.signum if wanted is not None and wanted.is_all else 0
        except OrchestratorError as error:
            typer.echo(f"error: {error}", err=True)
            return _NOT_FOUND if isinstance(error, NotFoundError) else 1


def _supervise(installation: Installation, wanted: WantedRun | None, stack: ExitStack) -> int:
    settings = installation.settings
    typer.echo(f"starting: data in {settings.home}, DAGs in {settings.dags_folder}")
    crew = _Crew(installation)
    supervisor = Supervisor(
        announce=lambda words: typer.echo(f"! {words}", err=True),
        on_start=crew.note_start,
        on_crash=crew.note_crash,
    )
    stack.callback(installation.lock.forget)  # last: whoever comes next has nothing to take over
    stack.callback(supervisor.stop)
    if settings.redis_url is None:
        supervisor.start(redis_service(settings))
    migrate_database(settings)
    crew.services = services = open_services(settings)
    stack.callback(services.close)
    if settings.redis_url is not None:
        services.publisher.generation()  # nobody is served who cannot be: say so now
    ready_fd = crew.start(supervisor)
    typer.echo(f"serving {installation.url}")
    if wanted is not None:
        try:
            code = make_run(services, supervisor, wanted.dag_id, wanted.conf, ready_fd=ready_fd)
        except CallerError as error:
            if wanted.is_all:
                raise
            typer.echo(f"! {wanted.dag_id} was not run: {error}", err=True)
        else:
            if wanted.is_all:
                return code
    typer.echo(_farewell(installation))
    while True:
        supervisor.wait(_SERVE_S)


@dataclass(slots=True)
class _Crew:
    """What the services leave word of, and what becomes of a dead one's work."""

    installation: Installation
    services: Services | None = None

    def start(self, supervisor: Supervisor) -> int:
        """Start the forks; return a descriptor that is readable once every DAG file was seen."""
        assert self.services is not None
        lock = self.installation.lock
        take_over(self.services, lock.word)
        scheduler_id = new_service_id()
        lock.leave_word(
            pid=os.getppid(),  # the guard is whom to stop: the process a person started
            url=self.installation.url,
            hostname=socket.gethostname(),
            scheduler_id=scheduler_id,
        )
        ready_fd, ready_writer = os.pipe()
        forks = ServiceForks(self.services, self.installation.listener, private=lock.release)
        # Stopped in the opposite order: no new work, then no work, then nobody to look at it.
        supervisor.start(forks.api())
        supervisor.start(forks.worker())
        supervisor.start(forks.scheduler(scheduler_id, ready_fd=ready_writer))
        return ready_fd

    def note_start(self, name: str, pid: int) -> None:
        """Leave word of the worker, so that the next start knows who is dead."""
        if name == WORKER:
            self.installation.lock.leave_word(worker_pid=pid)

    def note_crash(self, name: str, pid: int) -> None:
        """Have a dead worker's tasks go on."""
        if name == WORKER and self.services is not None:
            with suppress(OperatorError):  # a database out of reach: the leases will tell
                hand_back(self.services, hostname=socket.gethostname(), pid=pid)


def _farewell(installation: Installation) -> str:
    settings = installation.settings
    command = program()
    return (
        f"\n  web page and API   {installation.url}"
        f"\n  data and logs      {settings.home}"
        f"\n  add a DAG          put a Python file into {settings.dags_folder}: it is live within"
        " a second"
        f"\n  look around        {command} dags list, {command} runs list, {command} --help"
        "\n  stop               Ctrl-C"
    )
