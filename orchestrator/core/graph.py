"""What depends on what in a DAG: neighbours, ancestors, levels of mapping, leaves, priorities."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.core.ids import UNMAPPED, Slot
from orchestrator.core.levels import (
    Levels,
    enclosing_groups,
    groups_around,
    levels_of,
    shared_groups,
)
from orchestrator.core.setups import leaves, reach, setups_needed, teardown_scopes
from orchestrator.core.specs import DagSpec, RetryPolicy, TaskSpec, WeightRule

PRIORITY_MAX = 2**31 - 1
"""What a 32-bit column holds; a larger sum is cut, as in Airflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A direct dependency, seen from above: index i of the task above concerns index i below along
    the `shared` mapped groups around both, and all indexes beyond them."""

    below: str
    shared: int
    leaves_group: bool
    """Whether it leads out of a task group that is retried as a unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedGroup:
    """A task group that is retried as a unit. `depth` is how many mapped groups it is in, itself
    counted: each of its map indexes is retried for itself."""

    group_id: str
    depth: int
    policy: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """Lookups over one DagSpec. Every tuple is sorted by task id; `order` is topological, and has
    the tasks that something is mapped over before it."""

    spec: DagSpec
    tasks: Mapping[str, TaskSpec]
    downstream: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    leaves: tuple[str, ...]
    """The tasks whose end is the run's: nothing is below them but teardowns that are ignored."""
    choosers: Mapping[str, tuple[str, ...]]
    """The branches and short circuits above each task that has any."""
    priorities: Mapping[str, int]
    levels: Mapping[str, Levels]
    edges: Mapping[str, tuple[Edge, ...]]
    setups_needed: Mapping[str, tuple[str, ...]]
    """The setups that must have succeeded for a task to run, for each task that has any."""
    scopes: Mapping[str, tuple[str, ...]]
    """For each teardown, what it waits for that is not directly above it."""

    retried: Mapping[str, RetriedGroup]
    """The group that each task is retried with, if there is one."""

    def is_together(self, one: str, other: str) -> bool:
        """Whether two tasks are retried together, so that neither waits for the other's group."""
        group = self.retried.get(one)
        return group is not None and group is self.retried.get(other)

    def depth(self, task_id: str) -> int:
        """Return how many steps the map path of an instance has at last; 0 if it is not mapped."""
        return len(self.levels[task_id])

    def has_place_for(self, slot: Slot) -> bool:
        """Whether a task instance belongs here: not one whose task is gone since, nor an index of a
        task that is no longer mapped (what another version of the DAG left behind)."""
        if slot.task_id not in self.tasks:
            return False
        return slot.map_index == UNMAPPED or self.depth(slot.task_id) > 0

    def groups_around(self, task_id: str) -> int:
        """Return how many mapped groups a task is in."""
        return groups_around(self.levels[task_id])

    def shared(self, one: str, other: str) -> int:
        """Return in how many mapped groups two tasks are together."""
        return shared_groups(self.levels[one], self.levels[other])

    def descendants(self, roots: Iterable[str]) -> frozenset[str]:
        """Return every task below any of `roots`; a root only if it is below another."""
        return reach(roots, self.downstream)


def build_graph(spec: DagSpec) -> Graph:
    """Index a spec. A cycle trips an assertion: authoring has refused it long before."""
    tasks = {task.task_id: task for task in spec.tasks}
    levels = levels_of(spec)
    below = _inverse({task_id: task.upstream for task_id, task in tasks.items()})
    order = _topological(tasks, levels)
    retried = _retried(spec)
    return Graph(
        spec=spec,
        tasks=MappingProxyType(tasks),
        downstream=MappingProxyType(below),
        order=order,
        leaves=leaves(tasks, below),
        choosers=MappingProxyType(_choosers(tasks, below)),
        priorities=MappingProxyType(_priorities(tasks, order, below)),
        levels=MappingProxyType(levels),
        setups_needed=MappingProxyType(setups_needed(tasks, below)),
        scopes=MappingProxyType(teardown_scopes(tasks, below)),
        edges=MappingProxyType(_edges(below, levels, retried)),
        retried=MappingProxyType(retried),
    )


