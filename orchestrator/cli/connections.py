"""Which Connections are kept, and how are they made, tested, moved and removed?"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_facts, show_rows
from orchestrator.cli.secret_input import OnExisting, read_file, read_secret, write_file
from orchestrator.cli.session import current_user, open_session
from orchestrator.errors import ConflictError, NotFoundError, RequestInvalidError

if TYPE_CHECKING:
    from orchestrator.bootstrap import Services
    from orchestrator.core.secrets import ConnectionView

__all__ = ["app"]

app = typer.Typer(
    help="See and set Connections: how tasks reach servers. Secrets go in and are never shown.",
    no_args_is_help=True,
)

ConnArgument = Annotated[str, typer.Argument(metavar="CONN_ID", help="The Connection.")]
_HIDDEN = " `-` reads it from standard input, `@FILE` from a file."


@app.command("list")
def list_connections(output: OutputOption = Output.TABLE) -> None:
    """List the stored Connections."""
    from orchestrator.cli.listing import all_pages  # noqa: PLC0415 - heavy

    with open_session() as services:
        rows = [_row(view) for view in all_pages(services.stored_secrets.connections)]
    show_rows(rows, output, empty="no Connections are stored; `orchestrator connections add`")


@app.command()
def get(conn_id: ConnArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one stored Connection, its secrets as ***."""
    with open_session() as services:
        view = services.stored_secrets.connection(conn_id)
    facts = {**_row(view), "updated_at": view.updated_at, "updated_by": view.updated_by}
    show_facts({**facts, "extra": view.extra, "problem": view.problem}, output)


@app.command()
def add(
    conn_id: ConnArgument,
    *,
    uri: Annotated[
        str | None, typer.Option(help="type://login:password@host:port/schema?..." + _HIDDEN)
    ] = None,
    json: Annotated[str | None, typer.Option(help="All fields as a JSON object." + _HIDDEN)] = None,
    conn_type: Annotated[
        str | None, typer.Option("--type", help="http, postgres, smtp ...")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Host, or path of a SQLite file.")] = None,
    port: Annotated[int | None, typer.Option(help="Port.")] = None,
    login: Annotated[str | None, typer.Option(help="User.")] = None,
    password: Annotated[str | None, typer.Option(help="Password." + _HIDDEN)] = None,
    schema: Annotated[str | None, typer.Option(help="Database, or http/https.")] = None,
    extra: Annotated[str | None, typer.Option(help="A JSON object." + _HIDDEN)] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace one that exists.")
    ] = False,
) -> None:
    """Store a Connection, given as a URI, as JSON, or by its fields."""
    fields = {
        "conn_type": conn_type,
        "host": host,
        "port": port,
        "login": login,
        "schema": schema,
        "password": password,
        "extra": extra,
    }
    whole = uri if uri is not None else json
    if (uri is not None and json is not None) or (
        whole is not None and any(value is not None for value in fields.values())
    ):
        raise typer.BadParameter("give --uri, or --json, or the single fields, not several of them")
    if [uri, json, password, extra].count("-") > 1:
        raise typer.BadParameter("standard input holds one value; give the others as @FILE")
    if whole is not None:
        text = read_secret(whole, option="--uri" if uri is not None else "--json")
        fields = _fields(conn_id, text, is_json=json is not None)
    else:
        fields["password"] = read_secret(password, option="--password")
        fields["extra"] = read_secret(extra, option="--extra")
    if description is not None:
        fields["description"] = description
    with open_session() as services:
        store = services.secrets.put_connection if overwrite else services.secrets.create_connection
        store(conn_id, fields, user=current_user())
    typer.echo(f"Connection {conn_id} is stored")


@app.command()
def delete(conn_id: ConnArgument) -> None:
    """Remove a stored Connection."""
    with open_session() as services:
        services.secrets.delete_connection(conn_id)
    typer.echo(f"Connection {conn_id} is removed")


