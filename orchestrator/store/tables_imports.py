"""What is stored of imports: why a file does not import, and what is odd about a DAG that does."""

from datetime import datetime

from sqlalchemy import Column
from sqlmodel import Field

from orchestrator.store.columns import an_instant, parent_key, prose
from orchestrator.store.tables import Row
from orchestrator.store.types import BigId


class ImportErrorRow(Row, table=True):
    """Why a file does not import."""

    __tablename__ = "import_error"

    id: int | None = Field(default=None, sa_column=Column(BigId, primary_key=True))
    path: str = Field(unique=True)
    kind: str
    message: str = prose(nullable=False)
    stacktrace: str = prose(nullable=False)
    at: datetime = an_instant(nullable=False)


class DagWarningRow(Row, table=True):
    """What is odd about a DAG that imports."""

    __tablename__ = "dag_warning"

    dag_id: str = parent_key("dag.dag_id", primary_key=True)
    kind: str = Field(primary_key=True)
    message: str = prose(nullable=False)
    at: datetime = an_instant(nullable=False)


import_error_table = Row.metadata.tables["import_error"]
dag_warning_table = Row.metadata.tables["dag_warning"]
