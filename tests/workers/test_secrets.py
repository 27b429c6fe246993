"""A corpus of ways for a secret to get out of a task, on real workers: none of them does.

What is looked at is what is stored: the log, the reason, the XComs as people see them.
"""

import json
from textwrap import dedent
from typing import Any

import pytest

from orchestrator.core.secrets import ConnectionFields, VariableFields
from orchestrator.core.states import TaskState
from orchestrator.settings import fernet_keys, load_settings
from orchestrator.store.secrets import SqlSecrets
from tests.workers.rig import Rig, Worker

PASSWORD = 'hunter2"/ö secret'
TOKEN = "tok-5e1f"
VISIBLE = "plain-visible"
FAILING = ("raised", "bash")

DAG_FILE = dedent(
    """
    import json, logging, subprocess, sys
    from urllib.parse import quote
    from orchestrator.sdk import BaseHook, BashOperator, Connection, DAG, Variable, mask_secret
    from orchestrator.sdk import task

    with DAG("leaks"):
        @task
        def printed():
            found = Connection.get("warehouse")
            print("password:", found.password, "host:", found.host)
            print("in pieces: hunt", end="")
            print('er2"/ö secret', file=sys.stdout)
            sys.stderr.write(json.dumps({"password": found.password}) + "\\n")

        @task
        def logged():
            log = logging.getLogger("mine")
            log.warning("uri %s", BaseHook.get_connection("warehouse").get_uri())
            log.info("token %s", Variable.get("api_token"), extra={"plain": Variable.get("plain")})

        @task
        def raised():
            secret = Connection.get("warehouse").password
            try:
                raise ValueError(f"first {secret}")
            except ValueError as error:
                raise RuntimeError(f"second {secret} {Variable.get('plain')}") from error

        @task
        def returned():
            found = Connection.get("warehouse")
            return {"pw": found.password, "host": found.host, "token": "by its name"}

        @task
        def received(value):
            assert value["pw"] == Connection.get("warehouse").password
            print("got", value)
            return value["host"]

        @task(params={"db_password": "param-secret"})
        def given(params):
            print("param", params["db_password"])
            mask_secret("of-my-own")
            print("of-my-own")

        @task
        def beside_python():
            import os
            print("shown:", Variable.get("plain"))
            os.write(1, b"before " + b"tok-5e1f\\n")
            os.write(1, Variable.get("api_token").encode() + b" raw\\n")
            found = Connection.get("warehouse")
            subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1])", found.password])
            subprocess.run(["sh", "-c", "printf '%s' no-line-end-; echo tok-5e1f >&2"])

        BashOperator(
            task_id="bash",
            bash_command="echo {{ conn.warehouse.password | urlencode }} {{ var.value.api_token }}"
            " {{ var.value.plain }}; exit 3",
        )
        printed(), logged(), raised(), received(returned()), given(), beside_python()
    """
)


@pytest.fixture(scope="module")
def secrets(shared: Rig) -> SqlSecrets:
    stored = shared.store.secrets(fernet_keys(load_settings(shared.environment)))
    stored.put_connection(
        ConnectionFields(
            conn_id="warehouse",
            conn_type="postgres",
            host="db-host",
            login="ann",
            password=PASSWORD,
            extra=json.dumps({"api_key": "key-77aa"}),
        ),
        user=None,
    )
    stored.put_variable(VariableFields(key="api_token", value=TOKEN), user=None)
    stored.put_variable(VariableFields(key="plain", value=VISIBLE), user=None)
    return stored


@pytest.fixture(scope="module")
def run_id(shared: Rig, secrets: SqlSecrets) -> str:
    """One run of the corpus; each test looks at one task of it."""
    shared.add("leaks.py", DAG_FILE)
    return shared.trigger("leaks")


