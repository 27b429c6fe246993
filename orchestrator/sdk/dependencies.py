"""Which task waits for which, once groups stand for their ends and outputs for their tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import DagInvalidError
from orchestrator.sdk.callsite import CallSite
from orchestrator.sdk.edges import Node
from orchestrator.sdk.groups import TaskGroup, container_of
from orchestrator.sdk.references import Reference, references_in

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.operators import BaseOperator


class Link(NamedTuple):
    """One `>>` as written: its ends, its label, and where it was written first."""

    upstream: Node
    downstream: Node
    label: str | None
    site: CallSite


class Edges(NamedTuple):
    """The DAG's edges between tasks: upstream ids by task, labels by (upstream, downstream)."""

    upstream: Mapping[str, frozenset[str]]
    labels: Mapping[tuple[str, str], str]


def resolve_edges(dag: DAG) -> Edges:
    """Return the edges between tasks that the DAG's links and arguments mean.

    A group's roots and leaves depend on the edges inside it only, so links inside groups are
    resolved before the links of those groups, whatever the order they were written in.
    """
    return _Resolver(dag).resolve()


class _Resolver:
    def __init__(self, dag: DAG) -> None:
        self._dag = dag
        self._tasks = dag.task_dict
        self._upstream: dict[str, set[str]] = {task.task_id: set() for task in dag.tasks}
        self._labels: dict[tuple[str, str], str] = {}
        self._members = _members(dag.tasks)
        self._links_by_scope: dict[str | None, list[Link]] = {}
        self._links_into: dict[str, list[Link]] = {}
        self._resolved: set[str | None] = set()
        self._resolved_inside: set[str] = set()
        self._leaves: dict[str, frozenset[str]] = {}

    def resolve(self) -> Edges:
        for link in self._dag.links:
            self._file(link)
        for task in self._dag.tasks:
            self._add_arguments(task)
        for scope in [None, *(group.group_id for group in self._dag.groups)]:
            self._resolve_scope(scope)
        return Edges(
            {task_id: frozenset(ids) for task_id, ids in self._upstream.items()}, self._labels
        )

    def _file(self, link: Link) -> None:
        """Sort a link by the innermost group that holds both its ends; two tasks need no more."""
        up, down = link.upstream, link.downstream
        for outer, inner in ((up, down), (down, up)):
            if isinstance(outer, TaskGroup) and (outer is inner or outer.contains(inner)):
                raise DagInvalidError(
                    f"DAG {self._dag.dag_id!r}: {up.node_id!r} >> {down.node_id!r} puts a group "
                    f"in order with its own content ({link.site})"
                )
        if not isinstance(up, TaskGroup) and not isinstance(down, TaskGroup):
            self._connect(up.node_id, down.node_id, link.label)
            return
        scope = container_of(up)
        while scope is not None and not scope.contains(down):
            scope = scope.parent_group
        self._links_by_scope.setdefault(scope.group_id if scope else None, []).append(link)
        if isinstance(down, TaskGroup):
            self._links_into.setdefault(down.group_id, []).append(link)

    def _add_arguments(self, task: BaseOperator) -> None:
        templated = frozenset(task.template_fields)
        if task.expand_input is not None:
            for reference in task.expand_input.references():
                self._add_reference(task, reference)
            for reference in task.shared_references():
                self._add_reference(task, reference)
            return
        for name, value in vars(task).items():
            if name in templated:
                for reference in references_in(value):
                    self._add_reference(task, reference)
            elif isinstance(value, Reference):
                raise task.subject.error(
                    f"argument {name!r} is given the output of another task, but "
                    f"{task.operator_name} resolves outputs only in its template_fields "
                    f"{tuple(task.template_fields)!r}; name {name!r} there"
                )

    def _add_reference(self, task: BaseOperator, reference: Reference) -> None:
        for upstream in reference.upstream_tasks():
            if upstream.dag is not task.dag:
                home = "no DAG" if upstream.dag is None else f"DAG {upstream.dag.dag_id!r}"
                raise task.subject.error(
                    f"it takes the output of {upstream.task_id!r}, which is in {home}; an output "
                    "can only be passed within one DAG"
                )
            self._connect(upstream.task_id, task.task_id, None)

    def _connect(self, upstream: str, downstream: str, label: str | None) -> None:
        self._upstream[downstream].add(upstream)
        if label is not None:
            self._labels[upstream, downstream] = label

    def _resolve_scope(self, scope: str | None) -> None:
        if scope in self._resolved:
            return
        self._resolved.add(scope)
        for link in self._links_by_scope.get(scope, ()):
            for upstream in self._leaves_of(link.upstream):
                for downstream in self._roots_of(link.downstream):
                    self._connect(upstream, downstream, link.label)

    def _resolve_inside(self, group: TaskGroup) -> None:
        if group.group_id in self._resolved_inside:
            return
        self._resolved_inside.add(group.group_id)
        for inner in self._dag.groups:
            if inner is group or group.contains(inner):
                self._resolve_scope(inner.group_id)

    def _roots_of(self, node: Node) -> frozenset[str]:
        if not isinstance(node, TaskGroup):
            return frozenset((node.node_id,))
        self._resolve_inside(node)
        members = self._members.get(node.group_id, frozenset())
        return frozenset(each for each in members if not self._upstream[each] & members)

    def _leaves_of(self, node: Node) -> frozenset[str]:
        if not isinstance(node, TaskGroup):
            return frozenset((node.node_id,))
        if node.group_id not in self._leaves:
            # Set first: a ring of empty groups then passes nothing on instead of recursing.
            self._leaves[node.group_id] = frozenset()
            self._leaves[node.group_id] = self._find_leaves(node)
        return self._leaves[node.group_id]

    def _find_leaves(self, group: TaskGroup) -> frozenset[str]:
        members = self._members.get(group.group_id)
        if members is None:
            above = self._links_into.get(group.group_id, ())
            return frozenset().union(*(self._leaves_of(link.upstream) for link in above))
        self._resolve_inside(group)
        inner = frozenset().union(*(self._upstream[member] for member in members))
        return frozenset[str]().union(*(self._last_work(each, members) for each in members - inner))

    def _last_work(self, task_id: str, members: frozenset[str]) -> frozenset[str]:
        """What a leaf of a group stands for: who comes after the group does not wait for teardowns
        in it, but for the work before them; a setup is no work for its own teardown."""
        if not self._tasks[task_id].is_teardown:
            return frozenset((task_id,))
        found: set[str] = set()
        for above in self._upstream[task_id] & members:
            if self._tasks[above].is_teardown:
                found |= self._last_work(above, members)
            elif not self._tasks[above].is_setup:
                found.add(above)
        return frozenset(found)


def _members(tasks: Iterable[BaseOperator]) -> dict[str, frozenset[str]]:
    """The ids of the tasks in each group, at any depth."""
    members: dict[str, set[str]] = {}
    for task in tasks:
        group = task.task_group
        while group is not None:
            members.setdefault(group.group_id, set()).add(task.task_id)
            group = group.parent_group
    return {group_id: frozenset(ids) for group_id, ids in members.items()}
