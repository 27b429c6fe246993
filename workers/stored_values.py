"""How does a task reach the values that are kept in the store?

While the store is out of reach, it is waited for: an outage is no fault of the task that reads.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import RETURN_VALUE, Slot, TaskKey, TiId
from orchestrator.core.results import CachedResult
from orchestrator.core.values import XComPart
from orchestrator.errors import StoreUnavailableError
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.xcoms import PulledXCom
from workers.patience import until_answered

__all__ = ["NoState", "StoredResults", "StoredState", "StoredXComs", "ValueStore"]

_log = structlog.get_logger("orchestrator.worker")


class ValueStore(Protocol):
    """The store as a running task sees it. Values are as stored (core.values). Every call is safe
    to repeat."""

    def pull_xcoms(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Collection[str] | None,
        key: str,
        indexes: range | None = None,
    ) -> list[tuple[Slot, Any]]:
        """Return the XComs of a run under `key`, by task id and map index; with `indexes` those of
        the map indexes in that range only."""

    def pull_xcom_part(self, key: TaskKey, *, xcom_key: str, position: int) -> XComPart:
        """Return some elements of a list or dict, that at `position` among them; raise LookupError
        when there is none."""

    def latest_run_with_xcom(
        self, *, dag_id: str, task_id: str, key: str, until: datetime
    ) -> str | None:
        """Return the run_id of the latest run, by logical date (else `run_after`) and not after
        `until`, in which a task pushed `key`."""

    def succeeded_indexes(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None
    ) -> list[int]:
        """Return, in order, which map indexes of a task in that range succeeded; with `position`
        only the one that stands at that place, if any."""

    def task_values(self, ti_id: TiId) -> Mapping[str, str]:
        """Return what a task instance keeps across its tries, by key, as JSON."""

    def write_task_value(
        self, ti_id: TiId, epoch: int, *, worker_id: str, key: str, value: str | None
    ) -> bool:
        """Keep a value (JSON), or with None drop it; False when the try is no longer this
        worker's."""

    def find_result(self, key: str) -> CachedResult | None:
        """Return a cached result that has not expired."""

    def keep_result(self, key: str, result: CachedResult, *, ttl_s: float) -> None:
        """Keep a result for so long, in place of an older one."""


class StoredXComs:
    """The store, as tasks read XComs from it."""

    def __init__(self, store: ValueStore) -> None:
        self._store = store
        self._part: tuple[tuple[TaskKey, str], XComPart] | None = None
        """What was read last of a long input: its neighbours are asked for next."""

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
        place = TaskKey(dag_id, run_id, task_id, map_index), key
        if self._part is None or self._part[0] != place or not _holds(self._part[1], position):
            part = until_answered(
                lambda: self._store.pull_xcom_part(place[0], xcom_key=key, position=position)
            )
            self._part = place, part
        return self._part[1].elements[position - self._part[1].first]


def _holds(part: XComPart, position: int) -> bool:
    return 0 <= position - part.first < len(part.elements)


def _range_around(map_indexes: Sequence[int] | None) -> range | None:
    if map_indexes is None or isinstance(map_indexes, range):
        return map_indexes
    return range(min(map_indexes, default=0), max(map_indexes, default=-1) + 1)


class StoredState:
    """The store, as a task keeps its state in it."""

    def __init__(self, store: ValueStore, assignment: Assignment, *, worker_id: str) -> None:
        self._store = store
        self._try = assignment
        self._worker_id = worker_id

    def values(self) -> Mapping[str, str]:
        """Return what is kept."""
        return until_answered(lambda: self._store.task_values(self._try.ti_id))

    def write(self, key: str, value: str | None) -> None:
        """Keep or drop a value; refused when the try has been given to another worker."""
        is_written = until_answered(
            lambda: self._store.write_task_value(
                self._try.ti_id, self._try.epoch, worker_id=self._worker_id, key=key, value=value
            )
        )
        if not is_written:
            raise TaskException(
                f"task_state[{key!r}] was not written: this try of {self._try.key} was taken away "
                "from this worker, which did not show a sign of life in time, or was cancelled"
            )


class NoState:
    """Where no try runs: in a callback."""

    def values(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}

    def write(self, key: str, value: str | None) -> None:  # noqa: ARG002
        """Refuse: a try may be running meanwhile, and it alone writes."""
        raise TaskException(f"task_state[{key!r}] was not written: only a running task keeps state")


class StoredResults:
    """The store, as tasks look for cached results in it. It only saves work: while it is out of
    reach, tasks run."""

    def __init__(self, store: ValueStore) -> None:
        self._store = store

    def find(self, key: str) -> CachedResult | None:
        """Return the result under a key."""
        try:
            return self._store.find_result(key)
        except StoreUnavailableError as error:
            _log.warning("cached_result_not_read", reason=str(error))
            return None

    def keep(self, key: str, result: CachedResult, *, ttl_s: float) -> None:
        """Keep a result."""
        try:
            self._store.keep_result(key, result, ttl_s=ttl_s)
        except StoreUnavailableError as error:
            _log.warning("cached_result_not_kept", reason=str(error))