@pytest.mark.parametrize(
    ("task_id", "lines"),
    [
        ("printed", ["password: *** host: db-host", "in pieces: ***"]),
        ("logged", ["uri postgres://ann:***@db-host", "token ***"]),
        ("raised", ["the try failed"]),
        ("received", ["got {'pw': '***'"]),
        ("given", ["param ***", "***"]),
        ("bash", [f"*** *** {VISIBLE}"]),
        ("beside_python", [f"shown: {VISIBLE}", "*** raw", "***", "no-line-end-***"]),
    ],
)
def test_a_secret_is_in_no_log_and_no_reason(
    shared: Rig, worker: Worker, run_id: str, task_id: str, lines: list[str]
) -> None:
    ti = shared.reached("leaks", run_id, TaskState.SUCCESS, TaskState.FAILED, task_id=task_id)
    assert ti.state is (TaskState.FAILED if task_id in FAILING else TaskState.SUCCESS)
    written = shared.log_lines(ti)
    everything = json.dumps([*written, ti.reason], ensure_ascii=False)
    everything = everything.replace(f"before {TOKEN}", "")  # written before anybody read it
    for secret in ("hunter2", TOKEN, "key-77aa", "param-secret", "of-my-own"):
        assert secret not in everything
    events = [str(line["event"]) for line in written]
    for line in lines:
        assert any(event.startswith(line) for event in events), events


def test_a_traceback_is_there_without_the_secret(shared: Rig, run_id: str, worker: Worker) -> None:
    ti = shared.reached("leaks", run_id, TaskState.FAILED, task_id="raised")
    (trace,) = (line["exception"] for line in shared.log_lines(ti) if "exception" in line)
    assert "ValueError: first ***" in trace
    assert f"RuntimeError: second *** {VISIBLE}" in trace
    assert ti.reason is not None
    assert ti.reason.startswith(f"RuntimeError: second *** {VISIBLE} (leaks.py:")


def test_people_see_an_xcom_masked_and_tasks_as_it_is(
    shared: Rig, run_id: str, worker: Worker
) -> None:
    shared.reached("leaks", run_id, TaskState.SUCCESS, task_id="received")
    seen = shared.reads.xcom("leaks", run_id, "returned", "return_value")
    assert seen.value == {"pw": "***", "host": "db-host", "token": "***"}
    assert shared.reads.xcom("leaks", run_id, "received", "return_value").value == "db-host"


def test_a_task_writes_variables_for_others(
    shared: Rig, worker: Worker, secrets: SqlSecrets
) -> None:
    shared.add(
        "writes.py",
        dedent(
            """
            from orchestrator.sdk import DAG, Variable, task
            with DAG("writes"):
                @task
                def t():
                    Variable.set("written", {"a": 1}, serialize_json=True)
                    return Variable.get("written", deserialize_json=True)["a"]
                t()
            """
        ),
    )
    assert shared.run("writes").state is TaskState.SUCCESS
    known = secrets.variable_fields("written")
    assert known is not None
    assert known.value == '{"a": 1}'


def test_a_file_is_imported_again_when_a_variable_that_it_read_has_changed(
    rig: Rig, quiet: None
) -> None:
    stored = rig.store.secrets(fernet_keys(load_settings(rig.environment)))
    stored.put_variable(VariableFields(key="word", value="first"), user=None)
    rig.start_worker("-Q", "default", "-c", "1")
    # The parser's own import, which the rig does in this process, sees the default.
    rig.add(
        "reads.py",
        dedent(
            """
            from orchestrator.sdk import DAG, Variable, task
            word = Variable.get("word", default="none")
            with DAG("reads"):
                @task
                def t():
                    return word
                t()
            """
        ),
    )

    def returned() -> Any:
        run_id = rig.trigger("reads")
        rig.reached("reads", run_id, TaskState.SUCCESS)
        return rig.reads.xcom("reads", run_id, "t", "return_value").value

    assert returned() == "first"
    stored.put_variable(VariableFields(key="word", value="second"), user=None)
    assert returned() == "second"
