"""What an author says about a DAG as a whole."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from orchestrator.core.specs import (
    MAP_LENGTH_MAX,
    CallbackKind,
    DagSpec,
    DeadlineSpec,
    RunStatePolicy,
)
from orchestrator.errors import did_you_mean
from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callbacks import Callback, CallbackArgument, freeze_callbacks
from orchestrator.sdk.callsite import CallSite, author_call
from orchestrator.sdk.dependencies import Edges, Link, resolve_edges
from orchestrator.sdk.edges import Node
from orchestrator.sdk.groups import TaskGroup
from orchestrator.sdk.params import freeze_params
from orchestrator.sdk.references import DagParam
from orchestrator.sdk.schedules import freeze_instant, freeze_schedule, freeze_timezone
from orchestrator.sdk.scope import Scope, collect, enter_scope, leave_scope
from orchestrator.sdk.setup_blocks import note_in_block
from orchestrator.sdk.unavailable import Airflows

if TYPE_CHECKING:
    from orchestrator.sdk.deadlines import DeadlineAlert
    from orchestrator.sdk.mapped_operators import Promise
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["DAG", "dag"]


class DAG(Airflows):
    """A set of tasks and the order between them, when they run and within which limits.

    Tasks created in its `with` block, or with `dag=`, belong to it. `spec()` freezes it.
    """

    def __init__(
        self,
        dag_id: str,
        *,
        description: str | None = None,
        schedule: str | timedelta | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        timezone: str | tzinfo | None = None,
        catchup: bool = False,
        default_args: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        max_active_runs: int = 16,
        max_active_tasks: int = 16,
        max_map_length: int = MAP_LENGTH_MAX,
        fail_fast: bool = False,
        run_state: str | Iterable[str] = RunStatePolicy.LEAVES,
        dagrun_timeout: timedelta | float | None = None,
        on_success_callback: CallbackArgument = None,
        on_failure_callback: CallbackArgument = None,
        deadline: DeadlineAlert | Sequence[DeadlineAlert] | None = None,
        is_paused_upon_creation: bool | None = None,
        doc_md: str | None = None,
        dag_display_name: str | None = None,
        tags: Iterable[str] | None = None,
        user_defined_macros: Mapping[str, Any] | None = None,
        user_defined_filters: Mapping[str, Callable[..., Any]] | None = None,
        template_searchpath: str | PathLike[str] | Iterable[str | PathLike[str]] | None = None,
        render_template_as_native_obj: bool = False,
        **unknown: Any,
    ) -> None:
        self.site = author_call()
        self.subject = subject = Subject(f"DAG {dag_id!r}", self.site)
        for name, value in unknown.items():
            error = subject.unknown(name, value, _ARGUMENTS)
            if error is not None:
                raise error
        self.dag_id = subject.identifier("dag_id", dag_id)
        self.default_args = subject.default_args(default_args)
        # As in Airflow, the dates may stand among the default arguments.
        start_date = self.default_args.pop("start_date", None) if start_date is None else start_date
        end_date = self.default_args.pop("end_date", None) if end_date is None else end_date
        self.timezone = freeze_timezone(timezone, start_date, subject)
        zone = self.timezone
        self.start_date = freeze_instant("start_date", start_date, timezone=zone, subject=subject)
        self.end_date = freeze_instant("end_date", end_date, timezone=zone, subject=subject)
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise subject.error(f"end_date {end_date} is before start_date {start_date}")
        self.schedule = freeze_schedule(schedule, timezone=zone, subject=subject)
        self.params = freeze_params(params, subject, is_scheduled=schedule is not None)
        self.catchup = subject.flag("catchup", catchup)
        self.max_active_runs = subject.whole("max_active_runs", max_active_runs, least=1)
        self.max_active_tasks = subject.whole("max_active_tasks", max_active_tasks, least=1)
        self.max_map_length = subject.whole("max_map_length", max_map_length, least=1)
        self.fail_fast = subject.flag("fail_fast", fail_fast)
        self.run_state, self.critical_tasks = _run_state(run_state, subject)
        self.dagrun_timeout = subject.duration_or_none("dagrun_timeout", dagrun_timeout)
        self.callbacks = freeze_callbacks(
            subject,
            {
                CallbackKind.SUCCESS: on_success_callback,
                CallbackKind.FAILURE: on_failure_callback,
            },
        )
        self.deadlines = self._freeze_deadlines(deadline)
        self.is_paused_upon_creation = subject.flag(
            "is_paused_upon_creation", bool(is_paused_upon_creation)
        )
        self.description = subject.prose("description", description)
        self.doc_md = subject.prose("doc_md", doc_md)
        self.dag_display_name = subject.text_or_none("dag_display_name", dag_display_name)
        self.tags = _tags(tags, subject)
        self.user_defined_macros = subject.named("user_defined_macros", user_defined_macros)
        self.user_defined_filters = subject.named("user_defined_filters", user_defined_filters)
        self.template_searchpath = _paths(template_searchpath, subject)
        self.render_template_as_native_obj = subject.flag(
            "render_template_as_native_obj", render_template_as_native_obj
        )
        self._tasks: dict[str, BaseOperator] = {}
        self._groups: dict[str, TaskGroup] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._suffixes: dict[str, int] = {}
        self.promises: list[Promise] = []
        """One for each `.partial(...)` written in it, in that order."""

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"

    def __enter__(self) -> Self:
        enter_scope(Scope(self, None))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave_scope()
        if kind is None:
            collect(self)

    def spec(self) -> DagSpec:
        """Freeze it: check what can only be checked on the whole (cycles, default_args that no
        task takes) and return what the parser stores and the scheduler reads."""
        from orchestrator.sdk.freezing import freeze_dag  # noqa: PLC0415 - it needs this module

        return freeze_dag(self)

    @property
    def fileloc(self) -> str:
        """Path of the file that created it."""
        return self.site.path

    @property
    def tasks(self) -> list[BaseOperator]:
        """Its tasks in the order of creation."""
        return list(self._tasks.values())

    @property
    def task_ids(self) -> list[str]:
        """Their ids, likewise."""
        return list(self._tasks)

    @property
    def task_dict(self) -> dict[str, BaseOperator]:
        """Its tasks by id."""
        return dict(self._tasks)

    @property
    def groups(self) -> list[TaskGroup]:
        """Its task groups in the order of creation."""
        return list(self._groups.values())

    @property
    def links(self) -> list[Link]:
        """What was written with `>>`, in that order."""
        return list(self._links.values())

    @property
    def roots(self) -> list[BaseOperator]:
        """Tasks that wait for none."""
        upstream = self.edges().upstream
        return [task for task in self.tasks if not upstream[task.task_id]]

    @property
    def leaves(self) -> list[BaseOperator]:
        """Tasks that none waits for."""
        inner = frozenset[str]().union(*self.edges().upstream.values())
        return [task for task in self.tasks if task.task_id not in inner]

    def has_task(self, task_id: str) -> bool:
        """Say whether there is a task of this id."""
        return task_id in self._tasks

    def get_task(self, task_id: str) -> BaseOperator:
        """Return a task by its id, or raise an error with the nearest id."""
        if task_id not in self._tasks:
            raise self.subject.error(f"there is no task {task_id!r}{self.nearest_id(task_id)}")
        return self._tasks[task_id]

    def nearest_id(self, wrong: str) -> str:
        """Return `; did you mean ...?` for the id of a task or group that is close, or nothing."""
        ids = (*self._tasks, *self._groups)
        within_groups = [each for each in ids if each.endswith(f".{wrong}")]
        if len(within_groups) == 1:
            return f"; did you mean {within_groups[0]!r}?"
        return did_you_mean(wrong, ids)

    def param(self, name: str) -> DagParam:
        """Stand for a param's value in the run, to be passed to tasks as an argument."""
        if all(spec.name != name for spec in self.params):
            known = [spec.name for spec in self.params]
            raise self.subject.error(f"there is no param {name!r}{did_you_mean(name, known)}")
        return DagParam(name)

    def edges(self) -> Edges:
        """Return the edges between tasks as they are now."""
        return resolve_edges(self)

    def add_task(self, task: BaseOperator) -> None:
        """Take a task in, also one made outside of any DAG; its id must be free."""
        self._refuse_duplicate(task.task_id, task.subject)
        if task.dag is None:
            task.dag = self
        self._tasks[task.task_id] = task
        note_in_block(task)

    def add_group(self, group: TaskGroup) -> None:
        """Take a group in; its id must be free."""
        self._refuse_duplicate(group.group_id, group.subject)
        self._groups[group.group_id] = group

    def add_link(self, up: Node, down: Node, *, label: str | None, site: CallSite) -> None:
        """Have `down` wait for `up`; written again, only a label is new."""
        ends = (up.node_id, down.node_id)
        if up is down:
            raise self.subject.error(f"{ends[0]!r} cannot wait for itself ({site})")
        known = self._links.get(ends)
        if known is None or label is not None:
            self._links[ends] = Link(up, down, label, known.site if known else site)

    def free_id(self, wanted: str) -> str:
        """Return `wanted`, or with the first free of the suffixes __1, __2 ..."""
        if not self._is_taken(wanted):
            return wanted
        suffix = self._suffixes.get(wanted, 0) + 1
        while self._is_taken(f"{wanted}__{suffix}"):
            suffix += 1
        self._suffixes[wanted] = suffix
        return f"{wanted}__{suffix}"

    def _freeze_deadlines(self, given: object) -> tuple[tuple[DeadlineSpec, Callback], ...]:
        if not given:
            return ()
        from orchestrator.sdk.deadlines import freeze_deadlines  # noqa: PLC0415 - few DAGs have any

        return freeze_deadlines(given, timezone=self.timezone, subject=self.subject)

    def _is_taken(self, node_id: str) -> bool:
        return node_id in self._tasks or node_id in self._groups

    def _refuse_duplicate(self, node_id: str, subject: Subject) -> None:
        if node_id in self._tasks:
            raise subject.error(
                f"the id {node_id!r} is taken by the task created at {self._tasks[node_id].site}"
            )
        if node_id in self._groups:
            raise subject.error(
                f"the id {node_id!r} is taken by the task group created at "
                f"{self._groups[node_id].site}"
            )