def _edges(
    below: Mapping[str, tuple[str, ...]],
    levels: Mapping[str, Levels],
    retried: Mapping[str, RetriedGroup],
) -> dict[str, tuple[Edge, ...]]:
    return {
        task_id: tuple(
            Edge(
                below=each,
                shared=shared_groups(levels[task_id], levels[each]),
                leaves_group=task_id in retried and retried.get(each) is not retried[task_id],
            )
            for each in ids
        )
        for task_id, ids in below.items()
    }


def _retried(spec: DagSpec) -> dict[str, RetriedGroup]:
    groups = {group.group_id: group for group in spec.groups}
    found: dict[str, RetriedGroup] = {}
    units: dict[str, RetriedGroup] = {}
    for task in spec.tasks:
        around = enclosing_groups(task.group_id, groups)
        for number, group in enumerate(around):
            if group.retry is not None and group.retry.retries:
                assert task.task_id not in found, "a retried group is in another one"
                depth = sum(each.expansion is not None for each in around[number:])
                unit = RetriedGroup(group_id=group.group_id, depth=depth, policy=group.retry)
                found[task.task_id] = units.setdefault(group.group_id, unit)
    return found


def _inverse(above: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    below: dict[str, list[str]] = {task_id: [] for task_id in above}
    for task_id in sorted(above):
        for upstream in above[task_id]:
            below[upstream].append(task_id)
    return {task_id: tuple(ids) for task_id, ids in below.items()}


def _topological(tasks: Mapping[str, TaskSpec], levels: Mapping[str, Levels]) -> tuple[str, ...]:
    above = {
        task_id: {*task.upstream, *(each for level in levels[task_id] for each in level.inputs)}
        for task_id, task in tasks.items()
    }
    downstream = _inverse(above)
    missing = {task_id: len(ids) for task_id, ids in above.items()}
    ready = [task_id for task_id in sorted(tasks) if not missing[task_id]]
    order: list[str] = []
    for task_id in ready:  # grows while it is read
        order.append(task_id)
        for below in downstream[task_id]:
            missing[below] -= 1
            if not missing[below]:
                ready.append(below)
    assert len(order) == len(tasks), "a DagSpec has a cycle"
    return tuple(order)


def _choosers(
    tasks: Mapping[str, TaskSpec], downstream: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    above: dict[str, tuple[str, ...]] = {}
    for task_id in sorted(task_id for task_id, task in tasks.items() if task.chooses):
        for below in reach((task_id,), downstream):
            above[below] = (*above.get(below, ()), task_id)
    return above


def _priorities(
    tasks: Mapping[str, TaskSpec], order: tuple[str, ...], downstream: Mapping[str, tuple[str, ...]]
) -> dict[str, int]:
    """Sum each task's weight with its relatives'. Relatives are bit sets, so that a chain of
    10,000 tasks costs milliseconds where walking from every task would cost seconds."""
    bit = {task_id: 1 << index for index, task_id in enumerate(order)}
    weights: dict[int, int] = {}
    for task_id, task in tasks.items():
        weights[task.priority_weight] = weights.get(task.priority_weight, 0) | bit[task_id]
    below = _relatives(reversed(order), downstream, bit)
    above = _relatives(order, {task_id: task.upstream for task_id, task in tasks.items()}, bit)
    sums: dict[str, int] = {}
    for task_id, task in tasks.items():
        match task.weight_rule:
            case WeightRule.ABSOLUTE | WeightRule.CRITICAL_PATH:
                others = 0
            case WeightRule.DOWNSTREAM:
                others = below[task_id]
            case WeightRule.UPSTREAM:
                others = above[task_id]
        total = sum(weight * (others & mask).bit_count() for weight, mask in weights.items())
        sums[task_id] = max(-PRIORITY_MAX, min(task.priority_weight + total, PRIORITY_MAX))
    return sums


def _relatives(
    order: Iterable[str], edges: Mapping[str, tuple[str, ...]], bit: Mapping[str, int]
) -> dict[str, int]:
    """Return, as bit sets, all that each task reaches along `edges`; `order` has targets first."""
    reached: dict[str, int] = {}
    for task_id in order:
        mine = 0
        for neighbour in edges[task_id]:
            mine |= bit[neighbour] | reached[neighbour]
        reached[task_id] = mine
    return reached
