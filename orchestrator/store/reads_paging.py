"""How is one piece of a listing read without reading the rest?

By offset, or by cursor: a cursor holds the sort values of the row it follows, so the next piece is
found by index however far the listing has been read. Counting stops `COUNT_AHEAD` rows behind the
piece asked for: exact for what people look at, bounded for a history of millions.
"""

import base64
import binascii
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FunctionElement,
    Row,
    Select,
    and_,
    false,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from orchestrator.core.listings import Bounds, PageRequest, TextMatch
from orchestrator.errors import RequestInvalidError, did_you_mean
from orchestrator.store.types import Instant, now

__all__ = [
    "COUNT_AHEAD",
    "Ordering",
    "Piece",
    "SortKey",
    "contains",
    "matches",
    "read_piece",
    "within",
]

COUNT_AHEAD = 50_000


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column a listing can be ordered by. Nulls are the largest values, on both databases."""

    column: ColumnElement[Any]
    is_nullable: bool = False


@dataclass(frozen=True, slots=True)
class Ordering:
    """What a listing can be ordered by: the names people use, the order when they name none, and
    the key that makes every order total (also under the name it is given)."""

    keys: Mapping[str, SortKey]
    default: tuple[str, ...]
    tie_breaker: str


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one piece and what a Page says besides."""

    rows: Sequence[Row[Any]]
    total: int
    next_cursor: str | None
    previous_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Sort:
    key: SortKey
    is_descending: bool

    def reversed(self) -> "_Sort":
        return _Sort(self.key, not self.is_descending)

    def clause(self) -> ColumnElement[Any]:
        column = self.key.column
        ordered = column.desc() if self.is_descending else column.asc()
        if not self.key.is_nullable:
            return ordered
        return ordered.nulls_first() if self.is_descending else ordered.nulls_last()

    def beyond(self, value: Any) -> ColumnElement[bool]:
        column = self.key.column
        if value is None:
            return column.is_not(None) if self.is_descending else false()
        if self.is_descending:
            return and_(column < value)
        return (
            or_(column > value, column.is_(None)) if self.key.is_nullable else and_(column > value)
        )

    def equal(self, value: Any) -> ColumnElement[bool]:
        return self.key.column.is_(None) if value is None else self.key.column == value


def read_piece(
    connection: Connection, statement: Select[Any], ordering: Ordering, request: PageRequest
) -> Piece:
    """Read one piece of a filtered statement, in the order asked for."""
    sorts = _sorts(ordering, request.order_by)
    total = _count(connection, statement, ahead_of=request.offset + request.limit)
    if request.cursor is None:
        rows = connection.execute(
            statement.order_by(*(sort.clause() for sort in sorts))
            .limit(request.limit)
            .offset(request.offset)
        ).all()
        return Piece(rows, total, None, None)
    return _read_by_cursor(connection, statement, sorts, request, total)


def within(
    column: ColumnElement[Any], bounds: Bounds | None, *, null_is_now: bool = False
) -> ColumnElement[bool]:
    """Return the condition that a column is within bounds. With `null_is_now` a null counts as an
    instant that is yet to come: it passes every lower bound, and an upper one in the future."""
    conditions: list[ColumnElement[bool]] = []
    for value, compare, is_lower in _sides(bounds or Bounds()):
        if value is None:
            continue
        passes = compare(column, value)
        if null_is_now:
            unset = column.is_(None)
            passes = or_(passes, unset if is_lower else and_(unset, now() <= value))
        conditions.append(passes)
    return and_(true(), *conditions)


def matches(column: ColumnElement[Any], match: TextMatch) -> ColumnElement[bool]:
    """Return the condition that a text column contains one of the substrings (whatever the case)
    or starts with one of the prefixes; an empty match lets everything pass."""
    found = [column.ilike(f"%{text}%") for text in match.substrings]
    started = [func.substr(column, 1, len(text)) == text for text in match.prefixes]
    both = [or_(*conditions) for conditions in (found, started) if conditions]
    return and_(true(), *both)


class contains(FunctionElement[bool]):  # noqa: N801 - it reads as the SQL function it is
    """Whether the first text contains the second, letter for letter."""

    inherit_cache = True
    type = Boolean()


