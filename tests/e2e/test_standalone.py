"""`orchestrator standalone` as a person meets it: it starts, stops, refuses, and is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from orchestrator.core.states import RunState, TaskState
from tests.e2e.processes import (
    Folder,
    Standalone,
    tries,
    trigger,
    wait_for_end,
    wait_until,
)

START = Callable[..., Standalone]


def test_once_runs_a_dag_and_says_by_its_exit_code_how_it_went(folder: Folder) -> None:
    folder.go("a_run")
    success = folder.run("standalone", "--once", "failing")
    assert success.returncode == 1, success.stderr
    assert "ValueError: no such luck" in success.stdout
    assert folder.pids() == {}

    unknown = folder.run("standalone", "--once", "faling")
    assert (unknown.returncode, unknown.stderr) == (
        2,
        "error: DAG 'faling' does not exist; did you mean 'failing'?\n",
    )
    assert folder.pids() == {}


def test_once_passes_conf_makes_pools_and_names_the_file_returned(folder: Folder) -> None:
    folder.write_dag(
        "writing",
        """
from pathlib import Path
from orchestrator.sdk import dag, task

@dag(params={"name": "nobody"})
def writing():
    @task(pool="pens")
    def write(*, params) -> str:
        path = Path(__file__).parent.parent / f"{params['name']}.txt"
        path.write_text("done")
        return str(path)

    @task
    def copies(number: int) -> str:
        return __file__

    write()
    copies.expand(number=[1, 2])