@app.command("test")
def try_out(
    conn_id: ConnArgument,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for an answer.", min=0.1)
    ] = 10.0,
) -> None:
    """Try to reach what a Connection names, from this machine, wherever tasks would find it: in a
    secrets backend, the environment or the store. Exit code 1 if that does not work."""
    from orchestrator.bootstrap import secret_chain  # noqa: PLC0415 - heavy
    from orchestrator.sdk.masking import mask  # noqa: PLC0415

    with open_session() as services:
        connection = secret_chain(services.settings, services.store).get_connection(conn_id)
    answer: list[tuple[bool, str]] = []

    def ask() -> None:
        try:
            answer.append(connection.test_connection())
        except Exception as error:  # whatever a driver raises is the answer
            answer.append((False, f"{type(error).__name__}: {error}"))

    # A thread that hangs in a driver is left behind; the process ends all the same.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_s)
    works, said = answer[0] if answer else (False, f"no answer within {timeout_s:g} s")
    typer.echo(f"{conn_id}: {'ok' if works else 'failed'}: {mask(said)}", err=not works)
    if not works:
        raise typer.Exit(1)


@app.command("import")
def import_file(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON of URIs or fields by id, or an .env file; -")
    ],
    on_existing: Annotated[
        OnExisting, typer.Option(help="What to do with those that exist.")
    ] = OnExisting.SKIP,
) -> None:
    """Store all Connections of a file."""
    given = {
        conn_id: value if isinstance(value, Mapping) else _fields(conn_id, value, is_json=False)
        for conn_id, value in read_file(path).items()
    }
    stored, skipped = 0, 0
    with open_session() as services:
        _refuse_existing(services, given, on_existing)
        for conn_id, fields in sorted(given.items()):
            plain = _without_id(fields)
            if on_existing is OnExisting.OVERWRITE:
                services.secrets.put_connection(conn_id, plain, user=current_user())
            else:
                try:
                    services.secrets.create_connection(conn_id, plain, user=current_user())
                except ConflictError:
                    skipped += 1
                    typer.echo(f"Connection {conn_id} exists and is left as it is", err=True)
                    continue
            stored += 1
    typer.echo(f"{stored} Connections stored, {skipped} skipped")


@app.command("export")
def export_file(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for a pipe.")],
) -> None:
    """Write all stored Connections, secrets included, to a JSON file that only you may read."""
    from orchestrator.sdk.connections import Connection  # noqa: PLC0415 - heavy

    with open_session() as services:
        every = services.stored_secrets.every_connection()
    names = ("conn_type", "description", "host", "port", "login", "schema", "password", "extra")
    write_file(
        path,
        {
            each.conn_id: Connection(
                conn_id=each.conn_id, **{name: getattr(each, name) for name in names}
            ).as_dict()
            for each in every
        },
    )
    typer.echo(f"{len(every)} Connections exported", err=True)


def _row(view: "ConnectionView") -> dict[str, Any]:
    return {
        "conn_id": view.conn_id,
        "type": view.conn_type,
        "host": view.host,
        "port": view.port,
        "schema": view.schema,
        "login": view.login,
        "password": "***" if view.has_password else None,
        "description": view.description,
    }


def _fields(conn_id: str, text: Any, *, is_json: bool) -> dict[str, Any]:
    from orchestrator.sdk.connections import Connection  # noqa: PLC0415 - heavy

    if not isinstance(text, str):
        raise RequestInvalidError(
            f"Connection {conn_id!r} is a {type(text).__name__}; give its URI, or an object of its "
            "fields"
        )
    if is_json:
        return Connection.from_json(text, conn_id=conn_id).as_dict()
    return Connection.read(text, conn_id=conn_id).as_dict()


def _without_id(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Exports of Airflow repeat the id."""
    return {name: value for name, value in fields.items() if name not in ("conn_id", "id")}


def _refuse_existing(
    services: "Services", given: Mapping[str, Any], on_existing: OnExisting
) -> None:
    if on_existing is not OnExisting.FAIL:
        return
    for conn_id in sorted(given):
        try:
            services.stored_secrets.connection(conn_id)
        except NotFoundError:
            continue
        raise ConflictError(f"Connection {conn_id!r} exists already; nothing was imported")
