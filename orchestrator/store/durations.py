"""How long did a DAG's tasks take lately?"""

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    String,
    bindparam,
    cast,
    extract,
    func,
    select,
    type_coerce,
)

from orchestrator.core.states import RunState, TaskState
from orchestrator.store.conditions import is_one_of
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_instance_table as task_instance

RUNS_LOOKED_AT = 30
"""The latest runs, however they ended; those of them that succeeded count."""


def mean_durations_s(connection: Connection, dag_id: str) -> Mapping[str, float]:
    """Return, for each task of a DAG, the mean seconds that its instances took that succeeded in
    the successful ones of the DAG's latest runs. A task that did not run is not among them."""
    rows = connection.execute(
        _SELECT_MEANS[connection.dialect.name], {"of_dag": dag_id, "looked_at": RUNS_LOOKED_AT}
    )
    return {row.task_id: float(row.mean_s) for row in rows}


def _select_means(dialect: str) -> Select[tuple[str, float]]:
    latest = (
        select(dag_run.c.id, dag_run.c.state)
        .where(dag_run.c.dag_id == bindparam("of_dag", type_=String()))
        .order_by(dag_run.c.run_after.desc(), dag_run.c.id.desc())
        .limit(bindparam("looked_at", type_=Integer()))
        .subquery("latest")
    )
    return (
        select(task_instance.c.task_id, func.avg(_seconds(dialect)).label("mean_s"))
        .join(latest, latest.c.id == task_instance.c.run_uid)
        .where(
            is_one_of(latest.c.state, RunState.SUCCESS),
            is_one_of(task_instance.c.state, TaskState.SUCCESS),
            task_instance.c.started_at.is_not(None),
        )
        .group_by(task_instance.c.task_id)
    )


def _seconds(dialect: str) -> ColumnElement[float]:
    started_at, ended_at = task_instance.c.started_at, task_instance.c.ended_at
    if dialect == "postgresql":
        return cast(extract("epoch", ended_at - started_at), Float())
    # SQLite has instants as microseconds.
    took = type_coerce(ended_at, BigInteger()) - type_coerce(started_at, BigInteger())
    return cast(took, Float()) / 1_000_000


_SELECT_MEANS = {dialect: _select_means(dialect) for dialect in ("postgresql", "sqlite")}
