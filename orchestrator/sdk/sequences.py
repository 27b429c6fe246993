"""What can be expanded over: how long is it in a run, and what is its element at a position?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeGuard

from orchestrator.core.specs import LiteralLength, MapInput
from orchestrator.sdk.exceptions import TaskException

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context
    from orchestrator.sdk.references import Reference

__all__ = ["LiteralSequence", "MapSource", "Movable", "Move", "elements_of", "is_mappable"]


Move = Callable[[Any], Any]
"""What is put in place of a task or group; all else it returns as it is."""


class Movable(ABC):
    """Whatever names tasks or groups."""

    @abstractmethod
    def moved(self, move: Move) -> Any:
        """Return the same, of the tasks and groups that `move` puts in place of its own."""


class MapSource(Movable):
    """A list or dict, written in the DAG file or to come. A dict's elements are its (key, value)
    pairs."""

    @abstractmethod
    def map_input(self) -> MapInput:
        """Return what the scheduler must know to tell its length."""

    @abstractmethod
    def length(self, context: Context) -> int:
        """Return how many elements it has in this run."""

    @abstractmethod
    def item(self, position: int, context: Context) -> Any:
        """Return one element in this run."""

    @abstractmethod
    def references(self) -> Iterator[Reference]:
        """Return the values to come that it is made of."""

    def why_not_mappable(self) -> str | None:
        """Say why nothing can be expanded over it, if so."""
        return None


class LiteralSequence(MapSource):
    """A list or dict written in the DAG file. Outputs of tasks may stand among its elements."""

    def __init__(self, value: Any, references: Sequence[Reference] = ()) -> None:
        self.value = value
        self._references = references
        self._items: Sequence[Any] = list(value.items()) if isinstance(value, Mapping) else value

    def __repr__(self) -> str:
        return f"<{len(self._items)} elements>"

    def map_input(self) -> MapInput:
        return LiteralLength(length=len(self._items))

    def length(self, context: Context) -> int:  # noqa: ARG002 - known before the run
        return len(self._items)

    def item(self, position: int, context: Context) -> Any:
        if position >= len(self._items):
            raise TaskException(
                f"the list in the DAG file has {len(self._items)} elements now: there is no number "
                f"{position}"
            )
        element = self._items[position]
        if any(element is reference for reference in self._references):
            return element.resolve(context)
        return element

    def is_written(self, position: int) -> bool:
        """Say whether the element stands in the DAG file: then templates in it are rendered."""
        element = self._items[position]
        return all(element is not reference for reference in self._references)

    def references(self) -> Iterator[Reference]:
        yield from self._references

    def moved(self, move: Move) -> LiteralSequence:
        from orchestrator.sdk.references import (  # noqa: PLC0415 - it needs this module
            moved,
            references_in,
        )

        value = moved(self.value, move)
        return LiteralSequence(value, tuple(references_in(value)))


def is_mappable(value: object) -> TypeGuard[Sized]:
    """Say whether a returned value can be expanded over."""
    return isinstance(value, list | tuple | dict)


def elements_of(value: Any, name: str) -> Sequence[Any]:
    """Return the elements of a list or dict, or raise a TaskException saying what `name` is."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return value
    raise TaskException(
        f"{name} is of type {type(value).__name__}: only a list or dict can be expanded over"
    )
