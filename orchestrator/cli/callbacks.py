"""What was called when tries and runs ended, and what did it say?"""

from typing import Annotated

import typer

from orchestrator.cli.output import Output, OutputOption, show_json, show_rows
from orchestrator.cli.session import open_session

__all__ = ["app"]

app = typer.Typer(help="See callbacks and what became of them.", no_args_is_help=True)

DagArgument = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG.")]


@app.command("list")
def list_callbacks(
    dag_id: DagArgument,
    run_id: Annotated[
        str, typer.Argument(metavar="[RUN_ID]", help="Only of this run; `-` is the newest.")
    ] = "",
    *,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="Only those that are owed, or given up.")
    ] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.", min=1)] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the callbacks of a DAG; with `--output json`, what they wrote too."""
    from orchestrator.cli.instances import levels_in, named  # noqa: PLC0415 - heavy
    from orchestrator.cli.watching import resolve_run_id  # noqa: PLC0415 - heavy

    with open_session() as services:
        found = services.reads.callbacks(
            dag_id,
            resolve_run_id(services, dag_id, run_id) if run_id else None,
            is_undelivered=undelivered,
            limit=limit,
        )
        runs = {each.run_id for each in found if each.task is not None}
        levels = {run: levels_in(services, services.reads.run(dag_id, run)) for run in sorted(runs)}
    rows = [
        {
            "of": f"{each.dag_id}/{each.run_id}"
            if each.task is None
            else str(named(each.task, levels[each.run_id])),
            "kind": each.kind,
            "try_number": each.try_number or None,
            "state": each.state,
            "attempts": each.attempts,
            "created_at": each.created_at,
            "ended_at": each.ended_at,
            "due_at": each.due_at,
            "reason": each.reason,
            "error": each.error,
        }
        for each in found
    ]
    if output is Output.JSON:
        show_json(
            [{**row, "output": list(each.output)} for row, each in zip(rows, found, strict=True)]
        )
        return
    show_rows(rows, output, empty="no callbacks")
