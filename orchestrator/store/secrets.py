"""Connections and Variables in SQL: sealed on the way in, opened for tasks, masked for people."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Row, Select, Table, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.core.listings import Page, PageRequest, TextMatch
from orchestrator.core.secrets import (
    ConnectionFields,
    ConnectionView,
    VariableFields,
    VariableView,
)
from orchestrator.errors import ConflictError, NotFoundError, SettingsError, did_you_mean
from orchestrator.sdk.masking import MASK, is_sensitive_name, redact
from orchestrator.store.conditions import for_each_dialect
from orchestrator.store.engine import Database
from orchestrator.store.reads_paging import Ordering, SortKey, matches, read_piece
from orchestrator.store.sealing import SecretSealer
from orchestrator.store.tables_secrets import connection_table, variable_table
from orchestrator.store.types import now

__all__ = ["SqlSecrets"]

SIMILAR_AMONG_MAX = 10_000
_CONN = connection_table.c
_VAR = variable_table.c
_PLAIN = ("conn_type", "description", "host", "port", "login", "schema")
_SEALED = ("password", "extra")
_Result = TypeVar("_Result")

_CONN_ORDER = Ordering(
    keys={
        "conn_id": SortKey(_CONN.conn_id),
        "connection_id": SortKey(_CONN.conn_id),
        "conn_type": SortKey(_CONN.conn_type),
        "description": SortKey(_CONN.description, is_nullable=True),
        "host": SortKey(_CONN.host, is_nullable=True),
        "port": SortKey(_CONN.port, is_nullable=True),
        "id": SortKey(_CONN.conn_id),
    },
    default=("conn_id",),
    tie_breaker="conn_id",
)
_VAR_ORDER = Ordering(
    keys={
        "key": SortKey(_VAR.key),
        "id": SortKey(_VAR.key),
        "description": SortKey(_VAR.description, is_nullable=True),
    },
    default=("key",),
    tie_breaker="key",
)


_PUT_CONNECTION = for_each_dialect(
    connection_table,
    lambda insert_: insert_.values(updated_at=now()).on_conflict_do_update(
        index_elements=["conn_id"],
        set_={
            column: insert_.excluded[column]
            for column in (*_PLAIN, *_SEALED, "updated_at", "updated_by")
        },
    ),
)
_PUT_VARIABLE = for_each_dialect(
    variable_table,
    lambda insert_: insert_.values(updated_at=now()).on_conflict_do_update(
        index_elements=["key"],
        set_={
            column: insert_.excluded[column]
            for column in ("value", "description", "updated_at", "updated_by")
        },
    ),
)


class SqlSecrets:
    """Both tables, for tasks (opened) and for people (masked)."""

    def __init__(self, database: Database, sealer: SecretSealer) -> None:
        self._database = database
        self._sealer = sealer

    # --- for tasks: with their secrets

    def connection_fields(self, conn_id: str) -> ConnectionFields | None:
        """Return a Connection with its secrets; None when it is not there."""
        row = self._one(connection_table, _CONN.conn_id, conn_id)
        return None if row is None else self._opened(row)

    def variable_fields(self, key: str) -> VariableFields | None:
        """Return a Variable with its value; None when it is not there."""
        row = self._one(variable_table, _VAR.key, key)
        return None if row is None else self._variable_fields(row)

    def connection_ids(self) -> tuple[str, ...]:
        """Return ids to choose a suggestion from."""
        return self._names(_CONN.conn_id)

    def variable_keys(self) -> tuple[str, ...]:
        """Return keys to choose a suggestion from."""
        return self._names(_VAR.key)

    def every_connection(self) -> tuple[ConnectionFields, ...]:
        """Return all Connections with their secrets, for an export."""
        return tuple(self._opened(row) for row in self._every(connection_table, _CONN.conn_id))

    def every_variable(self) -> tuple[VariableFields, ...]:
        """Return all Variables with their values, for an export."""
        return tuple(self._variable_fields(row) for row in self._every(variable_table, _VAR.key))

    def readable_variables(self) -> dict[str, str]:
        """Return all values by key, but for those whose encryption key is missing."""
        values = {}
        for row in self._every(variable_table, _VAR.key):
            with suppress(SettingsError):
                values[row.key] = self._variable_fields(row).value
        return values

    # --- for people: without

    def connections(
        self, request: PageRequest, *, conn_id: TextMatch | None = None
    ) -> Page[ConnectionView]:
        """List Connections; secrets are masked."""
        statement = select(connection_table).where(matches(_CONN.conn_id, conn_id or TextMatch()))
        return self._page(statement, _CONN_ORDER, request, self._connection_view)

    def connection(self, conn_id: str) -> ConnectionView:
        """Return one Connection, secrets masked; raise NotFoundError."""
        row = self._one(connection_table, _CONN.conn_id, conn_id)
        if row is None:
            raise self.unknown_connection(conn_id)
        return self._connection_view(row)

    def variables(
        self, request: PageRequest, *, key: TextMatch | None = None
    ) -> Page[VariableView]:
        """List Variables; the values of sensitive ones are masked."""
        statement = select(variable_table).where(matches(_VAR.key, key or TextMatch()))
        return self._page(statement, _VAR_ORDER, request, self._variable_view)

    def variable(self, key: str) -> VariableView:
        """Return one Variable, masked if it is sensitive; raise NotFoundError."""
        row = self._one(variable_table, _VAR.key, key)
        if row is None:
            raise self.unknown_variable(key)
        return self._variable_view(row)

    # --- changes

    def create_connection(self, fields: ConnectionFields, *, user: str | None) -> None:
        """Store a new Connection; raise ConflictError if it exists."""
        statement = insert(connection_table).values(**self._sealed(fields, user), updated_at=now())
        self._create(statement, f"Connection {fields.conn_id!r}")

    def put_connection(self, fields: ConnectionFields, *, user: str | None) -> None:
        """Store a Connection, in the place of one that has its id."""
        values = self._sealed(fields, user)
        self._write(lambda c: c.execute(_PUT_CONNECTION[c.dialect.name], values))

    def delete_connection(self, conn_id: str) -> None:
        """Remove a Connection; raise NotFoundError."""
        if not self._delete(connection_table, _CONN.conn_id, conn_id):
            raise self.unknown_connection(conn_id)

    def create_variable(self, fields: VariableFields, *, user: str | None) -> None:
        """Store a new Variable; raise ConflictError if it exists."""
        statement = insert(variable_table).values(**self._variable(fields, user), updated_at=now())
        self._create(statement, f"Variable {fields.key!r}")

    def put_variable(self, fields: VariableFields, *, user: str | None) -> None:
        """Store a Variable, in the place of one that has its key."""
        values = self._variable(fields, user)
        self._write(lambda c: c.execute(_PUT_VARIABLE[c.dialect.name], values))

    def delete_variable(self, key: str) -> bool:
        """Remove a Variable; False when there is none."""
        return self._delete(variable_table, _VAR.key, key)

    def unknown_connection(self, conn_id: str) -> NotFoundError:
        """Build the error for a Connection that is not stored."""
        return self._unknown("Connection", conn_id, self.connection_ids())

    def unknown_variable(self, key: str) -> NotFoundError:
        """Build the error for a Variable that is not stored."""
        return self._unknown("Variable", key, self.variable_keys())

    def rotate(self) -> int:
        """Seal everything with the first key, in one transaction; return how many rows changed.
        SettingsError, and nothing changed, when a key is missing."""

        def rotate(connection: SqlConnection) -> int:
            return self._reseal(
                connection, connection_table, _CONN.conn_id, _SEALED, "Connection"
            ) + self._reseal(connection, variable_table, _VAR.key, ("value",), "Variable")

        return self._write(rotate)

    def _reseal(
        self,
        connection: SqlConnection,
        table: Table,
        key: Any,
        columns: Iterable[str],
        kind: str,
    ) -> int:
        changed = 0
        statement = update(table).where(key == bindparam("of_key"))
        for row in connection.execute(select(table).order_by(key).with_for_update()).all():
            name = row._mapping[key.name]
            new = {
                column: self._sealer.reseal(sealed, what=f"{kind} {name!r}")
                for column in columns
                if (sealed := row._mapping[column]) is not None
                and not self._sealer.is_sealed_by_first(sealed)
            }
            if new:
                connection.execute(statement.values(**new), {"of_key": name})
                changed += 1
        return changed

    # --- rows

    def _opened(self, row: Row[Any]) -> ConnectionFields:
        what = f"Connection {row.conn_id!r}"
        facts = row._mapping
        opened: dict[str, Any] = {
            column: None if facts[column] is None else self._sealer.open(facts[column], what=what)
            for column in _SEALED
        }
        plain = {column: facts[column] for column in _PLAIN}
        return ConnectionFields(conn_id=row.conn_id, **plain, **opened)

    def _sealed(self, fields: ConnectionFields, user: str | None) -> dict[str, Any]:
        values = {column: getattr(fields, column) for column in ("conn_id", *_PLAIN)}
        for column in _SEALED:
            text = getattr(fields, column)
            values[column] = None if text is None else self._sealer.seal(text)
        return {**values, "updated_by": user}

    def _variable(self, fields: VariableFields, user: str | None) -> dict[str, Any]:
        return {
            "key": fields.key,
            "value": self._sealer.seal(fields.value),
            "description": fields.description,
            "updated_by": user,
        }

    def _variable_fields(self, row: Row[Any]) -> VariableFields:
        value = self._sealer.open(row.value, what=f"Variable {row.key!r}")
        return VariableFields(key=row.key, value=value, description=row.description)

    def _connection_view(self, row: Row[Any]) -> ConnectionView:
        extra: Mapping[str, Any] | None = None
        problem = None
        try:
            opened = self._opened(row)
            extra = redact(json.loads(opened.extra)) if opened.extra else None
        except SettingsError as error:
            problem = str(error)
        plain = {column: row._mapping[column] for column in _PLAIN}
        return ConnectionView(
            conn_id=row.conn_id,
            **plain,
            has_password=row.password is not None,
            extra=extra,
            updated_at=row.updated_at,
            updated_by=row.updated_by,
            problem=problem,
        )

    def _variable_view(self, row: Row[Any]) -> VariableView:
        value, problem = MASK, None
        is_sensitive = is_sensitive_name(row.key)
        if not is_sensitive:
            try:
                value = _masked(self._sealer.open(row.value, what=f"Variable {row.key!r}"))
            except SettingsError as error:
                problem = str(error)
        return VariableView(
            key=row.key,
            value=value,
            is_sensitive=is_sensitive,
            description=row.description,
            updated_at=row.updated_at,
            updated_by=row.updated_by,
            problem=problem,
        )

    # --- statements

    def _one(self, table: Table, column: Any, name: str) -> Row[Any] | None:
        statement = select(table).where(column == name)

        def read() -> Row[Any] | None:
            with self._database.reading() as connection:
                return connection.execute(statement).one_or_none()

        return self._database.retrying(read)

    def _every(self, table: Table, key: Any) -> list[Row[Any]]:
        def read() -> list[Row[Any]]:
            with self._database.reading() as connection:
                return list(connection.execute(select(table).order_by(key)).all())

        return self._database.retrying(read)

    def _names(self, column: Any) -> tuple[str, ...]:
        with self._database.reading() as connection:
            names = connection.execute(select(column).order_by(column).limit(SIMILAR_AMONG_MAX))
            return tuple(names.scalars())

    def _page(
        self,
        statement: Select[Any],
        ordering: Ordering,
        request: PageRequest,
        view: Callable[[Row[Any]], _Result],
    ) -> Page[_Result]:
        with self._database.reading() as connection:
            piece = read_piece(connection, statement, ordering, request)
        return Page(items=tuple(view(row) for row in piece.rows), total=piece.total)

    def _create(self, statement: Any, what: str) -> None:
        try:
            with self._database.writing() as connection:
                connection.execute(statement)
        except IntegrityError:
            raise ConflictError(f"{what} exists already; change it instead") from None

    def _delete(self, table: Table, column: Any, name: str) -> bool:
        statement = delete(table).where(column == name)
        return self._write(lambda c: c.execute(statement).rowcount) > 0

    def _write(self, work: Callable[[SqlConnection], _Result]) -> _Result:
        def write() -> _Result:
            with self._database.writing() as connection:
                return work(connection)

        return self._database.retrying(write)

    def _unknown(self, kind: str, name: str, known: Iterable[str]) -> NotFoundError:
        group = f"{kind.lower()}s"
        hint = did_you_mean(name, known) or f"; `orchestrator {group} list` shows all"
        return NotFoundError(f"{kind} {name!r} does not exist{hint}")


def _masked(text: str) -> str:
    """Mask what is secret by its name within a Variable that holds a JSON object."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        held = json.loads(text)
    except ValueError:
        return text
    shown = redact(held)
    return text if shown == held else json.dumps(shown)
