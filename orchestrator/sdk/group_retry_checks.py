"""Can a task group be retried as a unit, standing where it stands in its DAG?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from orchestrator.sdk.dependencies import Edges

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.groups import TaskGroup


def check_group_retries(dag: DAG, edges: Edges) -> None:
    """Refuse a retried group that is in another one, and one that a way leaves and comes back to:
    those outside wait until it has settled, so it would wait for itself."""
    retried = [group for group in dag.groups if group.retries]
    if not retried:
        return
    below: dict[str, set[str]] = {task_id: set() for task_id in edges.upstream}
    for task_id, above in edges.upstream.items():
        for each in above:
            below[each].add(task_id)
    for group in retried:
        _refuse_nested(group)
        inside = {task.task_id for task in group.tasks}
        between = (_reach(inside, below) & _reach(inside, edges.upstream)) - inside
        if between:
            raise group.subject.error(
                f"it has retries={group.retries}, and task {min(between)!r} comes after a task in"
                " it and before another; put that task into the group, or retry the tasks one by"
                " one"
            )


def _refuse_nested(group: TaskGroup) -> None:
    around = group.parent_group
    while around is not None:
        if around.retries:
            raise group.subject.error(
                f"it has retries={group.retries} in group {around.group_id!r}, which has"
                f" retries={around.retries}; only one of them can be retried as a unit"
            )
        around = around.parent_group


def _reach(roots: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    frontier = [each for root in roots for each in edges[root]]
    while frontier:
        task_id = frontier.pop()
        if task_id not in seen:
            seen.add(task_id)
            frontier.extend(edges[task_id])
    return seen
