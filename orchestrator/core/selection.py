"""Which task instances of a run does a person mean?

A name stands for a task or for a task group; related ones follow along the edges. Within the same
mapped groups an instance is related to those of its own map index only; from outside of them, all
instances of a task are. So what is selected is, for each task, the map paths below which its
instances lie: `()` is above all of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.core.graph import Graph
from orchestrator.core.ids import UNMAPPED, MapPath, Slot, index_of, path_of
from orchestrator.core.levels import enclosing_groups
from orchestrator.core.map_paths import Steps, check_steps, index_name
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import TaskState
from orchestrator.errors import NotFoundError, RequestInvalidError, did_you_mean

FAILED_STATES = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED})

Reach = Mapping[str, frozenset[MapPath]]
"""For each task selected, the map paths below which its instances are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A task or task group by its name; of a mapped task, one instance or (None) all of them: by
    the `map_index` that is stored, or by the `steps` of its path that a person wrote."""

    name: str
    map_index: int | None = None
    steps: Steps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a person names: `targets` (None: every task of the run), and what else follows from
    them. `only_failed` keeps those that are failed or upstream_failed, `only_running` those that
    run; their setups and teardowns come along in whatever state they are."""

    targets: tuple[Target, ...] | None = None
    includes_upstream: bool = False
    includes_downstream: bool = False
    only_failed: bool = False
    only_running: bool = False

    def keeps(self, state: TaskState) -> bool:
        """Whether a task instance in this state is meant."""
        if state is TaskState.REMOVED:
            return False
        return (not self.only_failed or state in FAILED_STATES) and (
            not self.only_running or state is TaskState.RUNNING
        )


