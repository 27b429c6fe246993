"""How do tasks read and write objects and files, wherever they lie?

    base = ObjectStoragePath("s3://aws_default@bucket/reports", conn_id=None)
    (base / "today.csv").write_text("...")

A path of universal_pathlib whose storage options come from a Connection. Local paths need nothing
more; for others fsspec's own packages (s3fs, gcsfs, adlfs ...) must be installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import unquote

from upath import UPath
from upath.extensions import ProxyUPath

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import TaskException

__all__ = ["ObjectStoragePath"]

_WITH_CONNECTION = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<conn_id>[^/@]+)@(?P<rest>.*)", re.S
)

_LOGINS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "s3": ("key", "secret"),
        "s3a": ("key", "secret"),
        "abfs": ("account_name", "account_key"),
        "az": ("account_name", "account_key"),
        "adl": ("client_id", "client_secret"),
        "ftp": ("username", "password"),
        "sftp": ("username", "password"),
        "ssh": ("username", "password"),
        "smb": ("username", "password"),
        "webdav": ("username", "password"),
        "hdfs": ("user", "password"),
    }
)
"""What fsspec calls a login and a password, by protocol."""
_WITH_HOST = frozenset({"ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs"})


class ObjectStoragePath(ProxyUPath):
    """A path `scheme://[conn_id@]bucket/key` with pathlib's methods."""

    def __init__(
        self,
        *parts: Any,
        protocol: str | None = None,
        conn_id: str | None = None,
        **storage_options: Any,
    ) -> None:
        """`storage_options` are fsspec's own and come before the Connection's. In its extra,
        `storage_options` holds further ones."""
        first, *rest = parts or (".",)
        found = _WITH_CONNECTION.fullmatch(first) if isinstance(first, str) else None
        if found is not None:
            conn_id = conn_id or unquote(found["conn_id"])
            first = f"{found['scheme']}://{found['rest']}"
        self.conn_id = conn_id
        if conn_id is not None:
            scheme = protocol or str(first).partition("://")[0]
            storage_options = {**_options(conn_id, scheme), **storage_options}
        super().__init__(first, *rest, protocol=protocol, **storage_options)

    def __repr__(self) -> str:
        return f"ObjectStoragePath({str(self)!r})"  # the storage options are secrets

    @classmethod
    def _from_upath(cls, upath: UPath, /) -> Self:
        made = super()._from_upath(upath)
        made.conn_id = None
        return made


def _options(conn_id: str, scheme: str) -> dict[str, Any]:
    found = Connection.get(conn_id)
    extra = found.extra_dejson
    options: dict[str, Any] = {}
    login, password = _LOGINS.get(scheme, ("", ""))
    if login and found.login:
        options[login] = found.login
    if password and found.password:
        options[password] = found.password
    if scheme in _WITH_HOST and found.host:
        options["host"] = found.host
        if found.port:
            options["port"] = found.port
    if scheme in ("s3", "s3a") and extra.get("endpoint_url"):
        options["endpoint_url"] = extra["endpoint_url"]
    more = extra.get("storage_options", {})
    if not isinstance(more, dict):
        raise TaskException(
            f"storage_options in the extra of Connection {conn_id!r} is a {type(more).__name__}; "
            "it must be a JSON object"
        )
    return {**options, **more}
