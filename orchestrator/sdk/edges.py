"""How tasks and groups are put in order: `a >> b`, chain, cross_downstream, labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from orchestrator.errors import DagInvalidError
from orchestrator.sdk.callsite import author_call, invalid
from orchestrator.sdk.unavailable import Airflows

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG

__all__ = ["Label", "Linkable", "Node", "Uncalled", "chain", "chain_linear", "cross_downstream"]

_L = TypeVar("_L")


class Linkable(Airflows):
    """Whatever may stand beside `>>` and `<<`: a task, a group, a task's output, a label."""

    def linked_nodes(self) -> tuple[Node, ...]:
        """Return the tasks and groups that an edge to or from this one means."""
        raise NotImplementedError

    def set_downstream(self, other: Any, edge_modifier: Label | None = None) -> None:
        """Have `other` (or each of several) wait for this one."""
        label = edge_modifier.label if edge_modifier else None
        _link(self.linked_nodes(), _nodes(other, beside=self), label)

    def set_upstream(self, other: Any, edge_modifier: Label | None = None) -> None:
        """Have this one wait for `other` (or each of several)."""
        label = edge_modifier.label if edge_modifier else None
        _link(_nodes(other, beside=self), self.linked_nodes(), label)

    def __rshift__(self, other: _L) -> _L:
        if isinstance(other, Label):
            other.set_upstream(self)
        else:
            self.set_downstream(other)
        return other

    def __lshift__(self, other: _L) -> _L:
        if isinstance(other, Label):
            other.set_downstream(self)
        else:
            self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Linkable:
        self.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Linkable:
        self.set_downstream(other)
        return self


class Uncalled(Airflows):
    """A decorated function: calling it makes the task or group; itself it is none."""

    __name__: str

    def uncalled(self) -> DagInvalidError:
        """Build the error for using it as if it had been called."""
        return invalid(
            repr(self),
            f"it is a function, and only a call of it is a task: write {self.__name__}(...)",
        )

    def __rshift__(self, other: Any) -> NoReturn:
        raise self.uncalled()

    __lshift__ = __rrshift__ = __rlshift__ = __rshift__


class Node(Linkable):
    """A task or a task group: an end of an edge."""

    dag: DAG | None

    @property
    def node_id(self) -> str:
        """The id that edges know it by; tasks and groups share one namespace."""
        raise NotImplementedError

    def linked_nodes(self) -> tuple[Node, ...]:
        return (self,)


class Label(Linkable):
    """Text on the edges between what stands left and right of it: `a >> Label("yes") >> b`."""

    def __init__(self, label: str) -> None:
        text: object = label
        if not isinstance(text, str) or not text:
            raise invalid("Label", f"the text is {label!r}; it must be a text that is not empty")
        self.label = label
        self._upstream: list[Node] = []
        self._downstream: list[Node] = []
        self._opened = self._upstream

    def __repr__(self) -> str:
        return f"Label({self.label!r})"

    def linked_nodes(self) -> tuple[Node, ...]:
        raise invalid("Label", f"{self!r} must stand between tasks, as in a >> {self!r} >> b")

    def set_upstream(
        self,
        other: Any,
        edge_modifier: Label | None = None,  # noqa: ARG002 - a label on a label
    ) -> None:
        self._join(self._upstream, _nodes(other, beside=self))

    def set_downstream(
        self,
        other: Any,
        edge_modifier: Label | None = None,  # noqa: ARG002 - a label on a label
    ) -> None:
        self._join(self._downstream, _nodes(other, beside=self))

    def _join(self, side: list[Node], nodes: Sequence[Node]) -> None:
        if side is self._opened and self._upstream and self._downstream:
            # Its edges are complete, and here it is put to use for others.
            self._upstream.clear()
            self._downstream.clear()
        if not self._upstream and not self._downstream:
            self._opened = side
        side.extend(nodes)
        from_left = side is self._upstream
        _link(
            nodes if from_left else self._upstream,
            self._downstream if from_left else nodes,
            self.label,
        )


def chain(*tasks: Any) -> None:
    """Put tasks in a row. A list beside a single task fans out or in; two lists beside each other
    must have one length and are joined pair by pair."""
    for left, right in pairwise(tasks):
        lefts, rights = _as_list(left), _as_list(right)
        _linkables([left] if lefts is None else lefts, "chain")
        _linkables([right] if rights is None else rights, "chain")
        if lefts is None and rights is None:
            _ = left >> right
        elif lefts is None:
            for one in rights or ():
                _ = left >> one
        elif rights is None:
            for one in lefts:
                _ = one >> right
        elif len(lefts) == len(rights):
            for one, other in zip(lefts, rights, strict=True):
                _ = one >> other
        else:
            raise invalid(
                "chain",
                f"lists of {len(lefts)} and {len(rights)} tasks stand beside each other; they "
                "must have one length (cross_downstream joins each with each)",
            )


def chain_linear(*tasks: Any) -> None:
    """Put tasks in a row; each of a list waits for each of the list before it."""
    for left, right in pairwise(tasks):
        lefts, rights = _as_list(left), _as_list(right)
        cross_downstream([left] if lefts is None else lefts, [right] if rights is None else rights)


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Have each of `to_tasks` wait for each of `from_tasks`."""
    sources = _as_list(from_tasks)
    if sources is None:
        raise invalid(
            "cross_downstream",
            f"from_tasks is {from_tasks!r}; it must be a list of tasks (a >> [b, c] needs none)",
        )
    for task in _linkables(sources, "cross_downstream"):
        task.set_downstream(to_tasks)


def _linkables(values: Sequence[Any], where: str) -> Sequence[Linkable]:
    for value in values:
        if not isinstance(value, Linkable):
            raise invalid(where, f"{value!r} is no task, task's output, task group or label")
    return values


def _as_list(value: Any) -> list[Any] | None:
    return list(value) if isinstance(value, list | tuple) else None


def _nodes(value: Any, *, beside: Linkable) -> list[Node]:
    if isinstance(value, Linkable):
        return list(value.linked_nodes())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [node for one in value for node in _nodes(one, beside=beside)]
    if isinstance(value, Uncalled):
        raise value.uncalled()
    raise invalid(
        repr(beside),
        f"{value!r} cannot be upstream or downstream of it; only a task, a task's output, a task "
        "group or a list of them can",
    )


def _link(upstream: Sequence[Node], downstream: Sequence[Node], label: str | None) -> None:
    site = author_call()
    for up in upstream:
        for down in downstream:
            if up.dag is None or down.dag is None:
                lonely = up if up.dag is None else down
                raise invalid(
                    repr(lonely),
                    "it belongs to no DAG; create it inside `with DAG(...)` or pass dag=",
                    site,
                )
            if up.dag is not down.dag:
                raise DagInvalidError(
                    f"{up.node_id!r} is in DAG {up.dag.dag_id!r} and {down.node_id!r} in DAG "
                    f"{down.dag.dag_id!r}; an edge stays within one DAG ({site})"
                )
            up.dag.add_link(up, down, label=label, site=site)
