"""Workers come, go, are killed and lose their servers; runs do not care."""

import os
import signal
import time
from pathlib import Path

import psycopg
import redis

from orchestrator.broker.embedded import start_embedded
from orchestrator.core.states import RunState, TaskState
from tests.workers.rig import (
    Held,
    Rig,
    Worker,
    a_rig,
    add_task,
    appears,
    hold,
    is_running,
    processes_of_session,
    until,
)
from workers.host import EXIT_MARGIN_S

BASH = """
from pathlib import Path
from orchestrator.sdk import DAG, BashOperator
with DAG(dag_id="bashing"):
    BashOperator(task_id="t", bash_command="echo $$ > {home}/bash.pid; sleep 601; echo never")
"""


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_bare_worker_has_the_profile(rig: Rig) -> None:
    worker = rig.start_worker("-Q", "default,gpu", "-c", "3")
    with rig.store.database.reading() as connection:
        row = connection.exec_driver_sql("SELECT hostname, queues, concurrency FROM worker").one()
    assert row.hostname == os.uname().nodename
    assert (row.queues, row.concurrency) == ('["default","gpu"]', 3)
    with redis.Redis.from_url(rig.broker.client_url) as client:
        # No mailbox for remote control, no exchange for events and gossip: only our bell.
        until(client.pubsub_channels, what="the worker's bell")
        assert client.pubsub_channels() == [b"orch:worker:" + rig.worker_id(worker).encode()]
        until(lambda: worker_is_consuming(client), what="the worker's first wait for messages")
        bindings = {key for key in client.scan_iter() if b"binding" in key}
        assert {key.rpartition(b".")[2] for key in bindings} == {b"default", b"gpu"}
        assert not [key for key in client.scan_iter() if b"unacked" in key or b"celeryev" in key]
    add_task(rig, "on_gpu", "pass", arguments="queue='gpu'")
    assert rig.run("on_gpu").state is TaskState.SUCCESS


def worker_is_consuming(client: redis.Redis) -> bool:
    return any(
        each["name"] == "orchestrator-worker" and each["cmd"] == "brpop"
        for each in client.client_list()
    )


def test_a_batch_published_at_once_is_carried_out(tmp_path: Path, database_url: str) -> None:
    with a_rig(tmp_path / "rig_home", database_url) as rig:
        rig.start_worker()
        rig.add(
            "wide.py",
            "from orchestrator.sdk import dag, task\n"
            "@dag(dag_id='wide', max_active_tasks=64)\n"
            "def build():\n"
            "    for n in range(40):\n"
            "        @task(task_id=f't{n}')\n"
            "        def t(): print('done')\n"
            "        t()\n"
            "build()\n",
        )
        run_id = rig.trigger("wide")
        until(lambda: rig.reads.run("wide", run_id).state is RunState.SUCCESS, what="the run")
        assert rig.events(rig.reached("wide", run_id, TaskState.SUCCESS, task_id="t39")) == ["done"]


def test_a_killed_worker_leaves_no_process_and_loses_no_run(rig: Rig) -> None:
    add_task(
        rig,
        "orphaning",
        """
        if not (here / "orphan.pid").exists():
            print("first worker")
            child = subprocess.Popen(["sh", "-c", "sleep 602 & sleep 602"])
            (here / "orphan.pid").write_text(str(child.pid))
            time.sleep(600)
        print("second worker")
        """,
    )
    rig.add("bashing.py", BASH.format(home=rig.home))
    first = rig.start_worker()
    sessions = children_of(first.pid)
    run_id = rig.trigger("orphaning")
    rig.trigger("bashing")
    until(appears(rig.home / "orphan.pid"), what="the task's subprocess")
    until(appears(rig.home / "bash.pid"), what="the bash command")
    offspring = processes_of_session(*sessions)
    assert len(offspring) >= 2 + 3 + 3  # children, shell and sleeps, bash with watcher and sleep

    first.process.kill()

    until(lambda: not processes_of_session(*sessions), what="the end of what it had started")
    assert not [pid for pid in offspring if is_running(pid)]
    rig.start_worker()
    ti = rig.reached("orphaning", run_id, TaskState.SUCCESS)
    # A lost worker uses up no retry (there was none to use), and what the first one had in its
    # spool is in the log.
    assert ti.try_number == 2
    assert rig.events(ti, 2) == ["second worker"]
    until(lambda: "first worker" in rig.events(ti, 1), what="the log of the killed worker")


