"""The only SQL: tables, transactions, reads and migrations, on PostgreSQL and SQLite alike."""

from orchestrator.store.opening import Store, open_store
from orchestrator.store.schema import check, downgrade, migrate
from orchestrator.store.spilling import SpillRules
from orchestrator.store.value_files import ValueFiles, open_value_files

__all__ = [
    "SpillRules",
    "Store",
    "ValueFiles",
    "check",
    "downgrade",
    "migrate",
    "open_store",
    "open_value_files",
]
