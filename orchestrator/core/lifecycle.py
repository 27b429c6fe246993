"""Which event may move a task instance from which state to which: the specification, as one table.

Everything that changes a state, in SQL or in memory, names one of these events; a pair that is not
in the table raises. `epoch` is the fencing token: it rises at every hand-out (ADMITTED) and at
every revocation, and a worker's report counts only for the epoch it was started with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState


class Actor(StrEnum):
    """Who may cause an event."""

    SCHEDULER = "scheduler"
    WORKER = "worker"
    REAPER = "reaper"
    PERSON = "person"


class TaskEvent(StrEnum):
    """What happens to a task instance."""

    BECAME_READY = "became_ready"
    """Its trigger rule holds and its time has come."""
    ADMITTED = "admitted"
    """Every limit allows it: it holds its slots from now on."""
    WAS_UNDELIVERABLE = "was_undeliverable"
    """Its message could not be delivered; it gives its slots back."""
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WAS_SKIPPED = "was_skipped"
    """Its own code asked to be skipped."""
    WILL_RETRY = "will_retry"
    WILL_RESCHEDULE = "will_reschedule"
    """It gives its worker back and goes on later, in the same try (a sensor)."""
    SUCCEEDED_INLINE = "succeeded_inline"
    """It had nothing to execute, so no worker was needed."""
    RULE_SKIPPED = "rule_skipped"
    """Its trigger rule, a branch or a short circuit decided against it."""
    RULE_UPSTREAM_FAILED = "rule_upstream_failed"
    LOST = "lost"
    """Its worker stopped reporting; another try follows."""
    LOST_FOR_GOOD = "lost_for_good"
    """Its worker stopped reporting once too often."""
    ABANDONED = "abandoned"
    """Its run goes on or ends without it (dagrun_timeout, fail_fast, a run marked failed)."""
    EXPANSION_FAILED = "expansion_failed"
    """What it is mapped over is longer than allowed, or is no list."""
    WAS_REMOVED = "was_removed"
    """Its task, or its map index, is no longer part of its unfinished run."""
    WAS_RESTORED = "was_restored"
    """Its map index is part of the run again."""
    GROUP_RETRIED = "group_retried"
    """Its task group failed and runs again as a unit."""
    CLEARED = "cleared"
    """A person wants it to run again."""
    MARKED_SUCCESS = "marked_success"
    MARKED_FAILED = "marked_failed"
    MARKED_SKIPPED = "marked_skipped"


@dataclass(frozen=True, slots=True)
class Transition:
    """Who causes it, from where to where, and whether what was handed out before is revoked."""

    actor: Actor
    sources: frozenset[TaskState]
    target: TaskState
    bumps_epoch: bool = False


_S = TaskState
_UNFINISHED = frozenset(
    {
        _S.NONE,
        _S.SCHEDULED,
        _S.QUEUED,
        _S.RUNNING,
        _S.DEFERRED,
        _S.UP_FOR_RETRY,
        _S.UP_FOR_RESCHEDULE,
    }
)
_FINISHED = FINISHED_TASK_STATES
_ANY = frozenset(_S)
_UNDECIDED = frozenset({_S.NONE})
_RUNNING = frozenset({_S.RUNNING})

TRANSITIONS: Mapping[TaskEvent, Transition] = MappingProxyType(
    {
        TaskEvent.BECAME_READY: Transition(
            Actor.SCHEDULER,
            frozenset({_S.NONE, _S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE}),
            _S.SCHEDULED,
        ),
        TaskEvent.ADMITTED: Transition(
            Actor.SCHEDULER, frozenset({_S.SCHEDULED}), _S.QUEUED, bumps_epoch=True
        ),
        TaskEvent.WAS_UNDELIVERABLE: Transition(
            Actor.REAPER, frozenset({_S.QUEUED}), _S.SCHEDULED, bumps_epoch=True
        ),
        TaskEvent.STARTED: Transition(Actor.WORKER, frozenset({_S.QUEUED}), _S.RUNNING),
        TaskEvent.SUCCEEDED: Transition(Actor.WORKER, _RUNNING, _S.SUCCESS),
        TaskEvent.FAILED: Transition(Actor.WORKER, _RUNNING, _S.FAILED),
        TaskEvent.WAS_SKIPPED: Transition(Actor.WORKER, _RUNNING, _S.SKIPPED),
        TaskEvent.WILL_RETRY: Transition(Actor.WORKER, _RUNNING, _S.UP_FOR_RETRY),
        TaskEvent.WILL_RESCHEDULE: Transition(Actor.WORKER, _RUNNING, _S.UP_FOR_RESCHEDULE),
        TaskEvent.SUCCEEDED_INLINE: Transition(Actor.SCHEDULER, _UNDECIDED, _S.SUCCESS),
        TaskEvent.RULE_SKIPPED: Transition(Actor.SCHEDULER, _UNDECIDED, _S.SKIPPED),
        TaskEvent.RULE_UPSTREAM_FAILED: Transition(Actor.SCHEDULER, _UNDECIDED, _S.UPSTREAM_FAILED),
        TaskEvent.LOST: Transition(Actor.REAPER, _RUNNING, _S.UP_FOR_RETRY, bumps_epoch=True),
        TaskEvent.LOST_FOR_GOOD: Transition(Actor.REAPER, _RUNNING, _S.FAILED, bumps_epoch=True),
        TaskEvent.ABANDONED: Transition(Actor.SCHEDULER, _UNFINISHED, _S.SKIPPED, bumps_epoch=True),
        TaskEvent.WAS_REMOVED: Transition(
            Actor.SCHEDULER, _ANY - _RUNNING - {_S.REMOVED}, _S.REMOVED, bumps_epoch=True
        ),
        TaskEvent.WAS_RESTORED: Transition(
            Actor.SCHEDULER, frozenset({_S.REMOVED}), _S.NONE, bumps_epoch=True
        ),
        TaskEvent.EXPANSION_FAILED: Transition(Actor.SCHEDULER, _UNDECIDED, _S.FAILED),
        TaskEvent.GROUP_RETRIED: Transition(
            Actor.SCHEDULER, _FINISHED - {_S.REMOVED}, _S.NONE, bumps_epoch=True
        ),
        TaskEvent.CLEARED: Transition(Actor.PERSON, _ANY, _S.NONE, bumps_epoch=True),
        TaskEvent.MARKED_SUCCESS: Transition(Actor.PERSON, _ANY, _S.SUCCESS, bumps_epoch=True),
        TaskEvent.MARKED_FAILED: Transition(Actor.PERSON, _ANY, _S.FAILED, bumps_epoch=True),
        TaskEvent.MARKED_SKIPPED: Transition(Actor.PERSON, _ANY, _S.SKIPPED, bumps_epoch=True),
    }
)

RUN_TRANSITIONS: Mapping[RunState, frozenset[RunState]] = MappingProxyType(
    {
        # A person may also end a run that waits, and say that one which has ended did so
        # differently; a clear sends it back to the queue.
        RunState.QUEUED: frozenset({RunState.RUNNING, RunState.SUCCESS, RunState.FAILED}),
        RunState.RUNNING: frozenset({RunState.SUCCESS, RunState.FAILED}),
        RunState.SUCCESS: frozenset({RunState.QUEUED, RunState.FAILED}),
        RunState.FAILED: frozenset({RunState.QUEUED, RunState.SUCCESS}),
    }
)


def advance(state: TaskState, event: TaskEvent) -> TaskState:
    """Return the state `event` leads to from `state`; an event that may not happen there raises."""
    transition = TRANSITIONS[event]
    if state not in transition.sources:
        raise AssertionError(f"a task instance that is {state} cannot have {event}")
    return transition.target
