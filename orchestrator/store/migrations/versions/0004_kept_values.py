"""Large XComs, values kept across tries, the result cache."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""


def downgrade() -> None:
    """Take it back."""
