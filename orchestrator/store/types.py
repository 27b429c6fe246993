"""How values are stored that the two databases know differently: instants, JSON, prose, lists."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Cast,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    FunctionElement,
    Integer,
    Label,
    Subquery,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

NOW_FUNCTION = "orchestrator_now"
"""The function that engine.py registers on every SQLite connection: microseconds since 1970."""

BigId = BigInteger().with_variant(Integer, "sqlite")
"""64 bits: map indexes, and counters that the database hands out. SQLite's INTEGER has them anyway,
and it counts only in a plain INTEGER key."""


class Instant(TypeDecorator[datetime]):
    """An aware instant: timestamptz on PostgreSQL, microseconds since 1970 on SQLite, UTC in
    Python. Integers compare and index in SQLite as instants do, which its text dates do not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Integer())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        assert value.tzinfo is not None, f"{value!r} says no time zone"
        return microseconds(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            value = _EPOCH + value * _MICROSECOND
        instant: datetime = value.astimezone(UTC)
        return instant


class Json(TypeDecorator[Any]):
    """A JSON value as text: the order of keys and every escape survive, as jsonb's do not."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


class Prose(TypeDecorator[str]):
    """Text that came from user code. PostgreSQL refuses NUL and no database takes half a surrogate
    pair, so both become a replacement character: a strange message must not lose a report."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else printable(value)


def microseconds(instant: datetime) -> int:
    """Return an instant as SQLite stores it."""
    return (instant - _EPOCH) // _MICROSECOND


def printable(text: str) -> str:
    """Return text that every database accepts."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def json_text(value: Any) -> str:
    """Write JSON in ASCII, so that no character of the value can offend a database."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


class now(FunctionElement[datetime]):  # noqa: N801 - it reads as the SQL function it is
    """The clock that every instant is compared with: the server's on PostgreSQL, on SQLite the
    one that the store was opened with."""

    inherit_cache = True
    type = Instant()


@compiles(now, "postgresql")
def _now_on_postgresql(_element: now, _compiler: SQLCompiler, **_kw: Any) -> str:
    # clock_timestamp() alone is volatile, and no index is searched for a volatile value; as a
    # subquery it is asked once per statement.
    return "(SELECT clock_timestamp())"


@compiles(now, "sqlite")
def _now_on_sqlite(_element: now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return f"{NOW_FUNCTION}()"


class now_plus(FunctionElement[datetime]):  # noqa: N801 - it reads as the SQL function it is
    """The clock plus so many seconds (an expression)."""

    inherit_cache = True
    type = Instant()

    def __init__(self, seconds: ColumnElement[Any]) -> None:
        super().__init__(cast(seconds, Float(53)))


@compiles(now_plus, "postgresql")
def _now_plus_on_postgresql(element: now_plus, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"((SELECT clock_timestamp()) + make_interval(secs => {seconds}))"


@compiles(now_plus, "sqlite")
def _now_plus_on_sqlite(element: now_plus, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"({NOW_FUNCTION}() + CAST({seconds} * 1000000 AS INTEGER))"


class _json_rows(GenericFunction[Any]):  # noqa: N801 - an SQL function
    """The elements of a JSON array, one row each, in a column called value."""

    inherit_cache = True
    name = "orchestrator_json_rows"


@compiles(_json_rows, "postgresql")
def _rows_on_postgresql(element: _json_rows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses, **kw)} AS json))"


@compiles(_json_rows, "sqlite")
def _rows_on_sqlite(element: _json_rows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


class _cell(FunctionElement[str]):  # noqa: N801 - an SQL function
    """One element of a JSON array, as text or number."""

    inherit_cache = True
    type = Text()

    def __init__(self, row: ColumnElement[Any], index: int) -> None:
        super().__init__(row, literal_column(str(index)))


@compiles(_cell, "postgresql")
def _cell_on_postgresql(element: _cell, compiler: SQLCompiler, **kw: Any) -> str:
    row, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({row} ->> {index})"


@compiles(_cell, "sqlite")
def _cell_on_sqlite(element: _cell, compiler: SQLCompiler, **kw: Any) -> str:
    row, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"json_extract({row}, '$[{index}]')"


def rows_from(
    name: str, columns: Mapping[str, TypeEngine[Any] | type[TypeEngine[Any]]]
) -> Subquery:
    """Return a list of rows as a table that a statement can join: filled by `as_rows`, one JSON
    text whatever the number of rows. So a statement's text never changes (it stays prepared) and
    a thousand rows cost one round trip."""
    rows = _json_rows(bindparam(name, type_=Text())).table_valued("value", name=f"{name}_")
    cells: list[Label[Any]] = [
        _typed(_cell(rows.c.value, index), type_).label(column)
        for index, (column, type_) in enumerate(columns.items())
    ]
    # Without the count PostgreSQL takes any list for a hundred rows, and would rather read a whole
    # table of some thousand rows than look three of them up.
    return select(*cells).limit(bindparam(f"{name}_count", type_=Integer())).subquery(name)


def as_rows(name: str, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return the parameters of `rows_from`: each row's cells in the order of its columns."""
    listed = [[_plain(cell) for cell in row] for row in rows]
    return {name: json_text(listed), f"{name}_count": len(listed)}


def _typed(cell: _cell, type_: TypeEngine[Any] | type[TypeEngine[Any]]) -> Cast[Any]:
    return cast(cell, type_)


def _plain(cell: Any) -> Any:
    if cell is None or isinstance(cell, str | int | float):
        return cell
    return cell.hex  # a UUID: both databases read this form
