"""Connections and Variables from the command line: secrets go in by a pipe and never come out."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from orchestrator.bootstrap import Services
from orchestrator.cli.app import app
from orchestrator.sdk.masking import secret_scope
from tests.cli.conftest import Project

pytestmark = pytest.mark.usefixtures("services")


@pytest.fixture(autouse=True)
def no_secret_outlives_a_test() -> Iterator[None]:
    with secret_scope():
        yield


URI = "postgres://ann:hunter2@db.example.org:5432/sales?sslmode=require&api_key=k-123"


def run(project: Project, *arguments: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), env=project.environ, input=stdin)


def as_json(project: Project, *arguments: str) -> Any:
    result = project.run(*arguments, "--output", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_connection_goes_in_by_a_pipe_and_is_shown_masked(
    project: Project, services: Services
) -> None:
    added = run(project, "connections", "add", "db", "--uri", "-", stdin=URI + "\n")
    assert (added.exit_code, added.stdout) == (0, "Connection db is stored\n")
    stored = services.stored_secrets.connection_fields("db")
    assert stored is not None
    assert stored.password == "hunter2"
    for form in ("table", "json"):
        for command in (["list"], ["get", "db"]):
            shown = project.run("connections", *command, "--output", form).output
            assert "db.example.org" in shown
            assert "hunter2" not in shown
            assert "k-123" not in shown
    assert as_json(project, "connections", "get", "db")["extra"] == {
        "api_key": "***",
        "sslmode": "require",
    }
    assert as_json(project, "connections", "list")[0]["password"] == "***"
    assert project.refusal("connections", "get", "bd").startswith("Connection 'bd' does not exist")


def test_a_connection_by_its_fields(project: Project, services: Services) -> None:
    (project.path / "pw").write_text("from a file\n")
    project.run(
        "connections", "add", "api", "--type", "http", "--host", "h", "--port", "8080",
        "--login", "ann", "--password", f"@{project.path / 'pw'}", "--extra", '{"timeout": 3}',
    )  # fmt: skip
    stored = services.stored_secrets.connection_fields("api")
    assert stored is not None
    assert (stored.password, stored.port, stored.extra) == ("from a file", 8080, '{"timeout": 3}')
    again = ("connections", "add", "api", "--json", '{"conn_type": "http", "host": "i"}')
    assert "Connection 'api' exists already" in project.refusal(*again)
    assert project.run(*again, "--overwrite").exit_code == 0
    assert project.run("connections", "delete", "api").stdout == "Connection api is removed\n"
    assert "does not exist" in project.refusal("connections", "delete", "api")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--uri", "x://", "--host", "h"], "give --uri, or --json, or the single fields"),
        (["--uri", "x://", "--json", "{}"], "give --uri, or --json, or the single fields"),
        (["--type", "x", "--password", "-", "--extra", "-"], "standard input holds one value"),
    ],
)
def test_a_wrong_command_line(project: Project, arguments: list[str], words: str) -> None:
    result = project.run("connections", "add", "c", *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_a_connection_is_tested_from_here(project: Project, tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    run(project, "connections", "add", "db", "--type", "sqlite", "--host", str(database))
    tested = project.run("connections", "test", "db")
    assert (tested.exit_code, tested.output) == (0, "db: ok: the database answers (sqlite)\n")
    project.environ["AIRFLOW_CONN_AWAY"] = "http://u:hunter2@127.0.0.1:1"
    tested = project.run("connections", "test", "away")
    assert tested.exit_code == 1
    assert tested.output.startswith("away: failed: ConnectError")
    assert "hunter2" not in tested.output
    assert "looked in the environment, then the store" in str(
        project.run("connections", "test", "none").exception
    )


def test_a_test_that_hangs_ends(project: Project) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        project.environ["AIRFLOW_CONN_SILENT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = project.run_alone("connections", "test", "silent", "--timeout", "0.3")
    assert done.returncode == 1
    assert done.stderr == "silent: failed: no answer within 0.3 s\n"


def test_connections_are_moved_by_a_file(project: Project, services: Services) -> None:
    run(project, "connections", "add", "db", "--uri", "-", stdin=URI)
    file = project.path / "kept.json"
    assert project.run("connections", "export", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    held = json.loads(file.read_text())
    assert held["db"]["password"] == "hunter2"
    held["mail"] = "smtp://m"
    file.write_text(json.dumps(held))
    project.run("connections", "delete", "db")
    imported = project.run("connections", "import", str(file))
    assert imported.output == "2 Connections stored, 0 skipped\n"
    stored = services.stored_secrets.connection_fields("db")
    assert stored is not None
    assert stored.password == "hunter2"
    assert project.run("connections", "import", str(file)).stdout == (
        "0 Connections stored, 2 skipped\n"
    )
    assert "'db' exists already; nothing was imported" in project.refusal(
        "connections", "import", str(file), "--on-existing", "fail"
    )
    env = project.path / "more.env"
    env.write_text("# ours\n\nmail=http://other\n")
    project.run("connections", "import", str(env), "--on-existing", "overwrite")
    changed = services.stored_secrets.connection_fields("mail")
    assert changed is not None
    assert (changed.conn_type, changed.host) == ("http", "other")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", '{"db": "x://u:hunter2@h"', "is not JSON"),
        ("a.json", "[1]", "holds no JSON object"),
        ("a.json", '{"db": 1}', "Connection 'db' is a int; give its URI, or an object of its"),
        ("a.env", "hunter2", "line 1, does not read NAME=VALUE"),
    ],
)
def test_a_file_that_cannot_be_imported(
    project: Project, name: str, text: str, problem: str
) -> None:
    file = project.path / name
    file.write_text(text)
    refused = project.refusal("connections", "import", str(file))
    assert problem in refused
    assert "hunter2" not in refused


def test_variables(project: Project, services: Services) -> None:
    assert project.run("variables", "set", "limit", "3").stdout == "Variable limit is set\n"
    run(project, "variables", "set", "api_token", "-", stdin="hunter2\n")
    assert project.run("variables", "get", "limit").stdout == "3\n"
    assert project.run("variables", "get", "api_token").stdout == "***\n"
    assert project.run("variables", "get", "none", "--default", "d").stdout == "d\n"
    assert as_json(project, "variables", "list") == [
        {"key": "api_token", "value": "***", "description": None},
        {"key": "limit", "value": "3", "description": None},
    ]
    project.run("variables", "set", "limit", "4", "--description", "rows")
    project.run("variables", "set", "limit", "5")
    known = services.stored_secrets.variable_fields("limit")
    assert known is not None
    assert (known.value, known.description) == ("5", "rows"), "a new value keeps the description"
    assert "is not JSON" in project.refusal("variables", "set", "j", "{", "--json")
    assert "did you mean 'limit'" in project.refusal("variables", "get", "limits")
    assert project.run("variables", "delete", "limit").stdout == "Variable limit is removed\n"
    assert "does not exist" in project.refusal("variables", "delete", "limit")


def test_variables_are_moved_by_a_file(project: Project, services: Services) -> None:
    file = project.path / "variables.json"
    file.write_text('{"a": 1, "b": {"x": []}, "c": {"value": "t", "description": "why"}}')
    assert project.run("variables", "import", str(file)).stdout == (
        "3 Variables stored, 0 skipped\n"
    )
    values = {each.key: each.value for each in services.stored_secrets.every_variable()}
    assert values == {"a": "1", "b": '{"x": []}', "c": "t"}
    piped = project.run("variables", "export", "-")
    assert json.loads(piped.stdout) == {
        "a": "1", "b": '{"x": []}', "c": {"value": "t", "description": "why"},
    }  # fmt: skip
    assert "Variable 'a' exists already; nothing was imported" in project.refusal(
        "variables", "import", str(file), "--on-existing", "fail"
    )


def test_keys_rotate(project: Project, services: Services) -> None:
    run(project, "connections", "add", "db", "--uri", "-", stdin=URI)
    new = project.run("secrets", "key").stdout.strip()
    project.environ["ORCHESTRATOR_FERNET_KEYS"] = new
    assert "hunter2" not in project.run("connections", "get", "db").output
    assert project.run("secrets", "rotate").stdout == "1 encrypted anew with the first key\n"
    assert project.run("secrets", "rotate").stdout == "all have the first key\n"
    # From now on the key alone opens it, whatever becomes of the secret key.
    project.environ["ORCHESTRATOR_SECRET_KEY"] = "another one, of more than 32 characters"
    exported = project.run("connections", "export", "-")
    assert json.loads(exported.stdout)["db"]["password"] == "hunter2"
    project.environ["ORCHESTRATOR_FERNET_KEYS"] = Fernet.generate_key().decode()
    assert project.refusal("connections", "export", "-").startswith(
        "Connection 'db' cannot be decrypted: it was sealed with a key that this process does not"
    )


def test_keys_and_backends_are_checked_and_never_shown(project: Project) -> None:
    project.environ["ORCHESTRATOR_FERNET_KEYS"] = "hunter2"
    refused = project.refusal("secrets", "rotate")
    assert "ORCHESTRATOR_FERNET_KEYS='***' must be Fernet keys, separated by commas" in refused
    project.environ["ORCHESTRATOR_FERNET_KEYS"] = ""
    project.environ["ORCHESTRATOR_SECRETS_BACKENDS"] = '[{"name": "vault", "kwarg": {"t": "s3c"}}]'
    refused = project.refusal("config", "list")
    assert "'vault' has 'kwarg'" in refused
    assert "s3c" not in refused
    project.environ["ORCHESTRATOR_SECRETS_BACKENDS"] = '[{"name": "vault", "kwargs": {"t": "s3c"}}]'
    assert "s3c" not in project.run("config", "list").output
    assert "there is no secrets backend 'vault'" in project.refusal("connections", "test", "db")


def test_a_dag_that_is_tried_reads_what_is_stored(project: Project) -> None:
    run(project, "connections", "add", "db", "--uri", "-", stdin=URI)
    (project.path / "dags" / "reads.py").write_text(
        dedent(
            """
            import logging
            from orchestrator.sdk import Connection, Variable, dag, task

            @dag
            def reads():
                @task
                def t():
                    logging.warning("it is %s", Connection.get("db").password)
                    return Variable.get("region")
                t()
            reads()
            """
        )
    )
    done = project.run_alone("dags", "test", "reads")
    assert done.returncode == 1
    assert (
        "there is no Variable 'region'; looked in what the run was given, then the" in done.stdout
    )
    assert "it is ***" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    project.environ["AIRFLOW_VAR_REGION"] = "eu"
    assert project.run_alone("dags", "test", "reads").returncode == 0


def test_a_dag_is_tried_without_any_store(project: Project) -> None:
    home = project.path / "elsewhere"
    project.environ["ORCHESTRATOR_HOME"] = str(home)
    project.environ["AIRFLOW_VAR_REGION"] = "eu"
    (project.path / "dags" / "reads.py").write_text(
        "from orchestrator.sdk import BashOperator, DAG\n"
        "with DAG('reads'):\n"
        "    BashOperator(task_id='t', bash_command='echo {{ var.value.region }}')\n"
        "    BashOperator(task_id='u', bash_command='echo {{ var.value.none }}')\n"
    )
    done = project.run_alone("dags", "test", "reads")
    assert f"then no store (there is no database {home}/orchestrator.db)" in done.stdout
    assert not home.exists(), "looking for a store makes none"
