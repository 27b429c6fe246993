"""One installation with one worker for all tests that leave it in order."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from orchestrator.store import migrate
from tests.workers.rig import Rig, Worker, a_rig


@pytest.fixture(scope="session")
def quiet() -> Iterator[None]:
    """The scheduler thread tells pytest nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def rig(tmp_path: Path, quiet: None) -> Iterator[Rig]:
    """An installation of a test's own, without workers."""
    url = f"sqlite:///{tmp_path / 'orchestrator.db'}"
    migrate(url)
    with a_rig(tmp_path, url) as rig:
        yield rig


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, quiet: None) -> Iterator[Rig]:
    """An installation with a worker, for tests that do not harm it."""
    home = tmp_path_factory.mktemp("shared")
    url = f"sqlite:///{home / 'orchestrator.db'}"
    migrate(url)
    with a_rig(home, url) as rig:
        rig.start_worker("-Q", "default,gpu", "-c", "2")
        yield rig


@pytest.fixture
def worker(shared: Rig) -> Worker:
    """The shared installation's worker."""
    (worker,) = shared.workers
    assert worker.process.poll() is None, worker.log.read_text()
    return worker
