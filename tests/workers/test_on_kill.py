"""Whatever cuts a try short, its task's on_kill is called, in the process that ran it."""

from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.control import Clearing
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection, Target
from orchestrator.core.states import TaskState
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.versions import Versions
from tests.workers.rig import ENDED, Rig, Worker, appears, until

WAITS = """
import os, time
from datetime import timedelta
from pathlib import Path
from orchestrator.sdk import DAG, BaseOperator
here = Path({here!r})

class Waits(BaseOperator):
    def execute(self, context):
        self.started = os.getpid()
        path = here / "{name}.runs"
        path.write_text(str(os.getpid()))
        time.sleep(600)

    def on_kill(self):
        ours = self.started == os.getpid()
        with (here / "{name}.killed").open("a") as file:
            file.write(f"{{self.task_id}} {{ours}}\\n")

with DAG("{name}", {of_dag}) as dag:
    Waits(task_id="t", {of_task})
"""


def start(rig: Rig, name: str, *, of_dag: str = "", of_task: str = "") -> str:
    """Start a run whose task waits for ever, and return its id."""
    source = dedent(WAITS).format(here=str(rig.home), name=name, of_dag=of_dag, of_task=of_task)
    rig.add(f"{name}.py", source)
    run_id = rig.trigger(name)
    until(appears(rig.home / f"{name}.runs"), what=f"the start of {name}")
    return run_id


def was_cleaned_up(rig: Rig, name: str) -> None:
    until(appears(killed := rig.home / f"{name}.killed"), what=f"the clean-up of {name}")
    assert killed.read_text() == "t True\n"


ISOLATION = ["worker", "process"]


@pytest.mark.parametrize("isolation", ISOLATION)
def test_after_the_execution_timeout(shared: Rig, worker: Worker, isolation: str) -> None:
    name = f"overtime_{isolation}"
    run_id = start(shared, name, of_task=f"execution_timeout=1, isolation={isolation!r}")
    ti = shared.reached(name, run_id, *ENDED)
    assert (ti.state, ti.reason) == (
        TaskState.FAILED,
        "timed out after 1 s (" + place(shared, name),
    )
    was_cleaned_up(shared, name)


def place(rig: Rig, name: str) -> str:
    text = (rig.dags_folder / f"{name}.py").read_text().splitlines()
    line = next(number for number, each in enumerate(text, 1) if "time.sleep" in each)
    return f"{name}.py:{line})"


@pytest.mark.parametrize("isolation", ISOLATION)
@pytest.mark.parametrize("how", ["cleared", "marked"])
def test_after_a_person_took_it_away(shared: Rig, worker: Worker, how: str, isolation: str) -> None:
    name = f"{how}_{isolation}"
    run_id = start(shared, name, of_task=f"isolation={isolation!r}")
    pid = int((shared.home / f"{name}.runs").read_text())
    versions = Versions(shared.store.database)
    clearing = Clearing(SqlClearing(shared.store.database, versions), shared.doorbell)
    runs, selection = RunsNamed(run_id=run_id), Selection(targets=(Target(name="t"),))
    clearing.mark(name, runs, selection, TaskState.SUCCESS, dry_run=False)
    if how == "cleared":
        (shared.home / f"{name}.runs").unlink()
        clearing.clear(name, runs, selection, dry_run=False)
        until(appears(shared.home / f"{name}.runs"), what="the next try")
        clearing.mark(name, runs, selection, TaskState.SUCCESS, dry_run=False)
        until(lambda: (shared.home / f"{name}.killed").read_text() == "t True\n" * 2)
    else:
        was_cleaned_up(shared, name)
    if isolation == "process":
        until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of its interpreter")


def test_after_the_runs_timeout(shared: Rig, worker: Worker) -> None:
    start(shared, "overrun", of_dag="dagrun_timeout=timedelta(seconds=2)")
    was_cleaned_up(shared, "overrun")


@pytest.mark.parametrize("isolation", ISOLATION)
def test_when_the_worker_is_stopped(rig: Rig, isolation: str) -> None:
    worker = rig.start_worker()
    run_id = start(rig, "stopped", of_task=f"isolation={isolation!r}")
    assert worker.terminate() == 0, worker.log.read_text()
    was_cleaned_up(rig, "stopped")
    assert worker.said("task_handed_back")
    (rig.home / "stopped.runs").unlink()
    rig.start_worker()
    until(appears(rig.home / "stopped.runs"), what="the try on the next worker")
    assert rig.reached("stopped", run_id, TaskState.RUNNING).try_number == 2
