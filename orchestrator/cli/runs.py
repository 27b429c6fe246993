"""Which runs were there, how did one go, and how does one go right now?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_facts, show_json, show_rows
from orchestrator.cli.session import open_session

if TYPE_CHECKING:
    from orchestrator.core.views import RunView

__all__ = ["DagArgument", "RunArgument", "app"]

app = typer.Typer(help="List, show, watch, clear and mark runs.", no_args_is_help=True)

DagArgument = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN_ID", help="The run; the newest if left out.")
]


@app.command("list")
def list_runs(
    dag_id: Annotated[
        str | None, typer.Argument(metavar="DAG_ID", help="Only this DAG's runs.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only runs in this state: queued, running, ...")
    ] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 25,
    output: OutputOption = Output.TABLE,
) -> None:
    """List runs, the newest first."""
    from orchestrator.cli.listing import all_pages  # noqa: PLC0415 - heavy
    from orchestrator.core.listings import RunFilter  # noqa: PLC0415 - heavy
    from orchestrator.core.states import RunState  # noqa: PLC0415 - heavy

    known = [str(one) for one in RunState]
    for one in state or ():
        if one not in known:
            raise typer.BadParameter(f"{one!r} is no state of a run; there are {', '.join(known)}")
    wanted = RunFilter(dag_id=dag_id, states=tuple(RunState(one) for one in state or ()))
    with open_session() as services:
        if dag_id is not None:
            services.reads.dag(dag_id)  # says so if there is none
        runs = all_pages(
            lambda request: services.reads.runs(wanted, request),
            limit=limit,
            order_by=("-run_after",),
        )
    show_rows([_summary(run) for run in runs], output, empty="no runs")


@app.command()
def show(
    dag_id: DagArgument, run_id: RunArgument = "", output: OutputOption = Output.TABLE
) -> None:
    """Show one run and where its tasks stand."""
    from orchestrator.cli.instances import identity, levels_in  # noqa: PLC0415 - heavy
    from orchestrator.cli.watching import newest_run_id, print_run, read_progress  # noqa: PLC0415

    with open_session() as services:
        progress = read_progress(services, dag_id, run_id or newest_run_id(services, dag_id))
        run = progress.run
        facts = {
            **_summary(run),
            "logical_date": run.logical_date,
            "triggered_by": str(run.triggered_by),
            "user": run.user,
            "conf": dict(run.conf),
            "note": run.note,
            "reason": run.reason,
            "version": run.version.version_number,
        }
        if output is Output.JSON:
            levels = levels_in(services, run)
            tasks = [
                {
                    **identity(ti, levels, output),
                    "state": ti.state,
                    "try_number": ti.try_number,
                    "duration_s": ti.duration_s,
                    "reason": ti.reason,
                }
                for instances in progress.instances.values()
                for ti in instances
            ]
            show_json({**facts, "tasks": tasks})
            return
        show_facts(facts, output)
        typer.echo()
        print_run(services, progress)


@app.command()
def watch(dag_id: DagArgument, run_id: RunArgument = "") -> None:
    """Show a run's tasks live until it ends. Exit code 1 if it fails."""
    from orchestrator.cli.watching import newest_run_id, watch_run  # noqa: PLC0415 - heavy

    with open_session() as services:
        run = watch_run(services, dag_id, run_id or newest_run_id(services, dag_id))
    if run.state != "success":
        raise typer.Exit(1)


def _summary(run: "RunView") -> dict[str, Any]:
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "state": run.state,
        "run_type": str(run.run_type),
        "run_after": run.run_after,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "duration_s": run.duration_s,
    }
