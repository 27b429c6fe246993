"""Connections and Variables, and what people see of XComs that hold secrets."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import Instant, Json, Prose

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.create_table(
        "connection",
        sa.Column("conn_id", sa.String(), nullable=False),
        sa.Column("conn_type", sa.String(), nullable=False),
        sa.Column("description", Prose(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("login", sa.String(), nullable=True),
        sa.Column("schema", sa.String(), nullable=True),
        sa.Column("password", Prose(), nullable=True),
        sa.Column("extra", Prose(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("conn_id", name=op.f("pk_connection")),
    )
    op.create_table(
        "variable",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", Prose(), nullable=False),
        sa.Column("description", Prose(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_variable")),
    )
    op.add_column("xcom", sa.Column("masked", Json(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("xcom", "masked")
    op.drop_table("variable")
    op.drop_table("connection")
