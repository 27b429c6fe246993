"""How a mapped task gets its instances.

The instance that stood for all of them becomes the first, so that whoever expands a second time
finds nothing to expand: the ledger it went by is out of date.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    String,
    Uuid,
    bindparam,
    literal_column,
    select,
    true,
    update,
)

from orchestrator.core.ids import RunUid
from orchestrator.core.scheduling import Expand
from orchestrator.core.specs import TaskSpec
from orchestrator.core.states import TaskState
from orchestrator.ports import StaleLedgerError
from orchestrator.store.conditions import for_each_dialect, is_one_of, word
from orchestrator.store.engine import Database
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.types import as_rows, rows_from

INSERTED_MAX = 100_000
"""Task instances in one statement: some five megabytes of a parameter, and a second."""

# The run is in every row for SQLite's sake, as in moving.py.
_expanded = rows_from(
    "expanded",
    {"run_uid": Uuid(), "task_id": String(), "was": BigInteger(), "becomes": BigInteger()},
)
_BECOME_FIRST = (
    update(task_instance)
    .where(
        task_instance.c.run_uid == _expanded.c.run_uid,
        task_instance.c.task_id == _expanded.c.task_id,
        task_instance.c.map_index == _expanded.c.was,
        is_one_of(task_instance.c.state, TaskState.NONE),
    )
    .values(map_index=_expanded.c.becomes)
)

_SHARED = (
    *("run_uid", "dag_id", "run_id", "task_id", "group_id", "operator", "run_after"),
    *("pool", "pool_slots", "priority", "named_queue", "capped_by", "dag_version_id"),
    *("concurrency_key", "rate_name", "rate_s"),
)
"""What all instances of a task in a run have in common."""
_sibling = (
    select(*(task_instance.c[name] for name in _SHARED))
    .where(
        task_instance.c.run_uid == bindparam("of_run", type_=Uuid()),
        task_instance.c.task_id == bindparam("of_task", type_=String()),
    )
    .order_by(task_instance.c.map_index)
    .limit(1)
    .subquery("sibling")
)
_indexes = rows_from("new_indexes", {"id": Uuid(), "map_index": BigInteger()})
_NEW_INSTANCES = (
    select(
        _indexes.c.id,
        _indexes.c.map_index,
        *_sibling.c,
        bindparam("max_tries", type_=Integer()).label("max_tries"),
        word(TaskState.NONE).label("state"),
        *(
            literal_column("0").label(name)
            for name in ("epoch", "try_number", "infra_tries", "publish_count", "group_try")
        ),
    )
    .join_from(_indexes, _sibling, true())
    .where(true())  # SQLite reads ON CONFLICT after a SELECT only behind a WHERE
)
_INSERT_NEW = for_each_dialect(
    task_instance,
    lambda insert_: (
        insert_.from_select(list(_NEW_INSTANCES.selected_columns.keys()), _NEW_INSTANCES)
        .on_conflict_do_nothing()
        .execution_options(preserve_rowcount=True)
    ),
)


@dataclass(slots=True)
class _Outcome:
    """What several expansions of a task come to together: in a nested mapping one expands what
    another has made. `becomes` maps what an instance is now to what its row's index was."""

    becomes: dict[int, int] = field(default_factory=dict)
    new: dict[int, None] = field(default_factory=dict)

    def add(self, expansion: Expand) -> None:
        """Expand once more."""
        added = expansion.indexes
        if expansion.first is not None:
            unexpanded = expansion.first.map_index
            if unexpanded in self.new:
                del self.new[unexpanded]
            else:
                self.becomes[added[0]] = self.becomes.pop(unexpanded, unexpanded)
                added = added[1:]
        self.new.update(dict.fromkeys(added))


def write_expansions(
    connection: Connection,
    database: Database,
    uid: RunUid,
    tasks: Mapping[str, TaskSpec],
    expansions: Iterable[Expand],
) -> None:
    """Give mapped tasks of a locked run the instances that were decided. `tasks` are those of the
    run's DAG."""
    outcomes: dict[str, _Outcome] = {}
    for expansion in expansions:
        outcomes.setdefault(expansion.task_id, _Outcome()).add(expansion)
    expanded = [
        (uid, task_id, was, becomes)
        for task_id, outcome in outcomes.items()
        for becomes, was in outcome.becomes.items()
    ]
    if expanded:
        written = connection.execute(_BECOME_FIRST, as_rows("expanded", expanded)).rowcount
        _require(written, len(expanded), uid, outcomes)
    for task_id, outcome in outcomes.items():
        of_task = {
            "of_run": uid,
            "of_task": task_id,
            "max_tries": tasks[task_id].retry.retries,
        }
        for batch in _batches(tuple(outcome.new)):
            rows = as_rows("new_indexes", ((database.new_id(), index) for index in batch))
            inserted = connection.execute(
                _INSERT_NEW[connection.dialect.name], {**rows, **of_task}
            ).rowcount
            _require(inserted, len(batch), uid, (task_id,))


def _batches(indexes: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(indexes), INSERTED_MAX):
        yield indexes[begin : begin + INSERTED_MAX]


def _require(written: int, wanted: int, uid: RunUid, task_ids: Iterable[str]) -> None:
    if written != wanted:
        raise StaleLedgerError(
            f"run {uid} has expanded {', '.join(sorted(task_ids))} already: {written} of {wanted} "
            "task instances could be made"
        )
