"""What a bash task does, and what is left of it when it is cut short."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Skipped, Succeeded
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import DAG, BashOperator, TaskTimeoutError, task
from tests.sdk.tries import LOGICAL_DATE, RUN_ID, stored, try_task


def run(command: Any, *, conf: dict[str, Any] | None = None, **arguments: Any) -> Any:
    with DAG("d", params={"n": 1}) as dag:
        BashOperator(task_id="t", bash_command=command, owner="ann", **arguments)
    return try_task(dag, "t", conf=conf, xcoms=stored(up="from up"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in 10 s"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("echo one; echo two", "two"),
        ("true", ""),
        ("printf 'no newline'", "no newline"),
        ("echo out; echo err >&2", "err"),
        ("printf 'a\\r\\n'", "a"),
        ("printf '\\xff'", "\\xff"),
        ("echo {{ ds }} {{ ti.xcom_pull('up') }}", "2024-05-06 from up"),
    ],
)
def test_the_last_line_is_the_xcom(command: str, value: str) -> None:
    assert run(command) == Succeeded(xcoms={"return_value": value})


def test_each_line_is_logged_as_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="orchestrator.task")
    run("echo one; echo two >&2")
    assert [each.getMessage() for each in caplog.records][1:] == ["one", "two"]


def test_output_encoding() -> None:
    assert run("printf '\\xe4'", output_encoding="latin-1").xcoms == {"return_value": "ä"}


@pytest.mark.parametrize(
    ("command", "arguments", "outcome"),
    [
        ("exit 99", {}, Skipped(reason="bash exited with code 99, which means skip")),
        (
            "exit 99",
            {"skip_on_exit_code": None},
            Failed(reason="TaskException: bash exited with code 99"),
        ),
        (
            "exit 4",
            {"skip_on_exit_code": [3, 4]},
            Skipped(reason="bash exited with code 4, which means skip"),
        ),
        (
            "echo no such table; exit 3",
            {},
            Failed(
                reason="TaskException: bash exited with code 3; its last line of output: no such "
                "table"
            ),
        ),
        (
            "kill -9 $$",
            {},
            Failed(reason="TaskException: bash was ended by SIGKILL (exit code -9)"),
        ),
        (
            "exit 137",
            {},
            Failed(reason="TaskException: bash was ended by SIGKILL (exit code 137)"),
        ),
        (
            "true",
            {"cwd": "/nowhere"},
            Failed(
                reason="TaskException: cwd is '/nowhere', which is no folder on this worker; "
                "create it first"
            ),
        ),
    ],
)
def test_exit_codes(command: str, arguments: dict[str, Any], outcome: Any) -> None:
    assert run(command, **arguments) == outcome


def test_the_context_is_in_the_environment_and_conf_is_no_part_of_the_command() -> None:
    danger = {"x": "$(touch /tmp/pwned); `id`"}
    outcome = run("env -0 | grep -z ^AIRFLOW_CTX_ | sort -z | tr '\\0' ';'", conf=danger)
    lines = outcome.xcoms["return_value"].rstrip(";").split(";AIRFLOW_CTX_")
    variables = dict(line.removeprefix("AIRFLOW_CTX_").split("=", 1) for line in lines)
    assert json.loads(variables.pop("DAG_RUN_CONF")) == danger
    assert json.loads(variables.pop("PARAMS")) == {"n": 1, **danger}
    assert variables == {
        "DAG_ID": "d",
        "DAG_OWNER": "ann",
        "DAG_RUN_ID": RUN_ID,
        "IDEMPOTENCY_KEY": f"d/{RUN_ID}/t/-1",
        "LOGICAL_DATE": LOGICAL_DATE.isoformat(),
        "MAP_INDEX": "-1",
        "TASK_ID": "t",
        "TRY_NUMBER": "1",
    }


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({}, "outer-"),
        ({"env": {"B": "{{ ds }}"}}, "-2024-05-06"),
        ({"env": {"B": "b"}, "append_env": True}, "outer-b"),
    ],
)
def test_env_replaces_the_environment_or_adds_to_it(
    arguments: dict[str, Any], value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTER", "outer")
    assert run('echo "$OUTER-$B"', **arguments).xcoms == {"return_value": value}


def test_a_command_runs_in_a_folder_of_its_own_unless_told_where(tmp_path: Path) -> None:
    folder = run("touch x; pwd").xcoms["return_value"]
    assert "orchestrator-bash-" in folder
    assert not Path(folder).exists()
    assert run("pwd", cwd=str(tmp_path)).xcoms == {"return_value": str(tmp_path)}


def test_what_a_command_leaves_behind_on_purpose_lives_on(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    run(f"sleep 30 >/dev/null 2>&1 & echo $! > {pid_file}")
    pid = int(pid_file.read_text())
    assert not is_gone(pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))


def test_a_timeout_ends_the_command_and_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pids"

    def time_is_up(_number: int, _frame: Any) -> None:
        raise TaskTimeoutError

    before = signal.signal(signal.SIGUSR1, time_is_up)
    try:
        outcome = run(
            f"sleep 30 & echo $$ $! > {pid_file}.new && mv {pid_file}.new {pid_file};"
            f"kill -USR1 {os.getpid()}; wait",
            execution_timeout=5,
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert outcome.reason.startswith("timed out after 5 s")
    for pid in map(int, pid_file.read_text().split()):
        until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


def test_the_command_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pids"
    script = (
        "import sys; from tests.sdk.test_bash import run;"
        f"run('sleep 30 & echo $$ $! > {pid_file}.new && mv {pid_file}.new {pid_file}; wait')"
    )
    worker = subprocess.Popen([sys.executable, "-c", script])
    until(pid_file.exists)
    worker.kill()
    worker.wait()
    for pid in map(int, pid_file.read_text().split()):
        until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


def test_a_bash_function_returns_a_command_that_is_rendered() -> None:
    with DAG("d") as dag:

        @task.bash(env={"A": "{{ run_id }}"})
        def count(number: int) -> str:
            return f'echo {number} {{{{ ds }}}} "$A"'

        count(3)
    assert try_task(dag, "count").xcoms == {"return_value": f"3 2024-05-06 {RUN_ID}"}


def test_a_bash_function_must_return_text() -> None:
    with DAG("d") as dag:
        task.bash(lambda: 3, task_id="t")()
    outcome = try_task(dag, "t")
    assert isinstance(outcome, Failed)
    assert "a @task.bash function returns the command as text; it returned 3" in outcome.reason


def test_an_output_processor_makes_something_of_the_last_line() -> None:
    with DAG("d") as made:
        BashOperator(task_id="t", bash_command="echo no; echo 42", output_processor=int)
    outcome = try_task(made, "t")
    assert isinstance(outcome, Succeeded)
    assert outcome.xcoms["return_value"] == 42


def test_an_output_processor_must_be_a_function() -> None:
    with pytest.raises(DagInvalidError, match="output_processor is 'int'; it must be a function"):
        BashOperator(task_id="t", bash_command="true", output_processor="int")  # type: ignore[arg-type]
