"""Keyed concurrency and rate limits."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import BigId, Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEYED = sa.text("concurrency_key IS NOT NULL AND state IN ('queued', 'running')")


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column("task_instance", sa.Column("concurrency_key", sa.String()))
    op.add_column("task_instance", sa.Column("rate_name", sa.String()))
    op.add_column("task_instance", sa.Column("rate_s", sa.Float()))
    op.create_index(
        "ix_task_instance_keyed",
        "task_instance",
        ["concurrency_key"],
        postgresql_where=_KEYED,
        sqlite_where=_KEYED,
    )
    op.create_table(
        "rate_start",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("until", Instant, nullable=False),
    )
    op.create_index("ix_rate_start_name", "rate_start", ["name"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("rate_start")
    op.drop_index("ix_task_instance_keyed", "task_instance")
    for column in ("concurrency_key", "rate_name", "rate_s"):
        op.drop_column("task_instance", column)
