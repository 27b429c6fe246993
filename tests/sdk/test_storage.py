"""Paths of object storage: local ones and fsspec's memory, and the Connection that opens others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sdk import Connection, FSHook, ObjectStoragePath, TaskException
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.masking import secret_scope
from orchestrator.sdk.secrets import SecretChain, set_current_secrets


@pytest.fixture(autouse=True)
def connections() -> Iterator[None]:
    given = GivenSecrets(
        connections={
            "aws": Connection(
                "aws", "aws", login="AKIA1", password="s3cret-1",
                extra={"endpoint_url": "http://minio:9000", "storage_options": {"anon": False}},
            ),
            "odd": Connection("odd", "aws", extra={"storage_options": [1]}),
        }
    )  # fmt: skip
    restore = set_current_secrets(SecretChain([given]))
    with secret_scope():
        yield
    restore()


def test_a_local_path_has_pathlibs_methods(tmp_path: Path) -> None:
    base = ObjectStoragePath(f"file://{tmp_path}")
    written = base / "a" / "b.txt"
    written.parent.mkdir(parents=True)
    written.write_text("hello")
    assert (tmp_path / "a" / "b.txt").read_text() == "hello"
    assert [path.name for path in base.rglob("*.txt")] == ["b.txt"]
    assert isinstance(written.parent, ObjectStoragePath)
    assert str(written) == f"file://{tmp_path}/a/b.txt"


def test_an_object_store_is_the_same() -> None:
    path = ObjectStoragePath("memory://bucket/key.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write("{}")
    assert path.exists()
    assert ObjectStoragePath("memory://bucket/key.json").read_text() == "{}"
    path.unlink()
    assert not path.exists()


@pytest.mark.parametrize("how", ["in the url", "by argument"])
def test_a_connection_gives_the_options(how: str) -> None:
    path = (
        ObjectStoragePath("s3://aws@bucket/key")
        if how == "in the url"
        else ObjectStoragePath("s3://bucket/key", conn_id="aws", anon=True)
    )
    assert str(path) == "s3://bucket/key"
    assert path.conn_id == "aws"
    assert dict(path.storage_options) == {
        "key": "AKIA1",
        "secret": "s3cret-1",
        "endpoint_url": "http://minio:9000",
        "anon": how == "by argument",
    }
    assert "s3cret-1" not in repr(path)


def test_options_that_are_none() -> None:
    with pytest.raises(TaskException, match="storage_options in the extra of Connection 'odd' is"):
        ObjectStoragePath("s3://odd@bucket/key")
    with pytest.raises(TaskException, match=r"no Connection 'awz'.* did you mean 'aws'"):
        ObjectStoragePath("s3://awz@bucket/key")


def test_a_folder_by_its_connection(tmp_path: Path) -> None:
    hook = FSHook(connection=Connection("f", "fs", extra={"path": str(tmp_path)}))
    assert hook.get_path() == str(tmp_path)
    assert hook.test_connection() == (True, f"{tmp_path} is a folder")
    gone = FSHook(connection=Connection("f", "fs", extra={"path": str(tmp_path / "no")}))
    assert gone.test_connection()[0] is False
