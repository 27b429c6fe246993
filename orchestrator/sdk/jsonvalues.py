"""Is this value plain JSON, and if not: which part of it, and what to do?

XComs, conf and param defaults are JSON so that every reader (another task, the web page, another
language) sees the same value, and reading one can never run code.
"""

import math
from typing import Any

import msgspec

from orchestrator.errors import AuthorError

DEPTH_MAX = 100
"""Deeper nesting is refused; a value that contains itself is found this way too."""

_CURES = {
    "datetime": "return value.isoformat()",
    "date": "return value.isoformat()",
    "time": "return value.isoformat()",
    "timedelta": "return value.total_seconds()",
    "Decimal": "return str(value), or float(value)",
    "UUID": "return str(value)",
    "PosixPath": "return str(value)",
    "WindowsPath": "return str(value)",
    "bytes": "write it to a file and return the path, or return base64 text",
    "bytearray": "write it to a file and return the path, or return base64 text",
    "set": "return sorted(value)",
    "frozenset": "return sorted(value)",
    "generator": "return list(value)",
    "range": "return list(value)",
    "map": "return list(value)",
    "filter": "return list(value)",
    "dict_keys": "return list(value)",
    "dict_values": "return list(value)",
    "dict_items": "return dict(value)",
    "DataFrame": "write it to a file and return the path, or return "
    "value.to_dict(orient='records')",
    "Series": "return value.tolist()",
    "ndarray": "return value.tolist()",
    "int64": "return int(value)",
    "int32": "return int(value)",
    "float32": "return float(value)",
    "XComArg": "pass it to a task as an argument instead of returning it",
}


class NotJsonError(AuthorError):
    """A value is not JSON, or larger than allowed."""


def json_value(value: Any, *, name: str) -> Any:
    """Return `value` as plain JSON (tuples become lists, subclasses their base), or raise a
    NotJsonError that names the offending part by its path from `name`."""
    return _plain(value, (name,))


def json_size(value: Any, *, name: str) -> int:
    """Return how many bytes a JSON value takes; raise NotJsonError if it is not valid Unicode."""
    try:
        return len(msgspec.json.encode(value))
    except UnicodeEncodeError as error:
        raise NotJsonError(
            f"{name} holds text that is not valid Unicode ({error.reason}); decode it with "
            "errors='replace' where it is read"
        ) from None


def _plain(value: Any, path: tuple[str | int, ...]) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(float(value), path)
    if len(path) > DEPTH_MAX:
        raise NotJsonError(
            f"{path[0]} is nested deeper than {DEPTH_MAX} levels, or contains itself"
        )
    if isinstance(value, dict):
        return {_key(key, path): _plain(each, (*path, key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, (*path, index)) for index, each in enumerate(value)]
    raise NotJsonError(
        f"{_in_words(path)} is of type {type(value).__name__}, which is not JSON; {_cure(value)}"
    )


def _finite(value: float, path: tuple[str | int, ...]) -> float:
    if math.isfinite(value):
        return value
    raise NotJsonError(f"{_in_words(path)} is {value}, which JSON does not have; return None there")


def _key(key: object, path: tuple[str | int, ...]) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise NotJsonError(
        f"{_in_words(path)} has the key {key!r} of type {type(key).__name__}; JSON keys are text: "
        "use str(key)"
    )


def _cure(value: object) -> str:
    if hasattr(value, "__dataclass_fields__"):
        return "return dataclasses.asdict(value)"
    if hasattr(value, "model_dump"):
        return "return value.model_dump(mode='json')"
    if hasattr(value, "_asdict"):
        return "return value._asdict()"
    return _CURES.get(type(value).__name__, "use dict, list, str, int, float, bool or None")


def _in_words(path: tuple[str | int, ...]) -> str:
    return f"{path[0]}{''.join(f'[{step!r}]' for step in path[1:])}"
