"""Requests for runs that may be repeated."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.create_table(
        "run_request",
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("run_uid", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_uid"], ["dag_run.id"], name="fk_run_request_run_uid", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dag_id", "key", name="pk_run_request"),
    )
    op.create_index("ix_run_request_run_uid", "run_request", ["run_uid"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("run_request")
