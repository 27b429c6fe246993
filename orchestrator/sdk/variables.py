"""What may an operator change about DAGs without touching their files?

Variable.get("threshold", default=10, deserialize_json=True)
{{ var.value.threshold }}   {{ var.json.limits.rows }}   {{ conn.warehouse.host }}
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.errors import did_you_mean
from orchestrator.sdk.exceptions import NotFoundException, TaskException
from orchestrator.sdk.jsonvalues import json_value
from orchestrator.sdk.masking import mask_secret
from orchestrator.sdk.secrets import current_secrets

__all__ = ["ConnectionAccessor", "Variable", "Variables"]

_NO_DEFAULT: Any = object()
_NOTHING: Any = object()


class Variable:
    """Texts by key that are kept outside of DAG files. Never made: its methods are its use."""

    @classmethod
    def get(
        cls,
        key: str,
        default: Any = _NO_DEFAULT,
        default_var: Any = _NO_DEFAULT,
        deserialize_json: bool = False,
    ) -> Any:
        """Return a Variable's text, or with `deserialize_json` what its JSON holds.

        `default` (`default_var` as Airflow 2 has it) stands for one that is nowhere, as it is;
        without it, NotFoundException says where it was looked for.
        """
        secrets = current_secrets()
        text = secrets.get_variable(key)
        if text is None:
            default = default_var if default is _NO_DEFAULT else default
            if default is _NO_DEFAULT:
                raise secrets.missing_variable(key)
            return default
        mask_secret(text, key)
        if not deserialize_json:
            return text
        value = _read_json(key, text)
        mask_secret(value, key)
        return value

    @classmethod
    def set(
        cls,
        key: str,
        value: Any,
        description: str | None = None,
        serialize_json: bool = False,
    ) -> None:
        """Keep a Variable in the store: `str(value)`, or its JSON."""
        if serialize_json:
            text = json.dumps(json_value(value, name=f"Variable {key!r}"))
        else:
            text = value if isinstance(value, str) else str(value)
        mask_secret(text, key)
        current_secrets().set_variable(key, text, description=description)

    @classmethod
    def setdefault(
        cls,
        key: str,
        default: Any,
        description: str | None = None,
        deserialize_json: bool = False,
    ) -> Any:
        """Return a Variable; keep `default` as its value first if it is nowhere."""
        found = cls.get(key, default=_NOTHING, deserialize_json=deserialize_json)
        if found is not _NOTHING:
            return found
        cls.set(key, default, description=description, serialize_json=deserialize_json)
        return default

    @classmethod
    def delete(cls, key: str) -> int:
        """Remove a Variable from the store; return how many that were."""
        return int(current_secrets().delete_variable(key))


class VariableAccessor:
    """`var.value` or `var.json` of templates: `.key`, or `.get(key, default)`."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):  # what copying and Jinja look for
            raise AttributeError(key)
        return Variable.get(key, deserialize_json=self._is_json)

    def get(self, key: str, default: Any = _NO_DEFAULT) -> Any:
        """Return a Variable, or `default`."""
        return Variable.get(key, default, deserialize_json=self._is_json)

    def __repr__(self) -> str:
        return f"<var.{'json' if self._is_json else 'value'}>"


class Variables:
    """`var` of templates."""

    value = VariableAccessor(is_json=False)
    json = VariableAccessor(is_json=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise TaskException(
            f"var has no {name!r}{did_you_mean(name, ('value', 'json'))}; write var.value.{name} "
            f"for its text, var.json.{name} for what its JSON holds"
        )

    def __repr__(self) -> str:
        return "<var>"


class ConnectionAccessor:
    """`conn` of templates: `conn.my_id.host`, or `conn.get("my-id", default)`."""

    def __getattr__(self, conn_id: str) -> Any:
        if conn_id.startswith("__"):
            raise AttributeError(conn_id)
        return current_secrets().get_connection(conn_id)

    def get(self, conn_id: str, default: Any = _NO_DEFAULT) -> Any:
        """Return a Connection, or `default`."""
        try:
            return current_secrets().get_connection(conn_id)
        except NotFoundException:
            if default is _NO_DEFAULT:
                raise
            return default

    def __repr__(self) -> str:
        return "<conn>"


def _read_json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TaskException(
            f"Variable {key!r} does not hold JSON ({getattr(error, 'msg', error)}); store JSON, or "
            "read it without deserialize_json"
        ) from None
