"""How does a task push values for others, and read what they pushed?

Readers hand out values as they are stored (core.values); `XComAccess` turns them into what was
pushed, with their types.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import ALL_INDEXES, RETURN_VALUE, UNMAPPED
from orchestrator.core.levels import enclosing_groups
from orchestrator.core.specs import DagSpec
from orchestrator.sdk.classes import Classes
from orchestrator.sdk.exceptions import TaskException, XComNotFound
from orchestrator.sdk.serialization import UnstorableError, decode, encode, encoded_size

__all__ = ["XCOM_KEY_LENGTH_MAX", "PulledXCom", "XComAccess", "XComReader"]

XCOM_KEY_LENGTH_MAX = 512


class PulledXCom(NamedTuple):
    """One stored XCom: who pushed it, and its value as stored."""

    task_id: str
    value: Any
    map_index: int = UNMAPPED


class XComReader(Protocol):
    """Reads XComs of finished tries. The worker and `orchestrator.testing` each have one."""

    def pull(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Sequence[str],
        key: str,
        map_indexes: Sequence[int] | None,
    ) -> Sequence[PulledXCom]:
        """Return the XComs under `key` of these tasks in one run, in any order.

        `map_indexes` None means every map index, the unmapped one (-1) included; a range of any
        width costs no more than what was pushed in it. What was never pushed is simply not among
        the answers: there is no error and no placeholder. A pushed None comes back as a PulledXCom
        whose value is None. Only XComs of the accepted try count.
        """

    def succeeded(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None = None
    ) -> Sequence[int]:
        """Return, in order, which map indexes of a task among `indexes` succeeded, whether they
        pushed anything or not; with `position` only the one that stands at that place, if any."""

    def latest_run(self, *, dag_id: str, task_id: str, key: str, until: datetime) -> str | None:
        """Return the run_id of the latest run, by logical date and not after `until`, in which a
        task pushed `key`; None when there is none. A run without a logical date stands where its
        `run_after` is."""

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
        """Return one element of a list, or one (key, value) tuple of a dict, in the order pushed.

        This is what a mapped task instance takes of a long input: the cost does not grow with its
        length. Raise LookupError, which says why, when nothing was pushed under `key`, when it has
        no elements, or not so many.
        """


@dataclass(frozen=True, slots=True)
class _Source:
    """Where XComs are pulled from, but for the task. `until` is set to look in earlier runs too."""

    dag_id: str
    run_id: str
    key: str
    map_indexes: int | tuple[int, ...] | range | None
    until: datetime | None = None


class XComAccess:
    """The XComs of one try: what it pushed, stored when it ends, and what it may read."""

    def __init__(
        self,
        assignment: Assignment,
        reader: XComReader,
        ask_classes: Callable[[], Classes],
        *,
        bytes_max: int,
    ) -> None:
        """`ask_classes` is called when the first value is read: the task is known by then."""
        self.pushed: dict[str, Any] = {}
        """By key, as it will be stored."""
        self._key, self._run, self._dag = assignment.key, assignment.run, assignment.dag
        self._reader = reader
        self._ask_classes = ask_classes
        self._bytes_max = bytes_max

    def push(self, key: str, value: Any) -> None:
        """As TaskInstance.xcom_push."""
        if str(key) != key or not 0 < len(key) <= XCOM_KEY_LENGTH_MAX or not key.isprintable():
            raise TaskException(
                f"XCom key {str(key)[:40]!r} must be a text of 1 to "
                f"{XCOM_KEY_LENGTH_MAX} printable characters"
            )
        is_result = key == RETURN_VALUE
        what = "the returned value" if is_result else f"XCom {key!r}"
        name = f"{what} of task {self._key.task_id!r}"
        stored = encode(value, name=name, root="result" if is_result else "value")
        size = encoded_size(stored, name=name)
        if size > self._bytes_max:
            raise UnstorableError(
                f"{name} takes {size:,} bytes as JSON, and xcom_bytes_max allows "
                f"{self._bytes_max:,}: write it to a file or table and push its path or name, or "
                "have the limit raised"
            )
        self.pushed[key] = stored

    @cached_property
    def _classes(self) -> Classes:
        return self._ask_classes()

    def restored(self, stored: Any) -> Any:
        """Return a value as it was pushed."""
        return decode(stored, self._classes)

    def pull(
        self,
        task_ids: str | Iterable[str] | None,
        *,
        dag_id: str | None,
        run_id: str | None,
        key: str,
        map_indexes: int | Iterable[int] | None,
        default: Any,
        include_prior_dates: bool,
    ) -> Any:
        """As TaskInstance.xcom_pull."""
        if map_indexes is not None and not isinstance(map_indexes, int):
            map_indexes = tuple(map_indexes)
        until = None
        if include_prior_dates:
            if run_id is not None:
                raise TaskException(
                    "xcom_pull was given both run_id and include_prior_dates=True; a run_id names "
                    "the one run to look in"
                )
            until = self._run.logical_date or self._run.run_after
        source = _Source(
            dag_id or self._key.dag_id, run_id or self._key.run_id, key, map_indexes, until
        )
        if isinstance(task_ids, str):
            return self._pull_one(task_ids, source, default)
        if task_ids is None:
            return self._pull_own(source, default)
        values: list[Any] = []
        for task_id in task_ids:
            if self._is_collected(task_id, source):
                values.extend(self.results(task_id, ALL_INDEXES))
                continue
            found = self._pull(task_id, source)
            values.extend(_in_order(found, map_indexes, default) or [default])
        return values

    def item(self, task_id: str, position: int, *, map_index: int, key: str) -> Any:
        """As TaskInstance.xcom_item."""
        try:
            stored = self._reader.pull_item(
                dag_id=self._key.dag_id,
                run_id=self._key.run_id,
                task_id=task_id,
                map_index=map_index,
                position=position,
                key=key,
            )
        except LookupError as error:
            raise XComNotFound(str(error)) from None
        if isinstance(stored, tuple):
            return tuple(self.restored(each) for each in stored)
        return self.restored(stored)

    def results(self, task_id: str, indexes: range) -> list[Any]:
        """Return what the instances of a mapped task of this run that succeeded returned, in order
        of map index; None stands for one that returned nothing."""
        source = _Source(self._key.dag_id, self._key.run_id, RETURN_VALUE, indexes)
        found = self._pull(task_id, source)
        return [found.get(index) for index in self.succeeded(task_id, indexes)]

    def succeeded(
        self, task_id: str, indexes: range, *, position: int | None = None
    ) -> Sequence[int]:
        """Return which map indexes of a task of this run succeeded, as XComReader does."""
        return self._reader.succeeded(
            dag_id=self._key.dag_id,
            run_id=self._key.run_id,
            task_id=task_id,
            indexes=indexes,
            position=position,
        )

    def pushed_in(self, task_id: str, indexes: range, key: str) -> list[Any]:
        """Return what the instances of a mapped task of this run pushed under another key, in order
        of map index."""
        found = self._pull(task_id, _Source(self._key.dag_id, self._key.run_id, key, indexes))
        return _in_order(found, None, None)

    def _pull_own(self, source: _Source, default: Any) -> Any:
        own = self._key
        indexes = own.map_index if source.map_indexes is None else source.map_indexes
        source = _Source(source.dag_id, source.run_id, source.key, indexes, source.until)
        is_here = (source.dag_id, source.run_id, indexes) == (*own[:2], own.map_index)
        if is_here and source.key in self.pushed:
            return self.restored(self.pushed[source.key])
        return self._pull_one(own.task_id, source, default)

    def _is_collected(self, task_id: str, source: _Source) -> bool:
        """Whether all that the instances of a mapped task of this run returned is asked for."""
        is_whole = source.map_indexes is None and source.key == RETURN_VALUE
        is_here = (source.dag_id, source.run_id) == self._key[:2] and source.until is None
        return is_whole and is_here and is_mapped(self._dag, task_id)

    def _pull_one(self, task_id: str, source: _Source, default: Any) -> Any:
        if self._is_collected(task_id, source):
            values = self.results(task_id, ALL_INDEXES)
            return values if values or default is None else default
        found = self._pull(task_id, source)
        if isinstance(source.map_indexes, tuple):
            return _in_order(found, source.map_indexes, default)
        if not found:
            return default
        if source.map_indexes is not None or UNMAPPED in found:
            return next(iter(found.values()))
        return _in_order(found, None, default)

    def _pull(self, task_id: str, source: _Source) -> dict[int, Any]:
        indexes, run_id = source.map_indexes, source.run_id
        if source.until is not None:
            latest = self._reader.latest_run(
                dag_id=source.dag_id, task_id=task_id, key=source.key, until=source.until
            )
            if latest is None:
                return {}
            run_id = latest
        pulled = self._reader.pull(
            dag_id=source.dag_id,
            run_id=run_id,
            task_ids=(task_id,),
            key=source.key,
            map_indexes=(indexes,) if isinstance(indexes, int) else indexes,
        )
        return {each.map_index: self.restored(each.value) for each in pulled}


def is_mapped(dag: DagSpec, task_id: str) -> bool:
    """Say whether a DAG has a task of this id that may have several instances."""
    groups = {group.group_id: group for group in dag.groups}
    return any(
        task.expansion is not None
        or any(group.expansion is not None for group in enclosing_groups(task.group_id, groups))
        for task in dag.tasks
        if task.task_id == task_id
    )


def _in_order(
    found: Mapping[int, Any], map_indexes: int | tuple[int, ...] | None, default: Any
) -> list[Any]:
    if map_indexes is None:
        return [found[index] for index in sorted(found)]
    indexes = (map_indexes,) if isinstance(map_indexes, int) else map_indexes
    return [found.get(index, default) for index in indexes]
