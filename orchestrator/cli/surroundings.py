"""Is everything alive, what is set, and which version is this?"""

from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli.output import Output, OutputOption, show_rows
from orchestrator.cli.session import open_session, read_settings

__all__ = ["config_app", "health", "version"]

config_app = typer.Typer(help="Look at the settings.", no_args_is_help=True)


def health(
    part: Annotated[
        str | None,
        typer.Argument(help="Only this: database, redis, scheduler, worker or api."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say whether each part that a run needs answers. Exit code 1 if one does not."""
    from orchestrator.cli.health import PARTS, examine  # noqa: PLC0415 - heavy

    if part is not None and part not in PARTS:
        raise typer.BadParameter(f"{part!r} is none of {', '.join(PARTS)}")
    with open_session() as services:
        rows = examine(services, part)
    show_rows(rows, output, empty="")
    if any(row["status"] != "healthy" for row in rows):
        raise typer.Exit(1)


@config_app.command("list")
def list_settings(output: OutputOption = Output.TABLE) -> None:
    """List every setting, its value and where it comes from; secrets are masked."""
    from orchestrator.settings import describe  # noqa: PLC0415 - heavy

    rows = [
        {"name": row.name, "value": row.value, "origin": str(row.origin)}
        for row in describe(read_settings())
    ]
    show_rows(rows, output, empty="")


def version() -> None:
    """Print the version."""
    typer.echo(__version__)
