"""Every suite here runs on each database."""

from tests.store.conftest import world

__all__ = ["world"]
