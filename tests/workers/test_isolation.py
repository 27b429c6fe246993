"""A try in an interpreter of its own: alike in every way, but for whose memory it harms."""

import os
from pathlib import Path

from orchestrator.core.states import TaskState
from tests.workers.rig import Rig, Worker, add_task, until

OWN = "isolation='process'"


def test_it_runs_apart_and_everything_is_as_ever(shared: Rig, worker: Worker) -> None:
    shared.add(
        "apart.py",
        """
import logging, os
from orchestrator.sdk import DAG, task
seen = []
with DAG("apart") as dag:
    @task
    def before():
        os.environ["LEFT_BEHIND"] = "yes"
        return {"a": 1}

    @task(isolation="process", retries=0)
    def t(value, ti, params):
        seen.append(1)
        print("printed")
        logging.getLogger("mine").warning("logged")
        os.system("echo raw")
        ti.xcom_push("key", "pushed")
        return [value["a"], len(seen), os.getppid(), os.environ.get("LEFT_BEHIND")]

    @task
    def after(value, pushed): return [value, pushed]
    out = t(before())
    after(out, out["key"])
""",
    )
    first = shared.run("apart")
    assert first.state is TaskState.SUCCESS, first.reason
    after = shared.reached("apart", first.key.run_id, TaskState.SUCCESS, task_id="after")
    ((_, (value, pushed)),) = shared.store.values.pull_xcoms(
        dag_id="apart", run_id=after.key.run_id, task_ids=["after"], key="return_value"
    )
    assert (value[:2], value[3], pushed) == ([1, 1], None, "pushed")
    assert value[2] == first.pid, "its parent is the worker's child"
    assert shared.events(first) == ["printed", "logged", "raw"]
    again = shared.run("apart")
    ((_, value),) = shared.store.values.pull_xcoms(
        dag_id="apart", run_id=again.key.run_id, task_ids=["t"], key="return_value"
    )
    assert value[1] == 1, "what the file's modules hold is new each time"


def test_a_crash_ends_the_try_and_not_the_workers_child(shared: Rig, worker: Worker) -> None:
    add_task(shared, "crash", "import ctypes; ctypes.string_at(0)", arguments=OWN)
    ti = shared.run("crash")
    assert (ti.state, ti.reason) == (
        TaskState.FAILED,
        "the task's process was killed by SIGSEGV",
    )
    assert any("Segmentation fault" in event for event in shared.events(ti))
    assert ti.pid is not None
    os.kill(ti.pid, 0)


def test_an_exit_in_the_middle_is_said(shared: Rig, worker: Worker) -> None:
    add_task(shared, "leaves", "os._exit(7)", arguments=OWN)
    ti = shared.run("leaves")
    assert ti.reason == "the task's process ended with exit code 7 in the middle of the task"


def test_what_it_raises_and_skips_is_how_it_ends(shared: Rig, worker: Worker) -> None:
    add_task(shared, "raises", "raise ValueError('odd')", arguments=OWN)
    assert str(shared.run("raises").reason).startswith("ValueError: odd (raises.py:")
    skips = (
        "from orchestrator.sdk import AirflowSkipException; raise AirflowSkipException('enough')"
    )
    add_task(shared, "skips", skips, arguments=OWN)
    ti = shared.run("skips")
    assert (ti.state, ti.reason) == (TaskState.SKIPPED, "enough")


def test_who_does_not_notice_is_killed_when_its_time_is_over(shared: Rig, worker: Worker) -> None:
    body = """
    subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
    (here / "deaf.pid").write_text(str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    time.sleep(600)
    """
    add_task(shared, "deaf", body, arguments=f"execution_timeout=1, {OWN}")
    ti = shared.run("deaf")
    assert (ti.state, ti.reason) == (TaskState.FAILED, "timed out after 1 s")
    pid = int((shared.home / "deaf.pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of its interpreter")
    assert ti.pid is not None
    os.kill(ti.pid, 0)


def test_a_sensor_goes_on_between_interpreters(shared: Rig, worker: Worker) -> None:
    shared.add(
        "looks.py",
        f"""
from pathlib import Path
from orchestrator.sdk import DAG, FileSensor
with DAG("looks") as dag:
    FileSensor(
        task_id="t", filepath={str(shared.home / "looked.for")!r}, mode="reschedule",
        poke_interval=0.2, timeout=60, isolation="process",
    )
""",
    )
    run_id = shared.trigger("looks")
    shared.reached("looks", run_id, TaskState.UP_FOR_RESCHEDULE)
    (shared.home / "looked.for").touch()
    ti = shared.reached("looks", run_id, TaskState.SUCCESS, TaskState.FAILED)
    assert (ti.state, ti.try_number) == (TaskState.SUCCESS, 1)


def test_its_secrets_are_masked_as_well(shared: Rig, worker: Worker) -> None:
    body = """
    from orchestrator.sdk import mask_secret
    mask_secret("hunter2")
    print("printed hunter2")
    os.system("echo raw hunter2")
    raise ValueError("raised hunter2")
    """
    add_task(shared, "masks", body, arguments=OWN)
    ti = shared.run("masks")
    assert str(ti.reason).startswith("ValueError: raised ***")
    assert {"printed ***", "raw ***"} <= set(shared.events(ti))
