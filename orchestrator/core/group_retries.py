"""Which task groups run again as a unit, and what do those outside see meanwhile?

A group that is retried is judged at each map index of its own: once nothing in it is left to do and
a task in it failed for good, everything in it runs again after a delay. Until the group has settled
(it failed for the last time, or nothing in it failed) those outside see it as unfinished.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush

from orchestrator.core.decisions import Instance
from orchestrator.core.graph import Graph, RetriedGroup
from orchestrator.core.ids import MapPath, Slot
from orchestrator.core.retries import retry_delay_s
from orchestrator.core.setups import is_ignored
from orchestrator.core.states import FINISHED_TASK_STATES, TaskState

MASKED = Instance()
"""What those outside see of an instance whose group has not settled."""

GroupPlace = tuple[str, MapPath]
"""A task group at a map path: one of its map indexes, if it is mapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What changes for those outside: `before` or `after` None means that it is not there."""

    slot: Slot
    before: Instance | None
    after: Instance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A group waits to run again: which retry of how many, and when."""

    group_id: str
    number: int
    retries: int
    at: datetime

    def __str__(self) -> str:
        return f"task group {self.group_id!r} failed: retry {self.number} of {self.retries}"


@dataclass(slots=True)
class _Standing:
    """How a group stands at one path."""

    members: dict[Slot, Instance] = field(default_factory=dict)
    unfinished: int = 0
    failed: int = 0
    group_try: int = 0
    ended_at: datetime | None = None
    settled: bool = True


class GroupRetries:
    """The retried groups of one run."""

    def __init__(self, graph: Graph, *, began_at: datetime) -> None:
        self._graph = graph
        self._began_at = began_at
        self._standings: dict[GroupPlace, _Standing] = {}
        self._pending: dict[GroupPlace, Retry] = {}
        self._timed: list[tuple[datetime, str, MapPath]] = []
        self._are_over = False
        self._ignored = {id_ for id_, task in graph.tasks.items() if is_ignored(task)}

    @property
    def is_pending(self) -> bool:
        """Whether a group waits to run again."""
        return bool(self._pending)

    def masks(self, task_id: str, path: MapPath) -> bool:
        """Whether those outside see an instance as unfinished, whatever it is."""
        group = self._graph.retried.get(task_id)
        if group is None:
            return False
        standing = self._standings.get((group.group_id, path[: group.depth]))
        return standing is not None and not standing.settled

    def pending(self, task_id: str, path: MapPath) -> Retry | None:
        """Return the retry that an instance's group waits for."""
        group = self._graph.retried.get(task_id)
        return self._pending.get((group.group_id, path[: group.depth])) if group else None

    def change(
        self, slot: Slot, path: MapPath, known: Instance | None, instance: Instance | None
    ) -> Iterator[Seen]:
        """Count a change of an instance in a retried group; yield what those outside see of it."""
        group = self._graph.retried[slot.task_id]
        place = (group.group_id, path[: group.depth])
        standing = self._standings.setdefault(place, _Standing())
        was_settled = standing.settled
        others = standing.members
        others.pop(slot, None)
        self._count(standing, slot, known, instance)
        self._settle(group, place, standing)
        if was_settled != standing.settled:
            for other, member in others.items():
                yield _seen(other, member, member, was_settled, standing.settled)
        if instance is not None:
            others[slot] = instance
        yield _seen(slot, known, instance, was_settled, standing.settled)

    def end(self) -> Iterator[Seen]:
        """Let no group run again any more; yield what those outside see then."""
        self._are_over = True
        for place in list(self._pending):
            standing = self._standings[place]
            group = next(g for g in self._graph.retried.values() if g.group_id == place[0])
            self._settle(group, place, standing)
            for slot, member in standing.members.items():
                yield _seen(slot, member, member, False, standing.settled)

    def due(self, now: datetime) -> Iterator[tuple[Retry, Iterable[Slot]]]:
        """Yield the retries whose time has come, with all that runs again."""
        while (at := self.next_due()) is not None and at <= now:
            _, group_id, path = heappop(self._timed)
            members = self._standings[group_id, path].members
            again = (s for s, known in members.items() if known.state is not TaskState.REMOVED)
            yield self._pending[group_id, path], sorted(again)

    def next_due(self) -> datetime | None:
        """Return when the first group runs again."""
        while self._timed:
            at, group_id, path = self._timed[0]
            retry = self._pending.get((group_id, path))
            if retry is not None and retry.at == at:
                return at
            heappop(self._timed)
        return None

    def _count(
        self, standing: _Standing, slot: Slot, known: Instance | None, instance: Instance | None
    ) -> None:
        for each, by in ((known, -1), (instance, 1)):
            if each is not None:
                standing.unfinished += by * (each.state not in FINISHED_TASK_STATES)
                if slot.task_id not in self._ignored:
                    standing.failed += by * (each.state is TaskState.FAILED)
        if instance is not None:
            standing.group_try = max(standing.group_try, instance.group_try)
            if instance.ended_at is not None:
                ended_at = standing.ended_at or instance.ended_at
                standing.ended_at = max(ended_at, instance.ended_at)

    def _settle(self, group: RetriedGroup, place: GroupPlace, standing: _Standing) -> None:
        is_retried = (
            standing.failed > 0
            and standing.group_try < group.policy.retries
            and len(place[1]) == group.depth
            and not self._are_over
        )
        standing.settled = not standing.unfinished and not is_retried
        self._pending.pop(place, None)
        if is_retried and not standing.unfinished:
            number = standing.group_try + 1
            seed = f"{self._graph.spec.dag_id}#{place}#{self._began_at.isoformat()}#{number}"
            wait_s = retry_delay_s(group.policy, try_number=number, seed=seed)
            at = (standing.ended_at or self._began_at) + timedelta(seconds=wait_s)
            self._pending[place] = Retry(
                group_id=group.group_id, number=number, retries=group.policy.retries, at=at
            )
            heappush(self._timed, (at, *place))


def _seen(
    slot: Slot,
    known: Instance | None,
    instance: Instance | None,
    was_settled: bool,
    is_settled: bool,
) -> Seen:
    return Seen(
        slot=slot,
        before=known if known is None or was_settled else MASKED,
        after=instance if instance is None or is_settled else MASKED,
    )
