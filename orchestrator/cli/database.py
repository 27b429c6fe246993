"""Has the database the schema this version needs, and how does it get it?"""

from typing import Annotated

import typer

from orchestrator.cli.session import read_settings

__all__ = ["app"]

app = typer.Typer(help="Migrate the database.", no_args_is_help=True)


@app.command()
def migrate() -> None:
    """Bring the database to the schema this version needs; safe to repeat, and for many at once."""
    from orchestrator.bootstrap import migrate_database  # noqa: PLC0415 - heavy

    changed = migrate_database(read_settings())
    typer.echo("the database is migrated" if changed else "the database is up to date")


@app.command()
def check() -> None:
    """Look whether the database answers and has the right schema. Exit code 1 if not so."""
    from orchestrator.bootstrap import check_database  # noqa: PLC0415 - heavy

    check_database(read_settings())
    typer.echo("the database is up to date")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="The schema to go back to; `base` is none.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the database back to an older schema. What the newer one added is lost."""
    from orchestrator.bootstrap import downgrade_database  # noqa: PLC0415 - heavy

    if not yes:
        typer.confirm(f"Go back to {revision} and lose what newer schemas added?", abort=True)
    downgrade_database(read_settings(), revision)
    typer.echo(f"the database has schema {revision}")
