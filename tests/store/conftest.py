"""Stores on each database."""

from collections.abc import Iterator

import pytest

from orchestrator.store import open_store
from tests.store.guards import install_transition_guards
from tests.store.world import StoredWorld


@pytest.fixture
def world(database_url: str) -> Iterator[StoredWorld]:
    """A migrated store on each database, whose illegal transitions raise."""
    store = open_store(database_url)
    with store.database.writing() as connection:
        install_transition_guards(connection)
    yield StoredWorld(store)
    store.close()
