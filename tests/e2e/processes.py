"""Real processes of the product, and what is found of them in /proc."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.bootstrap import Services, open_services
from orchestrator.control import RunRequest
from orchestrator.core.listings import DagFilter, PageRequest
from orchestrator.core.states import FINISHED_RUN_STATES, TaskState, TriggeredBy
from orchestrator.core.views import RunView
from orchestrator.settings import load_settings

ORCHESTRATOR = [sys.executable, "-m", "orchestrator.cli"]
PATIENCE_S = 60.0

# A task that says where it runs and holds until it is told to go on, so that a test can kill
# something while it is known to run. Its child is what a careless author leaves behind.
HOLDING_DAG = """
import os, subprocess, time
from datetime import timedelta
from pathlib import Path
from orchestrator.sdk import dag, task

FOLDER = Path(__file__).parent.parent / "signals"

@dag(default_args={"retries": 2, "retry_delay": timedelta(seconds=0)})
def holding():
    @task
    def before() -> int:
        return 1

    @task
    def hold(number: int, *, run_id: str, try_number: int) -> int:
        subprocess.Popen(["sleep", "1000"])
        (FOLDER / f"{run_id}.{try_number}.pid").write_text(str(os.getpid()))
        while not (FOLDER / f"{run_id}.go").exists():
            time.sleep(0.02)
        return number + 1

    @task
    def after(number: int) -> int:
        return number + 1

    after(hold(before()))

holding()
"""
FAILING_DAG = """
from orchestrator.sdk import dag, task

@dag
def failing():
    @task
    def fail():
        raise ValueError("no such luck")

    fail()

failing()
"""


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = PATIENCE_S) -> None:
    """Poll a condition of real processes; say what did not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Folder:
    """A project of its own: DAG files, a data folder, signals between test and tasks."""

    path: Path
    extra: Mapping[str, str]

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def environ(self) -> dict[str, str]:
        """This process's environment with the settings of the folder, and brisk times."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of starts would each compile all
        return {
            **inherited,
            "ORCHESTRATOR_HOME": str(self.home),
            "ORCHESTRATOR_DAGS_FOLDER": str(self.path / "dags"),
            "ORCHESTRATOR_API_PORT": "0",
            "ORCHESTRATOR_SHUTDOWN_GRACE_S": "1",
            **self.extra,
        }

    def write_dag(self, name: str, text: str) -> None:
        (self.path / "dags" / f"{name}.py").write_text(text)

    def run(
        self, *arguments: str, timeout_s: float = PATIENCE_S
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end."""
        return subprocess.run(
            [*ORCHESTRATOR, *arguments],
            env=self.environ,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextmanager
    def services(self) -> Iterator[Services]:
        """The store and broker, opened in the test's own process."""
        services = open_services(load_settings(self.environ))
        try:
            yield services
        finally:
            services.close()

    def pids(self) -> dict[int, str]:
        """Every living process that was started with this data folder, and its command line."""
        redis = self._redis_pid()
        return {
            int(folder.name): _command_line(folder)
            for folder in Path("/proc").glob("[0-9]*")
            if _is_alive(folder) and (int(folder.name) == redis or self._belongs_here(folder))
        }

    def _redis_pid(self) -> int | None:
        """The server overwrites its environment with a title, but says who it is in a file."""
        try:
            return int((self.home / "redis" / "lock").read_text() or 0)
        except OSError:
            return None

    def _belongs_here(self, process: Path) -> bool:
        try:
            environ = (process / "environ").read_bytes()
        except OSError:
            return False
        return f"ORCHESTRATOR_HOME={self.home}".encode() in environ.split(b"\0")

    def clear(self) -> None:
        """Let nothing that was started here outlive the test."""
        deadline = time.monotonic() + PATIENCE_S
        while self.pids() and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

    def go(self, run_id: str) -> None:
        """Let the holding task of a run end."""
        (self.path / "signals" / f"{run_id}.go").touch()

    def holder(self, run_id: str, *, try_number: int = 1) -> int:
        """Wait until the holding task of a run runs; return its process id."""
        path = self.path / "signals" / f"{run_id}.{try_number}.pid"
        wait_until(lambda: path.exists() and path.read_text() != "", f"try {try_number} runs")
        return int(path.read_text())


class Standalone:
    """A running `orchestrator standalone`."""

    def __init__(self, folder: Folder, *arguments: str) -> None:
        self.folder = folder
        self._output = folder.path / f"output-{time.monotonic_ns()}"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*ORCHESTRATOR, "standalone", *arguments],
                env=folder.environ,
                cwd=folder.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, words: str) -> None:
        wait_until(
            lambda: words in self.output or self.process.poll() is not None, f"{words!r} is said"
        )
        assert words in self.output, self.output

    def wait_until_serving(self) -> None:
        """Wait for the last words of the start, and for a scheduler and a worker to be alive."""
        self.wait_for("stop               Ctrl-C")
        with self.folder.services() as services:
            wait_until(lambda: bool(services.reads.workers()), "a worker registers")
            wait_until(lambda: services.reads.scheduler_pulse().alive > 0, "a scheduler registers")
            wait_until(lambda: knows(services, "holding"), "the DAG is known")

    def word(self) -> Mapping[str, object]:
        """What it has left word of in the data folder."""
        word: Mapping[str, object] = json.loads(
            (self.folder.home / "standalone.lock").read_text() or "{}"
        )
        return word

    def pid_of(self, service: str) -> int:
        """Return the process id of a service: the process of its title whose parent has another."""
        if service == "Redis server":
            return int((self.folder.home / "redis" / "lock").read_text())
        title = f"orchestrator {service.lower()}"
        titled = [pid for pid, line in self.folder.pids().items() if line.startswith(title)]
        (pid,) = [pid for pid in titled if parent_of(pid) not in titled]
        return pid

    def kill(self) -> None:
        """End it whatever its state."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def trigger(services: Services, dag_id: str, run_id: str) -> None:
    services.control.trigger(dag_id, RunRequest(run_id=run_id), triggered_by=TriggeredBy.TEST)


def wait_for_end(services: Services, dag_id: str, run_id: str) -> RunView:
    """Wait until a run has ended; on failure say where its tasks stand."""
    deadline = time.monotonic() + PATIENCE_S
    while (run := services.reads.run(dag_id, run_id)).state not in FINISHED_RUN_STATES:
        if time.monotonic() > deadline:
            reasons = services.explain(dag_id, run_id, "hold") if dag_id == "holding" else ()
            raise AssertionError(f"{run_id} is still {run.state}: {reasons}")
        time.sleep(0.02)
    return run


def tries(services: Services, run_id: str, task_id: str) -> list[tuple[TaskState, str | None]]:
    """Return how each try of a task ended, and why."""
    _, seen = services.reads.tries("holding", run_id, task_id)
    return [(one.state, one.reason) for one in seen]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def knows(services: Services, dag_id: str) -> bool:
    page = services.reads.dags(DagFilter(), PageRequest(limit=500))
    return dag_id in [dag.dag_id for dag in page.items]


def _is_alive(process: Path) -> bool:
    """A zombie is dead; it waits for its parent to read the news."""
    try:
        return (process / "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
