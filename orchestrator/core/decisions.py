"""What does a decision look at, and what does it say?"""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.states import RunState, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What decisions know of a task instance.

    `skip` is the decision of a finished branch or short circuit: the tasks it chose not to follow.
    `eligible_at` is when one that waits for a time may go on.
    """

    state: TaskState = TaskState.NONE
    epoch: int = 0
    eligible_at: datetime | None = None
    skip: tuple[str, ...] | None = None
    length: int | None = None
    """Of one that succeeded with a list or dict: how long it is."""
    group_try: int = 0
    """How often its task group has been retried as a unit."""
    ended_at: datetime | None = None
    """Of a finished one in a group that is retried: when it ended, from where the delay counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """A mapped task gets its instances. `first`, the one not expanded yet, becomes the one with
    the map index `indexes[0]`; the others are new. With `first` None (it grew in a rerun) all
    are new. New ones are in state none, epoch 0."""

    task_id: str
    first: Slot | None
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One task instance has one event, and why."""

    slot: Slot
    event: TaskEvent
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRun:
    """The run is over."""

    state: RunState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now in one run, and when to look at it again if nothing happens before.

    `expansions` come first, in their order (in a nested mapping one expands what another made);
    `moves` name the expanded instances already. A task instance moves at most once: what is
    reopened (WAS_RESTORED, GROUP_RETRIED) goes on with the next decision, and `wake_at` is now. So
    it is where there are more moves than one decision has."""

    expansions: tuple[Expand, ...] = ()
    moves: tuple[Move, ...] = ()
    finish: FinishRun | None = None
    wake_at: datetime | None = None
    fails_later: str | None = None
    """Why the run fails once its teardowns have run, if that is new: to be kept with the run, and
    told to the ledger when it is loaded anew."""
