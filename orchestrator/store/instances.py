"""How does a run get its task instances?

One for each task when it starts; those of a mapped task multiply later. A run that a person has
sent back to the start has them already, by their map indexes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Insert,
    Integer,
    String,
    Uuid,
    bindparam,
    literal,
    literal_column,
    select,
    true,
    update,
)

from orchestrator.core.critical_path import weighted_priorities
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import UNMAPPED
from orchestrator.core.specs import WeightRule
from orchestrator.core.states import TaskState
from orchestrator.ports import StartedRun
from orchestrator.store.conditions import for_each_dialect, is_one_of, word
from orchestrator.store.durations import mean_durations_s
from orchestrator.store.engine import Database
from orchestrator.store.limits import limit_columns
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import Instant, as_rows, rows_from
from orchestrator.store.versions import Versions, is_capped

_new = rows_from(
    "new_instances",
    {
        "id": Uuid(),
        "task_id": String(),
        "group_id": String(),
        "operator": String(),
        "max_tries": Integer(),
        "pool": String(),
        "pool_slots": Integer(),
        "priority": Integer(),
        "named_queue": String(),
        "capped_by": String(),
        "concurrency_key": String(),
        "rate_name": String(),
        "rate_s": Float(),
    },
)
_known = task_instance.alias("known")
_has_none = ~(
    select(_known.c.id)
    .where(
        _known.c.run_uid == bindparam("run_uid", type_=Uuid()),
        _known.c.task_id == _new.c.task_id,
    )
    .exists()
)


def _inserting(condition: ColumnElement[bool]) -> Mapping[str, Insert]:
    instances = select(
        *_new.c,
        bindparam("run_uid", type_=Uuid()).label("run_uid"),
        bindparam("dag_id", type_=String()).label("dag_id"),
        bindparam("run_id", type_=String()).label("run_id"),
        bindparam("run_after", type_=Instant()).label("run_after"),
        bindparam("dag_version_id", type_=Uuid()).label("dag_version_id"),
        literal(UNMAPPED).label("map_index"),
        word(TaskState.NONE).label("state"),
        *(
            literal_column("0").label(name)
            for name in ("epoch", "try_number", "infra_tries", "publish_count")
        ),
    ).where(condition)  # SQLite reads ON CONFLICT after a SELECT only behind a WHERE
    return for_each_dialect(
        task_instance,
        lambda insert_: insert_.from_select(
            list(instances.selected_columns.keys()), instances
        ).on_conflict_do_nothing(),
    )


_INSERT_MISSING = _inserting(_has_none)
_INSERT_NAMED = _inserting(true())
_TAKE_VERSION = (
    update(task_instance)
    .where(
        task_instance.c.run_uid == bindparam("of_run", type_=Uuid()),
        task_instance.c.task_id == _new.c.task_id,
        is_one_of(task_instance.c.state, TaskState.NONE),
    )
    .values(
        dag_version_id=bindparam("version_id", type_=Uuid()),
        **{
            column.name: column
            for column in _new.c
            if column.name not in ("id", "task_id", "max_tries")
        },
    )
)


def insert_instances(
    connection: Connection, database: Database, versions: Versions, run: StartedRun
) -> None:
    """Insert the task instances of tasks that have none in the run, all in one statement."""
    rows = _rows(connection, database, versions, run)
    connection.execute(_INSERT_MISSING[connection.dialect.name], _parameters(run, rows))


def adopt_version(
    connection: Connection,
    database: Database,
    versions: Versions,
    run: StartedRun,
    *,
    added: Collection[str],
) -> None:
    """Have what is yet to be decided in a run take the run's (new) version, and insert the task
    instances of the `added` tasks: one that is mapped no more may have some by index, removed."""
    rows = list(_rows(connection, database, versions, run))
    of_run = {"of_run": run.facts.uid, "version_id": run.version_id}
    connection.execute(_TAKE_VERSION, {**of_run, **as_rows("new_instances", rows)})
    new = [row for row in rows if row[1] in added]
    connection.execute(_INSERT_NAMED[connection.dialect.name], _parameters(run, new))


def _parameters(run: StartedRun, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    return {
        **as_rows("new_instances", rows),
        "run_uid": run.facts.uid,
        "dag_id": run.facts.dag_id,
        "run_id": run.facts.run_id,
        "run_after": run.facts.run_after,
        "dag_version_id": run.version_id,
    }


def _rows(
    connection: Connection, database: Database, versions: Versions, run: StartedRun
) -> Iterable[Sequence[Any]]:
    spec = versions.version(run.version_id).spec
    priorities = versions.priorities(run.version_id)
    if any(task.weight_rule is WeightRule.CRITICAL_PATH for task in spec.tasks):
        durations_s = mean_durations_s(connection, spec.dag_id)
        priorities = weighted_priorities(build_graph(spec), durations_s)
    for task in spec.tasks:
        yield (
            database.new_id(),
            task.task_id,
            task.group_id,
            task.operator,
            task.retry.retries,
            task.pool,
            task.pool_slots,
            priorities[task.task_id],
            task.queue or "",
            task.task_id if is_capped(task) else "",
            *limit_columns(task, spec, run.facts),
        )
