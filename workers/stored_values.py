"""How does a task reach the values that are kept in the store?

While the store is out of reach, it is waited for: an outage is no fault of the task that reads.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.ids import RETURN_VALUE, TaskKey
from orchestrator.core.values import item_at
from orchestrator.ports import WorkerStore
from orchestrator.sdk.xcoms import PulledXCom
from workers.patience import until_answered

__all__ = ["StoredXComs"]


class StoredXComs:
    """The store, as tasks read XComs from it."""

    def __init__(self, store: WorkerStore) -> None:
        self._store = store

    def pull(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Sequence[str],
        key: str,
        map_indexes: Sequence[int] | None,
    ) -> Sequence[PulledXCom]:
        """Return the XComs under `key` of these tasks in one run, in any order."""
        rows = until_answered(
            lambda: self._store.pull_xcoms(
                dag_id=dag_id,
                run_id=run_id,
                task_ids=task_ids,
                key=key,
                indexes=_range_around(map_indexes),
            )
        )
        return [
            PulledXCom(slot.task_id, value, slot.map_index)
            for slot, value in rows
            if map_indexes is None or slot.map_index in map_indexes
        ]

    def succeeded(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None = None
    ) -> Sequence[int]:
        """Return which map indexes of a task succeeded, in order."""
        return until_answered(
            lambda: self._store.succeeded_indexes(
                dag_id=dag_id, run_id=run_id, task_id=task_id, indexes=indexes, position=position
            )
        )

    def latest_run(self, *, dag_id: str, task_id: str, key: str, until: datetime) -> str | None:
        """Return the latest run in which a task pushed `key`."""
        return until_answered(
            lambda: self._store.latest_run_with_xcom(
                dag_id=dag_id, task_id=task_id, key=key, until=until
            )
        )

    def pull_item(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int,
        position: int,
        key: str = RETURN_VALUE,
    ) -> Any:
        """Return one element; raise LookupError when there is none."""
        found = self.pull(
            dag_id=dag_id,
            run_id=run_id,
            task_ids=(task_id,),
            key=key,
            map_indexes=(map_index,),
        )
        name = f"XCom {key!r} of {TaskKey(dag_id, run_id, task_id, map_index)}"
        if not found:
            raise LookupError(f"{name} does not exist")
        return item_at(found[0].value, position, name=name)


def _range_around(map_indexes: Sequence[int] | None) -> range | None:
    if map_indexes is None or isinstance(map_indexes, range):
        return map_indexes
    return range(min(map_indexes, default=0), max(map_indexes, default=-1) + 1)
