"""Which tasks does a branch or short circuit not follow?

Decided on the spec, so that the task and the scheduler look at the same graph.
"""

from collections.abc import Iterable

from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.specs import DagSpec
from orchestrator.errors import did_you_mean
from orchestrator.sdk.exceptions import TaskException


def tasks_not_chosen(
    result: object, *, task_id: str, dag: DagSpec, id_prefix: str = ""
) -> tuple[str, ...]:
    """Return the direct downstream tasks of branch `task_id` that its `result` does not follow.

    `result` is a task or group id (a group stands for its roots), several, or None for no branch
    at all; an id that exists with `id_prefix` before it means that one. A direct child that is also
    downstream of a chosen task is followed; a child between the branch and a chosen task further
    down is not. Within a mapped group a branch decides for its own index, so what is outside of the
    group, and has no such index, is followed.
    """
    graph = build_graph(dag)
    chosen = _chosen(result, task_id, id_prefix, graph)
    followed = chosen | graph.descendants(chosen)
    return tuple(
        child
        for child in graph.downstream[task_id]
        if child not in followed and _has_its_index(child, task_id, graph)
    )


def tasks_cut_off(*, task_id: str, dag: DagSpec, all_descendants: bool) -> tuple[str, ...]:
    """Return what a short circuit skips: every descendant, or the direct downstream tasks only."""
    graph = build_graph(dag)
    below = sorted(graph.descendants((task_id,))) if all_descendants else graph.downstream[task_id]
    return tuple(each for each in below if _has_its_index(each, task_id, graph))


def _has_its_index(child: str, task_id: str, graph: Graph) -> bool:
    """Whether a task is in every mapped group that the branch is in."""
    return graph.shared(child, task_id) == graph.groups_around(task_id)


def _chosen(result: object, task_id: str, id_prefix: str, graph: Graph) -> frozenset[str]:
    if result is None:
        return frozenset()
    if isinstance(result, str):
        return _tasks_of(result, task_id, id_prefix, graph)
    if isinstance(result, Iterable):
        each_one = (_tasks_of(each, task_id, id_prefix, graph) for each in result)
        return frozenset[str]().union(*each_one)
    raise TaskException(
        f"branch {task_id!r} returned {result!r}; it must return a task or group id, a list of "
        "them, or None"
    )


def _tasks_of(branch: object, task_id: str, id_prefix: str, graph: Graph) -> frozenset[str]:
    if not isinstance(branch, str):
        raise TaskException(
            f"branch {task_id!r} returned {branch!r} among its ids, which is no text"
        )
    groups = {group.group_id: group.parent_id for group in graph.spec.groups}
    if id_prefix + branch in graph.tasks or id_prefix + branch in groups:
        branch = id_prefix + branch
    if branch in graph.tasks:
        return frozenset((branch,))
    if branch not in groups:
        ids = (*graph.tasks, *groups)
        within = [each for each in ids if each.endswith(f".{branch}")]
        hint = f"; did you mean {within[0]!r}?" if len(within) == 1 else did_you_mean(branch, ids)
        raise TaskException(
            f"branch {task_id!r} chose {branch!r}, which is no task or group of this DAG{hint}"
        )
    members = {
        task.task_id for task in graph.spec.tasks if branch in _ancestry(task.group_id, groups)
    }
    return frozenset(each for each in members if members.isdisjoint(graph.tasks[each].upstream))


def _ancestry(group_id: str | None, parents: dict[str, str | None]) -> Iterable[str]:
    while group_id is not None:
        yield group_id
        group_id = parents[group_id]
