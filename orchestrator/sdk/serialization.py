"""How does what a task returns or pushes keep its type for the tasks that pull it?

The registry is closed: the types below, numpy's and pandas' where they are in use (`arrays`), and
the author's own classes (`classes`). A typed value is a JSON object whose key `__type` names the
type (core.values); reading one imports nothing that stored data names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from orchestrator.core.values import ITEMS, TYPE, VALUE
from orchestrator.errors import AuthorError
from orchestrator.sdk.arrays import decode_array, encode_array
from orchestrator.sdk.classes import Classes, StoredObject, class_fields, encoder_of
from orchestrator.sdk.exceptions import TaskException

__all__ = ["UnstorableError", "decode", "encode", "encoded_size"]

DEPTH_MAX = 100
"""Deeper nesting is refused; a value that contains itself is found this way too."""
_INT64 = range(-(2**63), 2**63)
INT_BITS_MAX = 14_000
"""Python writes and reads no longer integer as decimal text."""

Path_ = tuple[str | int, ...]
"""The way to a part of a value: the name of the whole, then keys and positions."""

_CURES: Mapping[str, str] = {
    **dict.fromkeys(("generator", "range", "map", "filter", "zip", "enumerate"), "list(value)"),
    **dict.fromkeys(("dict_keys", "dict_values", "reversed", "deque"), "list(value)"),
    "dict_items": "dict(value)",
    "memoryview": "bytes(value)",
    "SecretStr": "value.get_secret_value(), or better leave a secret in its connection",
    "Connection": "value.conn_id, and get the connection by it where it is used",
    "MaskedArray": "value.filled()",
}


class UnstorableError(AuthorError):
    """A value cannot be stored, or is larger than allowed."""


def encode(value: Any, *, name: str, root: str) -> Any:
    """Return `value` as it is stored. Raise an UnstorableError that names it (`name`), its
    offending part by the way from `root`, that part's type and a cure."""
    try:
        return _encode(value, (root,))
    except _PartError as error:
        raise UnstorableError(f"{name} cannot be stored: {error}") from error.__cause__


def encoded_size(stored: Any, *, name: str) -> int:
    """Return how many bytes a stored value takes; raise UnstorableError for invalid Unicode."""
    try:
        return len(msgspec.json.encode(stored))
    except UnicodeEncodeError as error:
        raise UnstorableError(
            f"{name} cannot be stored: it holds text that is not valid Unicode ({error.reason}); "
            "decode it with errors='replace' where it is read"
        ) from None


def decode(stored: Any, classes: Classes) -> Any:
    """Return what `encode` was given, its classes found by `classes`. Raise a TaskException for a
    value that this version cannot read, or whose class has changed since."""
    if isinstance(stored, list):
        return [decode(each, classes) for each in stored]
    if not isinstance(stored, dict):
        return stored
    kind = stored.get(TYPE)
    if kind is None:
        return {key: decode(value, classes) for key, value in stored.items()}
    try:
        return _decode_typed(kind, stored, classes)
    except TaskException:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise TaskException(f"a stored value of type {kind!r} cannot be read: {said}") from error


class _PartError(Exception):
    """The part of a value that cannot be stored, and why."""


def _refuse(path: Path_, why: str) -> NoReturn:
    where = f"{path[0]}{''.join(f'[{step!r}]' for step in path[1:])}"
    raise _PartError(f"{where} {why}")


# --- writing


def _encode(value: Any, path: Path_) -> Any:
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        return value if _INT64.start <= value < _INT64.stop else _whole(value, path)
    if kind is float:
        return value if math.isfinite(value) else {TYPE: "float", VALUE: str(value)}
    if len(path) > DEPTH_MAX:
        raise _PartError(f"{path[0]} is nested deeper than {DEPTH_MAX} levels, or contains itself")
    if kind is dict:
        return _encode_dict(value, path)
    write = _WRITERS.get(kind)
    return write(value, path) if write else _encode_other(value, path)


def _whole(value: int, path: Path_) -> int:
    if value.bit_length() > INT_BITS_MAX:
        _refuse(path, f"is an integer of {value.bit_length():,} bits; return hex(value)")
    return value


def _encode_dict(value: Mapping[Any, Any], path: Path_) -> dict[str, Any]:
    if TYPE not in value and all(type(key) is str for key in value):
        return {key: _encode(each, (*path, key)) for key, each in value.items()}
    if TYPE not in value and all(_is_plain_text(key) for key in value):
        return {str.__str__(key): _encode(each, (*path, key)) for key, each in value.items()}
    pairs = [
        [_encode(key, (*path, "a key")), _encode(each, (*path, _step(key)))]
        for key, each in value.items()
    ]
    return {TYPE: "dict", ITEMS: pairs}


def _is_plain_text(key: Any) -> bool:
    """A key of a class derived from str is text; an Enum's member is more."""
    return isinstance(key, str) and not hasattr(type(key), "__members__")


