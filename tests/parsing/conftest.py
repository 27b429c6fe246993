"""One fork server for all tests, and DAG files written where a test wants them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.parsing import ForkServer, ParsedFile, ParseLimits, parse_file

Write = Callable[[str, str], Path]
Parse = Callable[..., ParsedFile]

LIMITS = ParseLimits(timeout_s=20, memory_mb=256)
"""Roomy, for a machine with other things to do; a test of a limit sets its own."""


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty DAG folder."""
    folder = tmp_path / "dags"
    folder.mkdir()
    return folder


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file of the DAG folder; the text is dedented."""

    def write_file(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def parse(fork_server: ForkServer, folder: Path, write: Write) -> Parse:
    """Write a DAG file and import it in a child."""

    def parse_text(text: str, *, name: str = "etl.py", limits: ParseLimits = LIMITS) -> ParsedFile:
        return parse_file(write(name, text), folder, limits, server=fork_server)

    return parse_text


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Poll for what another process does."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
