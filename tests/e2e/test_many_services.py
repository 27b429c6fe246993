"""Two schedulers and two workers on PostgreSQL share the work, and together keep every limit."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from orchestrator.bootstrap import Services
from orchestrator.core.states import RunState
from tests.e2e.processes import ORCHESTRATOR, Folder, knows, trigger, wait_for_end, wait_until

RUNS = 12
POOLED_DAG = """
import time
from orchestrator.sdk import dag, task

@dag(default_args={"pool": "two", "retries": 1})
def pooled():
    @task
    def first() -> int:
        time.sleep(0.02)
        return 1

    @task
    def wide(number: int, one: int) -> int:
        time.sleep(0.02)
        return number + one

    @task
    def last(sums: list[int]) -> int:
        return sum(sums)

    last([wide.override(task_id=f"wide_{n}")(n, first()) for n in range(3)])

pooled()
"""


@contextmanager
def running(folder: Folder, *commands: list[str]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    processes = []
    for number, command in enumerate(commands):
        with (folder.path / f"{command[0]}-{number}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [*ORCHESTRATOR, *command],
                    env=folder.environ,
                    cwd=folder.path,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)
        folder.clear()


def test_two_of_each_share_the_work_and_never_exceed_a_pool(
    folder: Folder, postgres_url: str, redis_url: str
) -> None:
    # Given a pool of two slots, and two schedulers and two workers of two slots each,
    here = Folder(
        folder.path,
        {
            "ORCHESTRATOR_DATABASE_URL": postgres_url.replace("+psycopg", ""),
            "ORCHESTRATOR_REDIS_URL": redis_url,
            "ORCHESTRATOR_HEARTBEAT_S": "0.5",
            "ORCHESTRATOR_LEASE_S": "2",
        },
    )
    here.write_dag("pooled", POOLED_DAG)
    with (
        here.services() as services,
        running(
            here, ["scheduler"], ["scheduler"], ["worker", "-c", "2"], ["worker", "-c", "2"]
        ) as (scheduler, _, worker, _),
    ):
        services.control.create_pool("two", slots=2)
        wait_until(lambda: services.reads.scheduler_pulse().alive == 2, "two schedulers")
        wait_until(lambda: len(services.reads.workers()) == 2, "two workers")
        wait_until(lambda: knows(services, "pooled"), "the DAG is known")

        # when many runs are triggered, and half way one of each is killed,
        for number in range(RUNS):
            trigger(services, "pooled", f"run_{number}")
        wait_until(lambda: len(intervals(services)) > RUNS, "some tasks have ended")
        for victim in (scheduler, worker):
            os.kill(victim.pid, signal.SIGKILL)

        # then every run succeeds, and at no time more than two tasks had a slot.
        for number in range(RUNS):
            run = wait_for_end(services, "pooled", f"run_{number}")
            assert run.state is RunState.SUCCESS, run
        found = intervals(services)
        assert len(found) >= RUNS * 7
        assert most_at_once(found) == 2


def intervals(services: Services) -> list[tuple[datetime, datetime]]:
    """Return from when to when each try that has ended had its slot."""
    statement = text("SELECT queued_at, ended_at FROM attempt WHERE queued_at IS NOT NULL")
    with services.store.database.reading() as connection:
        return [(row.queued_at, row.ended_at) for row in connection.execute(statement)]


def most_at_once(found: list[tuple[datetime, datetime]]) -> int:
    changes = [(start, 1) for start, _ in found] + [(end, -1) for _, end in found]
    most = now = 0
    for _, change in sorted(changes):  # at one instant an end comes before a start
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("found", "most"), [([(1, 2), (2, 3)], 1), ([(1, 3), (2, 4), (3, 5)], 2), ([], 0)]
)
def test_the_ruler_measures(found: list[tuple[int, int]], most: int) -> None:
    instants = [datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 7)]
    assert most_at_once([(instants[start], instants[end]) for start, end in found]) == most
