"""Is what a person asks for acceptable, and if not: which part of it, and what would be?"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunType
from orchestrator.core.views import UNLIMITED_SLOTS
from orchestrator.errors import RequestInvalidError
from orchestrator.sdk.params import resolve_params

__all__ = [
    "CONF_BYTES_MAX",
    "NOTE_LENGTH_MAX",
    "POOL_NAME_LENGTH_MAX",
    "RUN_ID_LENGTH_MAX",
    "SLOTS_MAX",
    "check_conf",
    "check_json",
    "check_name",
    "check_run_id",
    "check_slots",
    "check_text",
    "check_utc",
]

CONF_BYTES_MAX = 64 * 1024
"""A conf says what a run is about; data belongs in a file that the conf names."""
CONF_DEPTH_MAX = 50
NOTE_LENGTH_MAX = 1000
RUN_ID_LENGTH_MAX = 250
POOL_NAME_LENGTH_MAX = 250
SLOTS_MAX = 2**31 - 1

_RUN_ID = re.compile(r"[A-Za-z0-9_.~:+-]+")
_NAME = re.compile(r"[\w .~:+@-]+")
_SHOWN_MAX = 80
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


def check_run_id(run_id: str, *, run_type: RunType = RunType.MANUAL) -> str:
    """Return a run id that somebody chose, or say what is wrong with it."""
    shown = _shortened(run_id)
    if not _RUN_ID.fullmatch(run_id) or ".." in run_id or run_id in (".", "~"):
        raise RequestInvalidError(
            f"run id {shown} is not acceptable; use letters, digits and _ . ~ : + - without '..'"
        )
    if len(run_id) > RUN_ID_LENGTH_MAX:
        raise RequestInvalidError(
            f"run id {shown} has {len(run_id)} characters; {RUN_ID_LENGTH_MAX} are allowed"
        )
    for other in RunType:
        if other not in (RunType.MANUAL, run_type) and run_id.startswith(f"{other}__"):
            raise RequestInvalidError(
                f"run id {shown} starts with '{other}__', which is kept for {other} runs; "
                "choose another beginning"
            )
    return run_id


def check_utc(instant: datetime, *, name: str) -> datetime:
    """Return an instant in UTC, or say why it is none."""
    if instant.tzinfo is None:
        raise RequestInvalidError(
            f"{name} {instant.isoformat()} has no time zone; add one, as in "
            f"{instant.isoformat()}+00:00"
        )
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise RequestInvalidError(
            f"{name} {instant.isoformat()} is outside of the years 1 to 9999 in UTC"
        ) from None


def check_conf(conf: Mapping[str, Any], spec: DagSpec) -> None:
    """Raise unless `conf` is storable JSON and gives the DAG's params values they allow."""
    check_json(conf, name="conf")
    size = len(json.dumps(conf, ensure_ascii=False).encode())
    if size > CONF_BYTES_MAX:
        raise RequestInvalidError(
            f"conf takes {size} bytes, more than {CONF_BYTES_MAX}; put the data in a file and "
            "name the file in conf"
        )
    resolve_params(spec.params, conf)


def check_json(value: Any, *, name: str) -> None:
    """Raise unless a value is JSON that both databases can hold."""
    _check_json(value, (name,))


def check_text(text: str | None, *, name: str, length_max: int) -> str | None:
    """Return a text that can be stored, or say why it cannot."""
    if text is not None:
        _check_characters(text, (name,))
        if len(text) > length_max:
            raise RequestInvalidError(
                f"{name} has {len(text)} characters; {length_max} are allowed"
            )
    return text


def check_name(value: str, *, name: str) -> str:
    """Return the name of a pool or queue, or say what is wrong with it."""
    if not _NAME.fullmatch(value) or value != value.strip() or value.strip(".~") == "":
        raise RequestInvalidError(
            f"{name} {_shortened(value)} is not acceptable; use letters, digits, spaces within "
            "and _ . ~ : + @ -"
        )
    if len(value) > POOL_NAME_LENGTH_MAX:
        raise RequestInvalidError(
            f"{name} {_shortened(value)} has {len(value)} characters; "
            f"{POOL_NAME_LENGTH_MAX} are allowed"
        )
    return value


def check_slots(slots: int, *, pool: str) -> int:
    """Return a pool's slots, or say which numbers are possible."""
    if not UNLIMITED_SLOTS <= slots <= SLOTS_MAX:
        raise RequestInvalidError(
            f"pool {_shortened(pool)} cannot have {slots} slots; use 0 to {SLOTS_MAX}, or "
            f"{UNLIMITED_SLOTS} for no limit"
        )
    return slots


def _check_json(value: Any, path: tuple[str | int, ...]) -> None:
    """Refuse what JSON, or one of the databases, cannot hold."""
    if len(path) > CONF_DEPTH_MAX:
        raise RequestInvalidError(
            f"{path[0]} is nested deeper than {CONF_DEPTH_MAX} levels; flatten it"
        )
    match value:
        case None | bool():
            pass
        case str():
            _check_characters(value, path)
        case int() if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise RequestInvalidError(
                f"{_in_words(path)} is an integer of more than 64 bits; give it as a text"
            )
        case float() if not math.isfinite(value):
            raise RequestInvalidError(
                f"{_in_words(path)} is {value}, which is not JSON; use null or a text"
            )
        case int() | float():
            pass
        case list() | tuple():
            for index, item in enumerate(value):
                _check_json(item, (*path, index))
        case Mapping():
            for key, item in value.items():
                _check_characters(str(key), (*path, str(key)))
                _check_json(item, (*path, str(key)))
        case _:
            raise RequestInvalidError(
                f"{_in_words(path)} is of type {type(value).__name__}, which is not JSON"
            )


def _check_characters(text: str, path: tuple[str | int, ...]) -> None:
    if "\0" in text:
        raise RequestInvalidError(f"{_in_words(path)} contains a NUL character; remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestInvalidError(
            f"{_in_words(path)} contains half of a surrogate pair, which is not valid Unicode; "
            "correct it where the text is made"
        ) from None


def _in_words(path: tuple[str | int, ...]) -> str:
    return str(path[0]) + "".join(
        f"[{step}]" if isinstance(step, int) else f"[{_shortened(step)}]" for step in path[1:]
    )


def _shortened(text: str) -> str:
    return ascii(text) if len(text) <= _SHOWN_MAX else ascii(text[:_SHOWN_MAX]) + "..."
