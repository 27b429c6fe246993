"""How a statement names states, so that the partial indexes serve it on both databases.

A partial index serves a statement only if the statement provably asks for nothing outside it, and a
parameter proves nothing. So states and other closed words are written into the text.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Insert, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.states import RunState, TaskState


class WorkerState(StrEnum):
    """Whether a worker can be counted on."""

    ONLINE = "online"
    DRAINING = "draining"
    """It finishes what it has and takes nothing new."""
    OFFLINE = "offline"


UNFINISHED_RUN = (RunState.QUEUED, RunState.RUNNING)
HOLDING_SLOTS = (TaskState.QUEUED, TaskState.RUNNING)


def word(value: StrEnum) -> ColumnElement[str]:
    """Return a closed word as part of the statement's text."""
    return literal_column(f"'{value.value}'")


def is_one_of(column: ColumnElement[Any], *words: StrEnum) -> ColumnElement[bool]:
    """Return `column = 'a'` or `column IN ('a', 'b')`, in this order, as the indexes have it."""
    if len(words) == 1:
        return column == word(words[0])
    return column.in_([word(value) for value in words])


def may_have(column: ColumnElement[str], event: TaskEvent) -> ColumnElement[bool]:
    """Return the guard of an event: the states it may come from."""
    return is_one_of(column, *sorted(TRANSITIONS[event].sources))


def for_each_dialect(table: Table, build: Callable[[Any], Insert]) -> Mapping[str, Insert]:
    """Return an INSERT that minds conflicts, by dialect name: SQLAlchemy spells it for each."""
    return {
        "postgresql": build(postgresql.insert(table)),
        "sqlite": build(sqlite.insert(table)),
    }
