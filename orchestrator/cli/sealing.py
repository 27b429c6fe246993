"""With which keys is encrypted what is secret?"""

import typer

from orchestrator.cli.session import open_session

__all__ = ["app"]

app = typer.Typer(help="Look after the keys of stored secrets.", no_args_is_help=True)


@app.command()
def key() -> None:
    """Print a new key for ORCHESTRATOR_FERNET_KEYS; put it first, before the old ones."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 - only here

    typer.echo(Fernet.generate_key().decode())


@app.command()
def rotate() -> None:
    """Encrypt all Connections and Variables with the first key; then the others can go."""
    with open_session() as services:
        count = services.secrets.rotate_keys()
    typer.echo(f"{count} encrypted anew with the first key" if count else "all have the first key")
