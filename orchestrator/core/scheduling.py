"""What does one run need next?

A `RunLedger` holds one run. Facts go in through `apply`; `decide` looks only at what those facts
touched, so a completion costs the number of its direct downstream tasks and not the size of the
run. Deciding on what changed gives what deciding on everything would give (a property test).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from orchestrator.core.decisions import Decision, Expand, FinishRun, Instance, Move
from orchestrator.core.ending import conclude, failed_fast, to_abandon
from orchestrator.core.graph import Graph
from orchestrator.core.group_retries import Retry
from orchestrator.core.ids import MapPath, Slot, name_at
from orchestrator.core.judging import Ruling, Waits, held_by_past, measure, rule_on
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.moving import Pass
from orchestrator.core.roster import Roster
from orchestrator.core.states import (
    FINISHED_TASK_STATES,
    WAITING_TASK_STATES,
    RunState,
    TaskState,
)
from orchestrator.core.trigger_rules import Verdict

__all__ = ["Decision", "Expand", "FinishRun", "Instance", "Move", "RunLedger"]


class RunLedger:
    """One run as it stands. Owned by one caller; `decide` moves it to what it proposes, so a
    caller that fails to carry a decision out must throw the ledger away and load it anew."""

    def __init__(
        self,
        graph: Graph,
        instances: Iterable[tuple[Slot, Instance]],
        *,
        started_at: datetime,
        fails_later: str | None = None,
    ) -> None:
        """`fails_later` says why the run shall fail once its teardowns have run; everything else in
        it is abandoned."""
        self.graph = graph
        self.started_at = started_at
        self._fails_later = fails_later
        self._past: Mapping[str, str] = {}
        self._abandoned: tuple[str, int] | None = None
        self._roster = Roster(graph, began_at=started_at)
        for task_id in graph.order:
            self._roster.touch(task_id, ())
        for slot, instance in instances:
            if graph.has_place_for(slot) or instance.state is not TaskState.REMOVED:
                self._roster.put(slot, instance)  # else another version of the DAG left it behind

    @property
    def instances(self) -> Mapping[Slot, Instance]:
        """Every task instance of the run."""
        return MappingProxyType(self._roster.instances)

    def apply(self, slot: Slot, instance: Instance) -> None:
        """Take in what happened to an instance. Older news (a lower epoch) and repeated news
        change nothing, so a fact may arrive twice."""
        known = self._roster.instances[slot]
        if instance.epoch < known.epoch or instance == known:
            return
        is_ready = known.state is TaskState.SCHEDULED and instance.epoch == known.epoch
        if is_ready and instance.state in WAITING_TASK_STATES:
            return  # what it waited for has come since; to wait again it must be handed out first
        self._roster.put(slot, instance)

    def learn_past(self, blocked: Mapping[str, str]) -> None:
        """Take in which tasks the run before keeps from running, by task id, and in which words
        (`past_blocks`). It replaces what was known; a task that is not in it is free. To be told
        before the first decision, and again whenever the run before has moved."""
        known, self._past = self._past, dict(blocked)
        for task_id in known.keys() | blocked.keys():
            if task_id in self.graph.tasks and known.get(task_id) != blocked.get(task_id):
                self._roster.touch(task_id, ())

    def decide(self, now: datetime) -> Decision:
        """Say what the run needs next, for the tasks touched since the last time."""
        roster, step = self._roster, Pass(self._roster, now, self._past)
        doom = self._time_out(now)
        stop = self._fails_later or failed_fast(roster)
        if stop is None:
            self._retry_groups(step, now)
        else:
            self._abandon(step, stop)
        roster.touch_due(now)
        step.go()
        finish = self._conclude() if roster.is_over else None
        if finish is None and self._is_deadlocked(step):
            finish = self._give_up(step)
        is_stopped = stop is None and failed_fast(roster) is not None
        goes_on = bool(step.reopened) or step.is_cut or is_stopped
        return Decision(
            expansions=tuple(step.expansions),
            moves=tuple(step.moves),
            finish=finish,
            wake_at=None if finish else self._wake_at(now if goes_on else None),
            fails_later=None if finish else doom,
        )

    def ruling(self, slot: Slot) -> Ruling:
        """Say what becomes of a task instance that is not decided yet, and why."""
        path = self._roster.path(slot)
        for number, level in enumerate(self.graph.levels[slot.task_id][: len(path) + 1]):
            prefix = path[:number]
            if level.is_own:
                ruling = rule_on(self._roster, slot.task_id, prefix)
                if ruling.verdict is not Verdict.RUN:
                    return ruling
            measured = measure(self._roster, slot.task_id, level, prefix)
            if measured.ruling.verdict is not Verdict.RUN:
                return measured.ruling
        ruling = rule_on(self._roster, slot.task_id, path[: self.graph.groups_around(slot.task_id)])
        task = self.graph.tasks[slot.task_id]
        return held_by_past(ruling, task, self._past.get(slot.task_id))

    def waits_on(self, slot: Slot, ruling: Ruling) -> tuple[Slot, ...]:
        """Return the unfinished instances that a ruling to wait waits for."""
        if ruling.waits_for is Waits.PAST:
            return ()
        path = self._roster.path(slot)
        places = ruling.on or self._roster.unfinished_among(
            self.graph.tasks[slot.task_id].upstream, (slot.task_id, path)
        )
        return tuple(
            found
            for place in places
            for found in self._instances_at(*place)
            if self._state_for(slot, found) not in FINISHED_TASK_STATES
        )

    def name(self, slot: Slot) -> str:
        """Name an instance for people, with its map path."""
        return name_at(slot.task_id, self._roster.path(slot))

    def group_retry(self, slot: Slot) -> Retry | None:
        """Return the retry that the task group of an instance waits for, if it does."""
        return self._roster.retries.pending(slot.task_id, self._roster.path(slot))

    def _state_for(self, slot: Slot, other: Slot) -> TaskState:
        if self.graph.is_together(slot.task_id, other.task_id):
            return self._roster.instances[other].state
        return self._roster.seen_state(other)

    def _instances_at(self, task_id: str, prefix: MapPath) -> Iterable[Slot]:
        roster = self._roster
        paths = list(roster.below(task_id, prefix))
        while not paths:  # not expanded that far
            prefix = prefix[:-1]
            paths = [prefix] if roster.at(task_id, prefix) else []
        return [roster.slot(task_id, path) for path in paths]

    def _deadline(self) -> datetime | None:
        timeout_s = self.graph.spec.dagrun_timeout_s
        if timeout_s is None or self._fails_later is not None:
            return None
        return self.started_at + timedelta(seconds=timeout_s)

    def _time_out(self, now: datetime) -> str | None:
        """Doom a run that has taken too long; say why, if it is new."""
        deadline = self._deadline()
        if deadline is None or deadline > now or self._roster.is_over:
            return None
        timeout_s = self.graph.spec.dagrun_timeout_s
        self._fails_later = f"the run took longer than its dagrun_timeout of {timeout_s:g} s"
        return self._fails_later

    def _retry_groups(self, step: Pass, now: datetime) -> None:
        for retry, slots in self._roster.retries.due(now):
            for slot in slots:
                step.move(slot, TaskEvent.GROUP_RETRIED, str(retry))

    def _abandon(self, step: Pass, reason: str) -> None:
        """End all but the teardowns that are needed, unless nothing came since that was done."""
        if self._abandoned != (reason, self._roster.opened):
            self._roster.end_retries()
            for slot in to_abandon(self._roster):
                step.move(slot, TaskEvent.ABANDONED, reason)
            self._abandoned = (reason, self._roster.opened)

    def _conclude(self) -> FinishRun:
        if self._fails_later is not None:
            return FinishRun(state=RunState.FAILED, reason=self._fails_later)
        return conclude(self._roster)

    def _is_deadlocked(self, step: Pass) -> bool:
        """Whether nothing will ever be heard of the run again."""
        roster = self._roster
        return not (
            roster.under_way
            or roster.retries.is_pending
            or step.reopened
            or step.is_cut
            or any(
                task_id in self.graph.tasks
                and roster.standing(task_id, (), seen_by=task_id).unfinished
                for task_id in self._past
            )
        )

    def _give_up(self, step: Pass) -> FinishRun:
        left = sorted(slot for slot in self._roster.instances if self._roster.is_unfinished(slot))
        waited_for = self.waits_on(left[0], self.ruling(left[0]))
        others = "".join(f" for {self.name(slot)!r}" for slot in waited_for[:1])
        reason = f"deadlock: nothing can move any more; {self.name(left[0])!r} waits{others}"
        for slot in left:
            step.move(slot, TaskEvent.ABANDONED, reason)
        return FinishRun(state=RunState.FAILED, reason=reason)

    def _wake_at(self, at_once: datetime | None) -> datetime | None:
        roster = self._roster
        instants = (at_once, roster.next_due(), roster.retries.next_due(), self._deadline())
        return min((each for each in instants if each is not None), default=None)
