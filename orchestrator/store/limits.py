"""Who counts against keyed concurrency and rate limits, and which of them are used up.

Claims of all schedulers happen one after the other (the pools' rows are locked), so what is counted
here cannot be outrun.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Float,
    String,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
)

from orchestrator.core.admission import Candidate
from orchestrator.core.assignments import RunFacts
from orchestrator.core.concurrency import KeyFacts, RateUse, key_of, rate_name_of
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.store.conditions import HOLDING_SLOTS, is_one_of
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables_limits import rate_start_table as rate_start
from orchestrator.store.types import Instant, as_rows, now, now_plus, rows_from

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
_SELECT_USE = union_all(_KEYS, _RATES)
_FORGET_STARTS = delete(rate_start).where(rate_start.c.until <= now())
_started = rows_from("started", {"name": String(), "per_s": Float()})
_RECORD_STARTS = insert(rate_start).from_select(
    ["name", "until"],
    select(_started.c.name, now_plus(_started.c.per_s)),
)


class LimitColumns(NamedTuple):
    """What a task instance's row says of the limits it shares."""

    concurrency_key: str | None
    rate_name: str | None


def limit_columns(task: TaskSpec, spec: DagSpec, run: RunFacts) -> LimitColumns:
    """Return what the rows of a task's instances in a run say of shared limits."""
    if task.concurrency_key is None and task.rate_limit is None:
        return LimitColumns(None, None)
    params = {param.name: param.default for param in spec.params if param.has_default}
    facts = KeyFacts(
        dag_id=spec.dag_id, run_id=run.run_id, params={**params, **run.conf}, conf=run.conf
    )
    key = key_of(task, facts)
    return LimitColumns(key, rate_name_of(task, spec.dag_id, key))


def limits_in_use(connection: Connection) -> tuple[dict[str, int], dict[str, RateUse]]:
    """Count, under the pools' locks, who holds slots by concurrency_key, and the starts of late by
    what their rate limit is counted over."""
    keys: dict[str, int] = {}
    rates: dict[str, RateUse] = {}
    for row in connection.execute(_SELECT_USE):
        if row.kind == "key":
            keys[row.name] = row.used
        else:
            rates[row.name] = RateUse(starts=row.used, free_at=row.free_at)
    return keys, rates


def record_starts(connection: Connection, claimed: Iterable[Candidate]) -> None:
    """Write down what now counts against a rate limit, and forget what no longer does."""
    starts = [
        (each.rate_name, each.rate_limit.per_s)
        for each in claimed
        if each.rate_name is not None and each.rate_limit is not None
    ]
    if starts:
        connection.execute(_FORGET_STARTS)
        connection.execute(_RECORD_STARTS, as_rows("started", starts))
