"""What may a person change in Connections and Variables?

Secrets go in and never come out: a change says what is to be different, and *** stands for what is
to stay, so that what was shown masked can be sent back.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.control.checks import check_name, check_text
from orchestrator.control.ports import SecretStore
from orchestrator.core.secrets import ConnectionFields, VariableFields
from orchestrator.errors import RequestInvalidError, did_you_mean
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.masking import MASK, secret_scope

__all__ = ["SecretControl"]

DESCRIPTION_LENGTH_MAX = 5000
SECRET_BYTES_MAX = 64 * 1024
"""A value is read whole by each task that asks for it; data belongs in a file."""
_TEXT_LENGTH_MAX = 1000
_FIELDS = ("conn_type", "description", "host", "port", "login", "schema", "password", "extra")
_VARIABLE_FIELDS = ("value", "description")


class SecretControl:
    """People's changes. `user` is who asks; it is kept with what changed."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def create_connection(
        self, conn_id: str, fields: Mapping[str, Any], *, user: str | None
    ) -> None:
        """Make a Connection; raise ConflictError if it exists, RequestInvalidError for a value."""
        self._store.create_connection(_connection(conn_id, fields), user=user)

    def put_connection(self, conn_id: str, fields: Mapping[str, Any], *, user: str | None) -> None:
        """Make a Connection, or replace all of the one that has its id."""
        self._store.put_connection(_connection(conn_id, fields), user=user)

    def change_connection(
        self, conn_id: str, changes: Mapping[str, Any], *, user: str | None
    ) -> None:
        """Change fields of a Connection, and leave the others; raise NotFoundError."""
        known = self._store.connection_fields(conn_id)
        if known is None:
            raise self._store.unknown_connection(conn_id)
        kept = {name: getattr(known, name) for name in _FIELDS}
        merged = {**kept, **{name: value for name, value in changes.items() if value != MASK}}
        if "extra" in changes:
            merged["extra"] = _unmasked(_extra(changes["extra"]), _extra(known.extra)) or None
        self._store.put_connection(_connection(conn_id, merged), user=user)

    def delete_connection(self, conn_id: str) -> None:
        """Remove a Connection; raise NotFoundError."""
        self._store.delete_connection(conn_id)

    def create_variable(
        self, key: str, value: str, *, description: str | None = None, user: str | None
    ) -> None:
        """Make a Variable; raise ConflictError if it exists."""
        self._store.create_variable(_variable(key, value, description), user=user)

    def put_variable(
        self, key: str, value: str, *, description: str | None = None, user: str | None
    ) -> None:
        """Make a Variable, or replace the one that has its key."""
        self._store.put_variable(_variable(key, value, description), user=user)

    def change_variable(self, key: str, changes: Mapping[str, Any], *, user: str | None) -> None:
        """Change the value or description of a Variable; raise NotFoundError."""
        known = self._store.variable_fields(key)
        if known is None:
            raise self._store.unknown_variable(key)
        for name in changes:
            if name not in _VARIABLE_FIELDS:
                raise _unknown_field("Variable", key, name, _VARIABLE_FIELDS)
        value = changes.get("value", MASK)
        fields = _variable(
            key,
            known.value if value == MASK else value,
            changes.get("description", known.description),
        )
        self._store.put_variable(fields, user=user)

    def delete_variable(self, key: str) -> None:
        """Remove a Variable; raise NotFoundError."""
        if not self._store.delete_variable(key):
            raise self._store.unknown_variable(key)

    def rotate_keys(self) -> int:
        """Encrypt everything with the first key; return how many rows that changed."""
        return self._store.rotate()


def _connection(conn_id: str, fields: Mapping[str, Any]) -> ConnectionFields:
    """Check what is to be stored. The Connection's own reading checks the port and extra."""
    check_name(conn_id, name="connection id")
    for name in fields:
        if name not in _FIELDS:
            raise _unknown_field("Connection", conn_id, name, _FIELDS)
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    for name in ("conn_type", "host", "login", "schema"):
        _check(given.get(name), name=name, length_max=_TEXT_LENGTH_MAX)
    _check(given.get("description"), name="description", length_max=DESCRIPTION_LENGTH_MAX)
    _check(given.get("password"), name="password", length_max=SECRET_BYTES_MAX)
    with secret_scope():  # this process logs for many; it does not keep what it was told
        read = Connection.from_dict(given, conn_id=conn_id)
    if not read.conn_type:
        raise RequestInvalidError(
            f"Connection {conn_id!r} has no type; give it one, such as http or postgres"
        )
    _check(read.extra, name="extra", length_max=SECRET_BYTES_MAX)
    kept = {name: getattr(read, name) for name in _FIELDS}
    return replace(ConnectionFields(conn_id=conn_id, conn_type=""), **kept)


def _variable(key: str, value: Any, description: Any) -> VariableFields:
    check_name(key, name="variable key")
    if not isinstance(value, str):
        raise RequestInvalidError(
            f"the value of Variable {key!r} is of type {type(value).__name__}; it must be a text "
            "(JSON is stored as its text)"
        )
    _check(value, name="value", length_max=SECRET_BYTES_MAX)
    _check(description, name="description", length_max=DESCRIPTION_LENGTH_MAX)
    return VariableFields(key=key, value=value, description=description)


def _check(value: Any, *, name: str, length_max: int) -> None:
    if value is not None and not isinstance(value, str):
        raise RequestInvalidError(f"{name} is of type {type(value).__name__}; it must be a text")
    check_text(value, name=name, length_max=length_max)


def _extra(written: Any) -> dict[str, Any]:
    if written in (None, ""):
        return {}
    try:
        held = json.loads(written) if isinstance(written, str) else written
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise RequestInvalidError('extra must be a JSON object such as {"timeout": 10}')
    return held


def _unmasked(new: Any, old: Any) -> Any:
    """Put back what was sent as *** because that is how it was shown."""
    if new == MASK and old is not None:
        return old
    if isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        return {key: _unmasked(value, before.get(key)) for key, value in new.items()}
    return new


def _unknown_field(kind: str, name: str, field: str, known: tuple[str, ...]) -> RequestInvalidError:
    return RequestInvalidError(
        f"{kind} {name!r} has no field {field!r}"
        f"{did_you_mean(field, known) or '; it has ' + ', '.join(known)}"
    )
