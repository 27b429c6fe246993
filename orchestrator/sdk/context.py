"""What a task knows about the try it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.core.ids import RETURN_VALUE, UNMAPPED, MapPath, TaskKey
from orchestrator.errors import did_you_mean
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.instants import for_authors

if TYPE_CHECKING:
    from orchestrator.core.assignments import Assignment, RunFacts
    from orchestrator.core.states import RunType
    from orchestrator.sdk.operators import BaseOperator
    from orchestrator.sdk.xcoms import XComReader

__all__ = ["CONTEXT_KEYS", "Context", "DagRun", "TaskInstance", "get_current_context"]

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
        "task_state",
        "task_state_store",
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
    state: str = "running"
    """What it came to, in a callback of its end."""
    end_date: datetime | None = None


class TaskInstance:
    """The task instance, as its own code sees it. What it pushes is stored when the try ends."""

    def __init__(
        self, assignment: Assignment, *, reader: XComReader, xcom_bytes_max: int, dag_run: DagRun
    ) -> None:
        # Where DAG files are only read, nobody needs these.
        from orchestrator.sdk.classes import classes_of  # noqa: PLC0415
        from orchestrator.sdk.positions import MapPosition  # noqa: PLC0415
        from orchestrator.sdk.task_state import TaskState  # noqa: PLC0415
        from orchestrator.sdk.xcoms import XComAccess  # noqa: PLC0415

        self.task: BaseOperator | None = None
        self.dag_run = dag_run
        self.key: TaskKey = assignment.key
        self.dag_id, self.run_id, self.task_id, self.map_index = assignment.key
        self.try_number = assignment.try_number
        self.max_tries = assignment.max_tries
        self.state = "running"
        """What the try came to, in a callback that follows it."""
        self.end_date: datetime | None = None
        self.start_date = assignment.started_at
        self.began_at = assignment.began_at
        """When this try began: before `start_date` for one that goes on after a reschedule."""
        self.xcoms = XComAccess(
            assignment,
            reader,
            lambda: classes_of(None if self.task is None else self.task.dag),
            bytes_max=xcom_bytes_max,
        )
        self.task_state = TaskState(self.xcoms.restored, task_id=self.task_id)
        """What it keeps for its next tries."""
        self.position = MapPosition()
        self.map_name: str | None = None
        """What map_index_template made of this try."""

    def __repr__(self) -> str:
        return f"<TaskInstance: {self.key} try {self.try_number}>"

    @property
    def map_path(self) -> MapPath:
        """Its index in each mapped group around it, outermost first, and at last its own."""
        return self.position.path

    @property
    def duration(self) -> float | None:
        """How many seconds the try took; None while it runs."""
        began_at = self.began_at
        return None if self.end_date is None else (self.end_date - began_at).total_seconds()

    @property
    def operator(self) -> str:
        """The operator's class name."""
        return "" if self.task is None else self.task.operator_name

    @property
    def log_url(self) -> str:
        """Where the API serves the log of this try: a path on whichever host it is reached by."""
        run = f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}"
        index = "" if self.map_index == UNMAPPED else f"?map_index={self.map_index}"
        return f"{run}/taskInstances/{self.task_id}/logs/{self.try_number}{index}"

    def get_dagrun(self) -> DagRun:
        """Return the run it belongs to."""
        return self.dag_run

    @property
    def pushed(self) -> Mapping[str, Any]:
        """What this try has pushed so far, as it will be stored."""
        return self.xcoms.pushed

    def xcom_push(self, key: str, value: Any) -> None:
        """Push a value under `key`, for `xcom_pull` of tasks downstream; it keeps its type."""
        self.xcoms.push(key, value)

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = RETURN_VALUE,
        include_prior_dates: bool = False,
        *,
        map_indexes: int | Iterable[int] | None = None,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """Return what tasks of this run (or another) pushed under `key`.

        One task id gives the value, or for a mapped task the list in order of map index; several
        give one flat list in their order. `map_indexes` picks: a number gives the value, several
        give a list. No task id means this task instance's own. `include_prior_dates` looks in this
        run and those with an earlier logical date, and takes the latest in which the task pushed
        the key. `default` stands for what was never pushed.
        """
        if isinstance(task_ids, str):
            task_ids = self._known_id(task_ids)
        elif task_ids is not None:
            task_ids = [self._known_id(task_id) for task_id in task_ids]
        return self.xcoms.pull(
            task_ids,
            dag_id=dag_id,
            run_id=run_id,
            key=key,
            map_indexes=map_indexes,
            default=default,
            include_prior_dates=include_prior_dates,
        )

    def _known_id(self, task_id: str) -> str:
        """The id in this DAG of a task that code within a SubDag knows by its own."""
        task = self.task
        if task is None or task.dag is None or not task.dag.has_task(task.id_prefix + task_id):
            return task_id
        return task.id_prefix + task_id

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
        return self.xcoms.item(task_id, position, map_index=map_index, key=key)


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
    run, key = assignment.run, assignment.key
    context = bare_context(run, ti.dag_run, dag=dag, params=params)
    context.update(
        fence=assignment.epoch,
        idempotency_key=f"{key.dag_id}/{key.run_id}/{key.task_id}/{key.map_index}",
        map_index=key.map_index,
        task=ti.task,
        task_instance=ti,
        task_instance_key_str="__".join(
            (key.dag_id, key.task_id, context.get("ds_nodash", run.run_id))
        ),
        task_state=ti.task_state,
        task_state_store=ti.task_state,  # its name in Airflow
        ti=ti,
        try_number=assignment.try_number,
    )
    return context


def bare_context(
    run: RunFacts, dag_run: DagRun, *, dag: object, params: Mapping[str, Any]
) -> Context:
    """Return the context of a run in which no task has anything to tell."""
    from orchestrator.sdk.macros import MACROS  # noqa: PLC0415 - only what runs needs them
    from orchestrator.sdk.variables import ConnectionAccessor, Variables  # noqa: PLC0415

    return Context(
        **_dates(run.logical_date),
        conf=dict(run.conf),
        conn=ConnectionAccessor(),
        dag=dag,
        dag_run=dag_run,
        data_interval_end=for_authors(run.data_interval_end),
        data_interval_start=for_authors(run.data_interval_start),
        logical_date=for_authors(run.logical_date),
        macros=MACROS,
        params=dict(params),
        run_id=run.run_id,
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
