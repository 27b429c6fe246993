"""What is stored of limits that count starts over time."""

from datetime import datetime

from sqlalchemy import Column
from sqlmodel import Field

from orchestrator.store.columns import an_instant
from orchestrator.store.tables import Row
from orchestrator.store.types import BigId


class RateStartRow(Row, table=True):
    """A start that counts against a rate limit until `until`; there are never more of one name
    than its limit allows."""

    __tablename__ = "rate_start"

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    name: str = Field(index=True)
    until: datetime = an_instant(nullable=False)


rate_start_table = Row.metadata.tables["rate_start"]
