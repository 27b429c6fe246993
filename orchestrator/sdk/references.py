"""What stands, at authoring time, for a value that only a run has: a task's output, a DAG param."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.core.outcomes import RETURN_VALUE
from orchestrator.sdk.callsite import invalid
from orchestrator.sdk.edges import Linkable, Node
from orchestrator.sdk.exceptions import XComNotFound

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["DagParam", "Reference", "XComArg", "references_in"]

MISSING = object()
"""What a pull answers when nothing was pushed; no task can push it."""


class Reference(ABC):
    """A value to come."""

    @abstractmethod
    def resolve(self, context: Context) -> Any:
        """Return the value within one try."""

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        """Return the tasks that must have run before it can be resolved."""
        return ()


class XComArg(Reference, Linkable):
    """The output of a task: what it returned, or with `output["key"]` what it pushed under a key.

    As an argument of another task it makes that task wait and becomes the value at run time. As
    text it is the template that pulls the value, for use within a larger template.
    """

    def __init__(self, operator: BaseOperator, key: str = RETURN_VALUE) -> None:
        self.operator = operator
        self.key = key

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, key={self.key!r})"

    def __str__(self) -> str:
        key = "" if self.key == RETURN_VALUE else f", key={self.key!r}"
        return f"{{{{ ti.xcom_pull(task_ids={self.operator.task_id!r}{key}) }}}}"

    def __getitem__(self, key: str) -> XComArg:
        if not isinstance(key, str):
            raise invalid(
                repr(self),
                f"output[{key!r}]: the output is not known before the run; a text names one of "
                "the XComs the task pushes, anything else must be taken apart inside a task",
            )
        return XComArg(self.operator, key)

    def __iter__(self) -> Iterator[Any]:
        raise invalid(
            repr(self),
            "the output is not known before the run, so it cannot be iterated or unpacked here; "
            "do that inside a task",
        )

    def linked_nodes(self) -> tuple[Node, ...]:
        return (self.operator,)

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        return (self.operator,)

    def resolve(self, context: Context) -> Any:
        """Return the pushed value. A task that returned nothing gives None; a key that was never
        pushed raises XComNotFound."""
        task_id = self.operator.task_id
        value = context["ti"].xcom_pull(task_ids=task_id, key=self.key, default=MISSING)
        if value is not MISSING:
            return value
        if self.key == RETURN_VALUE:
            return None
        raise XComNotFound(
            f"task {task_id!r} pushed no XCom {self.key!r}; to take a returned dict apart, set "
            "multiple_outputs=True on it or annotate its return type as dict"
        )


class DagParam(Reference):
    """A param of the DAG: its value in the run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"DagParam({self.name!r})"

    def __str__(self) -> str:
        return f"{{{{ params[{self.name!r}] }}}}"

    def resolve(self, context: Context) -> Any:
        """Return the run's value of the param."""
        return context["params"][self.name]


def references_in(value: Any) -> Iterator[Reference]:
    """Find the references in an argument, through lists, tuples, sets and dict values."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from references_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from references_in(each)
