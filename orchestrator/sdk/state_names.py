"""The states of runs and task instances, by the names that authors know them by."""

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from orchestrator.core.states import RunState, TaskState
from orchestrator.sdk.arguments import Subject

__all__ = ["DagRunState", "TaskInstanceState", "states_named"]

DagRunState = RunState
TaskInstanceState = TaskState

_E = TypeVar("_E", bound=StrEnum)


def states_named(
    name: str, given: Iterable[str] | None, kind: type[_E], subject: Subject
) -> frozenset[_E]:
    """Return the states that an argument lists; none for None."""
    if given is None:
        return frozenset()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise subject.error(f"{name} is {given!r}; it must be a list of states")
    return frozenset(subject.choice(name, each, kind) for each in given)
