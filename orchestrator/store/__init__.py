"""The only SQL: tables, transactions, reads and migrations, on PostgreSQL and SQLite alike."""

from orchestrator.store.schema import check, downgrade, migrate

__all__ = ["check", "downgrade", "migrate"]
