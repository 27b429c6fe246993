"""The command that starts everything on one machine."""

from typing import Annotated

import typer

from orchestrator.cli.session import parse_conf

__all__ = ["standalone"]

DEMO_DAG_ID = "open_data"


def standalone(
    once: Annotated[
        str | None,
        typer.Option(
            metavar="DAG_ID",
            help="Run this DAG once and leave: exit code 0 success, 1 failed, 2 no such DAG.",
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Run the demo DAG first, then go on serving.")
    ] = False,
    demo_dag: Annotated[
        str, typer.Option(metavar="DAG_ID", help="What --demo runs.")
    ] = DEMO_DAG_ID,
    conf: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Conf of the run: a JSON object, or @FILE."),
    ] = None,
) -> None:
    """Start everything on this machine: Redis, scheduler, worker, API. Ctrl-C stops it."""
    if once is not None and demo:
        raise typer.BadParameter("--once leaves after its run, --demo goes on serving; choose one")
    if conf is not None and once is None and not demo:
        raise typer.BadParameter("--conf needs a run: name its DAG with --once, or use --demo")
    run_conf = parse_conf(conf)
    from orchestrator.cli.standalone.installation import (  # noqa: PLC0415 - heavy
        WantedRun,
        run_installation,
    )

    wanted = None
    if once is not None or demo:
        wanted = WantedRun(
            dag_id=demo_dag if once is None else once, conf=run_conf, is_all=once is not None
        )
    raise typer.Exit(run_installation(wanted))
