"""What a task knows about the try it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import UNMAPPED, TaskKey
from orchestrator.core.outcomes import RETURN_VALUE
from orchestrator.core.states import RunType
from orchestrator.errors import did_you_mean
from orchestrator.sdk.exceptions import TaskException, XComNotFound
from orchestrator.sdk.instants import for_authors
from orchestrator.sdk.jsonvalues import NotJsonError, json_size, json_value
from orchestrator.sdk.xcoms import XComReader

if TYPE_CHECKING:
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["CONTEXT_KEYS", "Context", "DagRun", "TaskInstance", "get_current_context"]

XCOM_KEY_LENGTH_MAX = 512

_DATE_KEYS = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")
CONTEXT_KEYS = frozenset(
    {
        *_DATE_KEYS,
        "conf",
        "conn",
        "dag",
        "dag_run",
        "data_interval_end",
        "data_interval_start",
        "fence",
        "idempotency_key",
        "logical_date",
        "macros",
        "map_index",
        "params",
        "run_id",
        "task",
        "task_instance",
        "task_instance_key_str",
        "templates_dict",
        "ti",
        "try_number",
        "var",
    }
)
"""Every name a context can have; a task function's argument of such a name is filled in."""


_REPLACED: Mapping[str, str] = MappingProxyType(
    {
        "execution_date": "; use logical_date",
        "inlet_events": "; this version does not have assets",
        "next_ds": "; use data_interval_end | ds",
        "next_execution_date": "; use data_interval_end",
        "outlet_events": "; this version does not have assets",
        "prev_ds": "; use macros.ds_add(ds, -1)",
        "prev_execution_date": "; use data_interval_start",
        "tomorrow_ds": "; use macros.ds_add(ds, 1)",
        "triggering_asset_events": "; this version does not have assets",
        "yesterday_ds": "; use macros.ds_add(ds, -1)",
    }
)
"""Airflow's context entries that are not here, by what to use instead."""


