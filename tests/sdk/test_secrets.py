"""Where Connections and Variables are looked for, in which order, and what is said otherwise."""

import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Outcome, Succeeded
from orchestrator.errors import SettingsError
from orchestrator.sdk import (
    DAG,
    AirflowNotFoundException,
    BaseHook,
    BaseSecretsBackend,
    BashOperator,
    Connection,
    PythonOperator,
    TaskException,
    Variable,
)
from orchestrator.sdk.masking import mask, secret_scope
from orchestrator.sdk.secrets import (
    EnvironmentVariablesBackend,
    SecretChain,
    load_backends,
    set_current_secrets,
)
from tests.sdk.tries import try_task


class Vault(BaseSecretsBackend):
    """A backend as somebody might have written it for Airflow."""

    def __init__(self, *, prefix: str = "", **held: str) -> None:
        self.prefix, self.held = prefix, held

    def get_conn_value(self, conn_id: str) -> str | None:
        return self.held.get(f"{self.prefix}{conn_id}")

    def get_variable(self, key: str) -> str | None:
        return self.held.get(f"{self.prefix}{key}")

    def variable_keys(self) -> list[str]:
        return sorted(self.held)


class Kept(Vault):
    label = "the store"

    def set_variable(self, key: str, value: str, *, description: str | None = None) -> None:
        self.held[key] = value

    def delete_variable(self, key: str) -> bool:
        return self.held.pop(key, None) is not None


@pytest.fixture(autouse=True)
def no_secret_outlives_a_test() -> Iterator[None]:
    with secret_scope():
        yield


@pytest.fixture
def use() -> Iterator[Callable[..., SecretChain]]:
    """Make a chain the current one."""
    undo: list[Callable[[], None]] = []

    def use(
        *first: BaseSecretsBackend, environ: Mapping[str, str] | None = None, **kept: str
    ) -> SecretChain:
        store = Kept(**kept)
        chain = SecretChain(
            [*first, EnvironmentVariablesBackend(environ or {}), store], keeper=store
        )
        undo.append(set_current_secrets(chain))
        return chain

    yield use
    for each in reversed(undo):
        each()


def test_backends_then_environment_then_store(use: Callable[..., SecretChain]) -> None:
    environ = {
        "AIRFLOW_VAR_B": "environment",
        "ORCHESTRATOR_VAR_C": "ours",
        "AIRFLOW_VAR_C": "airflow",
        "AIRFLOW_CONN_DB": "postgres://h",
    }
    use(Vault(a="vault"), environ=environ, a="store", b="store", c="store", d="store", db="x://y")
    assert [Variable.get(key) for key in "abcd"] == ["vault", "environment", "ours", "store"]
    assert Connection.get("db") == Connection("db", "postgres", host="h")
    assert BaseHook.get_connection("d_b".replace("_", "")).conn_id == "db"


def test_what_is_nowhere_is_named_with_where_it_was_looked_for(
    use: Callable[..., SecretChain],
) -> None:
    use(Vault(), threshold="1", environ={"AIRFLOW_CONN_WAREHOUSE": "x://"})
    with pytest.raises(AirflowNotFoundException) as refused:
        Variable.get("treshold")
    assert str(refused.value) == (
        "there is no Variable 'treshold'; looked in Vault, then the environment, then the store; "
        "did you mean 'threshold'?"
    )
    with pytest.raises(KeyError):
        Variable.get("treshold")
    with pytest.raises(AirflowNotFoundException, match=r"no Connection 'warehous'.* mean 'wareh"):
        Connection.get("warehous")
    with pytest.raises(TaskException, match="conn_id is None; it must be the id of a Connection"):
        Connection.get(None)  # type: ignore[arg-type]


def test_a_backend_that_fails_is_no_miss(use: Callable[..., SecretChain]) -> None:
    class Broken(BaseSecretsBackend):
        def get_variable(self, key: str) -> str | None:
            raise OSError("no route to host")

    use(Broken(), a="an old value")
    with pytest.raises(
        TaskException, match=r"Broken failed when it was asked for Variable 'a': OS"
    ):
        Variable.get("a")


def test_defaults_and_json(use: Callable[..., SecretChain]) -> None:
    use(limits='{"rows": 3}', text="no json")
    assert Variable.get("limits", deserialize_json=True) == {"rows": 3}
    assert Variable.get("x", default=None) is None
    assert Variable.get("x", default_var="d") == "d"
    assert Variable.get("x", {"a": 1}, deserialize_json=True) == {"a": 1}
    with pytest.raises(TaskException, match="Variable 'text' does not hold JSON"):
        Variable.get("text", deserialize_json=True)


def test_variables_are_written_to_the_store(use: Callable[..., SecretChain]) -> None:
    use(environ={"AIRFLOW_VAR_TAKEN": "1"})
    Variable.set("a", 1)
    Variable.set("b", {"x": [1]}, serialize_json=True)
    assert (Variable.get("a"), Variable.get("b")) == ("1", '{"x": [1]}')
    assert Variable.setdefault("a", "2") == "1"
    assert Variable.setdefault("c", [1], deserialize_json=True) == [1]
    assert Variable.get("c") == "[1]"
    assert (Variable.delete("a"), Variable.delete("a")) == (1, 0)
    with pytest.raises(TaskException, match="the environment has it and is asked before the store"):
        Variable.set("taken", "2")


