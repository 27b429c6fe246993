"""SQL hooks and operators on real databases: SQLite, and PostgreSQL through its own server."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Outcome, Succeeded
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BaseHook,
    BaseOperator,
    BranchSQLOperator,
    Connection,
    EmptyOperator,
    SQLCheckOperator,
    SQLExecuteQueryOperator,
    SqlHook,
    SqlSensor,
    SQLValueCheckOperator,
    TaskException,
)
from orchestrator.sdk.classes import Classes
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.hooks.sql_urls import database_url
from orchestrator.sdk.hooks.statements import split_statements
from orchestrator.sdk.masking import secret_scope
from orchestrator.sdk.secrets import SecretChain
from orchestrator.sdk.serialization import decode
from tests.sdk.tries import try_task

SCHEMA = "CREATE TABLE fruit (name VARCHAR(20) PRIMARY KEY, amount INTEGER)"
FRUIT = [("apple", 3), ("pear", 0), ("plum", 7)]


@pytest.fixture(autouse=True)
def no_secret_outlives_a_test() -> Iterator[None]:
    with secret_scope():
        yield


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Connection:
    """A Connection to an empty database."""
    if request.param == "sqlite":
        return Connection("db", "sqlite", host=str(tmp_path / "some.db"))
    url = request.getfixturevalue("empty_postgres_url").replace("postgresql+psycopg", "postgres")
    before, _, query = url.partition("?")
    read = Connection.from_uri(before, conn_id="db")
    # The suite's server listens on a socket, which a URL names in its query.
    read.host = read.host or dict(part.split("=") for part in query.split("&"))["host"].replace(
        "%2F", "/"
    )
    return read


@pytest.fixture
def hook(database: Connection) -> SqlHook:
    made = SqlHook(connection=database)
    made.run(SCHEMA)
    made.insert_rows("fruit", FRUIT, ["name", "amount"])
    return made


def test_rows_go_in_and_come_out(hook: SqlHook) -> None:
    assert hook.get_records("SELECT * FROM fruit ORDER BY name") == FRUIT
    assert hook.get_first("SELECT amount FROM fruit WHERE name = 'plum'") == (7,)
    assert hook.get_first("SELECT amount FROM fruit WHERE name = 'fig'") is None
    assert hook.insert_rows("fruit", ((f"n{n}", n) for n in range(5)), commit_every=2) == 5
    assert hook.get_first("SELECT count(*) FROM fruit") == (8,)
    hook.insert_rows("fruit", [("pear", 9)], ["name", "amount"], replace=True, replace_index="name")
    assert hook.get_first("SELECT amount FROM fruit WHERE name = 'pear'") == (9,)
    assert hook.test_connection()[0]


def test_several_statements_are_one_transaction(hook: SqlHook) -> None:
    with pytest.raises(Exception, match="nowhere"):
        hook.run(["DELETE FROM fruit", "SELECT * FROM nowhere"])
    assert hook.get_first("SELECT count(*) FROM fruit") == (3,)
    with pytest.raises(Exception, match="nowhere"):
        hook.run(["DELETE FROM fruit", "SELECT * FROM nowhere"], autocommit=True)
    assert hook.get_first("SELECT count(*) FROM fruit") == (0,)


def test_which_results_are_returned(hook: SqlHook) -> None:
    def one(cursor: Any) -> Any:
        return cursor.fetchone()[0]

    two = "SELECT 1; SELECT ';' -- not this ;\n"
    assert hook.run("SELECT 1") is None, "nobody asked for a result"
    assert hook.run(two, handler=one, split_statements=True) == ";"
    assert hook.run(two, handler=one, split_statements=True, return_last=False) == [1, ";"]
    assert hook.run(["SELECT 1", "SELECT 2"], handler=one) == [1, 2]
    with pytest.raises(TaskException, match="there is no SQL statement to run"):
        hook.run(" ; ", split_statements=True)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("a; b", ["a", "b"]),
        ("a ';' ; b", ["a ';'", "b"]),
        ("a 'it''s;' ; b", ["a 'it''s;'", "b"]),
        ('a ";" ; /* ; */ b', ['a ";"', "/* ; */ b"]),
        ("a -- x; y\n; b;;", ["a -- x; y", "b"]),
        ("do $x$ a; b $x$; c", ["do $x$ a; b $x$", "c"]),
        ("-- nothing\n; /* ; */", []),
        ("a 'never closed; b", ["a 'never closed; b"]),
    ],
)
def test_statements_are_split_where_they_end(text: str, statements: list[str]) -> None:
    assert split_statements(text) == statements


def test_a_connection_becomes_a_url() -> None:
    full = Connection.from_uri("postgres://ann:p%40ss@h:1/d?sslmode=require&passfile=/etc/x")
    assert database_url(full).render_as_string(hide_password=False) == (
        "postgresql+psycopg://ann:p%40ss@h:1/d?sslmode=require"
    ), "an option that is not on the list reaches no driver"
    assert database_url(full, schema="other").database == "other"
    assert str(database_url(Connection.from_uri("sqlite:////tmp/a.db"))) == "sqlite:////tmp/a.db"
    chosen = Connection("c", "sql", host="h", extra={"sqlalchemy_scheme": "x+y"})
    assert database_url(chosen).drivername == "x+y"
    with pytest.raises(TaskException, match="of type 'sql'; name the dialect in its extra"):
        database_url(Connection("c", "sql", host="h"))
    with pytest.raises(TaskException, match="no driver for Connection 'c' of type 'oracle' is ins"):
        database_url(Connection("c", "oracle", host="h"))
    with pytest.raises(TaskException, match="needs SQLAlchemy's 'nonsense', which is not inst"):
        SqlHook(connection=Connection("c", "nonsense", host="h")).get_conn()


def test_a_database_that_is_away_is_an_answer_without_the_password() -> None:
    away = Connection("c", "postgres", host="127.0.0.1", port=1, login="u", password="hunter2",
                      extra={"connect_timeout": 2})  # fmt: skip
    works, said = SqlHook(connection=away).test_connection()
    assert not works
    assert "refused" in said
    assert "hunter2" not in said


def attempt(task: type[BaseOperator], database: Connection, **arguments: Any) -> Outcome:
    with DAG("d") as dag:
        made = task(task_id="t", conn_id="db", **arguments)
        made >> [EmptyOperator(task_id="yes"), EmptyOperator(task_id="no")]
    given = GivenSecrets(connections={"db": database})
    return try_task(dag, "t", secrets=SecretChain([given]), conf={"after": "apple"})


def test_execute_query(hook: SqlHook, database: Connection) -> None:
    mark = "?" if database.conn_type == "sqlite" else "%s"
    outcome = attempt(
        SQLExecuteQueryOperator,
        database,
        sql=f"SELECT name FROM fruit WHERE name > {mark} ORDER BY name",
        parameters=["{{ params.after }}"],
    )
    assert isinstance(outcome, Succeeded)
    assert decode(outcome.xcoms["return_value"], Classes(dict)) == [("pear",), ("plum",)]
    written = attempt(
        SQLExecuteQueryOperator,
        database,
        sql="DELETE FROM fruit WHERE name = 'plum'; INSERT INTO fruit VALUES ('fig', 1)",
        split_statements=True,
    )
    assert written == Succeeded(), "a statement without rows pushes nothing"
    assert hook.get_records("SELECT name FROM fruit ORDER BY name") == [
        ("apple",), ("fig",), ("pear",),
    ]  # fmt: skip
    one = attempt(
        SQLExecuteQueryOperator,
        database,
        sql="SELECT 1 AS a",
        handler=lambda cursor: cursor.fetchone(),
        output_processor=lambda rows, said: [{said[0][0][0]: rows[0][0]}],
    )
    assert isinstance(one, Succeeded)
    assert one.xcoms == {"return_value": {"a": 1}}


@pytest.mark.parametrize(
    ("task", "arguments", "reason"),
    [
        (SQLCheckOperator, {"sql": "SELECT 1, 'x'"}, None),
        (SQLCheckOperator, {"sql": "SELECT 1, 0"}, "the check failed: SELECT 1, 0 gave (1, 0)"),
        (SQLCheckOperator, {"sql": "SELECT 1 WHERE 1 = 0"}, "the query gave no row: SELECT 1 WH"),
        (SQLValueCheckOperator, {"sql": "SELECT 100", "pass_value": 100}, None),
        (SQLValueCheckOperator, {"sql": "SELECT 95", "pass_value": 100, "tolerance": 0.05}, None),
        (
            SQLValueCheckOperator,
            {"sql": "SELECT 94", "pass_value": 100, "tolerance": 0.05},
            "the check failed: SELECT 94 gave (94,), not 100 within 5.0%",
        ),
        (SQLValueCheckOperator, {"sql": "SELECT 'a'", "pass_value": "a"}, None),
    ],
)
def test_checks(
    tmp_path: Path, task: type[BaseOperator], arguments: dict[str, Any], reason: str | None
) -> None:
    database = Connection("db", "sqlite", host=str(tmp_path / "a.db"))
    outcome = attempt(task, database, **arguments)
    if reason is None:
        assert outcome == Succeeded()
    else:
        assert isinstance(outcome, Failed)
        assert reason in outcome.reason
        assert not outcome.retryable, "the data will not change by looking again"


@pytest.mark.parametrize(
    ("value", "skipped"),
    [("1", ("no",)), ("0", ("yes",)), ("'true'", ("no",)), ("'F'", ("yes",)), ("NULL", ("yes",))],
)
def test_a_branch_by_sql(tmp_path: Path, value: str, skipped: tuple[str, ...]) -> None:
    outcome = attempt(
        BranchSQLOperator,
        Connection("db", "sqlite", host=str(tmp_path / "a.db")),
        sql=f"SELECT {value}",
        follow_task_ids_if_true="yes",
        follow_task_ids_if_false=["no"],
    )
    assert isinstance(outcome, Succeeded)
    assert outcome.skip == skipped


def test_a_branch_by_nonsense_fails(tmp_path: Path) -> None:
    outcome = attempt(
        BranchSQLOperator,
        Connection("db", "sqlite", host=str(tmp_path / "a.db")),
        sql="SELECT 'maybe'",
        follow_task_ids_if_true="yes",
        follow_task_ids_if_false="no",
    )
    assert isinstance(outcome, Failed)
    assert "the query gave 'maybe' to branch by; it must give a truth value" in outcome.reason


def test_a_sensor_waits_for_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE seen (n INTEGER)")
    database = Connection("db", "sqlite", host=str(path))
    # Each look leaves a row, and the third one is enough.
    count = "INSERT INTO seen VALUES (1) RETURNING (SELECT count(*) >= 2 FROM seen)"
    assert attempt(SqlSensor, database, sql=count, poke_interval=0.01, timeout=30) == Succeeded()
    failed = attempt(SqlSensor, database, sql="SELECT 5", failure=lambda value: value == 5)
    assert isinstance(failed, Failed)
    assert not failed.retryable
    empty = attempt(SqlSensor, database, sql="SELECT 1 WHERE 1 = 0", fail_on_empty=True)
    assert isinstance(empty, Failed)
    assert "the query gave no row" in empty.reason
    chosen = attempt(
        SqlSensor, database, sql="SELECT 0, 7", selector=lambda row: row[1],
        success=lambda value: value == 7,
    )  # fmt: skip
    assert chosen == Succeeded()


def test_what_cannot_be_meant_is_said_where_it_is_written() -> None:
    with pytest.raises(DagInvalidError, match="SQLExecuteQueryOperator needs conn_id, the id of"):
        attempt_without_connection()
    outcome = attempt(SQLCheckOperator, Connection("db", "http", host="h"), sql="SELECT 1")
    assert isinstance(outcome, Failed)
    assert "is of type 'http', whose hook (HttpHook) does not speak SQL" in outcome.reason


def attempt_without_connection() -> None:
    with DAG("d"):
        SQLExecuteQueryOperator(task_id="t", sql="SELECT 1")


def test_a_hook_is_found_by_the_type_of_its_connection(database: Connection) -> None:
    from orchestrator.sdk.secrets import set_current_secrets

    restore = set_current_secrets(SecretChain([GivenSecrets(connections={"db": database})]))
    try:
        found = BaseHook.get_hook("db")
        assert isinstance(found, SqlHook)
        assert found.get_first("SELECT 1") == (1,)
        assert database.test_connection()[0]
    finally:
        restore()
    with pytest.raises(TaskException, match="is of type 'postgrse', for which there is no hook; d"):
        Connection("c", "postgrse").get_hook()
