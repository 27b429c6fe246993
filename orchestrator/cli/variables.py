"""Which Variables are kept, and how are they set, moved and removed?"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_facts, show_rows
from orchestrator.cli.secret_input import OnExisting, read_file, read_secret, write_file
from orchestrator.cli.session import current_user, open_session
from orchestrator.errors import ConflictError, NotFoundError, RequestInvalidError

if TYPE_CHECKING:
    from orchestrator.core.secrets import VariableView

__all__ = ["app"]

app = typer.Typer(
    help="See and set Variables: texts that DAGs read by key. Sensitive ones are never shown.",
    no_args_is_help=True,
)

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The Variable.")]


@app.command("list")
def list_variables(output: OutputOption = Output.TABLE) -> None:
    """List the stored Variables."""
    from orchestrator.cli.listing import all_pages  # noqa: PLC0415 - heavy

    with open_session() as services:
        rows = [_row(view) for view in all_pages(services.stored_secrets.variables)]
    show_rows(rows, output, empty="no Variables are stored; `orchestrator variables set`")


@app.command()
def get(
    key: KeyArgument,
    default: Annotated[str | None, typer.Option(help="What to print if it is not there.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a stored Variable's value; *** if its key says that it is sensitive."""
    with open_session() as services:
        try:
            view = services.stored_secrets.variable(key)
        except NotFoundError:
            if default is None:
                raise
            typer.echo(default)
            return
    if output is Output.JSON:
        show_facts({**_row(view), "updated_at": view.updated_at}, output)
        return
    if view.problem is not None:
        raise RequestInvalidError(view.problem)
    typer.echo(view.value)


@app.command("set")
def set_variable(
    key: KeyArgument,
    value: Annotated[
        str, typer.Argument(help="Its value; `-` reads it from standard input, @FILE from a file.")
    ],
    *,
    is_json: Annotated[bool, typer.Option("--json", help="Refuse what is not JSON.")] = False,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """Set a Variable, made if there is none."""
    text = read_secret(value, option="VALUE") or ""
    if is_json:
        try:
            json.loads(text)
        except ValueError as error:
            said = getattr(error, "msg", "it cannot be read")
            raise RequestInvalidError(f"the value of {key!r} is not JSON: {said}") from None
    with open_session() as services:
        changes: dict[str, Any] = {"value": text}
        if description is not None:
            changes["description"] = description
        try:
            services.secrets.change_variable(key, changes, user=current_user())
        except NotFoundError:
            services.secrets.create_variable(
                key, text, description=description, user=current_user()
            )
    typer.echo(f"Variable {key} is set")


@app.command()
def delete(key: KeyArgument) -> None:
    """Remove a stored Variable."""
    with open_session() as services:
        services.secrets.delete_variable(key)
    typer.echo(f"Variable {key} is removed")


@app.command("import")
def import_file(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON of values by key, or an .env file; - ")
    ],
    on_existing: Annotated[
        OnExisting, typer.Option(help="What to do with those that exist.")
    ] = OnExisting.OVERWRITE,
) -> None:
    """Set all Variables of a file. A value that is no text is stored as its JSON."""
    given = {key: _value(value) for key, value in read_file(path).items()}
    stored, skipped = 0, 0
    with open_session() as services:
        existing = set(services.stored_secrets.variable_keys()) & set(given)
        if on_existing is OnExisting.FAIL and existing:
            raise ConflictError(f"Variable {min(existing)!r} exists already; nothing was imported")
        for key, (value, description) in sorted(given.items()):
            if key in existing and on_existing is OnExisting.SKIP:
                skipped += 1
                typer.echo(f"Variable {key} exists and is left as it is", err=True)
                continue
            services.secrets.put_variable(key, value, description=description, user=current_user())
            stored += 1
    typer.echo(f"{stored} Variables stored, {skipped} skipped")


@app.command("export")
def export_file(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for a pipe.")],
) -> None:
    """Write all stored Variables, sensitive ones included, to a JSON file that only you may
    read."""
    with open_session() as services:
        every = services.stored_secrets.every_variable()
    write_file(
        path,
        {
            each.key: {"value": each.value, "description": each.description}
            if each.description
            else each.value
            for each in every
        },
    )
    typer.echo(f"{len(every)} Variables exported", err=True)


def _row(view: "VariableView") -> dict[str, Any]:
    return {"key": view.key, "value": view.value, "description": view.description}


def _value(written: Any) -> tuple[str, str | None]:
    """Read an export of ours or of Airflow's: a value, or one with its description."""
    description = None
    if isinstance(written, Mapping) and set(written) == {"value", "description"}:
        written, description = written["value"], written["description"]
    text = written if isinstance(written, str) else json.dumps(written)
    return text, description
