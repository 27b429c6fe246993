"""How Connections and Variables look in requests and answers: secrets go in and come out as ***."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from orchestrator.core.secrets import ConnectionView, VariableView
from orchestrator.sdk.masking import MASK

__all__ = [
    "ConnectionBody",
    "ConnectionCollection",
    "ConnectionPatchBody",
    "ConnectionResponse",
    "VariableBody",
    "VariableCollection",
    "VariablePatchBody",
    "VariableResponse",
    "connection_response",
    "variable_response",
]

_STRICT = ConfigDict(extra="forbid")


def _json_object(text: Any) -> Any:
    """Refuse numbers that Python reads and JSON does not have."""
    if isinstance(text, str) and text.strip():
        try:
            json.loads(text, parse_constant=_not_json)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f'extra must be a JSON object such as {{"timeout": 10}}: {error}'
            ) from None
    return text


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; use null or a text")


def _as_text(value: Any) -> str:
    """Return what is stored of a Variable's value: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the value cannot be written as JSON: {error}") from None


Extra = Annotated[StrictStr | None, BeforeValidator(_json_object)]
Value = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=Any)]


class _ConnectionFields(BaseModel):
    model_config = _STRICT

    description: StrictStr | None = None
    host: StrictStr | None = None
    login: StrictStr | None = None
    schema_: StrictStr | None = Field(default=None, alias="schema")
    port: StrictInt | None = None
    password: StrictStr | None = None
    extra: Extra = None
    team_name: None = None


class ConnectionBody(_ConnectionFields):
    """A Connection to make. `extra` is a JSON object, written as text."""

    connection_id: StrictStr
    conn_type: StrictStr


class ConnectionPatchBody(_ConnectionFields):
    """Changes of a Connection; what is left out stays, and so does what is ***."""

    connection_id: StrictStr | None = None
    conn_type: StrictStr | None = None


class ConnectionResponse(BaseModel):
    """One Connection. Its password, and what is secret by its name in `extra`, reads ***;
    `problem` says why its secrets cannot be read, if they cannot."""

    connection_id: str
    conn_type: str
    description: str | None
    host: str | None
    login: str | None
    schema_: str | None = Field(serialization_alias="schema")
    port: int | None
    password: str | None
    extra: str | None
    team_name: str | None = None
    problem: str | None


class ConnectionCollection(BaseModel):
    """A page of Connections."""

    connections: list[ConnectionResponse]
    total_entries: int


class VariableBody(BaseModel):
    """A Variable to make. Any JSON value is taken; what is not a text is kept as its JSON."""

    model_config = _STRICT

    key: StrictStr
    value: Value
    description: StrictStr | None = None
    team_name: None = None


class VariablePatchBody(BaseModel):
    """Changes of a Variable; what is left out stays, and so does a value of ***."""

    model_config = _STRICT

    key: StrictStr | None = None
    value: Value = MASK
    description: StrictStr | None = None
    team_name: None = None


class VariableResponse(BaseModel):
    """One Variable; its value is always a text, and *** if its key says that it is a secret."""

    key: str
    value: str
    description: str | None
    is_encrypted: bool = True
    team_name: str | None = None
    problem: str | None


class VariableCollection(BaseModel):
    """A page of Variables."""

    variables: list[VariableResponse]
    total_entries: int


def connection_response(seen: ConnectionView) -> ConnectionResponse:
    """Answer one Connection."""
    return ConnectionResponse(
        connection_id=seen.conn_id,
        conn_type=seen.conn_type,
        description=seen.description,
        host=seen.host,
        login=seen.login,
        schema_=seen.schema,
        port=seen.port,
        password=MASK if seen.has_password else None,
        extra=None if seen.extra is None else json.dumps(seen.extra, ensure_ascii=False),
        problem=seen.problem,
    )


def variable_response(seen: VariableView) -> VariableResponse:
    """Answer one Variable."""
    return VariableResponse(
        key=seen.key, value=seen.value, description=seen.description, problem=seen.problem
    )
