"""How do tasks reach the Connections and Variables of the store?"""

import threading
import time
from collections.abc import Iterable, Mapping

from orchestrator.core.secrets import VariableFields
from orchestrator.errors import RequestInvalidError
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.secrets import BaseSecretsBackend
from orchestrator.store.secrets import SqlSecrets

__all__ = ["StoreSecretsBackend", "VariableSnapshot"]

SNAPSHOT_S = 2.0
"""For so long one reading of all Variables serves the imports of many files."""

KEY_LENGTH_MAX = 250
VALUE_BYTES_MAX = 64 * 1024


class StoreSecretsBackend(BaseSecretsBackend):
    """The last place of the chain, and the one that `Variable.set` writes to."""

    label = "the store"

    def __init__(self, stored: SqlSecrets) -> None:
        self._stored = stored

    def get_connection(self, conn_id: str) -> Connection | None:
        """Read and open one."""
        fields = self._stored.connection_fields(conn_id)
        if fields is None:
            return None
        return Connection(
            conn_id=fields.conn_id,
            conn_type=fields.conn_type,
            description=fields.description,
            host=fields.host,
            login=fields.login,
            password=fields.password,
            schema=fields.schema,
            port=fields.port,
            extra=fields.extra,
        )

    def get_variable(self, key: str) -> str | None:
        """Read and open one."""
        fields = self._stored.variable_fields(key)
        return None if fields is None else fields.value

    def connection_ids(self) -> Iterable[str]:
        """Name them."""
        return self._stored.connection_ids()

    def variable_keys(self) -> Iterable[str]:
        """Name them."""
        return self._stored.variable_keys()

    def set_variable(self, key: str, value: str, *, description: str | None = None) -> None:
        """Store it; its description stays unless there is a new one."""
        if not key.isprintable() or len(key) > KEY_LENGTH_MAX:
            raise RequestInvalidError(
                f"the Variable's key {key[:40]!r} must be at most {KEY_LENGTH_MAX} printable "
                "characters"
            )
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > VALUE_BYTES_MAX:
            raise RequestInvalidError(
                f"Variable {key!r} takes {size:,} bytes; at most {VALUE_BYTES_MAX:,} are allowed: "
                "write the data to a file or table"
            )
        known = self._stored.variable_fields(key) if description is None else None
        self._stored.put_variable(
            VariableFields(
                key=key,
                value=value,
                description=known.description if known is not None else description,
            ),
            user="a task",
        )

    def delete_variable(self, key: str) -> bool:
        """Remove it."""
        return self._stored.delete_variable(key)


class VariableSnapshot:
    """All Variables as they were a moment ago, for the parser; safe to use from its threads."""

    def __init__(self, stored: SqlSecrets) -> None:
        self._stored = stored
        self._lock = threading.Lock()
        self._values: Mapping[str, str] = {}
        self._read_at = float("-inf")

    def __call__(self) -> Mapping[str, str]:
        """Return values by key."""
        with self._lock:
            now = time.monotonic()
            if now - self._read_at > SNAPSHOT_S:
                self._values = self._stored.readable_variables()
                self._read_at = now
            return self._values
