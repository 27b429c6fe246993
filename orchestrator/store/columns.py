"""How the tables declare the columns and indexes that SQLModel has no word for."""

from typing import Any

from sqlalchemy import ForeignKey, text
from sqlmodel import Field

from orchestrator.store.types import Instant, Json, Prose


def where(condition: str) -> dict[str, Any]:
    """Return the options of a partial index on both databases."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


def an_instant(*, nullable: bool = True) -> Any:
    return Field(default=None, sa_type=Instant, nullable=nullable)


def a_count() -> Any:
    """A number of rows written before there was such a column have none of: 0."""
    return Field(default=0, sa_column_kwargs={"server_default": text("0")})


def json_value(*, nullable: bool = True) -> Any:
    return Field(default=None, sa_type=Json, nullable=nullable)


def prose(*, nullable: bool = True) -> Any:
    return Field(default=None, sa_type=Prose, nullable=nullable)


def parent_key(column: str, **options: Any) -> Any:
    """A key of another table's row, gone when that row goes."""
    return Field(sa_column_args=(ForeignKey(column, ondelete="CASCADE"),), **options)
