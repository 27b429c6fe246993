"""A run in this process reads what it is given, then the environment, and keeps what tasks set."""

import pytest

from orchestrator.core.states import RunState
from orchestrator.errors import RequestInvalidError
from orchestrator.sdk import DAG, Connection, PythonOperator, Variable, dag, task
from orchestrator.sdk.masking import secrets_known
from orchestrator.testing import run_dag


@dag
def reader() -> None:
    @task
    def write() -> None:
        Variable.set("seen", Connection.get("db").host)

    @task
    def read(rows: str) -> list[str]:
        return [rows, Variable.get("seen"), Variable.get("region", default="none")]

    write() >> read("{{ var.json.limits.rows }}")


def test_a_run_is_given_variables_and_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_REGION", "eu")
    result = run_dag(
        reader(), variables={"limits": {"rows": 3}}, connections={"db": "postgres://h:1/d"}
    )
    assert result.state is RunState.SUCCESS, result
    assert result.xcom("read") == ["3", "h", "eu"]
    given = {"db": Connection("db", "postgres", host="other")}
    result = run_dag(reader(), variables={"limits": '{"rows": 4}'}, connections=given)
    assert result.xcom("read") == ["4", "other", "eu"]


def test_what_a_run_lacks_is_said() -> None:
    result = run_dag(reader(), variables={"limits": {}}, connections={"dbb": "x://h"})
    assert result["write"].reason is not None
    assert result["write"].reason.startswith(
        "NotFoundException: there is no Connection 'db'; looked in what the run was given, then "
        "the environment; did you mean 'dbb'?"
    )
    with pytest.raises(RequestInvalidError, match="connection 'db' is a int; give a Connection"):
        run_dag(reader(), connections={"db": 1})  # type: ignore[dict-item]


def test_a_secret_is_in_no_reason_and_is_forgotten_afterwards() -> None:
    def fail() -> None:
        raise ValueError(Connection.get("db").password)

    with DAG("leak") as leak:
        PythonOperator(task_id="t", python_callable=fail)
    _, before = secrets_known()
    result = run_dag(leak, connections={"db": "x://u:hunter2@h"})
    assert result["t"].reason is not None
    assert result["t"].reason.startswith("ValueError: *** (")
    assert secrets_known()[1] == before
