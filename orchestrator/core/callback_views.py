"""What do people see of callbacks and deadlines?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.callbacks import CallbackId, CallbackState
from orchestrator.core.ids import TaskKey
from orchestrator.core.specs import CallbackKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackView:
    """A callback: what caused it, and how often it was begun. `task` is None for one of the run."""

    callback_id: CallbackId
    dag_id: str
    run_id: str
    task: TaskKey | None
    kind: CallbackKind
    state: CallbackState
    attempts: int
    try_number: int
    reason: str | None
    """Why its cause happened."""
    error: str | None
    """Why its last attempt failed."""
    queue: str
    due_at: datetime | None
    """When it is sent again."""
    created_at: datetime
    ended_at: datetime | None
    output: tuple[Mapping[str, Any], ...]
    """What its attempts wrote, as in a task's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineView:
    """By when a run must be done; `index` counts its DAG's deadlines as written."""

    index: int
    due_at: datetime
    missed_at: datetime | None
