"""Connections and Variables at rest: sealed, masked for people, sealed anew."""

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from orchestrator.core.listings import PageRequest, TextMatch
from orchestrator.core.secrets import ConnectionFields, VariableFields
from orchestrator.errors import ConflictError, NotFoundError, SettingsError
from orchestrator.store import Store, open_store
from orchestrator.store.reads import Reads
from orchestrator.store.tables_secrets import connection_table, variable_table
from orchestrator.store.versions import Versions
from tests.builders import a_dag, a_task
from tests.store.world import SUCCEEDED, StoredWorld

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
WAREHOUSE = ConnectionFields(
    conn_id="warehouse",
    conn_type="postgres",
    description="the big one",
    host="db.example.org",
    port=5432,
    login="ann",
    schema="sales",
    password="p@ss w0rd ☃",
    extra='{"sslmode": "require", "api_key": "k-123", "nested": {"token": "t-456"}}',
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


def texts_at_rest(store: Store) -> list[str]:
    with store.database.reading() as connection:
        rows = [
            *connection.execute(connection_table.select()),
            *connection.execute(variable_table.select()),
        ]
    return [str(cell) for row in rows for cell in row]


def test_a_connection_comes_back_whole(store: Store) -> None:
    secrets = store.secrets([OLD])
    secrets.create_connection(WAREHOUSE, user="ann")
    assert secrets.connection_fields("warehouse") == WAREHOUSE
    assert secrets.connection_fields("other") is None
    assert secrets.connection_ids() == ("warehouse",)
    with pytest.raises(ConflictError, match="Connection 'warehouse' exists already"):
        secrets.create_connection(WAREHOUSE, user="ann")
    secrets.put_connection(ConnectionFields(conn_id="warehouse", conn_type="http"), user="bob")
    assert secrets.connection_fields("warehouse") == ConnectionFields(
        conn_id="warehouse", conn_type="http"
    )
    assert secrets.connection("warehouse").updated_by == "bob"
    secrets.delete_connection("warehouse")
    with pytest.raises(NotFoundError, match="does not exist; `orchestrator connections list`"):
        secrets.delete_connection("warehouse")


def test_nothing_secret_lies_in_the_database_as_it_is(store: Store) -> None:
    secrets = store.secrets([OLD])
    secrets.create_connection(WAREHOUSE, user=None)
    secrets.create_variable(VariableFields(key="greeting", value="hello you"), user=None)
    everything = "\n".join(texts_at_rest(store))
    for secret in ("p@ss w0rd", "k-123", "t-456", "api_key", "hello you"):
        assert secret not in everything
    assert "db.example.org" in everything, "what people find their way by is readable"


def test_people_see_no_secret(store: Store) -> None:
    secrets = store.secrets([OLD])
    secrets.create_connection(WAREHOUSE, user="ann")
    seen = secrets.connection("warehouse")
    assert seen.has_password
    assert seen.extra == {"sslmode": "require", "api_key": "***", "nested": {"token": "***"}}
    secrets.create_variable(VariableFields(key="db_password", value="hunter2"), user=None)
    secrets.create_variable(
        VariableFields(key="limits", value='{"rows": 3, "token": "t-9"}'), user=None
    )
    page = secrets.variables(PageRequest())
    assert {view.key: view.value for view in page.items} == {
        "db_password": "***",
        "limits": '{"rows": 3, "token": "***"}',
    }
    assert page.total == 2
    only = secrets.variables(PageRequest(), key=TextMatch(substrings=("LIM",)))
    assert [view.key for view in only.items] == ["limits"]
    with pytest.raises(NotFoundError, match="'db_pasword' does not exist; did you mean"):
        secrets.variable("db_pasword")


def test_the_first_key_seals_and_every_key_opens(store: Store) -> None:
    store.secrets([OLD]).create_connection(WAREHOUSE, user=None)
    store.secrets([OLD]).put_variable(VariableFields(key="v", value="1"), user=None)
    both = store.secrets([NEW, OLD])
    assert both.connection_fields("warehouse") == WAREHOUSE
    assert both.rotate() == 2
    assert both.rotate() == 0, "what the first key has sealed stays as it is"
    only_new = store.secrets([NEW])
    assert only_new.connection_fields("warehouse") == WAREHOUSE
    assert only_new.variable_fields("v") == VariableFields(key="v", value="1")


def test_a_missing_key_is_one_clear_sentence_and_changes_nothing(store: Store) -> None:
    store.secrets([OLD]).create_connection(WAREHOUSE, user=None)
    store.secrets([NEW]).put_variable(VariableFields(key="mine", value="1"), user=None)
    wrong = store.secrets([NEW])
    sentence = (
        "Connection 'warehouse' cannot be decrypted: it was sealed with a key that this process "
        "does not have; add that key to ORCHESTRATOR_FERNET_KEYS "
    )
    with pytest.raises(SettingsError) as refused:
        wrong.connection_fields("warehouse")
    assert str(refused.value).startswith(sentence)
    before = texts_at_rest(store)
    with pytest.raises(SettingsError, match="'warehouse' cannot be decrypted"):
        wrong.rotate()
    assert texts_at_rest(store) == before
    # People still see that it is there, and can replace it.
    seen = wrong.connections(PageRequest()).items[0]
    assert (seen.has_password, seen.extra) == (True, None)
    assert seen.problem is not None
    assert seen.problem.startswith(sentence)
    wrong.put_connection(WAREHOUSE, user=None)
    assert wrong.connection_fields("warehouse") == WAREHOUSE


def test_secrets_are_not_in_a_repr() -> None:
    assert "p@ss" not in repr(WAREHOUSE)
    assert "k-123" not in repr(WAREHOUSE)
    assert "1" not in repr(VariableFields(key="v", value="1"))


def test_people_see_the_masked_form_of_an_xcom_and_tasks_the_value(store: Store) -> None:
    (assignment,) = StoredWorld(store).running(a_dag(a_task("a")))
    assert store.worker.finish(
        assignment,
        SUCCEEDED,
        worker_id="w1",
        xcoms={"return_value": {"pw": "hunter2"}, "plain": None},
        masked={"return_value": {"pw": "***"}},
    )
    reads = Reads(store.database, Versions(store.database))
    key = assignment.key
    shown = reads.xcom(key.dag_id, key.run_id, key.task_id, "return_value")
    assert shown.value == {"pw": "***"}
    assert reads.xcom(key.dag_id, key.run_id, key.task_id, "plain").value is None
    ((_, value),) = store.values.pull_xcoms(
        dag_id=key.dag_id, run_id=key.run_id, task_ids=[key.task_id], key="return_value"
    )
    assert value == {"pw": "hunter2"}
