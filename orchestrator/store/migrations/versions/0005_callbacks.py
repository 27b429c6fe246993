"""Callbacks owed, and deadlines of runs."""

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""


def downgrade() -> None:
    """Take it back."""