writing()
""",
    )
    done = folder.run("standalone", "--once", "writing", "--conf", '{"name": "ann"}')
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made pool pens with 2 slots" in done.stdout
    assert f"result             {folder.path / 'ann.txt'}" in done.stdout
    assert folder.pids() == {}


def test_a_second_start_is_refused_and_ctrl_c_ends_the_first(folder: Folder, start: START) -> None:
    first = start()
    first.wait_until_serving()
    pid, url = first.process.pid, first.word()["url"]

    refused = folder.run("standalone")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"error: an orchestrator (process {pid}, {url}) already serves {folder.home}; stop it with "
        f"Ctrl-C or `kill {pid}`, or set ORCHESTRATOR_HOME to another folder\n",
    )
    with urlopen(f"{url}/api/v2/version") as answer:
        assert "version" in json.load(answer)
    health = folder.run("health", "--output", "json")
    assert {row["part"]: row["status"] for row in json.loads(health.stdout)} == dict.fromkeys(
        ("database", "redis", "scheduler", "worker", "api"), "healthy"
    )

    check_a_run_as_a_person_follows_it(folder)

    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(30) == 0, first.output
    assert folder.pids() == {}


def check_a_run_as_a_person_follows_it(folder: Folder) -> None:
    triggered = folder.run("dags", "trigger", "failing", "--run-id", "mine", "--wait")
    assert triggered.returncode == 1
    assert "failing mine failed in" in triggered.stdout
    assert folder.run("runs", "watch", "failing").returncode == 1
    (task,) = json.loads(folder.run("tasks", "list", "failing", "-o", "json").stdout)
    assert (task["task_id"], task["state"], task["try_number"]) == ("fail", "failed", 1)
    log = folder.run("tasks", "log", "failing", "-", "fail", "--follow", "--try", "1").stdout
    assert "ValueError: no such luck" in log
    assert "failed after" in log.splitlines()[-1]
    explained = folder.run("tasks", "explain", "failing", "mine", "fail").stdout.splitlines()
    assert explained[0] == "failing/mine/fail is failed."
    assert "no such luck" in explained[1]


def test_sigterm_ends_everything_in_order_while_a_task_runs(folder: Folder, start: START) -> None:
    # A demo that is not there is no reason not to serve.
    standalone = start("--demo", "--demo-dag", "holdin")
    standalone.wait_for(
        "! holdin was not run: DAG 'holdin' does not exist; did you mean 'holding'?"
    )
    standalone.wait_until_serving()
    with folder.services() as services:
        trigger(services, "holding", "a_run")
        folder.holder("a_run")

        standalone.process.send_signal(signal.SIGTERM)
        assert standalone.process.wait(30) == 0, standalone.output
        assert folder.pids() == {}
        # Everybody has signed off, and nothing is left to take over.
        assert services.reads.workers() == ()
        assert standalone.word() == {}
        assert "stopping" in standalone.output


@pytest.mark.parametrize("victim", ["guard", "supervisor"])
def test_a_killed_parent_leaves_nothing_and_the_next_start_goes_on_at_once(
    folder: Folder, start: START, victim: str
) -> None:
    # Given a run in the middle of its second task,
    first = start()
    first.wait_until_serving()
    with folder.services() as services:
        trigger(services, "holding", "a_run")
        folder.holder("a_run")
        trigger(services, "holding", "another_run")

        # when the process that a person started, or its better half, is killed,
        guard = first.process.pid
        (supervisor,) = [pid for pid in folder.pids() if _parent(pid) == guard]
        os.kill(guard if victim == "guard" else supervisor, signal.SIGKILL)

        # then nothing is left, not even what the task has started,
        first.process.wait(30)
        wait_until(lambda: folder.pids() == {}, "nothing is left", timeout_s=10)

        # and the next start ends the runs, though no lease has run out.
        folder.go("a_run")
        folder.go("another_run")
        second = start()
        second.wait_until_serving()
        assert wait_for_end(services, "holding", "a_run").state is RunState.SUCCESS
        assert wait_for_end(services, "holding", "another_run").state is RunState.SUCCESS
        assert [state for state, _ in tries(services, "a_run", "hold")] == [
            TaskState.UP_FOR_RETRY,
            TaskState.SUCCESS,
        ]


def test_a_taken_port_is_one_sentence(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = Folder(folder.path, {"ORCHESTRATOR_API_PORT": str(port)}).run("standalone")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"error: port {port} of 127.0.0.1 is taken by another program; stop that one, or set "
        "ORCHESTRATOR_API_PORT to another port (0 picks a free one)\n",
    )
    assert folder.pids() == {}


def test_a_folder_that_cannot_be_written_is_one_sentence(folder: Folder) -> None:
    # Below a file: not even root can write there.
    (folder.path / "file").touch()
    home = folder.path / "file" / "home"
    refused = Folder(folder.path, {"ORCHESTRATOR_HOME": str(home)}).run("standalone")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"error: the data folder {home} cannot be written (Not a directory); "
        "set ORCHESTRATOR_HOME to a folder that can\n",
    )


def test_a_database_out_of_reach_is_one_sentence(folder: Folder) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    refused = Folder(folder.path, {"ORCHESTRATOR_DATABASE_URL": url}).run("standalone")
    assert refused.returncode == 1
    (sentence,) = refused.stderr.splitlines()
    assert sentence.startswith(
        "error: the database postgresql+psycopg://nobody@127.0.0.1:1/none does not answer"
    )
    assert sentence.endswith("start it, or set ORCHESTRATOR_DATABASE_URL")
    assert folder.pids() == {}


def test_a_redis_out_of_reach_is_one_sentence(folder: Folder) -> None:
    url = "redis://127.0.0.1:1/0"
    refused = Folder(folder.path, {"ORCHESTRATOR_REDIS_URL": url}).run("standalone")
    assert refused.returncode == 1
    (sentence,) = refused.stderr.splitlines()
    assert sentence.startswith("error: the Redis server does not answer")
    assert sentence.endswith("start it, or set ORCHESTRATOR_REDIS_URL")
    assert folder.pids() == {}


def test_a_missing_library_is_one_sentence(folder: Folder) -> None:
    library, service = "uvicorn", "API"
    fakes = folder.path / "fakes"
    fakes.mkdir()
    (fakes / f"{library}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{library}'\")"
    )
    refused = Folder(folder.path, {"PYTHONPATH": str(fakes)}).run("standalone")
    log = folder.home / "logs" / f"{service.lower()}.log"
    assert (refused.returncode, refused.stderr) == (
        1,
        f"error: the {service} cannot start: ModuleNotFoundError: No module named '{library}' "
        f"(see {log})\n",
    )
    assert folder.pids() == {}


def test_a_module_of_the_current_folder_does_not_pass_for_ours(
    folder: Folder, start: START
) -> None:
    for name in ("api", "workers"):
        (folder.path / f"{name}.py").write_text("raise SystemExit('not this one')")
    script = Path(sys.executable).parent / "orchestrator"
    done = subprocess.run(
        [script, "standalone", "--once", "failing"],
        env=folder.environ,
        cwd=folder.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ValueError: no such luck" in done.stdout, done.stderr


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
