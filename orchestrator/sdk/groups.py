"""How tasks are grouped: under one prefix, one set of default arguments, one pair of ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callsite import author_call
from orchestrator.sdk.edges import Node, Uncalled
from orchestrator.sdk.scope import Scope, current_scope, enter_scope, leave_scope

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["TaskGroup", "task_group"]


class TaskGroup(Node):
    """A group of tasks and groups. Tasks created in its `with` block belong to it.

    `a >> group` means the group's roots, `group >> b` its leaves, as they are once the whole DAG is
    written; an empty group passes its upstream on. `default_args` add to those around it.
    """

    dag: DAG

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

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self.function = function
        self._arguments = dict(arguments)
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<@task_group {self.function.__qualname__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {
            "group_id": self.function.__name__,
            "add_suffix_on_collision": True,
            **self._arguments,
        }
        given.setdefault("tooltip", inspect.cleandoc(self.function.__doc__ or ""))
        with TaskGroup(**given) as group:
            returned = self.function(*args, **kwargs)
        return group if returned is None else returned

    def override(self, **arguments: Any) -> GroupFunction:
        """Return the same function as a group with other arguments."""
        return GroupFunction(self.function, {**self._arguments, **arguments})