_ARGUMENTS = tuple(inspect.signature(DAG.__init__).parameters)[1:-1]


def _run_state(given: object, subject: Subject) -> tuple[RunStatePolicy, tuple[str, ...]]:
    """Whose failure fails the run: that of a leaf, of any task, or of the tasks named in a list."""
    if given in (RunStatePolicy.LEAVES, RunStatePolicy.ALL):
        return RunStatePolicy(str(given)), ()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise subject.error(
            f"run_state is {given!r}; it must be 'leaves', 'all' or a list of task ids"
        )
    names = tuple(sorted({subject.text("a task id in run_state", each) for each in given}))
    if not names:
        raise subject.error("run_state is an empty list: no failure would fail the run")
    return RunStatePolicy.CRITICAL, names


def _tags(tags: object, subject: Subject) -> tuple[str, ...]:
    if tags is None:
        return ()
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise subject.error(f"tags is {tags!r}; it must be a list of texts")
    return tuple(sorted({subject.text("a tag", tag) for tag in tags}))


def _paths(paths: object, subject: Subject) -> tuple[str, ...]:
    if paths is None:
        return ()
    several = [paths] if isinstance(paths, str | PathLike) else paths
    if not isinstance(several, Iterable) or not all(
        isinstance(path, str | PathLike) for path in several
    ):
        raise subject.error(f"template_searchpath is {paths!r}; it must be a folder or a list")
    return tuple(str(path) for path in several)


