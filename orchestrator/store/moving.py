"""How the moves that were decided for a run's task instances are written, whoever decided them.

A row that is not in a state the event may come from means that the ledger is out of date: the whole
transaction is given up.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    String,
    Text,
    Update,
    Uuid,
    and_,
    delete,
    func,
    null,
    select,
    update,
)

from orchestrator.core.ids import RunUid
from orchestrator.core.lifecycle import TRANSITIONS, Actor, TaskEvent
from orchestrator.core.scheduling import Move
from orchestrator.core.specs import TaskSpec
from orchestrator.core.states import FINISHED_TASK_STATES, TaskState
from orchestrator.ports import StaleLedgerError
from orchestrator.store.attempts import BEGAN_AT, NO_TRY_IS_ON, end_tries
from orchestrator.store.conditions import is_one_of, may_have, word
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import xcom_table as xcom
from orchestrator.store.tables_values import task_value_table as task_value
from orchestrator.store.types import as_rows, now, printable, rows_from

# The run is in every row so that SQLite cannot but go through the rows and look each one up: were
# it a parameter, SQLite would read the whole run and search the rows for each instance.
_moved = rows_from(
    "moved",
    {
        "run_uid": Uuid(),
        "task_id": String(),
        "map_index": BigInteger(),
        "reason": Text(),
        "retries": Integer(),
    },
)
_is_moved = and_(
    task_instance.c.run_uid == _moved.c.run_uid,
    task_instance.c.task_id == _moved.c.task_id,
    task_instance.c.map_index == _moved.c.map_index,
)

_AS_IF_NEW: Mapping[str, Any] = {
    **NO_TRY_IS_ON,
    **{
        name: null()
        for name in (
            *("queue", "scheduled_at", "queued_at", "started_at", "ended_at"),
            *("publish_due_at", "skip", "length"),
        )
    },
}
"""What one that runs again has forgotten. Its tries go on counting."""


_TRIED_ANEW = (TaskEvent.GROUP_RETRIED, TaskEvent.CLEARED)
"""What gives a task all its retries again."""


def _moving(event: TaskEvent) -> Update:
    """Return the statement that gives many task instances of one run the same event."""
    transition = TRANSITIONS[event]
    values: dict[str, Any] = {
        "state": word(transition.target),
        "reason": _moved.c.reason,
        "eligible_at": null(),
    }
    if transition.target is TaskState.SCHEDULED:
        values |= {"scheduled_at": now()}
    if transition.target in FINISHED_TASK_STATES:
        values |= {**NO_TRY_IS_ON, "ended_at": now(), "publish_due_at": null()}
        values |= {"started_at": now() if event is TaskEvent.SUCCEEDED_INLINE else BEGAN_AT}
    if transition.target is TaskState.NONE:
        values |= _AS_IF_NEW
    if event in _TRIED_ANEW:
        values |= {"max_tries": task_instance.c.try_number + _moved.c.retries, "infra_tries": 0}
    if event is TaskEvent.GROUP_RETRIED:
        values |= {"group_try": task_instance.c.group_try + 1}
    if event is TaskEvent.CLEARED:
        values |= {"group_try": 0, "worker": null(), "pid": null()}
    if transition.actor is Actor.PERSON and transition.target in FINISHED_TASK_STATES:
        # What it chose and returned before a person said how it ended counts no more.
        ended_at = func.coalesce(task_instance.c.ended_at, now())
        values |= {"skip": null(), "length": null(), "ended_at": ended_at}
    if transition.bumps_epoch:
        values |= {"epoch": task_instance.c.epoch + 1}
    return (
        update(task_instance)
        .where(_is_moved, may_have(task_instance.c.state, event))
        .values(values)
    )


_WRITTEN_ELSEWHERE = frozenset({TaskEvent.ADMITTED, TaskEvent.WAS_UNDELIVERABLE})
"""By claims and delivery."""
_MOVES = {
    event: _moving(event)
    for event, transition in TRANSITIONS.items()
    if transition.actor in (Actor.SCHEDULER, Actor.PERSON) and event not in _WRITTEN_ELSEWHERE
}

_SELECT_OWNERS = (
    select(task_instance.c.lease_owner)
    .join(_moved, _is_moved)
    .where(is_one_of(task_instance.c.state, TaskState.RUNNING))
    .distinct()
)
# A try that was cleared away did not succeed, and none is an end of a try's.
_END_TRIES = {
    event: end_tries(
        _is_moved,
        state=TaskState.FAILED if event is TaskEvent.CLEARED else transition.target,
        reason=_moved.c.reason,
    )
    for event, transition in TRANSITIONS.items()
    if event in (TaskEvent.ABANDONED, TaskEvent.WAS_REMOVED) or transition.actor is Actor.PERSON
}
# Nobody may read what a try left that no longer counts, also if there is no other try.
_FORGET_XCOMS = delete(xcom).where(
    xcom.c.ti_id.in_(select(task_instance.c.id).join_from(_moved, task_instance, _is_moved))
)

# A retry goes on where its task stood; what a person clears begins anew.
_FORGET_TASK_VALUES = delete(task_value).where(
    task_value.c.ti_id.in_(select(task_instance.c.id).join_from(_moved, task_instance, _is_moved))
)
_BEGINS_ANEW = frozenset({TaskEvent.CLEARED, TaskEvent.WAS_REMOVED})


def write_moves(
    connection: Connection, uid: RunUid, tasks: Mapping[str, TaskSpec], moves: Iterable[Move]
) -> frozenset[str]:
    """Write moves, one statement for each kind of event, in the order of their first move; return
    the workers that may be running what was taken from them. `tasks` are those of the run's DAG."""
    cancelled: frozenset[str] = frozenset()
    kinds: dict[TaskEvent, list[Move]] = {}
    for move in moves:
        kinds.setdefault(move.event, []).append(move)
    for event, of_kind in kinds.items():
        moved = as_rows("moved", (_row(uid, tasks, move) for move in of_kind))
        if event in _END_TRIES:
            connection.execute(_END_TRIES[event], moved)
            cancelled |= frozenset(connection.scalars(_SELECT_OWNERS, moved))
        written = connection.execute(_MOVES[event], moved).rowcount
        if written != len(of_kind):
            raise StaleLedgerError(
                f"{len(of_kind) - written} of {len(of_kind)} task instances of run {uid} were not "
                f"in a state that can have {event}"
            )
        if TRANSITIONS[event].target in (TaskState.NONE, TaskState.REMOVED):
            connection.execute(_FORGET_XCOMS, moved)
        if event in _BEGINS_ANEW:
            connection.execute(_FORGET_TASK_VALUES, moved)
    return cancelled


def _row(uid: RunUid, tasks: Mapping[str, TaskSpec], move: Move) -> tuple[Any, ...]:
    # A task that is gone from its DAG is cleared only to be removed.
    task = tasks.get(move.slot.task_id) if move.event in _TRIED_ANEW else None
    retries = 0 if task is None else task.retry.retries
    return (*(uid, *move.slot, move.reason and printable(move.reason)), retries)
