"""Whatever user code does to its process, its try ends in a state with the reason, and only its."""

import hashlib
import json
import os
import pickle
import signal
import time
from base64 import b64encode
from textwrap import dedent
from uuid import UUID

import pytest
import redis

from orchestrator.broker.messages import MessageSigner, MessageWriter
from orchestrator.core.codec import content_hash
from orchestrator.core.ids import TiId
from orchestrator.core.states import TaskState
from orchestrator.ports import ParsedVersion, TaskMessage
from tests.workers.rig import (
    KEY,
    Held,
    Rig,
    Worker,
    add_task,
    appears,
    hold,
    is_running,
    until,
)

QUICK_S = 3.0
"""`Within a second`, on a machine that does other things too."""


def test_a_task_succeeds_and_leaves_its_xcom(shared: Rig, worker: Worker) -> None:
    add_task(shared, "fine", "return {'rows': 3}")
    ti = shared.run("fine")
    assert (ti.state, ti.try_number, ti.reason) == (TaskState.SUCCESS, 1, None)
    assert ti.worker_id == shared.worker_id(worker)
    pulled = shared.store.values.pull_xcoms(
        dag_id="fine", run_id=ti.key.run_id, task_ids=["t"], key="return_value"
    )
    assert [value for _, value in pulled] == [{"rows": 3}]


def test_a_module_is_imported_once_for_each_version(shared: Rig, worker: Worker) -> None:
    source = """
    from pathlib import Path
    from orchestrator.sdk import dag, task
    with (Path({home!r}) / "imports").open("a") as journal: journal.write({mark!r})
    @dag(dag_id="counted")
    def build():
        @task
        def t(): return {mark!r}
        t()
    build()
    """
    journal = shared.home / "imports"
    for mark in ("a", "b"):
        shared.add("counted.py", dedent(source).format(home=str(shared.home), mark=mark))
        for _ in range(4):
            assert shared.run("counted").state is TaskState.SUCCESS
    # Once by the test that stored it, then once in each child that ran it, whatever it ran before.
    assert 2 <= journal.read_text().count("a") <= 3
    assert 2 <= journal.read_text().count("b") <= 3


def test_a_run_stays_on_its_version_whatever_the_file_says_now(shared: Rig, worker: Worker) -> None:
    add_task(shared, "pinned", "return 'old'")
    (shared.dags_folder / "pinned.py").write_text("this is no Python")
    ti = shared.run("pinned")
    assert ti.state is TaskState.SUCCESS, ti.reason


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("raises", "raise ValueError('no rows')", "ValueError: no rows (raises.py:11)"),
        (
            "exits",
            "sys.exit(3)",
            "SystemExit: the task called sys.exit(3) (exits.py:11)",
        ),
        (
            "vanishes",
            "os._exit(7)",
            "the task's process ended with exit code 7 in the middle of the task",
        ),
        (
            "leaves_quietly",
            "os._exit(0)",
            "the task's process ended with exit code 0 in the middle of the task",
        ),
        (
            "crashes",
            "os.kill(os.getpid(), signal.SIGSEGV)",
            "the task's process was killed by SIGSEGV",
        ),
        ("aborts", "os.abort()", "the task's process was killed by SIGABRT"),
        (
            "is_killed",
            "os.kill(os.getpid(), signal.SIGKILL)",
            "the task's process was killed by SIGKILL",
        ),
    ],
)
def test_it_ends_in_failed_with_the_reason(
    shared: Rig, worker: Worker, name: str, body: str, reason: str
) -> None:
    add_task(shared, name, f"{body}\n(here / 'unreachable').touch()")
    ti = shared.run(name)
    assert (ti.state, ti.reason) == (TaskState.FAILED, reason)
    assert not (shared.home / "unreachable").exists()


