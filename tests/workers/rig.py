"""A small real installation: store, Redis server, scheduler thread and Celery worker processes.

Waiting is for facts in the store, with a bound; nothing is assumed to take a certain time.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from orchestrator.broker.doorbell import RedisDoorbell
from orchestrator.broker.embedded import EmbeddedRedis, start_embedded
from orchestrator.broker.publisher import CeleryPublisher
from orchestrator.control import Control, RunRequest
from orchestrator.core.codec import content_hash
from orchestrator.core.states import TaskState, TriggeredBy
from orchestrator.core.views import TaskInstanceView
from orchestrator.parsing.importer import import_dags
from orchestrator.ports import ParsedVersion
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.loop import Scheduler
from orchestrator.store import open_store
from orchestrator.store.commands import Commands
from orchestrator.store.reads import Reads
from orchestrator.store.versions import Versions

KEY = "k" * 40
LONG_S = 40.0
REPOSITORY = Path(__file__).parents[2]
ENDED = frozenset({TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UP_FOR_RETRY})


def until(condition: Callable[[], Any], *, what: str = "it", within_s: float = LONG_S) -> Any:
    """Wait for a condition's first true value."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        threading.Event().wait(0.01)
    return value


class Worker:
    """One `celery -A workers.app worker`, started as a user would."""

    def __init__(self, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "workers.app", "worker", *arguments],
                env=environment,
                cwd=REPOSITORY,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, text: str) -> bool:
        return text in self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, *, within_s: float = LONG_S) -> int:
        self.process.terminate()
        return self.process.wait(within_s)


class Rig:
    """Everything but the workers, which tests start."""

    def __init__(self, home: Path, database_url: str, broker: EmbeddedRedis) -> None:
        self.home = home
        self.broker = broker
        self.dags_folder = home / "dags"
        self.dags_folder.mkdir()
        self.store = open_store(database_url)
        self.reads = Reads(self.store.database, Versions(self.store.database))
        self.doorbell = RedisDoorbell(broker.url)
        self.publisher = CeleryPublisher(broker.url, secret_key=KEY)
        self.control_store = Commands(self.store.database, Versions(self.store.database))
        self.control = Control(self.control_store, self.doorbell)
        self.environment = {
            **{name: value for name, value in os.environ.items() if "ORCHESTRATOR" not in name},
            "ORCHESTRATOR_HOME": str(home),
            "ORCHESTRATOR_DATABASE_URL": database_url,
            "ORCHESTRATOR_REDIS_URL": broker.url,
            "ORCHESTRATOR_SECRET_KEY": KEY,
            "ORCHESTRATOR_DAGS_FOLDER": str(self.dags_folder),
            "ORCHESTRATOR_HEARTBEAT_S": "1",
            "ORCHESTRATOR_LEASE_S": "5",
            "ORCHESTRATOR_LOG_FORMAT": "json",
            "ORCHESTRATOR_SHUTDOWN_GRACE_S": "1",
        }
        limits = SchedulerLimits(sweep_s=0.2, lease_s=5.0, heartbeat_s=1.0, fallback_poll_s=1.0)
        self._scheduler = Scheduler(
            self.store.scheduler,
            self.publisher,
            RedisDoorbell(broker.url),
            limits,
            scheduler_id="s",
        )
        self._thread = threading.Thread(target=self._scheduler.run, daemon=True)
        self._thread.start()
        self.workers: list[Worker] = []

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self._scheduler.stop()
        self._thread.join(LONG_S)
        self.store.close()

    def start_worker(self, *arguments: str, **environment: str) -> Worker:
        """Start a worker and wait until the store knows it."""
        log = self.home / f"worker-{len(self.workers)}.log"
        worker = Worker(
            {**self.environment, **environment}, log, *(arguments or ("-Q", "default", "-c", "2"))
        )
        self.workers.append(worker)
        until(
            lambda: worker.process.poll() is not None or self._is_online(worker.pid),
            what=f"the start of a worker ({log})",
        )
        assert worker.process.poll() is None, log.read_text()
        return worker

    def _is_online(self, pid: int) -> bool:
        with self.store.database.reading() as connection:
            found = connection.exec_driver_sql(
                f"SELECT 1 FROM worker WHERE pid = {pid} AND state = 'online'"
            )
            return found.one_or_none() is not None

    def worker_id(self, worker: Worker) -> str:
        with self.store.database.reading() as connection:
            found = connection.exec_driver_sql(f"SELECT id FROM worker WHERE pid = {worker.pid}")
            return str(found.scalar_one())

    def add(self, file_name: str, source: str) -> None:
        """Write a DAG file and store its DAGs, as the parser does."""
        path = self.dags_folder / file_name
        path.write_text(source)
        for dag in import_dags(path, dags_folder=self.dags_folder):
            spec = dag.spec()
            self.store.catalog.register(
                ParsedVersion(
                    spec=spec,
                    path=file_name,
                    source=source,
                    source_digest=hashlib.sha256(source.encode()).hexdigest(),
                    content_hash=content_hash(spec, source),
                )
            )
            self.control.unpause(dag.dag_id)

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Start a run and return its id."""
        run = self.control.trigger(dag_id, RunRequest(conf=conf), triggered_by=TriggeredBy.TEST)
        self.doorbell.ring()
        return run.run_id

    def ti(self, dag_id: str, run_id: str, task_id: str = "t") -> TaskInstanceView | None:
        """The task instance, once the run has begun."""
        from orchestrator.errors import NotFoundError

        try:
            return self.reads.task_instance(dag_id, run_id, task_id)
        except NotFoundError:
            return None

    def reached(
        self, dag_id: str, run_id: str, *states: TaskState, task_id: str = "t"
    ) -> TaskInstanceView:
        """Wait until a task instance is in one of these states."""

        def arrived() -> TaskInstanceView | None:
            seen = self.ti(dag_id, run_id, task_id)
            return seen if seen is not None and seen.state in states else None

        found: TaskInstanceView = until(arrived, what=f"{dag_id}.{task_id} {states}")
        return found

    def run(self, dag_id: str, task_id: str = "t", **conf: Any) -> TaskInstanceView:
        """Trigger a DAG and wait for one task's first end."""
        return self.reached(dag_id, self.trigger(dag_id, **conf), *ENDED, task_id=task_id)

    def log_lines(self, ti: TaskInstanceView, try_number: int = 1) -> list[Mapping[str, Any]]:
        """What the log of a try says now, the first and last line of the reader left out."""
        lines: list[Mapping[str, Any]] = []
        offset = 0
        while True:
            page = self.reads.read_log(
                ti.key.dag_id, ti.key.run_id, ti.key.task_id, try_number, offset=offset
            )
            lines += page.lines
            if page.next_offset == offset or page.is_complete or not page.lines:
                break
            offset = page.next_offset
        return [line for line in lines if line.get("logger") != "orchestrator"]

    def events(self, ti: TaskInstanceView, try_number: int = 1) -> list[str]:
        return [str(line["event"]) for line in self.log_lines(ti, try_number)]


