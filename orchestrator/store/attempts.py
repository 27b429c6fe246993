"""How the end of a running try is recorded for those that do not report it themselves."""

from typing import Any

from sqlalchemy import ColumnElement, Insert, insert, select

from orchestrator.core.states import TaskState
from orchestrator.store.conditions import is_one_of, word
from orchestrator.store.tables import attempt_table as attempt
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import now


def end_tries(
    *conditions: ColumnElement[bool], state: TaskState, reason: ColumnElement[Any]
) -> Insert:
    """Return the statement that records running tries as ended in `state`. It must come before the
    statement that moves them, which erases their epoch and owner."""
    copied = ("epoch", "try_number", "pid", "queue", "queued_at", "started_at")
    return insert(attempt).from_select(
        ["ti_id", "worker", *copied, "state", "ended_at", "reason"],
        select(
            task_instance.c.id,
            task_instance.c.lease_owner,
            *(task_instance.c[name] for name in copied),
            word(state),
            now(),
            reason,
        ).where(is_one_of(task_instance.c.state, TaskState.RUNNING), *conditions),
    )
