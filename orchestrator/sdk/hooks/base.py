"""Which hook speaks with a Connection of this type?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar

from orchestrator.errors import did_you_mean
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import TaskException

__all__ = ["BaseHook", "hook_for"]

ENTRY_POINT_GROUP = "orchestrator.hooks"

_HOOKS: Mapping[str, str] = MappingProxyType(
    {
        "http": "http:HttpHook",
        "https": "http:HttpHook",
        "smtp": "smtp:SmtpHook",
        "fs": "files:FSHook",
        "file": "files:FSHook",
        **dict.fromkeys(
            ("postgres", "sqlite", "mysql", "mariadb", "mssql", "oracle", "snowflake"),
            "sql:DbApiHook",
        ),
        **dict.fromkeys(
            ("duckdb", "trino", "redshift", "bigquery", "databricks", "clickhouse", "sql"),
            "sql:DbApiHook",
        ),
    }
)
"""Modules of this folder by type of Connection."""


class BaseHook:
    """Base of what uses a Connection. Define `get_conn`, and `test_connection` where one can."""

    conn_name_attr: ClassVar[str] = "conn_id"
    default_conn_name: ClassVar[str] = ""
    conn_type: ClassVar[str] = ""
    hook_name: ClassVar[str] = ""

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return a Connection, from wherever it is kept."""
        return Connection.get(conn_id)

    @classmethod
    def get_hook(cls, conn_id: str, hook_params: Mapping[str, Any] | None = None) -> BaseHook:
        """Return the hook for a Connection's type."""
        return Connection.get(conn_id).get_hook(**(hook_params or {}))

    def get_conn(self) -> Any:
        """Return an open connection."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_conn()")

    def test_connection(self) -> tuple[bool, str]:
        """Try to reach what the Connection names; say whether that worked, and what was said."""
        raise NotImplementedError(f"{type(self).__name__} cannot test a Connection")

    @property
    def log(self) -> logging.Logger:
        """The task's log."""
        return logging.getLogger("orchestrator.task")


def hook_for(connection: Connection, **hook_params: Any) -> BaseHook:
    """Return the hook for a Connection's type: one of ours, or one that an installed package
    names in the entry point group `orchestrator.hooks`, which goes first."""
    installed = _installed(connection.conn_type)
    if installed is not None:
        named = {installed.conn_name_attr: connection.conn_id}
        theirs: BaseHook = installed(**named, **hook_params)
        return theirs
    kind = _own(connection.conn_type)
    if kind is None:
        known = did_you_mean(connection.conn_type, _HOOKS) or (
            f"; those here are {', '.join(sorted(_HOOKS))}"
        )
        raise TaskException(
            f"Connection {connection.conn_id!r} is of type {connection.conn_type!r}, for which "
            f"there is no hook{known}"
        )
    hook: BaseHook = kind(connection=connection, **hook_params)
    return hook


def _own(conn_type: str) -> Any:
    place = _HOOKS.get(conn_type)
    if place is None:
        return None
    module, name = place.split(":")
    return getattr(import_module(f"orchestrator.sdk.hooks.{module}"), name)


def _installed(conn_type: str) -> Any:
    from importlib.metadata import entry_points  # noqa: PLC0415 - few installations have any

    for point in entry_points(group=ENTRY_POINT_GROUP, name=conn_type):
        return point.load()
    return None
