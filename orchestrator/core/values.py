"""How is a value that is more than JSON written as JSON, and how do people read it?

A value with a type of its own is an object whose key `__type` names the type; everything else is
plain JSON. `orchestrator.sdk.serialization` writes and reads the types; this module knows only
their shapes, so that store, API and CLI show values without any code of the author's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ITEMS", "TYPE", "VALUE", "XComPart", "elements_of", "item_at", "preview", "readable"]

TYPE = "__type"
"""The key that tells a typed value from an object. An object that has it itself is written as a
typed `dict`."""
VALUE = "value"
ITEMS = "items"

_SEQUENCES = frozenset({"tuple", "set", "frozenset"})


def elements_of(stored: Any) -> Sequence[Any] | None:
    """Return the elements of a list, tuple or set, or the (key, value) pairs of a dict, as stored;
    None for a value that has none. A pair is a tuple, which no stored value is."""
    if isinstance(stored, list):
        return stored
    if not isinstance(stored, dict):
        return None
    kind = stored.get(TYPE)
    if kind is None:
        return list(stored.items())
    if kind == "dict":
        return [(key, value) for key, value in stored[ITEMS]]
    if kind in _SEQUENCES:
        items: list[Any] = stored[ITEMS]
        return items
    return None


class XComPart(NamedTuple):
    """Consecutive elements of an XCom, as stored, from position `first` on."""

    first: int
    elements: tuple[Any, ...]


def item_at(stored: Any, position: int, *, name: str) -> Any:
    """Return the element at `position`; raise LookupError saying what `name` is instead."""
    elements = elements_of(stored)
    if elements is None:
        raise LookupError(f"{name} is neither a list nor a dict: it has no elements")
    if not 0 <= position < len(elements):
        raise LookupError(f"{name} has {len(elements)} elements: there is no number {position}")
    return elements[position]


def readable(stored: Any) -> Any:
    """Return a stored value as plain JSON for people: a date as its text, a tuple or set as a list,
    an object as its fields."""
    if isinstance(stored, list):
        return [readable(each) for each in stored]
    if not isinstance(stored, dict):
        return stored
    kind = stored.get(TYPE)
    if kind is None:
        return {key: readable(value) for key, value in stored.items()}
    if kind == "dict":
        return {_key_text(key): readable(value) for key, value in stored[ITEMS]}
    if ITEMS in stored:
        return readable(stored[ITEMS])
    if kind == "pandas.frame":
        return _table(stored)
    for name in ("fields", VALUE):
        if name in stored:
            return readable(stored[name])
    return {name: readable(value) for name, value in stored.items() if name != TYPE}


PREVIEW_PARTS_MAX = 100
"""Values, on all levels together, that a preview shows."""
PREVIEW_TEXT_MAX = 200
"""Characters of one text."""


def preview(stored: Any) -> Any:
    """Return the beginning of a large value as plain JSON for people; `…` says what is missing."""
    return _cut_short(readable(stored), [PREVIEW_PARTS_MAX])


def _cut_short(shown: Any, left: list[int]) -> Any:
    """Show as many parts as are left, counting down."""
    left[0] -= 1
    if isinstance(shown, str):
        is_long = len(shown) > PREVIEW_TEXT_MAX
        return f"{shown[:PREVIEW_TEXT_MAX]}… {len(shown):,} characters" if is_long else shown
    if isinstance(shown, list):
        items: list[Any] = []
        for each in shown:
            if left[0] <= 0:
                return [*items, f"… {len(shown) - len(items):,} more"]
            items.append(_cut_short(each, left))
        return items
    if isinstance(shown, dict):
        pairs: dict[str, Any] = {}
        for key, value in shown.items():
            if left[0] <= 0:
                return {**pairs, "…": f"{len(shown) - len(pairs):,} more"}
            pairs[_cut_short(key, left)] = _cut_short(value, left)
        return pairs
    return shown


def _key_text(key: Any) -> str:
    shown = readable(key)
    return shown if isinstance(shown, str) else str(shown)


def _table(stored: Mapping[str, Any]) -> list[Any]:
    """The rows of a table, each an object by the names of its columns."""
    columns = [readable(column[VALUE]) for column in stored["data"]]
    named = stored["columns"]
    if "levels" in named:
        labels = zip(*(readable(level[VALUE]) for level in named["levels"]), strict=True)
        names = [" ".join(map(str, label)) for label in labels]
    else:
        names = [_key_text(name) for name in named[VALUE] or range(len(columns))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