class Context(dict[str, Any]):
    """The context of one try, by Airflow's names, and two of ours: `idempotency_key`, the same
    for every try of a task instance, and `fence`, which rises with every try."""

    def __missing__(self, key: str) -> Any:
        hint = self.absence(key) or did_you_mean(key, self)
        raise KeyError(f"the context has no {key!r}{hint}")

    def absence(self, key: str) -> str:
        """Say why a name that other contexts have is not in this one, or nothing."""
        if key in _DATE_KEYS and key not in self:
            return (
                "; this run has no logical date: trigger it with one, or use run_id or "
                "dag_run.run_after"
            )
        return _REPLACED.get(key, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRun:
    """The run, as tasks see it."""

    dag_id: str
    run_id: str
    run_type: RunType
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    start_date: datetime | None
    conf: Mapping[str, Any]


class TaskInstance:
    """The task instance, as its own code sees it. What it pushes is stored when the try ends."""

    def __init__(
        self, assignment: Assignment, *, reader: XComReader, xcom_bytes_max: int, dag_run: DagRun
    ) -> None:
        self.task: BaseOperator | None = None
        self.dag_run = dag_run
        self.key: TaskKey = assignment.key
        self.dag_id, self.run_id, self.task_id, self.map_index = assignment.key
        self.try_number = assignment.try_number
        self.max_tries = assignment.max_tries
        self.start_date = assignment.started_at
        self.began_at = assignment.began_at
        """When this try began: before `start_date` for one that goes on after a reschedule."""
        self.pushed: dict[str, Any] = {}
        self._reader = reader
        self._xcom_bytes_max = xcom_bytes_max

    def __repr__(self) -> str:
        return f"<TaskInstance: {self.key} try {self.try_number}>"

    def get_dagrun(self) -> DagRun:
        """Return the run it belongs to."""
        return self.dag_run

    def xcom_push(self, key: str, value: Any) -> None:
        """Push a JSON value under `key`, for `xcom_pull` of tasks downstream."""
        if str(key) != key or not 0 < len(key) <= XCOM_KEY_LENGTH_MAX or not key.isprintable():
            raise TaskException(
                f"XCom key {str(key)[:40]!r} must be a text of 1 to "
                f"{XCOM_KEY_LENGTH_MAX} printable characters"
            )
        name = "the returned value" if key == RETURN_VALUE else f"XCom {key!r}"
        plain = json_value(value, name=name)
        size = json_size(plain, name=name)
        if size > self._xcom_bytes_max:
            raise NotJsonError(
                f"{name} takes {size:,} bytes as JSON; at most {self._xcom_bytes_max:,} are "
                "allowed: write it to a file or object store and push its path"
            )
        self.pushed[key] = plain

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = RETURN_VALUE,
        *,
        map_indexes: int | Iterable[int] | None = None,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """Return what tasks of this run (or another) pushed under `key`.

        One task id gives the value, or for a mapped task the list in order of map index; several
        give one flat list in their order. `map_indexes` picks: a number gives the value, several
        give a list. No task id means this task instance's own. `default` stands for what was
        never pushed.
        """
        if map_indexes is not None and not isinstance(map_indexes, int):
            map_indexes = tuple(map_indexes)
        source = _Source(dag_id or self.dag_id, run_id or self.run_id, key, map_indexes)
        if isinstance(task_ids, str):
            return self._pull_one(task_ids, source, default)
        if task_ids is None:
            return self._pull_own(source, default)
        values: list[Any] = []
        for task_id in task_ids:
            found = self._pull(task_id, source)
            values.extend(_in_order(found, map_indexes, default) or [default])
        return values

    def xcom_item(
        self,
        task_id: str,
        position: int,
        *,
        map_index: int = UNMAPPED,
        key: str = RETURN_VALUE,
    ) -> Any:
        """Return one element of the list, or one (key, value) of the dict, that a task of this run
        pushed, without reading the others; raise XComNotFound when there is none."""
        try:
            return self._reader.pull_item(
                dag_id=self.dag_id,
                run_id=self.run_id,
                task_id=task_id,
                map_index=map_index,
                position=position,
                key=key,
            )
        except LookupError as error:
            raise XComNotFound(str(error)) from None

    def _pull_own(self, source: _Source, default: Any) -> Any:
        if source.map_indexes is None:
            source = source._replace(map_indexes=self.map_index)
        own = _Source(self.dag_id, self.run_id, source.key, self.map_index)
        if source == own and source.key in self.pushed:
            return self.pushed[source.key]
        return self._pull_one(self.task_id, source, default)

    def _pull_one(self, task_id: str, source: _Source, default: Any) -> Any:
        found = self._pull(task_id, source)
        if isinstance(source.map_indexes, tuple):
            return _in_order(found, source.map_indexes, default)
        if not found:
            return default
        if source.map_indexes is not None or UNMAPPED in found:
            return next(iter(found.values()))
        return _in_order(found, None, default)

    def _pull(self, task_id: str, source: _Source) -> dict[int, Any]:
        indexes = source.map_indexes
        pulled = self._reader.pull(
            dag_id=source.dag_id,
            run_id=source.run_id,
            task_ids=(task_id,),
            key=source.key,
            map_indexes=(indexes,) if isinstance(indexes, int) else indexes,
        )
        return {each.map_index: each.value for each in pulled}


class _Source(NamedTuple):
    """Where an XCom is pulled from, but for the task."""

    dag_id: str
    run_id: str
    key: str
    map_indexes: int | tuple[int, ...] | None


def _in_order(
    found: Mapping[int, Any], map_indexes: int | tuple[int, ...] | None, default: Any
) -> list[Any]:
    if map_indexes is None:
        return [found[index] for index in sorted(found)]
    indexes = (map_indexes,) if isinstance(map_indexes, int) else map_indexes
    return [found.get(index, default) for index in indexes]


_current: ContextVar[Context | None] = ContextVar("orchestrator_context", default=None)


def get_current_context() -> Context:
    """Return the context of the task that is running."""
    context = _current.get()
    if context is None:
        raise TaskException(
            "get_current_context() works only while a task runs, not where the DAG is written"
        )
    return context


def is_task_running() -> bool:
    """Say whether the caller is part of a task's try."""
    return _current.get() is not None


def set_current_context(context: Context) -> Callable[[], None]:
    """Make `context` the current one; return what takes it back."""
    token = _current.set(context)
    return lambda: _current.reset(token)


def build_context(
    assignment: Assignment, ti: TaskInstance, *, dag: object, params: Mapping[str, Any]
) -> Context:
    """Return the context of one try; templates of `task` are not rendered yet."""
    from orchestrator.sdk.macros import MACROS  # noqa: PLC0415 - only a running task needs them
    from orchestrator.sdk.variables import ConnectionAccessor, Variables  # noqa: PLC0415

    run, key = assignment.run, assignment.key
    day = _dates(run.logical_date)
    return Context(
        **day,
        conf=dict(run.conf),
        conn=ConnectionAccessor(),
        dag=dag,
        dag_run=ti.dag_run,
        data_interval_end=for_authors(run.data_interval_end),
        data_interval_start=for_authors(run.data_interval_start),
        fence=assignment.epoch,
        idempotency_key=f"{key.dag_id}/{key.run_id}/{key.task_id}/{key.map_index}",
        logical_date=for_authors(run.logical_date),
        macros=MACROS,
        map_index=key.map_index,
        params=dict(params),
        run_id=run.run_id,
        task=ti.task,
        task_instance=ti,
        task_instance_key_str="__".join(
            (key.dag_id, key.task_id, day.get("ds_nodash", run.run_id))
        ),
        ti=ti,
        try_number=assignment.try_number,
        var=Variables(),
    )


def _dates(logical_date: datetime | None) -> Mapping[str, str]:
    if logical_date is None:
        return MappingProxyType({})
    return {
        "ds": logical_date.strftime("%Y-%m-%d"),
        "ds_nodash": logical_date.strftime("%Y%m%d"),
        "ts": logical_date.isoformat(),
        "ts_nodash": logical_date.strftime("%Y%m%dT%H%M%S"),
        "ts_nodash_with_tz": logical_date.strftime("%Y%m%dT%H%M%S%z"),
    }
