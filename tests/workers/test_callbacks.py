"""Callbacks reach their function: in the child that ended the try, by a message after a kill."""

import json
import os
import signal
from textwrap import dedent
from typing import Any

import pytest

from orchestrator.core.states import RunState, TaskState
from tests.workers.rig import Rig, Worker, appears, until

HEADER = """
import json, os, signal, time
from datetime import timedelta
from pathlib import Path
from orchestrator.sdk import (
    DAG, AirflowSkipException, BaseNotifier, DeadlineAlert, DeadlineReference, task
)
here = Path({here!r})

def tell(kind):
    def called(context):
        ti = context.get("ti")
        with (here / {name!r}).open("a") as journal:
            journal.write(json.dumps({{
                "kind": kind, "pid": os.getpid(), "state": ti and ti.state,
                "reason": context["reason"], "try": ti and ti.try_number,
                "run": context["dag_run"].state,
                "exception": type(context["exception"]).__name__, "task": ti and ti.task_id,
            }}) + "\\n")
        print("told", kind)
    return called
"""


def add(rig: Rig, dag_id: str, body: str) -> None:
    """Store a DAG whose callbacks append to the journal `<dag_id>.told`."""
    header = dedent(HEADER).format(here=str(rig.home), name=f"{dag_id}.told")
    rig.add(f"{dag_id}.py", header + dedent(body))


def told(rig: Rig, dag_id: str) -> list[dict[str, Any]]:
    journal = rig.home / f"{dag_id}.told"
    return [json.loads(line) for line in journal.read_text().splitlines()]


def rows(rig: Rig, dag_id: str) -> list[Any]:
    with rig.store.database.reading() as connection:
        return list(
            connection.exec_driver_sql(
                "SELECT c.kind, c.state, c.attempts, c.error, c.output, c.worker FROM callback c"
                f" JOIN dag_run r ON r.id = c.run_uid WHERE r.dag_id = '{dag_id}' ORDER BY c.kind"
            )
        )


def settled(rig: Rig, dag_id: str, count: int) -> list[Any]:
    """Wait until so many callbacks are done or failed."""

    def all_over() -> list[Any]:
        found = rows(rig, dag_id)
        return found if len(found) == count and all(r.state != "owed" for r in found) else []

    found: list[Any] = until(all_over, what=f"{count} callbacks of {dag_id}: {rows(rig, dag_id)}")
    return found


def test_s17_a_failed_try_tells_its_callback_in_the_same_process(
    shared: Rig, worker: Worker
) -> None:
    add(
        shared,
        "tells",
        """
        with DAG("tells"):
            @task(on_failure_callback=tell("failure"), on_execute_callback=lambda c: print("now"))
            def t():
                (here / "tells.pid").write_text(str(os.getpid()))
                raise ValueError("no rows")
            t()
        """,
    )
    ti = shared.run("tells")
    assert ti.state is TaskState.FAILED
    (row,) = settled(shared, "tells", 1)
    assert (row.kind, row.state, row.attempts, row.error) == ("failure", "done", 1, None)
    assert row.worker == shared.worker_id(worker)
    (line,) = told(shared, "tells")
    assert line == {
        "kind": "failure",
        "pid": int((shared.home / "tells.pid").read_text()),
        "state": "failed",
        "reason": ti.reason,
        "try": 1,
        "run": "running",
        "exception": "ValueError",
        "task": "t",
    }
    assert "now" in shared.events(ti), "on_execute is part of the try"
    assert [json.loads(each)["event"] for each in row.output.splitlines()] == ["told failure"]
    assert "told failure" not in shared.events(ti), "what it writes is stored with the callback"


def test_s17_a_run_tells_its_end(shared: Rig, worker: Worker) -> None:
    add(
        shared,
        "ends",
        """
        with DAG("ends", on_success_callback=[tell("success"), tell("again")]):
            @task
            def t(): pass
            t()
        """,
    )
    shared.run("ends")
    (row,) = settled(shared, "ends", 1)
    assert (row.kind, row.state) == ("success", "done")
    assert [(line["kind"], line["run"], line["task"]) for line in told(shared, "ends")] == [
        ("success", RunState.SUCCESS, "t"),
        ("again", RunState.SUCCESS, "t"),
    ]


