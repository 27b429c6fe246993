"""What is stored of Connections and Variables: everything secret in them sealed (store.sealing).

`password`, `extra` and `value` hold what `SecretSealer.seal` made; the rest is for people to find
their way by, and no secret.
"""

from datetime import datetime

from sqlalchemy import Column, String
from sqlmodel import Field

from orchestrator.store.columns import an_instant, prose
from orchestrator.store.tables import Row


class ConnectionRow(Row, table=True):
    """How to reach a server."""

    __tablename__ = "connection"

    conn_id: str = Field(primary_key=True)
    conn_type: str
    description: str | None = prose()
    host: str | None = None
    port: int | None = None
    login: str | None = None
    schema_name: str | None = Field(sa_column=Column("schema", String))
    password: str | None = prose()
    extra: str | None = prose()
    updated_at: datetime = an_instant(nullable=False)
    updated_by: str | None = None


class VariableRow(Row, table=True):
    """A text that DAGs read by its key."""

    __tablename__ = "variable"

    key: str = Field(primary_key=True)
    value: str = prose(nullable=False)
    description: str | None = prose()
    updated_at: datetime = an_instant(nullable=False)
    updated_by: str | None = None


connection_table = Row.metadata.tables["connection"]
variable_table = Row.metadata.tables["variable"]