@compiles(contains, "postgresql")
def _contains_on_postgresql(element: contains, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(strpos({compiler.process(element.clauses, **kw)}) > 0)"


@compiles(contains, "sqlite")
def _contains_on_sqlite(element: contains, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(instr({compiler.process(element.clauses, **kw)}) > 0)"


def _sides(bounds: Bounds) -> tuple[tuple[Any, Callable[[Any, Any], Any], bool], ...]:
    """Return each bound, how it compares, and whether it is a lower one."""
    return (
        (bounds.gte, operator.ge, True),
        (bounds.gt, operator.gt, True),
        (bounds.lte, operator.le, False),
        (bounds.lt, operator.lt, False),
    )


def _sorts(ordering: Ordering, order_by: Sequence[str]) -> tuple[_Sort, ...]:
    names = [name for name in order_by if name.strip()] or list(ordering.default)
    sorts = []
    for name in names:
        key = ordering.keys.get(name.removeprefix("-"))
        if key is None:
            raise RequestInvalidError(
                f"order_by={name!r} names no column this listing can be ordered by"
                f"{did_you_mean(name.removeprefix('-'), ordering.keys)}; possible are "
                + ", ".join(sorted(ordering.keys))
            )
        sorts.append(_Sort(key, name.startswith("-")))
    if names[-1].removeprefix("-") != ordering.tie_breaker:
        sorts.append(_Sort(ordering.keys[ordering.tie_breaker], sorts[-1].is_descending))
    return tuple(sorts)


def _count(connection: Connection, statement: Select[Any], *, ahead_of: int) -> int:
    # The tables stay, or a statement without a condition would count one row of nothing.
    one = true().label("one")
    rows = statement.with_only_columns(one, maintain_column_froms=True).order_by(None)
    counted = select(func.count()).select_from(rows.limit(ahead_of + COUNT_AHEAD).subquery())
    return int(connection.execute(counted).scalar_one())


def _read_by_cursor(
    connection: Connection,
    statement: Select[Any],
    sorts: tuple[_Sort, ...],
    request: PageRequest,
    total: int,
) -> Piece:
    is_backward, values = _decode(request.cursor or "", sorts)
    path = tuple(sort.reversed() for sort in sorts) if is_backward else sorts
    labels = [sort.key.column.label(f"cursor_{index}") for index, sort in enumerate(sorts)]
    wanted = statement.add_columns(*labels).order_by(*(sort.clause() for sort in path))
    if values is not None:
        wanted = wanted.where(_after(path, values))
    rows = connection.execute(wanted.limit(request.limit + 1)).all()
    has_more = len(rows) > request.limit
    rows = rows[: request.limit]
    if is_backward:
        rows = rows[::-1]
    comes_from_before = values is not None and not is_backward
    next_cursor = _encode(rows[-1], sorts, "n") if rows and (has_more or is_backward) else None
    has_previous = has_more if is_backward else comes_from_before
    previous_cursor = _encode(rows[0], sorts, "p") if rows and has_previous else None
    return Piece(rows, total, next_cursor, previous_cursor)


def _after(sorts: Sequence[_Sort], values: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a row comes after the one with these sort values."""
    alternatives: list[ColumnElement[bool]] = []
    for index, sort in enumerate(sorts):
        equals = [sorts[earlier].equal(values[earlier]) for earlier in range(index)]
        alternatives.append(and_(*equals, sort.beyond(values[index])))
    return or_(*alternatives)


def _encode(row: Row[Any], sorts: Sequence[_Sort], direction: str) -> str:
    values = [row._mapping[f"cursor_{index}"] for index in range(len(sorts))]
    raw = msgspec.msgpack.encode([direction, *values])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(cursor: str, sorts: Sequence[_Sort]) -> tuple[bool, list[Any] | None]:
    if not cursor:
        return False, None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        direction, *values = msgspec.msgpack.decode(raw, type=list[Any])
        if direction not in ("n", "p") or len(values) != len(sorts):
            raise ValueError(cursor)
        typed = [_typed(value, sort.key) for value, sort in zip(values, sorts, strict=True)]
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        raise RequestInvalidError(
            f"cursor={cursor[:80]!r} is not a cursor of this listing in this order; start again "
            "with an empty one"
        ) from None
    return direction == "p", typed


def _typed(value: Any, key: SortKey) -> Any:
    if value is None:
        if not key.is_nullable:
            raise ValueError(key)
        return None
    kind = key.column.type
    if isinstance(kind, Instant):
        instant = msgspec.convert(value, datetime)
        if instant.tzinfo is None:
            raise ValueError(value)
        return instant
    return msgspec.convert(value, kind.python_type)
