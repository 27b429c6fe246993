"""Mapped task instances: wide indexes, lengths, reschedules, group retries."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""


def downgrade() -> None:
    """Take it back."""
