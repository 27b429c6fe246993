"""Where does a try stand in the mapped groups around its task, and which instances of another task
does it mean when it takes that task's output?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core.ids import ALL_INDEXES, UNMAPPED, MapPath, index_of, path_of
from orchestrator.sdk.groups import TaskGroup, container_of

if TYPE_CHECKING:
    from orchestrator.sdk.edges import Node
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["MapPosition", "depth_of", "mapped_groups"]


def mapped_groups(node: Node) -> tuple[TaskGroup, ...]:
    """Return the mapped groups around a task or group, outermost first."""
    groups: list[TaskGroup] = []
    group = container_of(node)
    while group is not None:
        if group.expand_input is not None:
            groups.append(group)
        group = group.parent_group
    return tuple(reversed(groups))


def depth_of(task: BaseOperator) -> int:
    """Return how many levels of mapping a task has: the groups around it, and its own."""
    return len(mapped_groups(task)) + (task.expand_input is not None)


@dataclass(frozen=True, slots=True)
class MapPosition:
    """The mapped groups around a task, outermost first, and the index in each of them; the last
    index of a task that is mapped itself is its own."""

    groups: tuple[TaskGroup, ...] = ()
    path: MapPath = ()

    @classmethod
    def of(cls, task: BaseOperator, map_index: int) -> MapPosition:
        """Return the position that a map index of a task means."""
        if map_index == UNMAPPED:
            return cls()
        groups = mapped_groups(task)
        depth = len(groups) + (task.expand_input is not None)
        return cls(groups, path_of(map_index, depth=depth))

    def index_in(self, group: TaskGroup) -> int:
        """Return the index within a mapped group around the task."""
        return self.path[self.groups.index(group)]

    def instances_of(self, task: BaseOperator) -> int | range:
        """Return the map index of the one instance of another task that is meant, or the range of
        all that are: within the mapped groups that hold both tasks, index i belongs to index i."""
        groups = mapped_groups(task)
        shared = 0
        for mine, other in zip(self.groups, groups, strict=False):
            if mine is not other:
                break
            shared += 1
        prefix, depth = self.path[:shared], depth_of(task)
        if depth == shared:
            return index_of(prefix, depth=depth) if depth else UNMAPPED
        first = index_of((*prefix, *(0,) * (depth - shared)), depth=depth)
        return range(first, index_of(prefix, depth=depth) + 1 if prefix else ALL_INDEXES.stop)
