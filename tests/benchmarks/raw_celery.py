"""The other side of the ratio: Celery alone, on the same server, with our worker settings."""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from celery import Celery, chain

from orchestrator.broker.app import build_app

PREFIX = "raw:"


def app(redis_url: str, journal: Path) -> Celery:
    """Return a Celery app with our profile and one task that notes its time in `journal`."""
    celery = build_app(redis_url)
    celery.conf.broker_transport_options = {
        **celery.conf.broker_transport_options,
        "global_keyprefix": PREFIX,
    }

    @celery.task(name="raw.noop")
    def noop(number: int = 0) -> int:
        descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{time.time():.6f}\n".encode())
        os.close(descriptor)
        return number

    return celery


def start_worker(redis_url: str, journal: Path, *, concurrency: int) -> subprocess.Popen[bytes]:
    """Start a worker for `app` in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from tests.benchmarks.raw_celery import app;"
        "app(sys.argv[1], Path(sys.argv[2])).worker_main(['worker', '-c', sys.argv[3],"
        " '--without-gossip', '--without-mingle', '--without-heartbeat', '-l', 'ERROR'])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, redis_url, str(journal), str(concurrency)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def chain_of(celery: Celery, length: int, journal: Path) -> list[float]:
    """Run a chain and return the seconds between each task and the next."""
    journal.write_bytes(b"")
    signature = celery.signature("raw.noop", immutable=True)
    chain(*[signature] * length).apply_async()
    moments = wait_for_lines(journal, length)
    return [after - before for before, after in pairwise(moments)]


def burst_of(celery: Celery, count: int, journal: Path) -> float:
    """Publish `count` tasks and have them worked off; return tasks a second."""
    journal.write_bytes(b"")
    started_at = time.time()
    with celery.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            celery.send_task("raw.noop", producer=producer)
    moments = wait_for_lines(journal, count)
    return count / (moments[-1] - started_at)


def wait_for_lines(journal: Path, count: int, *, timeout_s: float = 300) -> list[float]:
    """Wait until a journal has so many moments, and return them in order."""
    deadline = time.monotonic() + timeout_s
    while True:
        lines = journal.read_bytes().splitlines()
        if len(lines) >= count:
            return sorted(float(line) for line in lines)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{journal}: {len(lines)} of {count} after {timeout_s:g} s")
        time.sleep(0.02)
