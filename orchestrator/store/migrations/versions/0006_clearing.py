"""What clearing and marking by people leaves behind."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import Prose

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column(
        "dag_run",
        sa.Column("clear_number", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.add_column("dag_run", sa.Column("fails_later", Prose()))


def downgrade() -> None:
    """Take it back."""
    for column in ("fails_later", "clear_number"):
        op.drop_column("dag_run", column)
