"""Which worlds are simulated: SEED=... is one of them, N=... so many; else the short form."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

SHORT_FORM = 24


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that take a `seed` the seeds asked for in the environment."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", _seeds())


def _seeds() -> list[int]:
    seed, count = os.environ.get("SEED"), os.environ.get("N")
    if seed:
        return list(range(int(seed), int(seed) + int(count or 1)))
    return list(range(int(count or SHORT_FORM)))


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """A failing world says what broke; the log of every scheduler in it would bury that."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
