"""Large XComs, values kept across tries, the result cache."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import BigId, Instant, Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.create_table(
        "xcom_spill",
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=True),
        sa.Column("head", Json(), nullable=True),
        sa.ForeignKeyConstraint(
            ["ti_id"], ["task_instance.id"], name="fk_xcom_spill_ti_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ti_id", "key", "epoch", name="pk_xcom_spill"),
    )
    op.create_table(
        "xcom_part",
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("path", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["ti_id", "key", "epoch"],
            ["xcom_spill.ti_id", "xcom_spill.key", "xcom_spill.epoch"],
            name="fk_xcom_part_ti_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("ti_id", "key", "epoch", "number", name="pk_xcom_part"),
    )
    op.create_table(
        "task_value",
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ti_id"], ["task_instance.id"], name="fk_task_value_ti_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ti_id", "key", name="pk_task_value"),
    )
    op.create_table(
        "cached_result",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("map_index", BigId, nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("xcoms", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_cached_result"),
    )
    op.create_index("ix_cached_result_expires_at", "cached_result", ["expires_at"])


def downgrade() -> None:
    """Take it back."""
    for table in ("cached_result", "task_value", "xcom_part", "xcom_spill"):
        op.drop_table(table)
