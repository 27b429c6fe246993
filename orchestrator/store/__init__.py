"""The only SQL: tables, transactions, reads and migrations, on PostgreSQL and SQLite alike."""

from orchestrator.store.opening import Store, open_store
from orchestrator.store.schema import check, downgrade, migrate

__all__ = ["Store", "check", "downgrade", "migrate", "open_store"]
