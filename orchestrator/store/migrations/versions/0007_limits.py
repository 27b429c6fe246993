"""Keyed concurrency and rate limits."""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""


def downgrade() -> None:
    """Take it back."""