class Relations:
    """How the tasks of a DAG and the instances of a run belong together."""

    def __init__(self, graph: Graph, states: Mapping[Slot, TaskState]) -> None:
        self._graph = graph
        self._states = states
        self._groups = {group.group_id: group for group in graph.spec.groups}
        self._slots: dict[str, list[Slot]] = {task_id: [] for task_id in graph.tasks}
        for slot in states:
            if slot.task_id in self._slots:
                self._slots[slot.task_id].append(slot)
        # What something is mapped over comes before it, whether or not there is an edge.
        self._above = {
            task_id: {
                *task.upstream,
                *(name for level in graph.levels[task_id] for name in level.inputs),
            }
            for task_id, task in graph.tasks.items()
        }
        self._below: dict[str, list[str]] = {task_id: [] for task_id in graph.tasks}
        for task_id, names in self._above.items():
            for name in names:
                self._below[name].append(task_id)
        self._teardowns: dict[str, list[str]] = {}
        for task in graph.spec.tasks:
            for setup in task.setups if task.is_teardown else ():
                self._teardowns.setdefault(setup, []).append(task.task_id)

    def reach_of(self, selection: Selection) -> Reach:
        """Return what a selection names, with the relatives it asks for, whatever their state.
        Raise NotFoundError for a name that the DAG does not have or an index the run does not."""
        if selection.targets is None:
            return {task_id: frozenset({()}) for task_id in self._graph.tasks}
        named = [place for target in selection.targets for place in self._places(target)]
        reached = set(named)
        if selection.includes_upstream:
            reached |= self._walk(named, self._above)
        if selection.includes_downstream:
            reached |= self._walk(named, self._below)
        return _by_task(reached)

    def below(self, reach: Reach) -> Reach:
        """Return what is downstream of all that is in `reach`."""
        places = [(task_id, path) for task_id, paths in reach.items() for path in paths]
        return _by_task(self._walk(places, self._below))

    def instances(self, reach: Reach, *, keeps: Callable[[TaskState], bool]) -> tuple[Slot, ...]:
        """Return the task instances within `reach` whose state is kept, upstream first."""
        return self._in_order(
            slot
            for task_id, paths in reach.items()
            for slot in self._slots[task_id]
            if keeps(self._states[slot]) and self._lies_below(slot, paths)
        )

    def with_setups(self, slots: Iterable[Slot]) -> tuple[Slot, ...]:
        """Add the setups of work tasks and those setups' teardowns: work that runs again needs
        what the teardown has taken away."""
        chosen = tuple(slots)
        places: set[tuple[str, MapPath]] = set()
        for slot in chosen:
            task = self._graph.tasks[slot.task_id]
            if task.is_setup or task.is_teardown:
                continue
            path = self._path(slot)
            for setup in self._graph.setups_needed.get(slot.task_id, ()):
                for other in (setup, *self._teardowns.get(setup, ())):
                    places.add((other, path[: self._graph.shared(slot.task_id, other)]))
        added = self.instances(_by_task(places), keeps=Selection().keeps)
        return self._in_order({*chosen, *added})

    def _places(self, target: Target) -> list[tuple[str, MapPath]]:
        spec, name, index = self._graph.spec, target.name, target.map_index
        if name in self._graph.tasks:
            if target.steps is not None:
                return [(name, self._written_path(name, target.steps))]
            return [(name, () if index is None else self._index_path(name, index))]
        if name not in self._groups:
            raise unknown_name(spec, name)
        if index is not None or target.steps is not None:
            raise RequestInvalidError(
                f"{name!r} is a task group of DAG {spec.dag_id!r}; a map index belongs to a task, "
                f"so name one of its tasks or the whole group"
            )
        return [
            (task.task_id, ())
            for task in spec.tasks
            if name in (group.group_id for group in enclosing_groups(task.group_id, self._groups))
        ]

    def _written_path(self, task_id: str, steps: Steps) -> MapPath:
        depth = self._graph.depth(task_id)
        path = check_steps(task_id, steps, depth=depth)
        index = index_of(path, depth=depth)
        if None not in steps:
            return self._index_path(task_id, index)
        # A * is whatever is there: what is not expanded yet, or what it has become since.
        if not any(self._lies_below(slot, frozenset({path})) for slot in self._slots[task_id]):
            raise self._no_index(task_id, index)
        return path

    def _index_path(self, task_id: str, index: int) -> MapPath:
        if Slot(task_id, index) in self._states:
            return path_of(index, depth=self._graph.depth(task_id))
        raise self._no_index(task_id, index)

    def _no_index(self, task_id: str, index: int) -> NotFoundError:
        known = sorted(slot.map_index for slot in self._slots[task_id])
        if known in ([], [UNMAPPED]):
            mapped = "is not mapped" if not self._graph.depth(task_id) else "has no map indexes yet"
            return NotFoundError(f"task {task_id!r} {mapped} in this run; leave the map index out")
        asked, first, last = (
            index_name(Slot(task_id, each), self._graph.levels)
            for each in (index, known[0], known[-1])
        )
        return NotFoundError(
            f"task {task_id!r} has no map index {asked} in this run; it has {len(known)}, "
            f"{first} to {last}"
        )

    def _walk(
        self, places: Iterable[tuple[str, MapPath]], edges: Mapping[str, Iterable[str]]
    ) -> set[tuple[str, MapPath]]:
        """Return all that is reached from `places`, themselves not counted unless reached."""
        seen: set[tuple[str, MapPath]] = set()
        frontier = list(places)
        while frontier:
            task_id, path = frontier.pop()
            for other in edges[task_id]:
                place = (other, path[: self._graph.shared(task_id, other)])
                if place not in seen:
                    seen.add(place)
                    frontier.append(place)
        return seen

    def _lies_below(self, slot: Slot, paths: frozenset[MapPath]) -> bool:
        if () in paths:
            return True
        own = self._path(slot)
        # By length, not path by path: each of many indexes may have been named.
        lengths = {len(path) for path in paths}
        if any(own[:length] in paths for length in lengths if length <= len(own)):
            return True
        # What is not expanded yet stands for all that it will become.
        return any(own == path[: len(own)] for path in paths if len(own) < len(path))

    def _path(self, slot: Slot) -> MapPath:
        return path_of(slot.map_index, depth=self._graph.depth(slot.task_id))

    def _in_order(self, slots: Iterable[Slot]) -> tuple[Slot, ...]:
        rank = {task_id: number for number, task_id in enumerate(self._graph.order)}
        return tuple(sorted(slots, key=lambda slot: (rank[slot.task_id], slot.map_index)))


def unknown_name(spec: DagSpec, name: str) -> NotFoundError:
    """Return the error for a name that is neither a task nor a group, with the nearest that is."""
    known = [task.task_id for task in spec.tasks] + [group.group_id for group in spec.groups]
    return NotFoundError(
        f"DAG {spec.dag_id!r} has no task or task group {name!r}{did_you_mean(name, known)}"
    )


def _by_task(places: Iterable[tuple[str, MapPath]]) -> Reach:
    paths: dict[str, set[MapPath]] = {}
    for task_id, path in places:
        paths.setdefault(task_id, set()).add(path)
    return {task_id: frozenset(found) for task_id, found in paths.items()}
