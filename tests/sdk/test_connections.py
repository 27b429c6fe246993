"""How a Connection is written and read, and that what is secret in it does not show."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import RequestInvalidError
from orchestrator.sdk import Connection
from orchestrator.sdk.masking import mask, secret_scope

URIS: list[tuple[str, dict[str, Any]]] = [
    (
        "postgres://ann:p%40ss%2F@db.example.org:5432/sales?sslmode=require",
        {
            "conn_type": "postgres",
            "login": "ann",
            "password": "p@ss/",
            "host": "db.example.org",
            "port": 5432,
            "schema": "sales",
            "extra": {"sslmode": "require"},
        },
    ),
    ("postgresql://h/d", {"conn_type": "postgres", "host": "h", "schema": "d"}),
    ("http://https://example.org:8443", {"conn_type": "http", "host": "https://example.org",
                                         "port": 8443}),
    ("sqlite:////tmp/a.db", {"conn_type": "sqlite", "schema": "/tmp/a.db"}),
    ("google-cloud-platform://?key_path=a", {"conn_type": "google_cloud_platform",
                                             "extra": {"key_path": "a"}}),
    ("aws://AKIA:s%2Fcret@/?region_name=eu", {"conn_type": "aws", "login": "AKIA",
                                              "password": "s/cret",
                                              "extra": {"region_name": "eu"}}),
    ("redis://:pw@[::1]:6379/0", {"conn_type": "redis", "password": "pw", "host": "[::1]",
                                  "port": 6379, "schema": "0"}),
    ("x://h/?__extra__=%7B%22a%22%3A+%5B1%5D%7D", {"conn_type": "x", "host": "h",
                                                   "extra": {"a": [1]}}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_secret_outlives_a_test() -> Iterator[None]:
    with secret_scope():
        yield


@pytest.mark.parametrize(("uri", "fields"), URIS, ids=lambda value: str(value)[:20])
def test_a_uri_is_read_and_written_back(uri: str, fields: dict[str, Any]) -> None:
    read = Connection.from_uri(uri, conn_id="c")
    assert read.as_dict() == fields
    assert Connection.from_uri(read.get_uri(), conn_id="c") == read
    assert Connection.from_json(read.as_json(), conn_id="c") == read
    assert Connection("c", uri=uri) == read


_PARTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    login=st.none() | _PARTS,
    password=st.none() | _PARTS,
    schema=st.none() | _PARTS,
    port=st.none() | st.integers(0, 65535),
    extra=st.none() | st.dictionaries(_PARTS, _PARTS | st.integers() | st.lists(_PARTS)),
)
def test_any_connection_survives_a_uri(
    login: str | None, password: str | None, schema: str | None, port: int | None, extra: Any
) -> None:
    written = Connection(
        "c",
        conn_type="my_type",
        host="h",
        login=login,
        password=password,
        schema=schema,
        port=port,
        extra=json.dumps(extra) if extra else None,
    )
    assert Connection.from_uri(written.get_uri(), conn_id="c").as_dict() == written.as_dict()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "the URI must read type://login:password@host:port/schema?key=value"),
        ("http://h:port", "port is 'port'; it must be a number from 0 to 65535"),
        ("http://a:b@c@d", "an @ in a password is %40"),
        ('{"conn_type": "http"', "it is not valid JSON"),
        ('{"conn_typ": "http"}', "it has no field 'conn_typ'; did you mean 'conn_type'?"),
        ('{"conn_type": "http", "extra": "x"}', 'extra must be a JSON object such as {"timeout"'),
    ],
)
def test_what_cannot_be_read_is_said(text: str, problem: str) -> None:
    with pytest.raises(RequestInvalidError) as refused:
        Connection.read(text, conn_id="c")
    assert str(refused.value).startswith("Connection 'c' cannot be read: ")
    assert problem in str(refused.value)


def test_what_cannot_be_read_is_not_repeated() -> None:
    for text in ("postgres://u:hunter2@h@i", '{"password": "hunter2"', "hunter2"):
        with pytest.raises(RequestInvalidError) as refused:
            Connection.read(text, conn_id="c")
        assert "hunter2" not in str(refused.value)


def test_exports_of_airflow_are_read() -> None:
    read = Connection.from_json(
        '{"conn_id": "x", "conn_type": "HTTP", "user": "ann", "database": "d", "port": "80",'
        ' "extra": {"a": 1}, "is_encrypted": true}',
        conn_id="c",
    )
    assert read == Connection(
        "c", conn_type="http", login="ann", schema="d", port=80, extra={"a": 1}
    )


def test_a_connection_masks_its_secrets_from_the_moment_it_is_read() -> None:
    with secret_scope():
        read = Connection.from_uri("http://ann:hunter2@h/?api_key=abc%2Fdef&colour=green")
        assert "hunter2" not in repr(read)
        assert "abc/def" not in repr(read)
        assert mask("hunter2 abc/def abc%2Fdef green ann") == "*** *** *** green ann"
        assert mask("Basic YW5uOmh1bnRlcjI=") == "Basic ***"
        nested = Connection("n", "x", extra={"keyfile_dict": '{"private_key": "pk-1"}'})
        assert nested.get_extra_dejson(nested=True) == {"keyfile_dict": {"private_key": "pk-1"}}
        assert mask("pk-1") == "***"