@contextmanager
def a_rig(home: Path, database_url: str) -> Iterator[Rig]:
    """Run the installation, on a broker of its own."""
    broker = start_embedded(home / "broker")
    try:
        rig = Rig(home, database_url, broker)
        try:
            yield rig
        finally:
            rig.close()
    finally:
        broker.process.send_signal(signal.SIGCONT)
        broker.stop()


def processes_of_session(*leaders: int) -> list[int]:
    """The living processes of these sessions."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) in leaders and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def add_task(rig: Rig, dag_id: str, body: str, *, arguments: str = "") -> None:
    """Store a DAG with one Python task `t`; its body and the test share the folder `here`."""
    rig.add(
        f"{dag_id}.py",
        dedent(
            """
            import logging, os, signal, subprocess, sys, time
            from pathlib import Path
            from orchestrator.sdk import DAG, dag, task
            here = Path({here!r})

            @dag(dag_id={dag_id!r})
            def build():
                @task({arguments})
                def t():
            {body}
                t()
            build()
            """
        ).format(
            here=str(rig.home),
            dag_id=dag_id,
            arguments=arguments,
            body=indent(dedent(body).strip(), " " * 8),
        ),
    )


def appears(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > 0


def hold(dag_id: str) -> str:
    """Lines of a task that says it runs and goes on when it may."""
    return dedent(
        f"""
        (here / "{dag_id}.runs").write_text(str(os.getpid()))
        while not (here / "{dag_id}.go").exists(): time.sleep(0.01)
        """
    )


class Held:
    """A run whose task waits for the test."""

    def __init__(self, rig: Rig, dag_id: str) -> None:
        self.rig, self.dag_id = rig, dag_id
        self._runs, self._go = rig.home / f"{dag_id}.runs", rig.home / f"{dag_id}.go"
        self.run_id = rig.trigger(dag_id)
        until(appears(self._runs), what=f"the start of {dag_id}")
        self.pid = int(self._runs.read_text())

    def release(self) -> None:
        self._go.touch()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
