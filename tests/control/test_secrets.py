"""What a person may change in Connections and Variables, and what stays secret meanwhile."""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from orchestrator.control import SecretControl
from orchestrator.core.secrets import ConnectionFields
from orchestrator.errors import ConflictError, NotFoundError, RequestInvalidError
from orchestrator.store import open_store
from orchestrator.store.secrets import SqlSecrets

KEY = Fernet.generate_key().decode()


@pytest.fixture
def stored() -> Iterator[SqlSecrets]:
    store = open_store("sqlite://")
    yield store.secrets([KEY])
    store.close()


@pytest.fixture
def control(stored: SqlSecrets) -> SecretControl:
    return SecretControl(stored)


def fields_of(stored: SqlSecrets, conn_id: str) -> ConnectionFields:
    found = stored.connection_fields(conn_id)
    assert found is not None
    return found


def test_what_was_shown_masked_can_be_sent_back(control: SecretControl, stored: SqlSecrets) -> None:
    control.create_connection(
        "api",
        {
            "conn_type": "http",
            "host": "a.org",
            "password": "old",
            "extra": {"token": "t", "deep": {"api_key": "k"}, "timeout": 1},
        },
        user="ann",
    )
    shown = stored.connection("api")
    assert shown.extra is not None
    control.change_connection(
        "api",
        {"password": "***", "extra": {**shown.extra, "timeout": 2}, "host": "b.org"},
        user="bob",
    )
    now = fields_of(stored, "api")
    assert (now.host, now.password) == ("b.org", "old")
    assert now.extra == '{"token": "t", "deep": {"api_key": "k"}, "timeout": 2}'
    control.change_connection("api", {"password": None}, user="bob")
    assert fields_of(stored, "api").password is None
    assert stored.connection("api").updated_by == "bob"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"conn_type": "http", "prot": 1}, "has no field 'prot'; did you mean 'port'?"),
        ({"host": "a.org"}, "Connection 'api' has no type; give it one, such as http or postgres"),
        ({"conn_type": "http", "port": 70000}, "port is 70000; it must be a number from 0 to"),
        ({"conn_type": "http", "extra": "[1]"}, "extra must be a JSON object"),
        ({"conn_type": "http", "password": "a\0b"}, "password contains a NUL character"),
        ({"conn_type": "http", "password": 3}, "password is of type int; it must be a text"),
        ({"conn_type": "http", "password": "x" * 70_000}, "password has 70000 characters"),
    ],
)
def test_a_value_that_cannot_be_stored_is_named(
    control: SecretControl, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(RequestInvalidError) as refused:
        control.create_connection("api", fields, user=None)
    assert problem in str(refused.value)


def test_a_problem_does_not_repeat_the_secret(control: SecretControl) -> None:
    with pytest.raises(RequestInvalidError) as refused:
        control.create_connection(
            "api", {"conn_type": "http", "extra": '{"token": "s3cret"'}, user=None
        )
    assert "s3cret" not in str(refused.value)


def test_ids_are_names(control: SecretControl) -> None:
    with pytest.raises(RequestInvalidError, match="connection id 'a/b' is not acceptable"):
        control.create_connection("a/b", {"conn_type": "http"}, user=None)
    with pytest.raises(RequestInvalidError, match="variable key '' is not acceptable"):
        control.create_variable("", "1", user=None)


def test_variables(control: SecretControl, stored: SqlSecrets) -> None:
    control.create_variable("api_token", "abc", description="theirs", user="ann")
    with pytest.raises(ConflictError, match="Variable 'api_token' exists already"):
        control.create_variable("api_token", "abc", user="ann")
    control.change_variable("api_token", {"value": "***", "description": "ours"}, user="bob")
    known = stored.variable_fields("api_token")
    assert known is not None
    assert (known.value, known.description) == ("abc", "ours")
    with pytest.raises(RequestInvalidError, match="has no field 'vale'; did you mean 'value'"):
        control.change_variable("api_token", {"vale": "1"}, user=None)
    with pytest.raises(RequestInvalidError, match="is of type int; it must be a text"):
        control.change_variable("api_token", {"value": 1}, user=None)
    with pytest.raises(NotFoundError, match="'api_tokn' does not exist; did you mean 'api_token'"):
        control.change_variable("api_tokn", {"value": "1"}, user=None)
    control.delete_variable("api_token")
    with pytest.raises(NotFoundError, match="Variable 'api_token' does not exist"):
        control.delete_variable("api_token")
