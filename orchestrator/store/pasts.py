"""Which run comes before a run, and who is told when that one has moved?

A task that depends on the past waits for the run before its own, and nothing is polled: a decision
that changes a run leaves a nudge for the running ones that look back at it. It is no loss to miss
each other: who looks back reads under a share lock of the run before, so that either the other's
changes are seen, or the other sees who looks back.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    Uuid,
    bindparam,
    exists,
    insert,
    literal,
    literal_column,
    select,
    true,
    update,
)

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import RunUid
from orchestrator.core.past import PreviousRun, looked_at, needs_past
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, RunType, TaskState
from orchestrator.ports import Predecessor
from orchestrator.store.conditions import is_one_of, word
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_event_table as task_event
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import as_rows, now, rows_from

NUDGE_EPOCH = -1
"""News of nothing: it makes a run due. No fact has this epoch."""

_LOOK_BACK = (
    update(dag_run)
    .where(dag_run.c.id == bindparam("of_run", type_=Uuid()), ~dag_run.c.looks_back)
    .values(looks_back=true())
)

_own = dag_run.alias("own")
_before = dag_run.alias("before")


def _select_before(*, skips_manual: bool) -> Select[Any]:
    statement = (
        select(_before.c.id)
        .join_from(_own, _before, _before.c.dag_id == _own.c.dag_id)
        .where(
            _own.c.id == bindparam("of_run", type_=Uuid()),
            _before.c.logical_date < _own.c.logical_date,
        )
        .order_by(_before.c.logical_date.desc())
        .limit(1)
    )
    return statement.where(~_is_manual(_before.c.run_type)) if skips_manual else statement


def _is_manual(run_type: ColumnElement[str]) -> ColumnElement[bool]:
    return is_one_of(run_type, RunType.MANUAL)


_SELECT_BEFORE = {skips: _select_before(skips_manual=skips) for skips in (False, True)}
_READ_RUN = select(dag_run.c.id, dag_run.c.run_id, dag_run.c.revision, dag_run.c.state).where(
    dag_run.c.id == bindparam("of_run", type_=Uuid())
)
_LOCK_BEFORE = _READ_RUN.with_for_update(read=True, skip_locked=True)

_wanted = rows_from("wanted_tasks", {"task_id": String()})
_SELECT_STATES = (
    select(task_instance.c.task_id, task_instance.c.state)
    .where(
        task_instance.c.run_uid == bindparam("of_run", type_=Uuid()),
        task_instance.c.task_id.in_(select(_wanted.c.task_id)),
    )
    .distinct()
)

_after = dag_run.alias("after")
_between = dag_run.alias("between_runs")
_looks_back_at_it = (
    _after.c.dag_id == dag_run.c.dag_id,
    is_one_of(_after.c.state, RunState.RUNNING),
    _after.c.looks_back,
    _after.c.logical_date > dag_run.c.logical_date,
)

IS_LOOKED_AT = select(exists().where(*_looks_back_at_it).correlate(dag_run)).scalar_subquery()
"""Of a run: whether some running one may look back at it."""

# Whatever comes between two runs and is not manual, the later one looks back at no further.
_is_next = ~exists().where(
    _between.c.dag_id == dag_run.c.dag_id,
    _between.c.logical_date > dag_run.c.logical_date,
    _between.c.logical_date < _after.c.logical_date,
    ~_is_manual(_between.c.run_type),
).correlate(dag_run, _after)
_any_instance = (
    select(task_instance.c.id)
    .where(task_instance.c.run_uid == _after.c.id)
    .order_by(task_instance.c.task_id, task_instance.c.map_index)
    .limit(1)
    .correlate(_after)
    .scalar_subquery()
)
_changed = rows_from("changed_runs", {"uid": Uuid()})
_carrier = task_instance.alias("carrier")
_NUDGE = insert(task_event).from_select(
    ["run_uid", "ti_id", "task_id", "map_index", "epoch", "state", "group_try", "at"],
    select(
        _after.c.id,
        _carrier.c.id,
        _carrier.c.task_id,
        _carrier.c.map_index,
        literal_column(str(NUDGE_EPOCH)),
        word(TaskState.NONE),
        literal(0),
        now(),
    )
    .join_from(_changed, dag_run, dag_run.c.id == _changed.c.uid)
    .join(_after, _looks_back_at_it[0])
    .join(_carrier, _carrier.c.id == _any_instance)
    .where(*_looks_back_at_it[1:], _is_next),
)


def lock_predecessor(
    connection: Connection, uid: RunUid, *, skips_manual: bool
) -> Predecessor | None:
    """Lock the run before a locked run against changes; None for the first. One that somebody else
    is changing is not waited for: nothing is known of it but that."""
    of_run = {"of_run": uid}
    connection.execute(_LOOK_BACK, of_run)
    before = connection.execute(_SELECT_BEFORE[skips_manual], of_run).scalar_one_or_none()
    if before is None:
        return None
    row = connection.execute(_LOCK_BEFORE, {"of_run": before}).one_or_none()
    if row is None:
        return Predecessor(uid=before)
    return Predecessor(
        uid=before,
        run_id=row.run_id,
        revision=row.revision,
        has_instances=_has_instances(row),
        is_locked=True,
    )


def previous_run(connection: Connection, uid: RunUid, spec: DagSpec) -> PreviousRun | None:
    """Read the run before a run as its tasks see it, without a lock; None if none looks back."""
    looking_back = tuple(filter(needs_past, spec.tasks))
    if not looking_back:
        return None
    before = connection.execute(_SELECT_BEFORE[spec.catchup], {"of_run": uid}).scalar_one_or_none()
    if before is None:
        return None
    run = connection.execute(_READ_RUN, {"of_run": before}).one()
    wanted = looked_at(looking_back, build_graph(spec))
    if _has_instances(run):
        states = states_of_tasks(connection, before, wanted)
    else:
        states = dict.fromkeys(wanted, frozenset({TaskState.NONE}))
    return PreviousRun(run_id=run.run_id, states=states)


def states_of_tasks(
    connection: Connection, uid: RunUid, task_ids: Collection[str]
) -> Mapping[str, frozenset[TaskState]]:
    """Return the states that some tasks' instances are in, by task id."""
    wanted = as_rows("wanted_tasks", ([task_id] for task_id in task_ids))
    states: dict[str, set[TaskState]] = {}
    for row in connection.execute(_SELECT_STATES, {**wanted, "of_run": uid}):
        states.setdefault(row.task_id, set()).add(TaskState(row.state))
    return {task_id: frozenset(found) for task_id, found in states.items()}


def nudge_next_runs(connection: Connection, uids: Iterable[RunUid]) -> None:
    """Have the running runs decided that look back at these, which this transaction changed."""
    connection.execute(_NUDGE, as_rows("changed_runs", ([uid] for uid in uids)))


def _has_instances(run: Any) -> bool:
    """Whether a run has started at least once: its task instances are made then."""
    return bool(run.state != RunState.QUEUED or run.revision > 0)
