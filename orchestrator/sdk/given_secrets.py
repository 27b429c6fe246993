"""Which Connections and Variables does a run in this process have that are kept nowhere?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import RequestInvalidError
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.jsonvalues import json_value
from orchestrator.sdk.secrets import BaseSecretsBackend

__all__ = ["GivenSecrets"]


class GivenSecrets(BaseSecretsBackend):
    """What a caller gave, and what tasks have set since."""

    def __init__(
        self,
        *,
        label: str = "what the run was given",
        variables: Mapping[str, Any] | None = None,
        connections: Mapping[str, Connection | str] | None = None,
    ) -> None:
        """A Variable that is no text stands as its JSON; a Connection may be its URI or JSON.
        `label` is how errors name this place."""
        self.label = label
        self._variables = {key: _text(key, value) for key, value in (variables or {}).items()}
        self._connections = {
            conn_id: _connection(conn_id, given) for conn_id, given in (connections or {}).items()
        }

    def get_connection(self, conn_id: str) -> Connection | None:
        """Return what was given."""
        return self._connections.get(conn_id)

    def get_variable(self, key: str) -> str | None:
        """Return what was given or set."""
        return self._variables.get(key)

    def connection_ids(self) -> Iterable[str]:
        """Name them."""
        return self._connections

    def variable_keys(self) -> Iterable[str]:
        """Name them."""
        return self._variables

    def set_variable(self, key: str, value: str, *, description: str | None = None) -> None:  # noqa: ARG002 - nobody reads it here
        """Keep it for the tasks to come."""
        self._variables[key] = value

    def delete_variable(self, key: str) -> bool:
        """Forget it."""
        return self._variables.pop(key, None) is not None


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(json_value(value, name=f"Variable {key!r}"))


def _connection(conn_id: str, given: Connection | str) -> Connection:
    if isinstance(given, str):
        return Connection.read(given, conn_id=conn_id)
    if isinstance(given, Connection):
        return given
    raise RequestInvalidError(
        f"connection {conn_id!r} is a {type(given).__name__}; give a Connection, its URI or JSON"
    )
