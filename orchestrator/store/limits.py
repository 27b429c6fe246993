"""Who counts against keyed concurrency and rate limits, and which of them are used up.

Claims of all schedulers happen one after the other (the pools' rows are locked), so what is counted
here cannot be outrun.
"""

from typing import NamedTuple

from sqlalchemy import (
    Connection,
    FromClause,
    Insert,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
)

from orchestrator.core.assignments import RunFacts
from orchestrator.core.concurrency import KeyFacts, RateUse, key_of, rate_name_of
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.core.states import TaskState
from orchestrator.store.conditions import HOLDING_SLOTS, is_one_of
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables_limits import rate_start_table as rate_start
from orchestrator.store.types import Instant, now, now_plus

_KEYS = (
    select(
        literal("key").label("kind"),
        task_instance.c.concurrency_key.label("name"),
        func.count().label("used"),
        null().cast(Instant).label("free_at"),
    )
    .where(
        task_instance.c.concurrency_key.is_not(None),
        is_one_of(task_instance.c.state, *HOLDING_SLOTS),
    )
    .group_by(task_instance.c.concurrency_key)
)
_RATES = (
    select(
        literal("rate"),
        rate_start.c.name,
        func.count(),
        func.min(rate_start.c.until),
    )
    .where(rate_start.c.until > now())
    .group_by(rate_start.c.name)
)
# They may start at any moment, however long they have been queued.
_QUEUED = (
    select(literal("rate"), task_instance.c.rate_name, func.count(), null().cast(Instant))
    .where(
        task_instance.c.rate_name.is_not(None), is_one_of(task_instance.c.state, TaskState.QUEUED)
    )
    .group_by(task_instance.c.rate_name)
)
_SELECT_USE = union_all(_KEYS, _RATES, _QUEUED)
_FORGET_STARTS = delete(rate_start).where(rate_start.c.until <= now())


class LimitColumns(NamedTuple):
    """What a task instance's row says of the limits it shares."""

    concurrency_key: str | None
    rate_name: str | None
    rate_s: float | None


def limit_columns(task: TaskSpec, spec: DagSpec, run: RunFacts) -> LimitColumns:
    """Return what the rows of a task's instances in a run say of shared limits."""
    if task.concurrency_key is None and task.rate_limit is None:
        return LimitColumns(None, None, None)
    params = {param.name: param.default for param in spec.params if param.has_default}
    facts = KeyFacts(
        dag_id=spec.dag_id, run_id=run.run_id, params={**params, **run.conf}, conf=run.conf
    )
    key = key_of(task, facts)
    return LimitColumns(
        concurrency_key=key,
        rate_name=rate_name_of(task, spec.dag_id, key),
        rate_s=None if task.rate_limit is None else task.rate_limit.per_s,
    )


def limits_in_use(connection: Connection) -> tuple[dict[str, int], dict[str, RateUse]]:
    """Count, under the pools' locks, who holds slots by concurrency_key, and the starts of late by
    what their rate limit is counted over."""
    keys: dict[str, int] = {}
    rates: dict[str, RateUse] = {}
    for row in connection.execute(_SELECT_USE):
        if row.kind == "key":
            keys[row.name] = row.used
        else:
            known = rates.get(row.name, RateUse(starts=0, free_at=None))
            rates[row.name] = RateUse(
                starts=known.starts + row.used, free_at=known.free_at or row.free_at
            )
    return keys, rates


def recording_start(started: FromClause) -> Insert:
    """Return the statement that writes down which of the `started` ones count against a rate."""
    return insert(rate_start).from_select(
        ["name", "until"],
        select(started.c.rate_name, now_plus(started.c.rate_s)).where(
            started.c.rate_name.is_not(None)
        ),
    )


def forget_starts(connection: Connection) -> None:
    """Drop what no longer counts against a rate."""
    connection.execute(_FORGET_STARTS)
