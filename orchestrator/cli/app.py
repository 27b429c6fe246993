"""Which commands there are, and what becomes of an error.

Exit codes: 0 done, 1 failed (a run that failed counts), 2 the command line is wrong, 130 Ctrl-C.
Modules of commands import only Typer and the standard library at their top; what is heavy is
imported by the command that needs it, so that `--help` answers at once.
"""

import os
import sys

import typer

from orchestrator.cli import (
    callbacks,
    clearing,
    connections,
    dags,
    database,
    pools,
    runs,
    sealing,
    serving,
    surroundings,
    tasks,
    variables,
)
from orchestrator.cli.standalone import command as standalone
from orchestrator.errors import OrchestratorError

__all__ = ["app", "run"]

app = typer.Typer(
    name="orchestrator",
    help="A workflow orchestrator: DAGs in Python, run by Celery workers, watched from here.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(standalone.standalone)
app.command()(serving.scheduler)
app.command()(serving.worker)
app.command()(serving.api)
dags.app.command("clear")(clearing.clear_dag)
runs.app.command("clear")(clearing.clear_run)
runs.app.command("mark")(clearing.mark_run)
runs.app.command("note")(clearing.note_run)
tasks.app.command("clear")(clearing.clear_tasks)
tasks.app.command("mark")(clearing.mark_tasks)
app.add_typer(dags.app, name="dags")
app.add_typer(runs.app, name="runs")
app.add_typer(tasks.app, name="tasks")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(pools.app, name="pools")
app.add_typer(connections.app, name="connections")
app.add_typer(variables.app, name="variables")
app.add_typer(sealing.app, name="secrets")
app.add_typer(database.app, name="db")
app.command()(surroundings.health)
app.add_typer(surroundings.config_app, name="config")
app.command()(surroundings.version)


def run() -> None:
    """Run one command; say an expected error in one sentence."""
    try:
        app()
    except OrchestratorError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
