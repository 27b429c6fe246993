"""What is stored of requests that may be repeated: which run they asked for the first time."""

from uuid import UUID

from sqlmodel import Field

from orchestrator.store.columns import parent_key
from orchestrator.store.tables import Row


class RunRequestRow(Row, table=True):
    """The key that came with a request for a run. It is kept as long as the run."""

    __tablename__ = "run_request"

    dag_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str
    """SHA-256, in hex, of what was asked for."""
    run_uid: UUID = parent_key("dag_run.id", index=True)


run_request_table = Row.metadata.tables["run_request"]
