"""What do the two settings that hold secrets say: the keys, and the secrets backends?"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["split_backends", "split_keys"]

_KEY_BYTES = 32


def split_keys(text: str) -> tuple[str, ...]:
    """Return the Fernet keys of a list; ValueError says which is none, and not what it is."""
    keys = tuple(part for part in (piece.strip() for piece in text.split(",")) if part)
    for number, key in enumerate(keys, start=1):
        try:
            is_key = len(base64.urlsafe_b64decode(key)) == _KEY_BYTES
        except (binascii.Error, ValueError):
            is_key = False
        if not is_key:
            raise ValueError(
                f"must be Fernet keys, separated by commas, which number {number} is not; "
                "`orchestrator secrets key` makes one"
            )
    return keys


def split_backends(text: str) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return the names and keyword arguments of secrets backends; ValueError says what is wrong,
    and not with which value: it may be a token."""
    try:
        listed = json.loads(text)
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise ValueError('must be a JSON list such as [{"name": "vault", "kwargs": {}}]')
    return tuple(_backend(number, entry) for number, entry in enumerate(listed, start=1))


def _backend(number: int, entry: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(
            f'must name each backend, as in {{"name": "vault"}}: number {number} has none'
        )
    kwargs = entry.get("kwargs", {})
    unknown = sorted(set(entry) - {"name", "kwargs"})
    if unknown or not isinstance(kwargs, dict):
        raise ValueError(
            f"must have nothing but a name and an object of kwargs for each backend: "
            f"{entry['name']!r} has {unknown[0] if unknown else 'kwargs that are no object'!r}"
        )
    return entry["name"], kwargs
