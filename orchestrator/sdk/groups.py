"""How tasks are grouped: under one prefix, one set of default arguments, one pair of ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callsite import author_call, invalid
from orchestrator.sdk.edges import Node, Uncalled
from orchestrator.sdk.retry_arguments import DEFAULT_RETRY_DELAY
from orchestrator.sdk.scope import Scope, current_scope, enter_scope, leave_scope

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.mapped_operators import Promise
    from orchestrator.sdk.mapping import ExpandInput
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["TaskGroup", "task_group"]


class TaskGroup(Node):
    """A group of tasks and groups. Tasks created in its `with` block belong to it.

    `a >> group` means the group's roots, `group >> b` its leaves, as they are once the whole DAG is
    written; an empty group passes its upstream on. `default_args` add to those around it.

    With `retries` the group is retried as a unit: once a task in it has failed and nothing in it is
    left to do, all its tasks run again after `retry_delay`.
    """

    dag: DAG
    expand_input: ExpandInput | None = None
    """Of a mapped group: what it is expanded over."""

    def __init__(
        self,
        group_id: str,
        *,
        prefix_group_id: bool = True,
        parent_group: TaskGroup | None = None,
        dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        group_display_name: str | None = None,
        add_suffix_on_collision: bool = False,
        retries: int = 0,
        retry_delay: timedelta | float = DEFAULT_RETRY_DELAY,
        **unknown: Any,
    ) -> None:
        self.site = author_call()
        scope = current_scope()
        home = dag or (parent_group.dag if parent_group else scope.dag if scope else None)
        subject = Subject(f"task group {group_id!r}", self.site)
        if home is None:
            raise subject.error(
                "it belongs to no DAG; create it inside `with DAG(...)` or pass dag="
            )
        self.dag = home
        if parent_group is None and scope is not None and scope.dag is home:
            parent_group = scope.group
        self.subject = subject = Subject(f"DAG {home.dag_id!r}, {subject.where}", self.site)
        for name, value in unknown.items():
            error = subject.unknown(name, value, _ARGUMENTS)
            if error is not None:
                raise error
        self.parent_group = parent_group
        self.prefix_group_id = subject.flag("prefix_group_id", prefix_group_id)
        self.label = subject.identifier("group_id", group_id)
        full_id = self.label if parent_group is None else parent_group.prefixed(self.label)
        if add_suffix_on_collision:
            full_id = home.free_id(full_id)
        self.group_id = subject.identifier("group_id", full_id)
        self.default_args = subject.default_args(default_args)
        self.tooltip = tooltip
        self.group_display_name = subject.text_or_none("group_display_name", group_display_name)
        self.retries = subject.whole("retries", retries, least=0)
        self.retry_delay = subject.duration("retry_delay", retry_delay, zero=True)
        home.add_group(self)

    def __repr__(self) -> str:
        return f"<TaskGroup: {self.group_id}>"

    def __enter__(self) -> Self:
        enter_scope(Scope(self.dag, self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave_scope()

    def expand_over(self, expand_input: ExpandInput) -> None:
        """Make it a mapped group, which waits for the tasks that return what it is expanded over.
        Tasks in it then have one instance for each index."""
        self.expand_input = expand_input
        for task in expand_input.upstream_tasks():
            task.set_downstream(self)

    @property
    def node_id(self) -> str:
        """The group id: what edges know it by."""
        return self.group_id

    @property
    def merged_default_args(self) -> Mapping[str, Any]:
        """Its default_args over its parent's over the DAG's."""
        around = (
            self.dag.default_args
            if self.parent_group is None
            else self.parent_group.merged_default_args
        )
        return {**around, **self.default_args}

    def prefixed(self, label: str) -> str:
        """Return the id that a task or group of this name has within the group."""
        if self.prefix_group_id:
            return f"{self.group_id}.{label}"
        return label if self.parent_group is None else self.parent_group.prefixed(label)

    def contains(self, node: Node) -> bool:
        """Say whether a task or group is inside it, at any depth."""
        inner = container_of(node)
        while inner is not None and inner is not self:
            inner = inner.parent_group
        return inner is self

    @property
    def tasks(self) -> list[BaseOperator]:
        """Every task in it, at any depth, in the order of creation."""
        return [task for task in self.dag.tasks if self.contains(task)]


_ARGUMENTS = tuple(inspect.signature(TaskGroup.__init__).parameters)[1:-1]


def container_of(node: Node) -> TaskGroup | None:
    """Return the group that a task or group stands in directly."""
    if isinstance(node, TaskGroup):
        return node.parent_group
    group: TaskGroup | None = getattr(node, "task_group", None)
    return group


@overload
def task_group(function: Callable[..., Any], /) -> GroupFunction: ...
@overload
def task_group(
    group_id: str | None = None, /, **arguments: Any
) -> Callable[[Callable[..., Any]], GroupFunction]: ...
def task_group(function: Any = None, /, **arguments: Any) -> Any:
    """Make a group of a function: each call creates the tasks in a group of its own, named after
    the function (`__1`, `__2` ... appended when it is called again). The call returns what the
    function returns, or the group when that is None."""
    if not callable(function):
        if isinstance(function, str):
            arguments.setdefault("group_id", function)
        return lambda function: GroupFunction(function, arguments)
    return GroupFunction(function, arguments)


class GroupFunction(Uncalled):
    """A function that, called where a DAG is written, creates a group with the tasks it makes."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        partial: Mapping[str, Any] | None = None,
        promise: Promise | None = None,
    ) -> None:
        self.function = function
        self._arguments = dict(arguments)
        self._partial = dict(partial or {})
        self._promise = promise
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<@task_group {self.function.__qualname__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._partial:
            raise invalid(
                repr(self), "a call of .partial(...) makes no group; call .expand(argument=[...])"
            )
        with self._open() as group:
            returned = self.function(*args, **kwargs)
        return group if returned is None else returned

    def override(self, **arguments: Any) -> GroupFunction:
        """Return the same function as a group with other arguments."""
        given = {**self._arguments, **arguments}
        return GroupFunction(self.function, given, self._partial, self._promise)

    def partial(self, **arguments: Any) -> GroupFunction:
        """Give arguments of the function that are the same for every index of a mapped group."""
        from orchestrator.sdk.mapped_operators import Promise  # noqa: PLC0415 - as below
        from orchestrator.sdk.mapping import (  # noqa: PLC0415 - it needs this module
            check_function_names,
            refuse_doubles,
        )

        subject = Subject(repr(self), author_call())
        check_function_names(self.function, arguments, subject)
        refuse_doubles(arguments, self._partial, subject)
        around = current_scope()
        promise = self._promise or Promise(subject, around.dag if around is not None else None)
        given = {**self._partial, **arguments}
        return GroupFunction(self.function, self._arguments, given, promise)

    def expand(self, **mapped: Any) -> Any:
        """Create the group once, with one index for each combination of the lists' elements; the
        last argument varies fastest. Within the group index i of a task waits for index i of
        another."""
        from orchestrator.sdk.mapping import ListsInput  # noqa: PLC0415 - it needs this module

        return self._expand(ListsInput(mapped, Subject(repr(self), author_call())))

    def expand_kwargs(self, kwargs: Any) -> Any:
        """Create the group once, with one index for each dict of arguments."""
        from orchestrator.sdk.mapping import DictsInput  # noqa: PLC0415 - it needs this module

        return self._expand(DictsInput(kwargs, Subject(repr(self), author_call())))

    def _expand(self, expand_input: ExpandInput) -> Any:
        from orchestrator.sdk.mapping import (  # noqa: PLC0415 - it needs this module
            mapped_group_arguments,
        )

        if self._promise is not None:
            self._promise.is_kept = True
        with self._open() as group:
            arguments = mapped_group_arguments(self.function, self._partial, expand_input, group)
            group.expand_over(expand_input)
            returned = self.function(**arguments)
        return group if returned is None else returned

    def _open(self) -> TaskGroup:
        given = {
            "group_id": self.function.__name__,
            "add_suffix_on_collision": True,
            **self._arguments,
        }
        given.setdefault("tooltip", inspect.cleandoc(self.function.__doc__ or ""))
        return TaskGroup(**given)
