"""Our side of the ratio: a real scheduler, worker and store in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.bootstrap import Services, open_services
from orchestrator.core.states import FINISHED_RUN_STATES, RunState, TriggeredBy
from orchestrator.errors import NotFoundError
from orchestrator.settings import load_settings
from orchestrator.store import migrate

COMMAND = str(Path(sys.executable).parent / "orchestrator")
TIMEOUT_S = 600.0

_HEADER = """
import os, time
from orchestrator.sdk import DAG, task

@task
def noop():
    descriptor = os.open({journal!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{{time.time():.6f}}\\n".encode())
    os.close(descriptor)
"""
_CHAIN = """
with DAG(dag_id="chain_{count}", max_active_tasks=100_000):
    before = None
    for number in range({count}):
        this = noop.override(task_id=f"t{{number:05}}")()
        if before is not None:
            before >> this
        before = this
"""
_FAN_OUT = """
with DAG(dag_id="fan_out_{count}", max_active_tasks=100_000):
    first, last = noop.override(task_id="first")(), noop.override(task_id="last")()
    first >> [noop.override(task_id=f"t{{n:05}}")() for n in range({count})] >> last
"""
_DIAMOND = """
with DAG(dag_id="diamond", max_active_tasks=100_000, max_active_runs=100_000):
    first, last = noop.override(task_id="first")(), noop.override(task_id="last")()
    first >> [noop.override(task_id=f"t{{n}}")() for n in range(8)] >> last
"""
_SCHEDULED = """
with DAG(dag_id="idle_{count:03}", schedule="0 3 1 1 *"):
    noop()
"""


@dataclass
class System:
    """A running scheduler and worker, their store, and the folder their DAGs come from."""

    folder: Path
    services: Services
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        """Where every no-op notes its time."""
        return self.folder / "journal"

    @property
    def pids(self) -> list[int]:
        """The services' main processes."""
        return [process.pid for process in self.processes]

    def add(self, name: str, body: str, **values: Any) -> float:
        """Write a DAG file and return the seconds until its DAG can be triggered."""
        text = (_HEADER + body).format(journal=str(self.journal), **values)
        dag_id = text.partition('dag_id="')[2].partition('"')[0]
        path = self.folder / "dags" / f"{name}.py"
        (part := path.with_suffix(".part")).write_text(text)
        part.rename(path)
        started_at = time.monotonic()
        while True:
            try:
                self.services.reads.dag(dag_id)
            except NotFoundError:
                time.sleep(0.005)
                assert time.monotonic() < started_at + TIMEOUT_S, f"{dag_id} does not appear"
            else:
                return time.monotonic() - started_at

    def chain(self, count: int) -> str:
        self.add(f"chain_{count}", _CHAIN, count=count)
        return f"chain_{count}"

    def fan_out(self, count: int) -> str:
        self.add(f"fan_out_{count}", _FAN_OUT, count=count)
        return f"fan_out_{count}"

    def diamond(self) -> str:
        self.add("diamond", _DIAMOND)
        return "diamond"

    def add_scheduled(self, count: int) -> float:
        """Add so many DAGs with a schedule that is not due; return seconds for the last one."""
        return [self.add(f"idle_{n:03}", _SCHEDULED, count=n) for n in range(count)][-1]

    def run(self, dag_id: str, *, runs: int = 1) -> float:
        """Trigger runs, wait until all are over, and return the seconds from the first trigger to
        the last end by the store's clock."""
        self.journal.write_bytes(b"")
        ids = [
            self.services.control.trigger(dag_id, triggered_by=TriggeredBy.TEST).run_id
            for _ in range(runs)
        ]
        deadline = time.monotonic() + TIMEOUT_S
        ended = []
        for run_id in ids:
            while (run := self.services.reads.run(dag_id, run_id)).state not in FINISHED_RUN_STATES:
                time.sleep(0.05)
                assert time.monotonic() < deadline, f"{dag_id} {run_id} is {run.state}"
            assert run.state is RunState.SUCCESS
            ended.append(run)
        first = min(run.queued_at for run in ended)
        return (max(run.ended_at for run in ended if run.ended_at) - first).total_seconds()


@contextmanager
def running(
    folder: Path, database_url: str, redis_url: str, *, concurrency: int
) -> Iterator[System]:
    """Start a scheduler and a worker on an empty database; stop them at the end."""
    (folder / "dags").mkdir(parents=True)
    environment = {
        "ORCHESTRATOR_HOME": str(folder / "home"),
        "ORCHESTRATOR_DAGS_FOLDER": str(folder / "dags"),
        "ORCHESTRATOR_DATABASE_URL": database_url,
        "ORCHESTRATOR_REDIS_URL": redis_url,
    }
    migrate(database_url)
    services = open_services(load_settings(environment))
    system = System(folder, services)
    try:
        for command in (("scheduler",), ("worker", "-c", str(concurrency))):
            system.processes.append(_start(command, environment, folder / f"{command[0]}.log"))
        _wait_until_alive(system)
        yield system
    finally:
        for process in system.processes:
            process.terminate()
        for process in system.processes:
            process.wait(60)
        services.close()


def _start(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [COMMAND, *command],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait_until_alive(system: System) -> None:
    warm_up = "with DAG(dag_id='warm_up', max_active_tasks=100):\n"
    warm_up += "    [noop.override(task_id=f't{{n}}')() for n in range(8)]\n"
    path = system.folder / "dags" / "warm_up.py"
    path.write_text((_HEADER + warm_up).format(journal=str(system.journal)))
    deadline = time.monotonic() + 60
    while True:
        assert all(process.poll() is None for process in system.processes), "a service ended"
        assert time.monotonic() < deadline, "the services do not come up"
        try:
            system.services.reads.dag("warm_up")
        except NotFoundError:
            time.sleep(0.05)
        else:
            break
    system.run("warm_up", runs=2)
