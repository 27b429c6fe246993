"""Which DAGs are there, and what can be done with one?"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_facts, show_json, show_rows
from orchestrator.cli.session import current_user, open_session, parse_conf, parse_instant

if TYPE_CHECKING:
    from orchestrator.core.specs import DagSpec
    from orchestrator.core.views import DagView

__all__ = ["app"]

app = typer.Typer(help="List, show, test, trigger, clear and pause DAGs.", no_args_is_help=True)

DagArgument = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG.")]
ConfOption = Annotated[
    str | None,
    typer.Option("--conf", metavar="JSON", help="The run's conf: a JSON object, or @FILE."),
]


@app.command("list")
def list_dags(
    output: OutputOption = Output.TABLE,
    tag: Annotated[list[str] | None, typer.Option(help="Only DAGs with this tag.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Also DAGs whose file is gone.")] = False,
) -> None:
    """List the DAGs."""
    from orchestrator.cli.listing import all_pages  # noqa: PLC0415 - heavy
    from orchestrator.core.listings import DagFilter  # noqa: PLC0415 - heavy

    wanted = DagFilter(tags=tuple(tag or ()), includes_stale=stale)
    with open_session() as services:
        dags = all_pages(lambda request: services.reads.dags(wanted, request))
    show_rows(
        [_summary(dag) for dag in dags],
        output,
        empty="no DAGs yet: put a Python file that defines one into the DAG folder "
        "(`orchestrator config list` names it)",
    )


@app.command()
def show(dag_id: DagArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one DAG and its tasks, each below the upstream task it waits longest for."""
    with open_session() as services:
        details = services.reads.dag_details(dag_id)
    facts = {
        **_summary(details.dag),
        "description": details.dag.description,
        "max_active_runs": details.dag.max_active_runs,
        "max_active_tasks": details.dag.max_active_tasks,
        "running_runs": details.running_runs,
        "version": details.dag.version.version_number,
        "last_parsed_at": details.dag.last_parsed_at,
    }
    if output is Output.JSON:
        show_json({**facts, "tasks": _task_rows(details.spec)})
        return
    show_facts(facts, output)
    typer.echo()
    _print_tasks(details.spec)


@app.command("test")
def try_out(
    dag: Annotated[str, typer.Argument(metavar="DAG", help="A DAG id, or a file with one DAG.")],
    conf: ConfOption = None,
    logical_date: Annotated[
        str | None, typer.Option(metavar="TIME", help="The run's logical date, ISO 8601.")
    ] = None,
) -> None:
    """Run a DAG in this process, without services; breakpoints work. Exit code 1 if it fails."""
    from orchestrator.cli.dag_test import test_dag  # noqa: PLC0415 - heavy

    parsed_conf, instant = parse_conf(conf), parse_instant(logical_date)
    if not test_dag(dag, conf=parsed_conf, logical_date=instant):
        raise typer.Exit(1)


@app.command()
def trigger(
    dag_id: DagArgument,
    *,
    conf: ConfOption = None,
    run_id: Annotated[str | None, typer.Option(help="The run's id; made up if left out.")] = None,
    logical_date: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The run's logical date, ISO 8601; now if left out."),
    ] = None,
    note: Annotated[str | None, typer.Option(help="A remark that stays with the run.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch the run; exit code 1 if it fails.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask for a run."""
    from orchestrator.control import RunRequest  # noqa: PLC0415 - heavy
    from orchestrator.core.states import TriggeredBy  # noqa: PLC0415 - heavy

    request = RunRequest(
        run_id=run_id,
        # Somebody who types this means "today's": `{{ ds }}` must have a value.
        logical_date=parse_instant(logical_date) or datetime.now(UTC),
        conf=parse_conf(conf),
        note=note,
    )
    with open_session() as services:
        run = services.control.trigger(
            dag_id, request, triggered_by=TriggeredBy.CLI, user=current_user()
        )
        is_paused = services.reads.dag(dag_id).is_paused
        if output is Output.JSON and not wait:
            show_json({"dag_id": run.dag_id, "run_id": run.run_id, "state": run.state})
        else:
            typer.echo(f"triggered {run.dag_id} {run.run_id}", err=output is Output.JSON)
        if is_paused:
            typer.echo(
                f"{dag_id} is paused: the run starts with `orchestrator dags unpause {dag_id}`",
                err=True,
            )
        elif not services.reads.scheduler_pulse().alive:
            typer.echo("no scheduler is alive: the run starts when one is started", err=True)
        if wait:
            _wait_for(services, dag_id, run.run_id, output)


@app.command()
def pause(dag_id: DagArgument) -> None:
    """Start nothing new of a DAG; what runs goes on."""
    with open_session() as services:
        services.control.pause(dag_id)
    typer.echo(f"{dag_id} is paused")


@app.command()
def unpause(dag_id: DagArgument) -> None:
    """Let a DAG start runs and tasks again."""
    with open_session() as services:
        services.control.unpause(dag_id)
    typer.echo(f"{dag_id} is not paused")


@app.command()
def errors(
    output: OutputOption = Output.TABLE,
    full: Annotated[bool, typer.Option("--full", help="Also print the stack traces.")] = False,
) -> None:
    """List the DAG files that do not import, and why. Exit code 1 if there are any."""
    from orchestrator.cli.listing import all_pages  # noqa: PLC0415 - heavy

    with open_session() as services:
        found = all_pages(services.reads.import_errors)
    rows: list[dict[str, Any]] = [
        {"path": error.path, "kind": error.kind, "message": error.message, "at": error.recorded_at}
        for error in found
    ]
    if output is Output.JSON:
        rows = [
            {**row, "stacktrace": error.stacktrace} for row, error in zip(rows, found, strict=True)
        ]
    show_rows(rows, output, empty="every DAG file imports")
    if full and output is Output.TABLE:
        for error in found:
            typer.echo(f"\n{error.path}\n{error.stacktrace}")
    if found:
        raise typer.Exit(1)


def _summary(dag: "DagView") -> dict[str, Any]:
    return {
        "dag_id": dag.dag_id,
        "file": dag.path,
        "schedule": dag.schedule,
        "paused": dag.is_paused,
        "next_run_at": dag.next_run_at,
        "tags": list(dag.tags),
        "state": "stale" if dag.is_stale else "import error" if dag.has_import_error else "ok",
    }


def _task_rows(spec: "DagSpec") -> list[dict[str, Any]]:
    return [
        {
            "task_id": task.task_id,
            "operator": task.operator,
            "upstream": list(task.upstream),
            "trigger_rule": str(task.trigger_rule),
            "retries": task.retry.retries,
            "pool": task.pool,
            "queue": task.queue,
        }
        for task in spec.tasks
    ]


def _print_tasks(spec: "DagSpec") -> None:
    from orchestrator.cli.output import a_console  # noqa: PLC0415 - heavy
    from orchestrator.cli.run_tree import draw_dag  # noqa: PLC0415 - heavy
    from orchestrator.core.graph import build_graph  # noqa: PLC0415 - heavy

    a_console().print(draw_dag(build_graph(spec)))


def _wait_for(services: Any, dag_id: str, run_id: str, output: Output) -> None:
    from orchestrator.cli.watching import watch_run  # noqa: PLC0415 - heavy

    run = watch_run(services, dag_id, run_id, is_quiet=output is Output.JSON)
    if output is Output.JSON:
        show_json({"dag_id": run.dag_id, "run_id": run.run_id, "state": run.state})
    if run.state != "success":
        raise typer.Exit(1)
