"""Tasks that wait for a task, a group or a whole run of another DAG, and those that say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import did_you_mean
from orchestrator.sdk.exceptions import NotFoundException, SkipException, TaskException
from orchestrator.sdk.instants import plain_utc
from orchestrator.sdk.operators import EmptyOperator
from orchestrator.sdk.other_runs import ForeignDag
from orchestrator.sdk.python import call
from orchestrator.sdk.references import Reference
from orchestrator.sdk.sensors import BaseSensorOperator
from orchestrator.sdk.state_names import states_named
from orchestrator.sdk.trigger_dagrun import other_runs

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["ExternalTaskFailedError", "ExternalTaskMarker", "ExternalTaskSensor"]

States = frozenset[RunState] | frozenset[TaskState]


class ExternalTaskFailedError(TaskException):
    """What a sensor waits for came to one of its failed_states."""


class ExternalTaskSensor(BaseSensorOperator):
    """Waits for another DAG's run of the same logical date: for the run itself, for one task
    (`external_task_id`), several (`external_task_ids`) or all of a group.

    The date is the run's own, less `execution_delta`, or what `execution_date_fn(logical_date)`
    returns (one or several). The wait is over when all of it is in one of `allowed_states`
    (success); one of `skipped_states` skips the sensor, one of `failed_states` fails it.
    `check_existence` fails it at once when the DAG, task or group does not exist.
    """

    template_fields: Sequence[str] = (
        "external_dag_id",
        "external_task_id",
        "external_task_ids",
        "external_task_group_id",
    )

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.external_dag_id = external_dag_id
        self.external_task_id = external_task_id
        self.external_task_ids = external_task_ids
        self.external_task_group_id = external_task_group_id
        self.execution_delta = execution_delta
        self.execution_date_fn = execution_date_fn
        self.check_existence = self.subject.flag("check_existence", check_existence)
        self._check_what()
        self._check_when()
        self._set_states(allowed_states, skipped_states, failed_states)

    def _check_what(self) -> None:
        names = ("external_task_id", "external_task_ids", "external_task_group_id")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise self.subject.error(f"{given[0]} and {given[1]} exclude each other; give one")
        if not isinstance(self.external_dag_id, Reference):
            self.subject.text("external_dag_id", self.external_dag_id)
        ids = self.external_task_ids
        if isinstance(ids, str):
            raise self.subject.error(
                f"external_task_ids is {ids!r}; it must be a list (external_task_id is for one)"
            )
        if isinstance(ids, list | tuple) and not ids:
            raise self.subject.error("external_task_ids is empty; name at least one task")
        if isinstance(ids, list | tuple) and len(set(ids)) < len(ids):
            raise self.subject.error(f"external_task_ids names a task twice: {ids!r}")

    def _check_when(self) -> None:
        if self.execution_delta is not None and self.execution_date_fn is not None:
            raise self.subject.error(
                "execution_delta and execution_date_fn exclude each other; give one"
            )
        if self.execution_delta is not None and not isinstance(self.execution_delta, timedelta):
            raise self.subject.error(
                f"execution_delta is {self.execution_delta!r}; it must be a timedelta"
            )
        if self.execution_date_fn is not None and not callable(self.execution_date_fn):
            raise self.subject.error(
                f"execution_date_fn is {self.execution_date_fn!r}; it must be a function"
            )

    def _set_states(
        self,
        allowed: Iterable[str] | None,
        skipped: Iterable[str] | None,
        failed: Iterable[str] | None,
    ) -> None:
        kind: Any = RunState if self._is_whole_run else TaskState
        self.allowed_states = states_named(
            "allowed_states", allowed or ("success",), kind, self.subject
        )
        self.skipped_states = states_named("skipped_states", skipped, kind, self.subject)
        self.failed_states = states_named("failed_states", failed, kind, self.subject)
        several = [*self.allowed_states, *self.skipped_states, *self.failed_states]
        twice = sorted({state for state in several if several.count(state) > 1})
        if twice:
            raise self.subject.error(
                f"state {twice[0].value!r} is in more than one of allowed_states, skipped_states "
                "and failed_states; each state can mean one thing"
            )

    @property
    def _is_whole_run(self) -> bool:
        ids = (self.external_task_id, self.external_task_ids, self.external_task_group_id)
        return all(each is None for each in ids)

    def poke(self, context: Context) -> bool:
        """Look at the other runs."""
        dates = self._dates(context)
        dag = other_runs().dag(self.external_dag_id)
        if self.check_existence:
            self._require_existence(dag)
        self.log.info(
            "waiting for %s at %s",
            self._name(),
            ", ".join(instant.isoformat() for instant in dates),
        )
        found = self._found(dates, dag)
        seen = frozenset[Any]().union(*found.values())
        self._judge(seen)
        return all(found.get(date) and found[date] <= self.allowed_states for date in dates)

    def _found(
        self, dates: Sequence[datetime], dag: ForeignDag | None
    ) -> Mapping[datetime, frozenset[Any]]:
        """By date, in which states what it waits for is; nothing where some of it is missing."""
        runs = other_runs()
        if self._is_whole_run:
            at = runs.at(self.external_dag_id, dates)
            return {date: frozenset({run.state}) for date, run in at.items()}
        wanted = self._task_ids(dag)
        if not wanted:
            return {}
        states = runs.tasks_at(self.external_dag_id, dates, wanted)
        return {
            date: frozenset[TaskState]().union(*by_task.values())
            | ({TaskState.NONE} if wanted - by_task.keys() else frozenset())
            for date, by_task in states.items()
        }

    def _judge(self, seen: frozenset[Any]) -> None:
        for states, name in ((self.failed_states, "failed"), (self.skipped_states, "skipped")):
            met = sorted(seen & states)
            if not met:
                continue
            message = f"{self._name()} is {met[0].value}, one of {name}_states"
            if name == "skipped" or self.soft_fail:
                raise SkipException(message)
            raise ExternalTaskFailedError(message)

    def _task_ids(self, dag: ForeignDag | None) -> frozenset[str]:
        if self.external_task_group_id is not None:
            return frozenset() if dag is None else _members(dag, self.external_task_group_id)
        if self.external_task_id is not None:
            return frozenset((self.external_task_id,))
        return frozenset(self.external_task_ids or ())

    def _require_existence(self, dag: ForeignDag | None) -> None:
        dag_id = self.external_dag_id
        if dag is None:
            raise NotFoundException(f"DAG {dag_id!r}, which {self.task_id!r} waits for, is unknown")
        group_id = self.external_task_group_id
        groups = [group.group_id for group in dag.spec.groups]
        if group_id is not None and group_id not in groups:
            raise NotFoundException(
                f"DAG {dag_id!r} has no task group {group_id!r}{did_you_mean(group_id, groups)}"
            )
        known = [task.task_id for task in dag.spec.tasks]
        for task_id in sorted(self._task_ids(dag)):
            if task_id not in known:
                raise NotFoundException(
                    f"DAG {dag_id!r} has no task {task_id!r}{did_you_mean(task_id, known)}"
                )

    def _dates(self, context: Context) -> list[datetime]:
        own: datetime = context["logical_date"] or context["dag_run"].run_after
        if self.execution_delta is not None:
            return [plain_utc(own - self.execution_delta)]
        if self.execution_date_fn is None:
            return [plain_utc(own)]
        answer = call(self.execution_date_fn, (own,), {}, context)
        several = [answer] if isinstance(answer, datetime) else answer
        if not isinstance(several, Iterable):
            raise TaskException(f"execution_date_fn returned {answer!r}; it must return datetimes")
        dates = list(several)
        if not dates or not all(isinstance(date, datetime) and date.tzinfo for date in dates):
            raise TaskException(
                f"execution_date_fn returned {answer!r}; it must return one or more datetimes with "
                "a time zone"
            )
        return [plain_utc(date) for date in dates]

    def _name(self) -> str:
        dag = f"DAG {self.external_dag_id!r}"
        if self.external_task_group_id is not None:
            return f"task group {self.external_task_group_id!r} of {dag}"
        ids = sorted(self._task_ids(None))
        return f"{', '.join(ids)} of {dag}" if ids else dag


class ExternalTaskMarker(EmptyOperator):
    """Says that a task of another DAG waits for this one; for people who read the graph."""

    template_fields: Sequence[str] = ("external_dag_id", "external_task_id", "logical_date")

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str,
        logical_date: str | datetime | None = "{{ logical_date.isoformat() }}",
        recursion_depth: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.external_dag_id = self.subject.text("external_dag_id", external_dag_id)
        self.external_task_id = self.subject.text("external_task_id", external_task_id)
        self.logical_date = (
            logical_date.isoformat() if isinstance(logical_date, datetime) else logical_date
        )
        self.recursion_depth = self.subject.whole("recursion_depth", recursion_depth, least=1)


def _members(dag: ForeignDag, group_id: str) -> frozenset[str]:
    """The tasks of a group and of the groups within it."""
    inside = {group_id}
    parents = {group.group_id: group.parent_id for group in dag.spec.groups}
    while grown := {each for each, parent in parents.items() if parent in inside} - inside:
        inside |= grown
    return frozenset(task.task_id for task in dag.spec.tasks if task.group_id in inside)
