"""What is written when a try ends, also for those that do not report their end themselves.

A try may go on several times (a sensor that gives its worker back between two looks): all of that
is one try, with one record.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Insert, func, insert, null, or_, select

from orchestrator.core.states import TaskState
from orchestrator.store.conditions import is_one_of, word
from orchestrator.store.tables import attempt_table as attempt
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import now

BEGAN_AT: ColumnElement[Any] = func.coalesce(task_instance.c.began_at, task_instance.c.started_at)
"""When the try that is on began, or the last one."""

NO_TRY_IS_ON: Mapping[str, Any] = {"began_at": null(), "lease_owner": null(), "lease_until": null()}
"""What every statement writes that ends a try or takes away what waits to go on with one: whoever
forgets it makes the next try a part of this one."""

_a_try_is_on = or_(
    is_one_of(task_instance.c.state, TaskState.RUNNING), task_instance.c.began_at.is_not(None)
)


def end_tries(
    *conditions: ColumnElement[bool], state: TaskState, reason: ColumnElement[Any]
) -> Insert:
    """Return the statement that records tries that are on, or wait to go on, as ended in `state`.
    It must come before the statement that moves them, which erases their epoch and owner."""
    copied = ("epoch", "try_number", "pid", "queue", "queued_at")
    return insert(attempt).from_select(
        ["ti_id", "worker", *copied, "started_at", "state", "ended_at", "reason"],
        select(
            task_instance.c.id,
            task_instance.c.worker,
            *(task_instance.c[name] for name in copied),
            BEGAN_AT,
            word(state),
            now(),
            reason,
        ).where(_a_try_is_on, *conditions),
    )
