"""Callbacks owed, and deadlines of runs."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import Instant, Json, Prose

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OWED = sa.text("state = 'owed'")
_OPEN = sa.text("missed_at IS NULL")


def upgrade() -> None:
    """Bring the schema up."""
    op.create_table(
        "callback",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column(
            "run_uid", sa.Uuid(), sa.ForeignKey("dag_run.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("ti_id", sa.Uuid()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("deadline_index", sa.Integer()),
        sa.Column("dag_version_id", sa.Uuid(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("reason", Prose()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("delivered", Json(), nullable=False),
        sa.Column("due_at", Instant()),
        sa.Column("publish_count", sa.Integer(), nullable=False),
        sa.Column("lease_until", Instant()),
        sa.Column("worker", sa.String()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
        sa.Column("error", Prose()),
        sa.Column("output", Prose()),
    )
    op.create_index("ix_callback_run_uid", "callback", ["run_uid"])
    op.create_index(
        "ix_callback_due", "callback", ["due_at"], postgresql_where=_OWED, sqlite_where=_OWED
    )
    op.create_table(
        "deadline",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column(
            "run_uid", sa.Uuid(), sa.ForeignKey("dag_run.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("deadline_index", sa.Integer(), nullable=False),
        sa.Column("dag_version_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("missed_at", Instant()),
    )
    op.create_index("ix_deadline_run_uid", "deadline", ["run_uid"])
    op.create_index(
        "ix_deadline_due", "deadline", ["due_at"], postgresql_where=_OPEN, sqlite_where=_OPEN
    )
    op.create_index(
        "uq_deadline_open",
        "deadline",
        ["run_uid", "deadline_index"],
        unique=True,
        postgresql_where=_OPEN,
        sqlite_where=_OPEN,
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("deadline")
    op.drop_table("callback")
