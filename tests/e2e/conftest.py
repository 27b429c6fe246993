"""What the end-to-end tests start from: an empty project with two DAG files."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import FAILING_DAG, HOLDING_DAG, Folder, Standalone


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "e2e: starts the real processes; a minute of CPU in all (-m 'not e2e' leaves out)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))  # a shared machine may be slow
            item.add_marker(pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    for name in ("dags", "signals"):
        (tmp_path / name).mkdir()
    made = Folder(tmp_path, {})
    made.write_dag("holding", HOLDING_DAG)
    made.write_dag("failing", FAILING_DAG)
    return made


@pytest.fixture
def start(folder: Folder) -> Iterator[Callable[..., Standalone]]:
    """Start standalone orchestrators on the folder; none outlives the test."""
    started: list[Standalone] = []

    def start_one(*arguments: str) -> Standalone:
        started.append(Standalone(folder, *arguments))
        return started[-1]

    yield start_one
    for one in started:
        one.kill()
    folder.clear()
