"""Connections and Variables."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""


def downgrade() -> None:
    """Take it back."""