def test_a_killed_child_is_reported_at_once_with_what_it_had_written(
    shared: Rig, worker: Worker
) -> None:
    add_task(shared, "victim", "print('last words', flush=True)" + hold("victim"))
    held = Held(shared, "victim")
    os.kill(held.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    ti = shared.reached("victim", held.run_id, TaskState.FAILED)
    assert time.monotonic() - killed_at < QUICK_S
    assert ti.reason == "the task's process was killed by SIGKILL"
    assert shared.events(ti) == ["last words"]


def test_a_fork_that_reaches_the_end_of_the_task_ends_there(shared: Rig, worker: Worker) -> None:
    add_task(shared, "forking", "(here / f'fork.{os.fork()}').touch(); return os.getpid()")
    ti = shared.run("forking")
    assert ti.state is TaskState.SUCCESS
    add_task(shared, "after_forking", "return os.getpid()")
    assert {shared.run("after_forking").state for _ in range(4)} == {TaskState.SUCCESS}


def test_a_signal_to_the_whole_service_does_not_shorten_a_task(shared: Rig, worker: Worker) -> None:
    add_task(shared, "steadfast", hold("steadfast"))
    held = Held(shared, "steadfast")
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(held.pid, number)
    held.release()
    assert shared.reached("steadfast", held.run_id, TaskState.SUCCESS).try_number == 1


def test_a_dead_process_uses_up_a_try_and_the_next_one_runs(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "second_time",
        """
        if not (here / "was_here").exists():
            (here / "was_here").touch()
            os._exit(1)
        """,
        arguments="retries=1, retry_delay=0.01",
    )
    run_id = shared.trigger("second_time")
    ti = shared.reached("second_time", run_id, TaskState.SUCCESS)
    assert ti.try_number == 2


def test_a_timeout_raises_in_the_task_which_may_clean_up(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "slow",
        """
        try:
            time.sleep(60)
        finally:
            print("cleaned up")
        """,
        arguments="execution_timeout=0.3",
    )
    ti = shared.run("slow")
    assert ti.state is TaskState.FAILED
    assert ti.reason is not None
    assert ti.reason.startswith("timed out after 0.3 s")
    assert "cleaned up" in shared.events(ti)
    assert ti.duration_s is not None
    assert 0.3 <= ti.duration_s < QUICK_S


def test_a_timeout_ends_code_that_holds_the_gil_and_what_it_started(
    shared: Rig, worker: Worker
) -> None:
    add_task(
        shared,
        "stuck",
        """
        child = subprocess.Popen(["sleep", "600"])
        (here / "stuck.child").write_text(str(child.pid))
        sum(iter(int, 1))  # never ends, and never gets back to Python code
        """,
        arguments="execution_timeout=0.3",
    )
    ti = shared.run("stuck")
    assert (ti.state, ti.reason) == (TaskState.FAILED, "timed out after 0.3 s")
    assert ti.duration_s is not None
    assert ti.duration_s < QUICK_S
    pid = int((shared.home / "stuck.child").read_text())
    until(lambda: not is_running(pid), what="the end of the task's subprocess")


def test_a_cancelled_task_is_interrupted_and_its_result_is_not_asked_for(
    shared: Rig, worker: Worker
) -> None:
    add_task(
        shared,
        "unwanted",
        f"""
        try:
            {hold("unwanted").strip().replace(chr(10), chr(10) + " " * 12)}
        finally:
            (here / "unwanted.cleaned").write_text("yes")
        """,
    )
    held = Held(shared, "unwanted")
    take_away(shared, "unwanted", held.run_id)
    shared.doorbell.ring_worker(shared.worker_id(worker))
    rung_at = time.monotonic()
    until(appears(shared.home / "unwanted.cleaned"), what="the cancellation")
    assert time.monotonic() - rung_at < QUICK_S
    # The child goes on to other work, and what was decided about the task stays.
    add_task(shared, "after_unwanted", "pass")
    assert shared.run("after_unwanted").state is TaskState.SUCCESS
    ti = shared.ti("unwanted", held.run_id)
    assert ti is not None
    assert ti.state is TaskState.SKIPPED


def test_ten_copies_of_a_message_start_one_try(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "doubled",
        "(here / 'journal').open('a').write('started ')" + hold("doubled"),
    )
    held = Held(shared, "doubled")
    ti = shared.ti("doubled", held.run_id)
    assert ti is not None
    message = TaskMessage(ti_id=ti.ti_id, epoch=1, queue="default")
    shared.publisher.publish([message] * 10)
    until(lambda: shared.publisher.depths(["default"])["default"] == 0, what="their delivery")
    held.release()
    assert shared.reached("doubled", held.run_id, TaskState.SUCCESS).try_number == 1
    assert (shared.home / "journal").read_text() == "started "


def test_forged_and_broken_messages_are_dropped_and_the_worker_lives(
    shared: Rig, worker: Worker
) -> None:
    with redis.Redis.from_url(shared.broker.client_url) as client:
        for forged in forgeries():
            client.lpush("orch:default", forged)
        client.lpush("orch:default", b"\xff\xfe no text")
    add_task(shared, "after_forgery", "pass")
    assert shared.run("after_forgery").state is TaskState.SUCCESS
    until(lambda: worker.said("its signature does not fit"), what="the rejection")
    until(
        lambda: worker.said("it is neither (task instance, epoch, signature)"), what="the rejection"
    )
    until(lambda: worker.said("a queue entry is not JSON"), what="the rejection")
    until(lambda: worker.said("an entry of the queue 'default' is no message: 7"), what="the same")
    assert worker.process.poll() is None


def test_a_version_that_does_not_define_the_dag_names_file_dag_and_folder(
    shared: Rig, worker: Worker
) -> None:
    add_task(shared, "elsewhere", "pass")
    register_with_other_source(shared, "elsewhere", "from orchestrator.sdk import DAG")
    ti = shared.run("elsewhere")
    assert ti.state is TaskState.FAILED
    assert ti.reason == (
        f"elsewhere.py defines no DAG 'elsewhere' on this worker (DAGS_FOLDER "
        f"{shared.dags_folder}) but none at all; a DAG file must define the same DAGs on every "
        "machine"
    )


def test_a_module_missing_on_this_worker_names_file_dag_and_folder(
    shared: Rig, worker: Worker
) -> None:
    add_task(shared, "unhelped", "pass")
    register_with_other_source(shared, "unhelped", "import not_on_this_worker")
    ti = shared.run("unhelped")
    assert ti.state is TaskState.FAILED
    assert ti.reason is not None
    assert ti.reason.startswith(
        f"the DAG 'unhelped' cannot be imported on this worker (DAGS_FOLDER {shared.dags_folder})"
    )
    assert "unhelped.py" in ti.reason
    assert "not_on_this_worker" in ti.reason


def test_an_xcom_that_is_too_large_says_so(shared: Rig, worker: Worker) -> None:
    add_task(shared, "large", "return 'x' * (64 * 1024**2)")
    ti = shared.run("large")
    assert ti.state is TaskState.FAILED
    assert ti.reason is not None
    assert "xcom_bytes_max allows 67,108,864" in ti.reason


def take_away(rig: Rig, dag_id: str, run_id: str) -> None:
    """Decide that a running task is skipped, as the end of its run does."""
    with rig.store.database.writing() as connection:
        moved = connection.exec_driver_sql(
            "UPDATE task_instance SET state = 'skipped', epoch = epoch + 1, lease_owner = NULL, "
            "lease_until = NULL WHERE state = 'running' "
            f"AND dag_id = '{dag_id}' AND run_id = '{run_id}'"
        )
        assert moved.rowcount == 1


def forgeries() -> list[str]:
    """Messages that nobody with the secret key has written, the last one in Celery's own form."""
    message = TaskMessage(ti_id=TiId(UUID(int=1)), epoch=1, queue="default")
    unsigned = MessageWriter(MessageSigner("o" * 40)).write(message)
    good = json.loads(MessageWriter(MessageSigner(KEY)).write(message))
    shapeless = {**good, "body": b64encode(b"[[1, 2], {}, {}]").decode()}
    pickled = {
        **good,
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
        "body": b64encode(pickle.dumps([[str(message.ti_id), 1, "x"], {}, {}])).decode(),
    }
    unknown = {**good, "headers": {**good["headers"], "task": "os.system"}}
    headless = {**good, "headers": {}}
    return [
        "no JSON at all",
        "[]",
        "7",
        unsigned,
        *(json.dumps(each) for each in (shapeless, pickled, unknown, headless)),
    ]


def register_with_other_source(rig: Rig, dag_id: str, source: str) -> None:
    """Store a version of a DAG whose stored text does not define it."""
    spec = rig.store.scheduler.spec(rig.control_store.current_dag(dag_id).version_id)
    rig.store.catalog.register(
        ParsedVersion(
            spec=spec,
            path=f"{dag_id}.py",
            source=source,
            source_digest=hashlib.sha256(source.encode()).hexdigest(),
            content_hash=content_hash(spec, source),
        )
    )