@overload
def dag(function: Callable[..., Any], /) -> Callable[..., DAG]: ...
@overload
def dag(
    dag_id: str | None = None, /, **arguments: Any
) -> Callable[[Callable[..., Any]], Callable[..., DAG]]: ...
def dag(function: Any = None, /, **arguments: Any) -> Any:
    """Make a DAG of a function that creates its tasks: calling the function creates the DAG, named
    after it unless `dag_id` is given. The function's own arguments become params of the DAG."""
    if not callable(function):
        if isinstance(function, str):
            arguments.setdefault("dag_id", function)
        return functools.partial(_decorate, arguments=arguments)
    return _decorate(function, arguments=arguments)


def _decorate(function: Callable[..., Any], *, arguments: Mapping[str, Any]) -> Callable[..., DAG]:
    @functools.wraps(function)
    def create(*args: Any, **kwargs: Any) -> DAG:
        given = {"dag_id": function.__name__, **arguments}
        if function.__doc__:
            given.setdefault("doc_md", inspect.cleandoc(function.__doc__))
        values = _bind(function, args, kwargs, f"DAG {given['dag_id']!r}")
        given["params"] = {**(given.get("params") or {}), **values}
        with DAG(**given) as made:
            function(**{name: made.param(name) for name in values})
        return made

    return create


def _bind(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], where: str
) -> dict[str, Any]:
    """The arguments of a `@dag` function by name, as params' defaults."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise Subject(where, author_call()).error(f"{function.__name__}(): {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)
