"""Mapped task instances: wide indexes, lengths, reschedules, group retries; runs that look back."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import Instant, Prose

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXED = ("task_instance", "task_event", "xcom")
"""Tables with a map index."""
_LOOKING_BACK = sa.text("state = 'running' AND looks_back")
_LANE = ("run_uid", "pool", "named_queue")
_RANK = (sa.text("priority DESC"), "map_index", "id")


def upgrade() -> None:
    """Bring the schema up."""
    _set_index_type(sa.BigInteger())
    for column in (
        sa.Column("began_at", Instant()),
        sa.Column("length", sa.Integer()),
        sa.Column("rendered_map_index", Prose()),
        _a_count("group_try"),
        sa.Column("capped_by", sa.String(), nullable=False, server_default=""),
    ):
        op.add_column("task_instance", column)
    op.add_column("task_event", sa.Column("length", sa.Integer()))
    op.add_column("task_event", _a_count("group_try"))
    op.add_column(
        "dag_run",
        sa.Column("looks_back", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "ix_dag_run_looking_back",
        "dag_run",
        ["dag_id", "logical_date"],
        postgresql_where=_LOOKING_BACK,
        sqlite_where=_LOOKING_BACK,
    )
    op.drop_index("ix_task_instance_scheduled", "task_instance")
    _index_scheduled(*_LANE, "capped_by", *_RANK)
    op.drop_index("ix_xcom_run_uid_key_task_id", "xcom")
    op.create_index(
        "ix_xcom_run_uid_key_task_id_map_index", "xcom", ["run_uid", "key", "task_id", "map_index"]
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_index("ix_dag_run_looking_back", "dag_run")
    op.drop_column("dag_run", "looks_back")
    op.drop_index("ix_xcom_run_uid_key_task_id_map_index", "xcom")
    op.create_index("ix_xcom_run_uid_key_task_id", "xcom", ["run_uid", "key", "task_id"])
    op.drop_index("ix_task_instance_scheduled", "task_instance")
    _index_scheduled(*_LANE, *_RANK)
    for column in ("group_try", "length"):
        op.drop_column("task_event", column)
    for column in ("capped_by", "group_try", "rendered_map_index", "length", "began_at"):
        op.drop_column("task_instance", column)
    _set_index_type(sa.Integer())


def _set_index_type(type_: sa.types.TypeEngine[Any]) -> None:
    """SQLite's integers have 64 bits whatever they are called."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for table in _INDEXED:
        op.alter_column(table, "map_index", type_=type_, existing_nullable=False)


def _a_count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"))


def _index_scheduled(*columns: Any) -> None:
    waiting = sa.text("state = 'scheduled'")
    op.create_index(
        "ix_task_instance_scheduled",
        "task_instance",
        list(columns),
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