def test_a_stopped_worker_finishes_what_it_runs(rig: Rig) -> None:
    add_task(rig, "short", hold("short"))
    worker = rig.start_worker(ORCHESTRATOR_SHUTDOWN_GRACE_S="30")
    held = Held(rig, "short")
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: worker.said("Warm shutdown"), what="the shutdown")
    held.release()
    assert worker.process.wait(10) == 0
    assert rig.reached("short", held.run_id, TaskState.SUCCESS).try_number == 1
    assert worker.said("worker_signed_off")
    assert list((rig.home / "spool").iterdir()) == []


def test_a_stopped_worker_hands_back_what_does_not_end(rig: Rig) -> None:
    add_task(
        rig,
        "long",
        """
        print("started")
        (here / "long.runs").write_text("yes")
        time.sleep(600)
        """,
    )
    worker = rig.start_worker()
    run_id = rig.trigger("long")
    until(appears(rig.home / "long.runs"), what="the task")
    stopped_at = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(1 + 10) == 0
    assert time.monotonic() - stopped_at < 1 + EXIT_MARGIN_S  # the last resort was not needed
    # It has no retries, and yet it will run again.
    ti = rig.reached("long", run_id, TaskState.UP_FOR_RETRY, TaskState.QUEUED, TaskState.SCHEDULED)
    assert rig.events(ti, 1)[0] == "started"


def test_a_restarted_broker_is_found_again_by_worker_and_scheduler(rig: Rig) -> None:
    add_task(rig, "before", "pass")
    add_task(rig, "after", "pass")
    rig.start_worker()
    assert rig.run("before").state is TaskState.SUCCESS
    rig.broker.process.kill()
    rig.broker.process.wait()
    again = start_embedded(rig.broker.data_folder)
    try:
        assert rig.run("after").state is TaskState.SUCCESS
    finally:
        again.stop()


def test_a_burst_of_dying_children_is_survived(rig: Rig) -> None:
    rig.add(
        "dying.py",
        "import os\n"
        "from orchestrator.sdk import dag, task\n"
        "@dag(dag_id='dying', max_active_tasks=64)\n"
        "def build():\n"
        "    for n in range(12):\n"
        "        @task(task_id=f't{n}')\n"
        "        def t(): os._exit(1)\n"
        "        t()\n"
        "build()\n",
    )
    rig.start_worker()
    run_id = rig.trigger("dying")
    until(lambda: rig.reads.run("dying", run_id).state is RunState.FAILED, what="the run")
    add_task(rig, "alive", "pass")
    assert rig.run("alive").state is TaskState.SUCCESS


def test_a_result_waits_for_the_database(
    tmp_path: Path, postgres_url: str, postgres_server: str
) -> None:
    with a_rig(tmp_path, postgres_url) as rig:
        add_task(rig, "patient", "print('through it')" + hold("patient"))
        worker = rig.start_worker(ORCHESTRATOR_LEASE_S="30")
        held = Held(rig, "patient")
        allow_connections(postgres_server, postgres_url, is_allowed=False)
        held.release()
        until(lambda: worker.said("store_out_of_reach"), what="the outage")
        allow_connections(postgres_server, postgres_url, is_allowed=True)
        ti = rig.reached("patient", held.run_id, TaskState.SUCCESS)
        assert ti.try_number == 1
        until(lambda: rig.events(ti) == ["through it"], what="the log")


def allow_connections(server: str, url: str, *, is_allowed: bool) -> None:
    """Shut a database, cutting whoever is connected, or open it again."""
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {is_allowed}')
        if not is_allowed:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )


def test_a_wrong_setting_is_one_sentence(rig: Rig, tmp_path: Path) -> None:
    environment = {**rig.environment, "ORCHESTRATOR_WORKER_QUEUE": "x"}
    worker = Worker(environment, tmp_path / "wrong.log")
    assert worker.process.wait(30) != 0
    text = worker.log.read_text()
    assert "unknown setting ORCHESTRATOR_WORKER_QUEUE in the environment" in text
    assert "Traceback" not in text
