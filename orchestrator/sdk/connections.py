"""How is a server or account reached, and with which secrets?

    Connection.get("warehouse").host
    hook = BaseHook.get_hook("warehouse")

A Connection is looked for where `orchestrator.sdk.secrets` says. What is secret in it is masked
from the moment it is read.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

from orchestrator.errors import RequestInvalidError, did_you_mean
from orchestrator.sdk.masking import mask_secret

if TYPE_CHECKING:
    from orchestrator.sdk.hooks.base import BaseHook

__all__ = ["Connection"]

_EXTRA_KEY = "__extra__"
_FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
_SYNONYMS = {"user": "login", "username": "login", "type": "conn_type", "database": "schema"}
_TYPES = {"postgresql": "postgres"}
_URI = re.compile(
    r"(?P<type>[A-Za-z][A-Za-z0-9+._-]*)?(?:://|//)"
    r"(?:(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:(?P<login>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?P<host>\[[^\]/?#]*\]|[^:@/?#]*)(?::(?P<port>[^/?#@:]*))?"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)


@dataclass(slots=True)
class Connection:
    """How to reach a server: Airflow's fields. `extra` is JSON text, or a dict that becomes one;
    `schema` is a database's name, or http/https."""

    conn_id: str | None = None
    conn_type: str = ""
    description: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    port: int | None = None
    extra: Any = field(default=None, repr=False)
    uri: InitVar[str | None] = None
    """Stands for all other fields but the id."""

    def __post_init__(self, uri: str | None) -> None:
        if uri is not None:
            read = Connection.from_uri(uri, conn_id=self.conn_id)
            for name in _FIELDS:
                if name != "description":
                    setattr(self, name, getattr(read, name))
        if isinstance(self.extra, Mapping):
            self.extra = json.dumps(dict(self.extra))
        self.extra = self.extra or None
        self._check()
        self.mask()

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """Return a Connection, from wherever it is kept; NotFoundException says where that was."""
        from orchestrator.sdk.secrets import current_secrets  # noqa: PLC0415 - it knows us

        return current_secrets().get_connection(conn_id)

    @classmethod
    def from_uri(cls, uri: str, *, conn_id: str | None = None) -> Self:
        """Read `type://login:password@host:port/schema?key=value`, its parts URL-quoted."""
        found = _URI.fullmatch(uri.strip())
        if found is None:
            raise _invalid(
                conn_id,
                "the URI must read type://login:password@host:port/schema?key=value, each part "
                "URL-quoted (an @ in a password is %40)",
            )
        parts = found.groupdict()
        host = _unquoted(parts["host"])
        query = dict(parse_qsl(parts["query"] or "", keep_blank_values=True))
        extra = query.get(_EXTRA_KEY) or (json.dumps(query) if query else None)
        return cls(
            conn_id=conn_id,
            conn_type=_type_of(parts["type"] or ""),
            host=f"{parts['protocol']}://{host or ''}" if parts["protocol"] else host or None,
            login=_unquoted(parts["login"]) or None,
            password=_unquoted(parts["password"]) or None,
            schema=_unquoted((parts["path"] or "")[1:]) or None,
            port=_port(unquote(parts["port"] or "") or None, conn_id),
            extra=extra,
        )

    @classmethod
    def from_json(cls, text: str, *, conn_id: str | None = None) -> Self:
        """Read a JSON object with Airflow's field names; `uri` may stand for all of them."""
        try:
            values = json.loads(text)
        except ValueError as error:
            # Not the text itself: it is a secret.
            raise _invalid(conn_id, f"it is not valid JSON ({_without_text(error)})") from None
        if not isinstance(values, dict):
            raise _invalid(conn_id, "it must be a JSON object such as {'conn_type': 'http'}")
        return cls.from_dict(values, conn_id=conn_id)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, conn_id: str | None = None) -> Self:
        """Do as `from_json` with what the JSON holds."""
        if "uri" in values:
            return cls.from_uri(str(values["uri"]), conn_id=conn_id)
        known: dict[str, Any] = {}
        for name, value in values.items():
            field_name = _SYNONYMS.get(name, name)
            if field_name in ("conn_id", "is_encrypted", "is_extra_encrypted", "id"):
                continue  # what exports of Airflow hold beside the fields
            if field_name not in _FIELDS:
                raise _invalid(
                    conn_id, f"it has no field {name!r}{did_you_mean(field_name, _FIELDS)}"
                )
            known[field_name] = value
        known["port"] = _port(known.get("port"), conn_id)
        known["conn_type"] = _type_of(str(known.get("conn_type") or ""))
        return cls(conn_id=conn_id, **known)

    @classmethod
    def read(cls, text: str, *, conn_id: str | None = None) -> Self:
        """Read what an environment variable or a secrets backend holds: a URI or JSON."""
        if text.lstrip().startswith("{"):
            return cls.from_json(text, conn_id=conn_id)
        return cls.from_uri(text, conn_id=conn_id)

    def get_uri(self) -> str:
        """Write it as a URI, secrets included; `Connection.from_uri` reads it back."""
        protocol, _, host = (self.host or "").rpartition("://")
        uri = f"{self.conn_type.lower().replace('_', '-')}://" if self.conn_type else "//"
        uri += f"{protocol}://" if protocol else ""
        authority = "" if self.login is None else quote(self.login, safe="")
        if self.password is not None:
            authority += f":{quote(self.password, safe='')}"
        uri += f"{authority}@" if authority else ""
        uri += host if host.startswith("[") else quote(host, safe="")
        uri += f":{self.port}" if self.port is not None else ""
        uri += f"/{quote(self.schema, safe='')}" if self.schema else ""
        if self.extra:
            uri += ("?" if self.schema else "/?") + self._query()
        return uri

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that have a value, secrets included, `extra` as what it holds."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        values["extra"] = self.extra_dejson or None
        return {name: value for name, value in values.items() if value not in (None, "")}

    def as_json(self) -> str:
        """Write it as JSON, secrets included; `Connection.from_json` reads it back."""
        return json.dumps(self.as_dict())

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """What `extra` holds."""
        held: dict[str, Any] = json.loads(self.extra) if self.extra else {}
        return held

    def get_extra_dejson(self, *, nested: bool = False) -> dict[str, Any]:
        """Return what `extra` holds; `nested` also reads texts in it that are JSON objects."""
        if not nested:
            return self.extra_dejson
        return {key: _deeper(value) for key, value in self.extra_dejson.items()}

    def get_hook(self, **hook_params: Any) -> BaseHook:
        """Return the hook for this type of Connection."""
        from orchestrator.sdk.hooks.base import hook_for  # noqa: PLC0415 - it knows us

        return hook_for(self, **hook_params)

    def test_connection(self) -> tuple[bool, str]:
        """Try to reach it; say whether that worked, and what was answered."""
        return self.get_hook().test_connection()

    def mask(self) -> None:
        """Have its secrets masked wherever they are logged or shown."""
        mask_secret(self.password)
        mask_secret(self.get_extra_dejson(nested=True))
        if self.login and self.password:
            mask_secret(b64encode(f"{self.login}:{self.password}".encode()).decode())

    def _check(self) -> None:
        if not self.extra:
            return
        try:
            is_object = isinstance(json.loads(self.extra), dict)
        except (TypeError, ValueError):
            is_object = False
        if not is_object:
            raise _invalid(self.conn_id, 'extra must be a JSON object such as {"timeout": 10}')

    def _query(self) -> str:
        held = self.extra_dejson
        query = urlencode(held)
        if query and dict(parse_qsl(query, keep_blank_values=True)) == held:
            return query
        return urlencode({_EXTRA_KEY: self.extra})


def _type_of(written: str) -> str:
    plain = written.strip().lower().replace("-", "_")
    return _TYPES.get(plain, plain)


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _port(value: object, conn_id: str | None) -> int | None:
    if value is None or value == "":
        return None
    try:
        port = int(str(value))
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise _invalid(conn_id, f"port is {value!r}; it must be a number from 0 to 65535")
    return port


def _deeper(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _without_text(error: ValueError) -> str:
    return getattr(error, "msg", "") or "it cannot be read"


def _invalid(conn_id: str | None, problem: str) -> RequestInvalidError:
    named = "the Connection" if conn_id is None else f"Connection {conn_id!r}"
    return RequestInvalidError(f"{named} cannot be read: {problem}")
