"""What an import sees of Variables and Connections, and that it shows none of their secrets."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.parsing.forkserver import ForkServer
from orchestrator.parsing.one_file import parse_file
from orchestrator.parsing.results import ParsedFile

SERVER_ENVIRON = {
    "AIRFLOW_VAR_REGION": "from the environment",
    "ORCHESTRATOR_CONN_DB": "postgres://u:hunter2@h",
    "ORCHESTRATOR_DATABASE_URL": "postgresql://secret@h/d",
    "PATH": "/usr/bin:/bin",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(environ=SERVER_ENVIRON) as running:
        yield running


def parsed(
    tmp_path: Path, server: ForkServer, body: str, variables: Mapping[str, str] | None = None
) -> ParsedFile:
    path = tmp_path / "d.py"
    path.write_text(
        "from orchestrator.sdk import BashOperator, Connection, DAG, Variable\n" + dedent(body)
    )
    return parse_file(path, tmp_path, server=server, variables=variables)


def test_variables_of_the_environment_and_the_store(tmp_path: Path, server: ForkServer) -> None:
    result = parsed(
        tmp_path,
        server,
        """
        with DAG("d", description=Variable.get("region")):
            for table in Variable.get("tables", deserialize_json=True):
                BashOperator(task_id=table, bash_command=Variable.get("no", default="true"))
        """,
        {"region": "from the store", "tables": '["a", "b"]'},
    )
    assert result.error is None, result.error
    (dag,) = result.dags
    assert dag.spec.description == "from the environment"
    assert [task.task_id for task in dag.spec.tasks] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Variable.get('tabels')", "looked in the environment, then the store; did you mean 'tab"),
        ("Variable.get('x')", "no other place is read where a DAG file is imported: get Variable"),
        ("Connection.get('dbb')", "looked in the environment; did you mean 'db'?"),
        ("Variable.set('x', '1')", "a Variable can be set while a task runs, not where the DAG is"),
    ],
)
def test_what_an_import_cannot_have_is_an_import_error(
    tmp_path: Path, server: ForkServer, line: str, said: str
) -> None:
    result = parsed(tmp_path, server, line, {"tables": "[]"})
    assert result.error is not None
    assert said in result.error.message
    assert result.error.line == 2


def test_no_secret_gets_into_a_spec_or_an_error(tmp_path: Path, server: ForkServer) -> None:
    uses = parsed(
        tmp_path,
        server,
        """
        with DAG("d"):
            BashOperator(
                task_id="t",
                bash_command=f"psql {Connection.get('db').get_uri()} {Variable.get('api_token')}",
                env={"PLAIN": Variable.get("tables")},
            )
        """,
        {"api_token": "tok-5e1f", "tables": "visible"},
    )
    (dag,) = uses.dags
    fields = dag.spec.tasks[0].template_fields
    assert fields["bash_command"] == "psql postgres://u:***@h ***"
    assert fields["env"] == {"PLAIN": "visible"}
    breaks = parsed(tmp_path, server, "raise ValueError(Connection.get('db').password)")
    assert breaks.error is not None
    assert "hunter2" not in breaks.error.message + breaks.error.stacktrace
    assert "ValueError: ***" in breaks.error.stacktrace
