"""Which task instances does a run have, and how do those stand that others look at?

Every change is counted where it is looked at: for each task below, along the mapped groups that
both are in. So a change costs the number of direct downstream tasks, however many map indexes a
task has; and a task is touched (to be decided on again) only when a count began or ceased to be
zero, since no verdict looks at more. Where it looks further than one edge, it watches. What is
in a task group that is retried is counted twice: as it is, for those in the group, and as those
outside see it, to whom it is unfinished until the group has settled.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from heapq import heappop, heappush

from orchestrator.core.decisions import Instance
from orchestrator.core.graph import Graph
from orchestrator.core.group_retries import GroupRetries
from orchestrator.core.ids import MapPath, Slot, index_of, path_of
from orchestrator.core.setups import is_ignored
from orchestrator.core.states import FINISHED_TASK_STATES, WAITING_TASK_STATES, TaskState
from orchestrator.core.trigger_rules import Tally

Place = tuple[str, MapPath]
"""All instances of a task below a map path."""

NOTHING = Tally()


class Roster:
    """The task instances of one run, counted."""

    def __init__(self, graph: Graph, *, began_at: datetime) -> None:
        self.graph = graph
        self.retries = GroupRetries(graph, began_at=began_at)
        self.instances: dict[Slot, Instance] = {}
        self.unfinished = 0
        self.under_way = 0
        """Unfinished ones that something happened to already: they will be heard of."""
        self.failed = 0
        """Those that failed for good, but for teardowns whose failure is ignored."""
        self.opened = 0
        """How often one that was not there, or finished, became unfinished."""
        self._ignored = {id_ for id_, task in graph.tasks.items() if is_ignored(task)}
        self._depth = {task_id: graph.depth(task_id) for task_id in graph.tasks}
        self._own = _by_task(graph)
        self._inner: dict[str, dict[MapPath, Tally]] = {id_: {} for id_ in graph.retried}
        self._upstream = _by_task(graph)
        self._open: dict[str, dict[MapPath, set[MapPath]]] = {id_: {} for id_ in graph.tasks}
        self._width: dict[str, dict[MapPath, int]] = {id_: {} for id_ in graph.tasks}
        self._settled: dict[str, dict[MapPath, int]] = {id_: {} for id_ in graph.tasks}
        self._skips: dict[str, dict[str, dict[MapPath, int]]] = {}
        self._watchers: dict[str, dict[MapPath, set[Place]]] = {}
        self._timed: list[tuple[datetime, Slot]] = []
        self._rank = {task_id: rank for rank, task_id in enumerate(graph.order)}
        self._touched: dict[str, set[MapPath]] = {}
        self._queue: list[int] = []

    def slot(self, task_id: str, path: MapPath) -> Slot:
        """Return the slot of the instance at a map path."""
        return Slot(task_id, index_of(path, depth=self._depth[task_id]))

    def path(self, slot: Slot) -> MapPath:
        """Return the map path of an instance."""
        return path_of(slot.map_index, depth=self._depth[slot.task_id])

    def at(self, task_id: str, path: MapPath) -> Instance | None:
        """Return the instance at a map path, if there is one."""
        return self.instances.get(self.slot(task_id, path))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.unfinished and not self.retries.is_pending

    def end_retries(self) -> None:
        """Let no task group run again any more."""
        for seen in self.retries.end():
            self._show(seen.slot, self.path(seen.slot), seen.before, seen.after, inside=False)

    def seen_state(self, slot: Slot) -> TaskState:
        """Return the state of an instance as those outside its group see it."""
        is_masked = self.retries.masks(slot.task_id, self.path(slot))
        return TaskState.NONE if is_masked else self.instances[slot].state

    def is_unfinished(self, slot: Slot) -> bool:
        """Whether an instance has still to end."""
        return self.instances[slot].state not in FINISHED_TASK_STATES

    def put(self, slot: Slot, instance: Instance) -> None:
        """Add an instance, or say what became of it."""
        known = self.instances.get(slot)
        path = self.path(slot)
        self.instances[slot] = instance
        if known is None:
            assert self.graph.has_place_for(slot), f"the DAG has no place for {slot}"
            self._widen(slot.task_id, path)
        self._count(slot, path, known, instance)
        if instance.state in WAITING_TASK_STATES:
            self.touch(slot.task_id, path)
            if instance.eligible_at is not None:
                heappush(self._timed, (instance.eligible_at, slot))

    def expand(self, task_id: str, path: MapPath, steps: Iterable[int]) -> tuple[int, ...]:
        """Give a task instances one level below a path; the one at the path, if there is one,
        becomes their first. Return their map indexes."""
        parent = self.slot(task_id, path)
        first = self.instances.pop(parent, None)
        if first is not None:
            self._count(parent, path, first, None)
        slots = [self.slot(task_id, (*path, step)) for step in steps]
        for slot in slots:
            self.put(slot, first or Instance())
            first = None
        return tuple(slot.map_index for slot in slots)

    def standing(self, task_id: str, prefix: MapPath, *, seen_by: str | None) -> Tally:
        """Count the instances of a task below a path, as another task (None: the run) sees them:
        one, where the path leads to it or the task is not expanded that far. Not to be changed."""
        is_inside = seen_by is not None and self.graph.is_together(task_id, seen_by)
        tally = (self._inner if is_inside else self._own)[task_id].get(prefix)
        if tally is not None and tally.total:
            return tally
        node = self._node(task_id, prefix)
        instance = self.at(task_id, node)
        if instance is None:
            return NOTHING
        is_masked = not is_inside and self.retries.masks(task_id, node)
        tally = Tally(total=1)
        tally.count(TaskState.NONE if is_masked else instance.state, 1)
        return tally

    def upstream(self, task_id: str, prefix: MapPath) -> Tally:
        """Count the direct upstream instances of a task at a path of mapped groups."""
        tallies = self._upstream[task_id]
        if not prefix:
            return tallies.get((), NOTHING)
        counted = Tally()
        for length in range(len(prefix) + 1):
            counted.add(tallies.get(prefix[:length], NOTHING))
        return counted

    def chooser_against(self, task_id: str, prefix: MapPath) -> str | None:
        """Return the branch or short circuit that decided against a task at a path: within a
        mapped group its index does, from elsewhere all its instances must."""
        for chooser, counts in sorted(self._skips.get(task_id, {}).items()):
            place = prefix[: self.graph.shared(chooser, task_id)]
            against = counts.get(place, 0)
            if against:
                standing = self.standing(chooser, place, seen_by=task_id)
                if against == standing.total - standing.removed:
                    return chooser
        return None

    def unfinished_among(self, task_ids: Iterable[str], below: Place) -> Iterator[Place]:
        """Yield the places, seen from one place, where instances of some tasks are unfinished."""
        task_id, prefix = below
        for other in task_ids:
            place = prefix[: self.graph.shared(other, task_id)]
            if self.standing(other, place, seen_by=task_id).unfinished:
                yield other, place

    def below(self, task_id: str, prefix: MapPath) -> Iterator[MapPath]:
        """Yield the paths of the instances of a task below a path, in order."""
        if self.slot(task_id, prefix) in self.instances:
            yield prefix
            return
        for step in range(self.width(task_id, prefix)):
            yield from self.below(task_id, (*prefix, step))

    def width(self, task_id: str, prefix: MapPath) -> int:
        """Return how many steps there have been right below a path."""
        return self._width[task_id].get(prefix, 0)

    def is_settled(self, task_id: str, prefix: MapPath, *, length: int) -> bool:
        """Whether the instances right below a path are known to be `length`, as they should be."""
        return self._settled[task_id].get(prefix) == length

    def settle(self, task_id: str, prefix: MapPath, *, length: int) -> None:
        """Remember that, until an instance below the path is removed or comes back."""
        self._settled[task_id][prefix] = length

    def watch(self, place: Place, watcher: Place) -> None:
        """Touch `watcher` once everything at `place` has ended."""
        task_id, prefix = place
        node = self._node(task_id, prefix)
        self._watchers.setdefault(task_id, {}).setdefault(node, set()).add(watcher)

    def touch(self, task_id: str, prefix: MapPath) -> None:
        """Have the undecided instances of a task below a path decided on."""
        if task_id not in self._touched:
            self._touched[task_id] = set()
            heappush(self._queue, self._rank[task_id])
        self._touched[task_id].add(prefix)

    def touch_due(self, now: datetime) -> None:
        """Touch what has waited for a time that has come."""
        while self._timed and self._timed[0][0] <= now:
            _, slot = heappop(self._timed)
            if slot in self.instances:
                self.touch(slot.task_id, self.path(slot))

    def next_due(self) -> datetime | None:
        """Return the first time that an instance waits for."""
        while self._timed:
            due_at, slot = self._timed[0]
            known = self.instances.get(slot)
            if known and known.state in WAITING_TASK_STATES and known.eligible_at == due_at:
                return due_at
            heappop(self._timed)
        return None

    def next_touched(self) -> str | None:
        """Return the first touched task, upstream before downstream: so each is decided on once,
        after all that came before it."""
        return self.graph.order[self._queue[0]] if self._queue else None

    def take_touched(self, task_id: str) -> list[MapPath]:
        """Return, in order, the paths of the touched instances that wait, and forget the touch."""
        rank = heappop(self._queue)
        assert rank == self._rank[task_id], "touched tasks are taken in topological order"
        paths: set[MapPath] = set()
        for prefix in self._touched.pop(task_id):
            instance = self.at(task_id, prefix)
            if instance is None:
                paths |= self._open[task_id].get(prefix, set())
            elif instance.state in WAITING_TASK_STATES:
                paths.add(prefix)
        return sorted(paths)

    def _node(self, task_id: str, prefix: MapPath) -> MapPath:
        """Return where below a path the instances of a task are counted: at the path itself, or at
        the one above it that is not expanded yet."""
        own = self._own[task_id]
        for length in range(min(len(prefix), self._depth[task_id]), 0, -1):
            path = prefix[:length]
            tally = own.get(path)
            if (tally is not None and tally.total) or self.slot(task_id, path) in self.instances:
                return path
        return ()

    def _widen(self, task_id: str, path: MapPath) -> None:
        widths = self._width[task_id]
        for length, step in enumerate(path):
            prefix = path[:length]
            widths[prefix] = max(widths.get(prefix, 0), step + 1)

    def _count(
        self, slot: Slot, path: MapPath, known: Instance | None, instance: Instance | None
    ) -> None:
        before = known.state if known else None
        after = instance.state if instance else None
        self._count_open(slot.task_id, path, before, after)
        if TaskState.REMOVED in (before, after):
            for length in range(len(path)):
                self._settled[slot.task_id].pop(path[:length], None)
        if slot.task_id not in self._inner:
            self._show(slot, path, known, instance, inside=False)
            return
        self._show(slot, path, known, instance, inside=True)
        for seen in self.retries.change(slot, path, known, instance):
            self._show(seen.slot, self.path(seen.slot), seen.before, seen.after, inside=False)

    def _show(
        self,
        slot: Slot,
        path: MapPath,
        known: Instance | None,
        instance: Instance | None,
        *,
        inside: bool,
    ) -> None:
        """Count a change where it is looked at: by those in a retried group, or by all others."""
        task_id = slot.task_id
        before = known.state if known else None
        after = instance.state if instance else None
        if before is not after:
            tallies = (self._inner if inside else self._own)[task_id]
            for length in range(min(len(path), max(self._depth[task_id] - 1, 0)) + 1):
                _shift(tallies.setdefault(path[:length], Tally()), before, after)
            if not inside and task_id not in self._ignored:
                self.failed += (after is TaskState.FAILED) - (before is TaskState.FAILED)
            is_grouped = task_id in self._inner
            for edge in self.graph.edges[task_id]:
                if is_grouped and edge.leaves_group is inside:
                    continue
                place = path[: edge.shared]
                tally = self._upstream[edge.below].setdefault(place, Tally())
                shape = tally.shape
                _shift(tally, before, after)
                if tally.shape != shape:
                    self.touch(edge.below, place)
        self._count_skips(task_id, path, known, instance, inside=inside)
        if after is None or after in FINISHED_TASK_STATES:
            self._tell_watchers(task_id, path, (self._inner if inside else self._own)[task_id])

    def _count_open(
        self, task_id: str, path: MapPath, before: TaskState | None, after: TaskState | None
    ) -> None:
        was_unfinished = before is not None and before not in FINISHED_TASK_STATES
        is_unfinished = after is not None and after not in FINISHED_TASK_STATES
        self.unfinished += is_unfinished - was_unfinished
        self.opened += is_unfinished and not was_unfinished
        self.under_way += (is_unfinished and after is not TaskState.NONE) - (
            was_unfinished and before is not TaskState.NONE
        )
        was_waiting, is_waiting = before in WAITING_TASK_STATES, after in WAITING_TASK_STATES
        if was_waiting == is_waiting:
            return
        for length in range(len(path)):
            waiting = self._open[task_id].setdefault(path[:length], set())
            if is_waiting:
                waiting.add(path)
            else:
                waiting.discard(path)

    def _count_skips(
        self,
        task_id: str,
        path: MapPath,
        known: Instance | None,
        instance: Instance | None,
        *,
        inside: bool,
    ) -> None:
        before = known.skip or () if known else ()
        after = instance.skip or () if instance else ()
        if before == after:
            return
        for skipped, by in (*((each, -1) for each in before), *((each, 1) for each in after)):
            if skipped not in self.graph.tasks:  # a newer version of the DAG may have lost it
                continue
            if self.graph.is_together(task_id, skipped) is inside:
                place = path[: self.graph.shared(task_id, skipped)]
                counts = self._skips.setdefault(skipped, {}).setdefault(task_id, {})
                counts[place] = counts.get(place, 0) + by
                self.touch(skipped, place)

    def _tell_watchers(self, task_id: str, path: MapPath, tallies: Mapping[MapPath, Tally]) -> None:
        watchers = self._watchers.get(task_id)
        if not watchers:
            return
        for length in range(len(path) + 1):
            prefix = path[:length]
            if prefix in watchers and (length == len(path) or not tallies[prefix].unfinished):
                for watcher in watchers.pop(prefix):
                    self.touch(*watcher)


def _by_task(graph: Graph) -> dict[str, dict[MapPath, Tally]]:
    return {task_id: {} for task_id in graph.tasks}


def _shift(tally: Tally, before: TaskState | None, after: TaskState | None) -> None:
    """Count an instance that was in state `before` (None: was not there) as one in `after`."""
    if before is not None:
        tally.total -= 1
        tally.count(before, -1)
    if after is not None:
        tally.total += 1
        tally.count(after, 1)
