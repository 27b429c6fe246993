"""What is stored of large XComs, of values that tasks keep across tries, and of cached results."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary, Text
from sqlmodel import Field

from orchestrator.store.columns import an_instant, json_value, parent_key
from orchestrator.store.tables import Row
from orchestrator.store.types import BigId


class XComSpillRow(Row, table=True):
    """An XCom that is too large for its row, which holds a preview of it. It belongs to the XCom of
    the same epoch; written before that, so that a try's end stays one short statement."""

    __tablename__ = "xcom_spill"

    ti_id: UUID = parent_key("task_instance.id", primary_key=True)
    key: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True, sa_type=BigInteger)
    size_bytes: int = Field(sa_type=BigInteger)
    parts: int
    length: int | None = None
    """How many elements it has."""
    head: Any = json_value()
    """What it is without its elements; null for a text cut into pieces."""


class XComPartRow(Row, table=True):
    """Consecutive elements (or bytes) of a large XCom, compressed: here, or in a file at `path`."""

    __tablename__ = "xcom_part"
    __table_args__ = (
        ForeignKeyConstraint(
            ["ti_id", "key", "epoch"],
            ["xcom_spill.ti_id", "xcom_spill.key", "xcom_spill.epoch"],
            name="fk_xcom_part_ti_id",
            ondelete="CASCADE",
        ),
    )

    ti_id: UUID = Field(primary_key=True)
    key: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True, sa_type=BigInteger)
    number: int = Field(primary_key=True)
    first: int
    """The position of its first element."""
    digest: str
    """SHA-256 of the compressed bytes, in hex."""
    data: bytes | None = Field(default=None, sa_type=LargeBinary)
    path: str | None = None


class TaskValueRow(Row, table=True):
    """A value that a task instance keeps for its next tries."""

    __tablename__ = "task_value"

    ti_id: UUID = parent_key("task_instance.id", primary_key=True)
    key: str = Field(primary_key=True)
    value: str = Field(sa_type=Text)
    """JSON."""
    updated_at: datetime = an_instant(nullable=False)


class CachedResultRow(Row, table=True):
    """What a successful try pushed, for tries of the same code with the same arguments."""

    __tablename__ = "cached_result"
    __table_args__ = (Index("ix_cached_result_expires_at", "expires_at"),)

    key: str = Field(primary_key=True)
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = Field(sa_type=BigId)
    try_number: int
    xcoms: bytes = Field(sa_type=LargeBinary)
    """Compressed JSON."""
    created_at: datetime = an_instant(nullable=False)
    expires_at: datetime = an_instant(nullable=False)


xcom_spill_table = Row.metadata.tables["xcom_spill"]
xcom_part_table = Row.metadata.tables["xcom_part"]
task_value_table = Row.metadata.tables["task_value"]
cached_result_table = Row.metadata.tables["cached_result"]