def _step(key: Any) -> str | int:
    return key if isinstance(key, str | int) else repr(key)


def _encode_items(kind: str) -> Callable[[Any, Path_], dict[str, Any]]:
    return lambda value, path: {
        TYPE: kind,
        ITEMS: [_encode(each, (*path, index)) for index, each in enumerate(value)],
    }


def _encode_set(kind: str) -> Callable[[Any, Path_], dict[str, Any]]:
    """Sorted, so that equal sets are stored equal."""
    encoded = _encode_items(kind)

    def write(value: Any, path: Path_) -> dict[str, Any]:
        stored = encoded(value, path)
        return {**stored, ITEMS: sorted(stored[ITEMS], key=msgspec.json.encode)}

    return write


def _text(kind: str) -> Callable[[Any, Path_], dict[str, Any]]:
    return lambda value, _path: {TYPE: kind, VALUE: str(value)}


def _encode_bytes(kind: str) -> Callable[[Any, Path_], dict[str, Any]]:
    def write(value: Any, _path: Path_) -> dict[str, Any]:
        from base64 import b64encode  # noqa: PLC0415 - bytes are rare

        return {TYPE: kind, VALUE: b64encode(value).decode()}

    return write


def _encode_instant(kind: str) -> Callable[[Any, Path_], dict[str, Any]]:
    """A datetime or time. `zone` is set where the time zone has a name, `fold` where a clock was
    put back."""

    def write(value: Any, _path: Path_) -> dict[str, Any]:
        stored = {TYPE: kind, VALUE: value.isoformat()}
        if (zone := _zone_key(value.tzinfo)) is not None:
            stored["zone"] = zone
        return {**stored, "fold": 1} if value.fold else stored

    return write


def _zone_key(zone: tzinfo | None) -> str | None:
    """The name of a ZoneInfo, of a pytz zone, of a pendulum zone; None without one."""
    if zone is None or isinstance(zone, timezone):
        return None
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return key if isinstance(key, str) else None


def _encode_zone(value: Any, path: Path_) -> dict[str, Any]:
    if (key := _zone_key(value)) is not None:
        return {TYPE: "zone", VALUE: key}
    if not isinstance(value, timezone):
        _refuse(path, "is a time zone without a name; use zoneinfo.ZoneInfo(name)")
    return {TYPE: "offset", VALUE: str(value), **_span(value.utcoffset(None))}


def _span(value: timedelta) -> dict[str, Any]:
    return {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}


_WRITERS: Mapping[type, Callable[[Any, Path_], Any]] = {
    list: lambda value, path: [_encode(each, (*path, i)) for i, each in enumerate(value)],
    tuple: _encode_items("tuple"),
    set: _encode_set("set"),
    frozenset: _encode_set("frozenset"),
    bytes: _encode_bytes("bytes"),
    bytearray: _encode_bytes("bytearray"),
    complex: lambda value, _path: {TYPE: "complex", VALUE: str(value)},
    Decimal: _text("decimal"),
    UUID: _text("uuid"),
    datetime: _encode_instant("datetime"),
    date: lambda value, _path: {TYPE: "date", VALUE: value.isoformat()},
    time: _encode_instant("time"),
    timedelta: lambda value, _path: {TYPE: "timedelta", VALUE: str(value), **_span(value)},
    timezone: _encode_zone,
    ZoneInfo: _encode_zone,
    type(Path()): _text("path"),
    PurePosixPath: _text("pure_posix_path"),
    PureWindowsPath: _text("pure_windows_path"),
    StoredObject: lambda value, _path: value.stored,
}


def _encode_other(value: Any, path: Path_) -> Any:
    """A class of the author's, numpy's or pandas', or one derived from a type we know."""
    write = encoder_of(value)
    if write is not None:
        try:
            return write(lambda part, step: _encode(part, (*path, step)))
        except ValueError as error:
            _refuse(path, str(error))
    try:
        found = encode_array(value, lambda part, step: _encode(part, (*path, step)))
    except ValueError as error:
        _refuse(path, str(error))
    if found is not None:
        return found
    pendulum = _encode_pendulum(value, path)
    return _encode_derived(value, path) if pendulum is None else pendulum


_PENDULUM = {"DateTime": "datetime", "Date": "date", "Time": "time"}


def _encode_pendulum(value: Any, path: Path_) -> Any:
    kind = type(value)
    if kind.__name__ not in _PENDULUM or not kind.__module__.startswith("pendulum."):
        return None
    base = {"DateTime": datetime, "Date": date, "Time": time}[kind.__name__]
    return {**_WRITERS[base](value, path), "pendulum": True}


_BASES: tuple[type, ...] = (
    *(list, tuple, set, frozenset, bytes, bytearray, complex, Decimal, UUID),
    *(datetime, date, time, timedelta),
)


