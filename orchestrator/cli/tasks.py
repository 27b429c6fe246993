"""Where do a run's task instances stand, what did they say, and what do they wait for?"""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_json, show_rows
from orchestrator.cli.runs import DagArgument, RunArgument
from orchestrator.cli.session import open_session
from orchestrator.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.levels import Levels
    from orchestrator.core.views import TaskInstanceView

__all__ = ["app"]

app = typer.Typer(
    help="List, explain, clear and mark task instances; read their logs.", no_args_is_help=True
)

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK_ID", help="The task; `task[3]`, `task[1][0]` if mapped.")
]
MapIndexOption = Annotated[
    str | None,
    typer.Option(
        metavar="INDEX", help="Which instance of a mapped task: `3`; `1,0` if mapped twice."
    ),
]


@app.command("list")
def list_tasks(
    dag_id: DagArgument,
    run_id: RunArgument = "",
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state: running, failed, ...")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the task instances of a run."""
    from orchestrator.cli.instances import levels_in  # noqa: PLC0415 - heavy
    from orchestrator.cli.watching import newest_run_id, read_progress  # noqa: PLC0415 - heavy
    from orchestrator.core.states import TaskState  # noqa: PLC0415 - heavy

    known = [str(one) for one in TaskState]
    for one in state or ():
        if one not in known:
            raise typer.BadParameter(f"{one!r} is no state of a task; there are {', '.join(known)}")
    with open_session() as services:
        progress = read_progress(services, dag_id, run_id or newest_run_id(services, dag_id))
        levels = levels_in(services, progress.run)
    rows = [
        _summary(ti, levels, output)
        for instances in progress.instances.values()
        for ti in instances
        if not state or ti.state in state
    ]
    show_rows(rows, output, empty="no task instances" if state else "the run has not started")


@app.command()
def log(
    dag_id: DagArgument,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run; `-` is the newest.")],
    task_id: TaskArgument,
    *,
    map_index: MapIndexOption = None,
    try_number: Annotated[
        int | None, typer.Option("--try", help="Which try; the newest if left out.", min=1)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the try has ended.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the log of one try; with `--output json`, its lines as they are stored."""
    from orchestrator.cli.instances import named_instance  # noqa: PLC0415 - heavy
    from orchestrator.cli.task_logs import print_log  # noqa: PLC0415 - heavy
    from orchestrator.cli.watching import resolve_run_id  # noqa: PLC0415 - heavy

    with open_session() as services:
        run_id = resolve_run_id(services, dag_id, run_id)
        named = named_instance(services, dag_id, run_id, task_id, map_index=map_index)
        print_log(services, named, try_number, follow=follow, as_json=output is Output.JSON)


@app.command()
def explain(
    dag_id: DagArgument,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run; `-` is the newest.")],
    task_id: TaskArgument,
    map_index: MapIndexOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say in words what a task instance waits for, or how it ended."""
    from orchestrator.cli.instances import named_instance  # noqa: PLC0415 - heavy
    from orchestrator.cli.watching import resolve_run_id  # noqa: PLC0415 - heavy
    from orchestrator.core.states import TaskState  # noqa: PLC0415 - only here

    with open_session() as services:
        run_id = resolve_run_id(services, dag_id, run_id)
        named = named_instance(services, dag_id, run_id, task_id, map_index=map_index)
        _, _, task_id, index = named.key
        reasons = services.explain(dag_id, run_id, task_id, map_index=index)
        state = TaskState.NONE
        with suppress(NotFoundError):  # a run that waits has no task instances yet
            state = services.reads.task_instance(dag_id, run_id, task_id, map_index=index).state
    if output is Output.JSON:
        show_json({"task": str(named), "state": state, "reasons": list(reasons)})
        return
    typer.echo(f"{named} is {state}.")
    for reason in reasons:
        typer.echo(reason)


def _summary(
    ti: "TaskInstanceView", levels: "Mapping[str, Levels]", output: Output
) -> dict[str, Any]:
    from orchestrator.cli.instances import identity  # noqa: PLC0415 - heavy

    return {
        **identity(ti, levels, output),
        "state": ti.state,
        "try_number": ti.try_number,
        "started_at": ti.started_at,
        "ended_at": ti.ended_at,
        "duration_s": ti.duration_s,
        "pool": ti.pool,
        "queue": ti.queue,
        "worker": ti.worker_id,
        "reason": ti.reason,
    }
