"""How many slots does each pool have, and who changes that?"""

from typing import Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_rows
from orchestrator.cli.session import open_session
from orchestrator.errors import NotFoundError

__all__ = ["app"]

app = typer.Typer(help="See and set pools: limits on what runs at a time.", no_args_is_help=True)


@app.command("list")
def list_pools(output: OutputOption = Output.TABLE) -> None:
    """List the pools, their slots and how many are taken."""
    from orchestrator.cli.listing import all_pages  # noqa: PLC0415 - heavy

    with open_session() as services:
        rows = [
            {
                "pool": pool.name,
                "slots": pool.slots,
                "running": pool.running,
                "queued": pool.queued,
                "scheduled": pool.scheduled,
                "open": pool.open,
                "queue": pool.queue,
                "description": pool.description,
            }
            for pool in all_pages(services.reads.pools)
        ]
    show_rows(rows, output, empty="no pools")


@app.command("set")
def set_pool(
    name: Annotated[str, typer.Argument(help="The pool, made if there is none.")],
    slots: Annotated[int, typer.Argument(help="Slots; -1 for no limit.", min=-1)],
    queue: Annotated[
        str | None, typer.Option(help="Celery queue of its tasks that name none; '' for none.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """Make a pool, or change the slots, queue or description of one."""
    changes: dict[str, Any] = {"slots": slots}
    if queue is not None:
        changes["queue"] = queue or None
    if description is not None:
        changes["description"] = description
    with open_session() as services:
        try:
            pool = services.control.update_pool(name, changes)
        except NotFoundError:
            pool = services.control.create_pool(name, **changes)
    shown = f"{pool.slots} slots" if pool.slots >= 0 else "no limit"
    typer.echo(f"pool {pool.name}: {shown}" + (f", queue {pool.queue}" if pool.queue else ""))