def _encode_derived(value: Any, path: Path_) -> Any:
    """What is derived from a type we know, as that type: an OrderedDict as a dict, say."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _whole(int(value), path)
    if isinstance(value, float):
        return _encode(float(value), path)
    if isinstance(value, dict):
        return _encode_dict(dict(value.items()), path)
    if isinstance(value, PurePath):
        kind = "pure_windows_path" if isinstance(value, PureWindowsPath) else "pure_posix_path"
        return {TYPE: "path" if isinstance(value, Path) else kind, VALUE: str(value)}
    if isinstance(value, tzinfo):
        return _encode_zone(value, path)
    for base in _BASES:
        if isinstance(value, base):
            return _WRITERS[base](value, path)
    _refuse(path, f"is of type {type(value).__name__}, which no registry knows; {_cure(value)}")


def _cure(value: object) -> str:
    name = type(value).__name__
    if name in _CURES:
        return f"return {_CURES[name]}"
    if name == "XComArg":
        return "pass it to a task as an argument instead of returning it"
    return (
        "return dict, list, str, int, float, bool, None, dates, dataclasses or pydantic models, or "
        f"tell how with register_type({name}, encode=..., decode=...)"
    )


# --- reading


def _decode_typed(kind: Any, stored: Mapping[str, Any], classes: Classes) -> Any:
    read = _READERS.get(kind)
    if read is not None:
        return read(stored, classes)
    if kind in ("object", "enum", "namedtuple"):
        return class_fields(stored, lambda part: decode(part, classes), classes)
    found = decode_array(kind, stored, lambda part: decode(part, classes))
    if found is not None:
        return found
    raise TaskException(
        f"a stored value is of type {kind!r}, which this version does not know; use the version of "
        "orchestrator that stored it, or run the task that pushed it again"
    )


def _read_items(make: Callable[[list[Any]], Any]) -> Callable[[Mapping[str, Any], Classes], Any]:
    return lambda stored, classes: make([decode(each, classes) for each in stored[ITEMS]])


def _read_text(make: Callable[[str], Any]) -> Callable[[Mapping[str, Any], Classes], Any]:
    return lambda stored, _classes: make(stored[VALUE])


def _read_bytes(stored: Mapping[str, Any], _classes: Classes) -> bytes:
    from base64 import b64decode  # noqa: PLC0415 - bytes are rare

    return b64decode(stored[VALUE], validate=True)


def _read_datetime(stored: Mapping[str, Any], _classes: Classes) -> datetime:
    value = datetime.fromisoformat(stored[VALUE])
    if "zone" in stored:
        value = value.replace(tzinfo=ZoneInfo(stored["zone"]))
    value = value.replace(fold=stored.get("fold", 0))
    if not stored.get("pendulum"):
        return value
    import pendulum  # noqa: PLC0415 - slow to import

    return pendulum.instance(value, tz=None)


def _read_date(stored: Mapping[str, Any], _classes: Classes) -> date:
    value = date.fromisoformat(stored[VALUE])
    if not stored.get("pendulum"):
        return value
    import pendulum  # noqa: PLC0415 - slow to import

    return pendulum.Date(value.year, value.month, value.day)


def _read_time(stored: Mapping[str, Any], _classes: Classes) -> time:
    value = time.fromisoformat(stored[VALUE])
    if "zone" in stored:
        value = value.replace(tzinfo=ZoneInfo(stored["zone"]))
    value = value.replace(fold=stored.get("fold", 0))
    if not stored.get("pendulum"):
        return value
    import pendulum  # noqa: PLC0415 - slow to import

    return pendulum.Time(
        *(value.hour, value.minute, value.second, value.microsecond), tzinfo=value.tzinfo
    )


def _read_span(stored: Mapping[str, Any], _classes: Classes) -> timedelta:
    return timedelta(
        days=stored["days"], seconds=stored["seconds"], microseconds=stored["microseconds"]
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any], Classes], Any]] = {
    "dict": lambda stored, classes: {
        decode(key, classes): decode(value, classes) for key, value in stored[ITEMS]
    },
    "tuple": _read_items(tuple),
    "set": _read_items(set),
    "frozenset": _read_items(frozenset),
    "float": _read_text(float),
    "complex": _read_text(complex),
    "bytes": _read_bytes,
    "bytearray": lambda stored, classes: bytearray(_read_bytes(stored, classes)),
    "decimal": _read_text(Decimal),
    "uuid": _read_text(UUID),
    "path": _read_text(Path),
    "pure_posix_path": _read_text(PurePosixPath),
    "pure_windows_path": _read_text(PureWindowsPath),
    "zone": _read_text(ZoneInfo),
    "offset": lambda stored, classes: timezone(_read_span(stored, classes)),
    "datetime": _read_datetime,
    "date": _read_date,
    "time": _read_time,
    "timedelta": _read_span,
}
