"""What does one run need next?

A `RunLedger` holds one run: every task instance, and for each task the tally of how its upstream
instances ended. Facts go in through `apply`; `decide` looks only at the tasks those facts touched,
so a completion costs the number of its direct downstream tasks and not the size of the run.
Deciding on what changed gives what deciding on everything would give (a property test).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush

from orchestrator.core.graph import Graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent, advance
from orchestrator.core.specs import TriggerRule
from orchestrator.core.states import (
    FINISHED_TASK_STATES,
    WAITING_TASK_STATES,
    RunState,
    TaskState,
)
from orchestrator.core.trigger_rules import Tally, Verdict, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What decisions know of a task instance.

    `skip` is the decision of a finished branch or short circuit: the tasks it chose not to follow.
    `eligible_at` is when one that waits for a time may go on.
    """

    state: TaskState = TaskState.NONE
    epoch: int = 0
    eligible_at: datetime | None = None
    skip: tuple[str, ...] | None = None
    length: int | None = None
    """Of one that succeeded with a list or dict: how long it is."""
    group_try: int = 0
    """How often its task group has been retried as a unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """A mapped task gets its instances. `first`, the one not expanded yet, becomes the one with
    the map index `indexes[0]`; the others are new. With `first` None (it grew in a rerun) all
    are new. New ones are in state none, epoch 0."""

    task_id: str
    first: Slot | None
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One task instance has one event, and why."""

    slot: Slot
    event: TaskEvent
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRun:
    """The run is over."""

    state: RunState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now in one run, and when to look at it again if nothing happens before.

    `expansions` come before `moves`, which name the expanded instances already."""

    expansions: tuple[Expand, ...] = ()
    moves: tuple[Move, ...] = ()
    finish: FinishRun | None = None
    wake_at: datetime | None = None


class RunLedger:
    """One run as it stands. Owned by one caller; `decide` moves it to what it proposes, so a
    caller that fails to carry a decision out must throw the ledger away and load it anew."""

    def __init__(
        self, graph: Graph, instances: Iterable[tuple[Slot, Instance]], *, started_at: datetime
    ) -> None:
        self.graph = graph
        self.started_at = started_at
        self.instances: dict[Slot, Instance] = {}
        self.unfinished = 0
        self._slots: dict[str, list[Slot]] = {task_id: [] for task_id in graph.tasks}
        self._tallies: dict[str, Tally] = {task_id: Tally() for task_id in graph.tasks}
        self._skip_marks: dict[str, str] = {}
        self._timed: list[tuple[datetime, Slot]] = []
        self._rank = {task_id: rank for rank, task_id in enumerate(graph.order)}
        self._touched: set[str] = set()
        self._queue: list[int] = []
        for task_id in graph.order:
            self._touch(task_id)
        for slot, instance in instances:
            self._add(slot, instance)

    def apply(self, slot: Slot, instance: Instance) -> None:
        """Take in what happened to an instance. Older news (a lower epoch) and repeated news
        change nothing, so a fact may arrive twice."""
        known = self.instances[slot]
        if instance.epoch < known.epoch or instance == known:
            return
        self._set(slot, instance)

    def decide(self, now: datetime) -> Decision:
        """Say what the run needs next, for the tasks touched since the last time."""
        deadline = self._deadline()
        if deadline is not None and deadline <= now and self.unfinished:
            return self._time_out()
        self._touch_due(now)
        moves: list[Move] = []
        while self._queue:
            # Upstream before downstream: each task is judged once, after all that came before it.
            task_id = self.graph.order[heappop(self._queue)]
            self._touched.remove(task_id)
            moves.extend(self._decide_task(task_id, now))
        finish = None if self.unfinished else self._conclude()
        wake_at = None if finish else self._wake_at(deadline)
        return Decision(moves=tuple(moves), finish=finish, wake_at=wake_at)

    def verdict(self, task_id: str) -> tuple[Verdict, str]:
        """Say what becomes of a task that is not decided yet, and why, in words."""
        chooser = self._skip_marks.get(task_id)
        if chooser is not None:
            return Verdict.SKIP, f"not followed by {chooser!r}"
        rule = self.graph.tasks[task_id].trigger_rule
        tally = self._tallies[task_id]
        reason = f"{rule} over {_in_words(tally)}"
        if rule is not TriggerRule.ALWAYS and tally.unfinished and self._may_be_skipped(task_id):
            # What a branch may still forbid is not decided before it has chosen: the end would
            # depend on who is quicker.
            return Verdict.WAIT, reason
        return judge(rule, tally), reason

    def unfinished_upstream(self, task_id: str) -> tuple[Slot, ...]:
        """Return the upstream instances that a task may still wait for."""
        return tuple(
            slot
            for upstream in self.graph.tasks[task_id].upstream
            for slot in self._slots[upstream]
            if self.instances[slot].state not in FINISHED_TASK_STATES
        )

    def _may_be_skipped(self, task_id: str) -> bool:
        return any(
            self.instances[slot].state not in FINISHED_TASK_STATES
            for chooser in self.graph.choosers.get(task_id, ())
            for slot in self._slots[chooser]
        )

    def _add(self, slot: Slot, instance: Instance) -> None:
        self.instances[slot] = Instance()
        self._slots[slot.task_id].append(slot)
        self.unfinished += 1
        for below in self.graph.downstream[slot.task_id]:
            self._tallies[below].total += 1
        self._set(slot, instance)

    def _set(self, slot: Slot, instance: Instance) -> None:
        known = self.instances[slot]
        self.instances[slot] = instance
        self.unfinished += (known.state in FINISHED_TASK_STATES) - (
            instance.state in FINISHED_TASK_STATES
        )
        if instance.state in WAITING_TASK_STATES:
            self._touch(slot.task_id)
            if instance.eligible_at is not None:
                heappush(self._timed, (instance.eligible_at, slot))
        if known.state is not instance.state:
            for below in self.graph.downstream[slot.task_id]:
                self._tallies[below].count(known.state, -1)
                self._tallies[below].count(instance.state, 1)
                self._touch(below)
        for task_id in instance.skip or ():
            known_chooser = self._skip_marks.get(task_id, slot.task_id)
            self._skip_marks[task_id] = min(known_chooser, slot.task_id)
            self._touch(task_id)

    def _touch(self, task_id: str) -> None:
        if task_id not in self._touched:
            self._touched.add(task_id)
            heappush(self._queue, self._rank[task_id])

    def _touch_due(self, now: datetime) -> None:
        while self._timed and self._timed[0][0] <= now:
            _, slot = heappop(self._timed)
            self._touch(slot.task_id)

    def _decide_task(self, task_id: str, now: datetime) -> list[Move]:
        moves: list[Move] = []
        for slot in self._slots[task_id]:
            move = self._decide_instance(slot, now)
            if move is not None:
                state = advance(self.instances[slot].state, move.event)
                self._set(slot, replace(self.instances[slot], state=state, eligible_at=None))
                moves.append(move)
        return moves

    def _decide_instance(self, slot: Slot, now: datetime) -> Move | None:
        instance = self.instances[slot]
        match instance.state:
            case TaskState.NONE:
                return self._apply_rule(slot)
            case TaskState.UP_FOR_RETRY | TaskState.UP_FOR_RESCHEDULE:
                if instance.eligible_at is None or instance.eligible_at <= now:
                    return Move(slot=slot, event=TaskEvent.BECAME_READY)
                return None
            case _:
                return None

    def _apply_rule(self, slot: Slot) -> Move | None:
        verdict, reason = self.verdict(slot.task_id)
        match verdict:
            case Verdict.WAIT:
                return None
            case Verdict.RUN if self.graph.tasks[slot.task_id].needs_worker:
                return Move(slot=slot, event=TaskEvent.BECAME_READY)
            case Verdict.RUN:
                return Move(slot=slot, event=TaskEvent.SUCCEEDED_INLINE)
            case Verdict.SKIP:
                return Move(slot=slot, event=TaskEvent.RULE_SKIPPED, reason=reason)
            case Verdict.UPSTREAM_FAILED:
                return Move(slot=slot, event=TaskEvent.RULE_UPSTREAM_FAILED, reason=reason)

    def _deadline(self) -> datetime | None:
        timeout_s = self.graph.spec.dagrun_timeout_s
        return None if timeout_s is None else self.started_at + timedelta(seconds=timeout_s)

    def _time_out(self) -> Decision:
        reason = (
            f"the run took longer than its dagrun_timeout of {self.graph.spec.dagrun_timeout_s:g} s"
        )
        moves = tuple(
            Move(slot=slot, event=TaskEvent.ABANDONED, reason=reason)
            for slot, instance in sorted(self.instances.items())
            if instance.state not in FINISHED_TASK_STATES
        )
        for move in moves:
            instance = self.instances[move.slot]
            self._set(move.slot, replace(instance, state=advance(instance.state, move.event)))
        return Decision(moves=moves, finish=FinishRun(state=RunState.FAILED, reason=reason))

    def _conclude(self) -> FinishRun:
        """The run's outcome from its leaves, as in Airflow."""
        for task_id in self.graph.leaves:
            for slot in self._slots[task_id]:
                state = self.instances[slot].state
                if state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED):
                    return FinishRun(
                        state=RunState.FAILED, reason=f"leaf task {task_id!r} is {state}"
                    )
        return FinishRun(state=RunState.SUCCESS, reason="no leaf task failed")

    def _wake_at(self, deadline: datetime | None) -> datetime | None:
        instants = [self._timed[0][0]] if self._timed else []
        if deadline is not None:
            instants.append(deadline)
        return min(instants, default=None)


def _in_words(tally: Tally) -> str:
    counted = (
        ("succeeded", tally.success),
        ("failed", tally.failed),
        ("skipped", tally.skipped),
        ("upstream_failed", tally.upstream_failed),
        ("removed", tally.removed),
        ("unfinished", tally.unfinished),
    )
    words = ", ".join(f"{count} {name}" for name, count in counted if count)
    return f"{tally.total} upstream: {words}" if words else "no upstream"