def test_where_a_dag_is_written_there_is_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_REGION", "eu")
    assert Variable.get("region") == "eu"
    assert Variable.get("other", default="us") == "us"
    with pytest.raises(AirflowNotFoundException) as refused:
        Variable.get("other")
    assert str(refused.value) == (
        "there is no Variable 'other'; looked in the environment; no other place is read where a "
        "DAG file is imported: get Variable 'other' within a task or a template, or give a default"
    )
    with pytest.raises(TaskException, match="a Variable can be set while a task runs, not where"):
        Variable.set("other", "1")


def test_sensitive_values_are_masked_once_read(use: Callable[..., SecretChain]) -> None:
    use(db_password="hunter2", plain="visible", both='{"token": "t-1", "host": "h-1"}')
    assert mask("hunter2 visible t-1 h-1") == "hunter2 visible t-1 h-1"
    Variable.get("db_password")
    Variable.get("plain")
    Variable.get("both", deserialize_json=True)
    assert mask("hunter2 visible t-1 h-1") == "*** visible *** h-1"


def test_threads_of_a_task_read_secrets_too(use: Callable[..., SecretChain]) -> None:
    use(a="1")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(Variable.get("a")))
    thread.start()
    thread.join()
    assert seen == ["1"]


def rendered(template: str, **kept: str) -> Outcome:
    store = Kept(**kept)
    with DAG("d") as dag:
        PythonOperator(task_id="t", python_callable=lambda x: x, op_args=[template])
    return try_task(dag, "t", secrets=SecretChain([store], keeper=store))


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ var.value.a }}", "1"),
        ("{{ var.value.get('a') }}", "1"),
        ("{{ var.value.get('a.b', 'fallback') }}", "fallback"),
        ("{{ var.json.limits.rows }}", "3"),
        ("{{ var.json.get('x', {'y': 2})['y'] }}", "2"),
        ("{{ conn.db.host }}", "h"),
        ("{{ conn.get('db').port }}", "5432"),
        ("{{ conn.get('x', 'none') }}", "none"),
        ("{{ conn.db.extra_dejson.sslmode }}", "require"),
    ],
)
def test_templates_read_them(template: str, value: str) -> None:
    outcome = rendered(
        template, a="1", limits='{"rows": 3}', db="postgres://h:5432/?sslmode=require"
    )
    assert outcome == Succeeded(xcoms={"return_value": value})


def test_a_template_that_names_what_is_not_there() -> None:
    outcome = rendered("{{ var.value.treshold }}", threshold="1")
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith(
        "VariableNotFound: there is no Variable 'treshold'; looked in the store; did you mean "
        "'threshold'?"
    )


def test_no_reason_holds_a_secret() -> None:
    store = Kept(db="x://u:hunter2@h", long_token="t-" + "9" * 600)

    def fail() -> None:
        raise ValueError(f"{Connection.get('db').password} {Variable.get('long_token')}")

    with DAG("d") as dag:
        PythonOperator(task_id="t", python_callable=fail)
        PythonOperator(
            task_id="u",
            python_callable=lambda params: [][len(params["api_key"])],
            params={"api_key": "k-123"},
        )
        BashOperator(task_id="b", bash_command="echo {{ conn.db.password }}; exit 3")
    chain = SecretChain([store])
    with secret_scope():
        outcome = try_task(dag, "t", secrets=chain)
        assert isinstance(outcome, Failed)
        assert outcome.reason.startswith("ValueError: *** *** (test_secrets.py:")
        outcome = try_task(dag, "b", secrets=chain)
        assert isinstance(outcome, Failed)
        assert "its last line of output: ***" in outcome.reason
        try_task(dag, "u")
        assert mask("k-123") == "***", "a param is sensitive by its name"


def test_backends_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = EntryPoints(
        [
            EntryPoint("vault", "tests.sdk.test_secrets:Vault", "orchestrator.secrets"),
            EntryPoint("wrong", "builtins:dict", "orchestrator.secrets"),
        ]
    )
    monkeypatch.setattr("importlib.metadata.entry_points", installed.select)
    (vault,) = load_backends([("vault", {"prefix": "p_", "p_a": "1"})])
    assert vault.get_variable("a") == "1"
    assert load_backends([]) == []
    with pytest.raises(SettingsError, match=r"no secrets backend 'valt'.*; did you mean 'vault'\?"):
        load_backends([("valt", {})])
    with pytest.raises(SettingsError, match=r"'vault' cannot be built with the arguments \['held'"):
        load_backends([("vault", {"prefix": 1, "held": 2, "self": 3})])
    with pytest.raises(SettingsError, match="is a dict; it must be a subclass of"):
        load_backends([("wrong", {})])
