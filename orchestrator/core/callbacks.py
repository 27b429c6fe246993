"""Which callback does a transition owe, under which name, and what follows an attempt to run it?

A callback is a row that is written with the transition that causes it, and it is owed until a
worker has run it to its end. Its id is made from its cause, so one transition owes one callback
however often it is recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NewType
from uuid import UUID, uuid5

from orchestrator.core.assignments import Assignment, DagSource, RunFacts
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.specs import CallbackKind, DagSpec, TaskSpec
from orchestrator.core.states import RunState

CallbackId = NewType("CallbackId", UUID)
"""Key of a callback's row, and what a Celery message for it carries."""

ATTEMPTS_MAX = 5
"""How often a callback is begun before it is given up."""
FIRST_RETRY_S = 10.0
"""Wait before the second attempt; doubled for each further one."""

_KIND_OF: Mapping[TaskEvent, CallbackKind] = MappingProxyType(
    {
        TaskEvent.SUCCEEDED: CallbackKind.SUCCESS,
        TaskEvent.FAILED: CallbackKind.FAILURE,
        TaskEvent.WILL_RETRY: CallbackKind.RETRY,
        TaskEvent.WAS_SKIPPED: CallbackKind.SKIPPED,
        TaskEvent.LOST: CallbackKind.RETRY,
        TaskEvent.LOST_FOR_GOOD: CallbackKind.FAILURE,
        TaskEvent.EXPANSION_FAILED: CallbackKind.FAILURE,
        # Only where a try was running: what never began has nothing to clean up.
        TaskEvent.ABANDONED: CallbackKind.FAILURE,
    }
)


class CallbackState(StrEnum):
    """Where a callback stands."""

    OWED = "owed"
    DONE = "done"
    FAILED = "failed"
    """Begun so often in vain; nobody tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAssignment:
    """A callback as a worker is to run it. `attempt` (from 1) fences the report on it."""

    callback_id: CallbackId
    kind: CallbackKind
    attempt: int
    delivered: tuple[int, ...]
    """Which of the author's functions, by their place in the list, earlier attempts completed."""
    reason: str | None
    run: RunFacts
    run_state: RunState
    run_ended_at: datetime | None
    dag: DagSpec
    source: DagSource
    is_of_run: bool = False
    deadline_index: int | None = None
    ended_at: datetime | None = None
    """When the try ended that it follows."""
    tried: Assignment | None = None
    """The try whose end it follows; for a callback of the run one that says something about its
    end: the last that failed, else the last that ended. None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackReport:
    """What an attempt came to: which functions have completed by now, why it failed if it did, and
    what was written meanwhile (lines of JSON)."""

    delivered: tuple[int, ...]
    error: str | None = None
    output: str = ""


def callback_of(task: TaskSpec, event: TaskEvent) -> CallbackKind | None:
    """Return the callback that a task instance's transition owes, if its task has it."""
    kind = _KIND_OF.get(event)
    return kind if kind in task.callbacks else None


def callback_of_end(dag: DagSpec, state: RunState) -> CallbackKind | None:
    """Return the callback that the end of a run owes, if its DAG has it."""
    kind = CallbackKind.SUCCESS if state is RunState.SUCCESS else CallbackKind.FAILURE
    return kind if kind in dag.callbacks else None


def callback_id_of(cause: UUID, number: int, kind: CallbackKind) -> CallbackId:
    """Name the callback that a task instance owes for an epoch, or a run for a revision."""
    return CallbackId(uuid5(cause, f"{number}/{kind}"))


def after_attempt(attempt: int, *, is_delivered: bool) -> tuple[CallbackState, float | None]:
    """Say where a callback stands after its attempt number `attempt`, and in how many seconds it
    is tried again."""
    if is_delivered:
        return CallbackState.DONE, None
    if attempt >= ATTEMPTS_MAX:
        return CallbackState.FAILED, None
    return CallbackState.OWED, FIRST_RETRY_S * 2.0 ** (attempt - 1)