@pytest.mark.parametrize(
    ("kind", "line", "state"),
    [
        ("retry", "raise ValueError('later')", TaskState.UP_FOR_RETRY),
        ("skipped", "raise AirflowSkipException('nothing new')", TaskState.SKIPPED),
        ("success", "return 1", TaskState.SUCCESS),
    ],
)
def test_s17_each_end_has_its_callback(
    shared: Rig, worker: Worker, kind: str, line: str, state: TaskState
) -> None:
    add(
        shared,
        f"each_{kind}",
        f"""
        kinds = ("retry", "skipped", "success", "failure")
        with DAG("each_{kind}"):
            @task(retries=1, retry_delay=3600, **{{
                f"on_{{kind}}_callback": tell(kind) for kind in kinds
            }})
            def t(): {line}
            t()
        """,
    )
    assert shared.run(f"each_{kind}").state is state
    settled(shared, f"each_{kind}", 1)
    (line_told,) = told(shared, f"each_{kind}")
    assert (line_told["kind"], line_told["state"]) == (kind, state)


def test_o9_a_worker_killed_in_its_callback_has_it_delivered_by_another(rig: Rig) -> None:
    add(
        rig,
        "killed",
        """
        def hang(context):
            with (here / "killed.begun").open("a") as journal: journal.write(f"{os.getpid()}\\n")
            while not (here / "killed.go").exists(): time.sleep(0.01)

        with DAG("killed"):
            @task(on_success_callback=hang)
            def t(): return 1
            t()
        """,
    )
    first = rig.start_worker(ORCHESTRATOR_CALLBACK_TIMEOUT_S="2", ORCHESTRATOR_PARSE_TIMEOUT_S="2")
    assert rig.run("killed").state is TaskState.SUCCESS
    until(appears(rig.home / "killed.begun"), what="the callback's beginning")
    os.killpg(first.pid, signal.SIGKILL)
    first.process.wait()
    (rig.home / "killed.go").touch()
    with rig.store.database.writing() as connection:  # its lease, half a minute, is over
        connection.exec_driver_sql(
            "UPDATE callback SET lease_until = created_at, due_at = created_at"
        )
    rig.start_worker()
    (row,) = settled(rig, "killed", 1)
    assert (row.state, row.attempts) == ("done", 2)
    assert len((rig.home / "killed.begun").read_text().split()) == 2


def test_a_callback_that_takes_too_long_is_cut_short_and_the_worker_goes_on(rig: Rig) -> None:
    add(
        rig,
        "slow",
        """
        def hang(context):
            print("hanging")
            while True: time.sleep(0.01)

        with DAG("slow"):
            @task(on_success_callback=[tell("success"), hang])
            def t(): return 1
            t()
        """,
    )
    rig.start_worker(ORCHESTRATOR_CALLBACK_TIMEOUT_S="0.5")
    assert rig.run("slow").state is TaskState.SUCCESS

    def attempted() -> Any:
        (row,) = rows(rig, "slow")
        return row if row.error else None

    row = until(attempted, what="the end of the first attempt")
    assert (row.state, row.error) == ("owed", "timed out after 0.5 s")
    assert "hanging" in row.output
    assert [line["kind"] for line in told(rig, "slow")] == ["success"]
    assert rig.run("slow").state is TaskState.SUCCESS, "the next message finds the worker well"


def test_s17_a_missed_deadline_is_told_once_and_the_run_goes_on(
    shared: Rig, worker: Worker
) -> None:
    add(
        shared,
        "late",
        """
        with DAG("late", deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(seconds=0.2),
            callback=tell("deadline"),
        )):
            @task
            def t():
                while not (here / "late.told").exists(): time.sleep(0.01)
            t()
        """,
    )
    assert shared.run("late").state is TaskState.SUCCESS, "it ended because it was told"
    (row,) = settled(shared, "late", 1)
    assert (row.kind, row.state) == ("deadline", "done")
    (line,) = told(shared, "late")
    assert line["reason"].startswith("the run was not done by ")
    assert line["run"] == "running"


def test_a_process_killed_by_its_task_still_tells_the_failure(shared: Rig, worker: Worker) -> None:
    add(
        shared,
        "dies",
        """
        with DAG("dies"):
            @task(on_failure_callback=tell("failure"))
            def t(): os.kill(os.getpid(), signal.SIGKILL)
            t()
        """,
    )
    assert shared.run("dies").state is TaskState.FAILED
    (row,) = settled(shared, "dies", 1)
    assert (row.kind, row.state, row.attempts) == ("failure", "done", 1)
    (line,) = told(shared, "dies")
    assert (line["exception"], line["state"]) == ("str", "failed")
    assert "SIGKILL" in line["reason"]
