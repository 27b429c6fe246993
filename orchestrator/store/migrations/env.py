"""How Alembic runs our migrations: in the transaction that schema.py gives it."""

from alembic import context
from sqlalchemy import text

from orchestrator.store.tables import Row

_LOCK_KEY = 0x6F726368  # "orch": one process migrates, the others wait and find nothing to do

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
context.configure(
    connection=connection,
    target_metadata=Row.metadata,
    # SQLite changes a table by making it anew; Alembic's batches do that.
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=False,
)
context.run_migrations()
