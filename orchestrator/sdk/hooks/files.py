"""Which folder does a Connection name?"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.hooks.base import BaseHook

__all__ = ["FSHook"]


class FSHook(BaseHook):
    """A folder of the worker's file system, by the `path` in a Connection's extra."""

    conn_name_attr: ClassVar[str] = "fs_conn_id"
    default_conn_name: ClassVar[str] = "fs_default"
    conn_type: ClassVar[str] = "fs"
    hook_name: ClassVar[str] = "File system"

    def __init__(
        self, fs_conn_id: str = default_conn_name, *, connection: Connection | None = None
    ) -> None:
        self.fs_conn_id = fs_conn_id
        self._given = connection

    @cached_property
    def connection(self) -> Connection:
        """The Connection."""
        return self._given or self.get_connection(self.fs_conn_id)

    @property
    def basepath(self) -> str:
        """The folder; empty for the root."""
        return str(self.connection.extra_dejson.get("path", ""))

    def get_conn(self) -> None:
        """Return nothing: a file system is always there."""

    def get_path(self) -> str:
        """Return the folder."""
        return self.basepath

    def test_connection(self) -> tuple[bool, str]:
        """Look whether the folder is there."""
        path = Path(self.basepath or "/")
        if path.is_dir():
            return True, f"{path} is a folder"
        return False, f"there is no folder {path} on this machine"
