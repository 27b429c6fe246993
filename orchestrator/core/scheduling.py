"""What does one run need next?

A `RunLedger` holds one run. Facts go in through `apply`; `decide` looks only at what those facts
touched, so a completion costs the number of its direct downstream tasks and not the size of the
run. Deciding on what changed gives what deciding on everything would give (a property test).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from orchestrator.core.decisions import Decision, Expand, FinishRun, Instance, Move
from orchestrator.core.graph import Graph
from orchestrator.core.ids import MapPath, Slot
from orchestrator.core.judging import Ruling, measure, rule_on
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.moving import Pass
from orchestrator.core.roster import Roster
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.core.trigger_rules import Verdict

__all__ = ["Decision", "Expand", "FinishRun", "Instance", "Move", "RunLedger"]


class RunLedger:
    """One run as it stands. Owned by one caller; `decide` moves it to what it proposes, so a
    caller that fails to carry a decision out must throw the ledger away and load it anew."""

    def __init__(
        self, graph: Graph, instances: Iterable[tuple[Slot, Instance]], *, started_at: datetime
    ) -> None:
        self.graph = graph
        self.started_at = started_at
        self._roster = Roster(graph)
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
        self._roster.put(slot, instance)

    def decide(self, now: datetime) -> Decision:
        """Say what the run needs next, for the tasks touched since the last time."""
        deadline = self._deadline()
        step = Pass(self._roster, now)
        if deadline is not None and deadline <= now and self._roster.unfinished:
            return self._time_out(step)
        self._roster.touch_due(now)
        step.go()
        finish = None if self._roster.unfinished else self._conclude()
        instants = (now if step.reopened else None, self._roster.next_due(), deadline)
        wake_at = min((each for each in instants if each is not None), default=None)
        return Decision(
            expansions=tuple(step.expansions),
            moves=tuple(step.moves),
            finish=finish,
            wake_at=None if finish else wake_at,
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
        return rule_on(self._roster, slot.task_id, path[: self.graph.groups_around(slot.task_id)])

    def waits_on(self, slot: Slot, ruling: Ruling) -> tuple[Slot, ...]:
        """Return the unfinished instances that a ruling to wait waits for."""
        path = self._roster.path(slot)
        places = ruling.on or self._roster.unfinished_among(
            self.graph.tasks[slot.task_id].upstream, (slot.task_id, path)
        )
        return tuple(found for place in places for found in self._unfinished_at(*place))

    def _unfinished_at(self, task_id: str, prefix: MapPath) -> Iterable[Slot]:
        roster = self._roster
        paths = list(roster.below(task_id, prefix))
        while not paths:  # not expanded that far
            prefix = prefix[:-1]
            paths = [prefix] if roster.at(task_id, prefix) else []
        for path in paths:
            slot = roster.slot(task_id, path)
            if roster.instances[slot].state not in FINISHED_TASK_STATES:
                yield slot

    def _deadline(self) -> datetime | None:
        timeout_s = self.graph.spec.dagrun_timeout_s
        return None if timeout_s is None else self.started_at + timedelta(seconds=timeout_s)

    def _time_out(self, step: Pass) -> Decision:
        reason = (
            f"the run took longer than its dagrun_timeout of {self.graph.spec.dagrun_timeout_s:g} s"
        )
        for slot, instance in sorted(self._roster.instances.items()):
            if instance.state not in FINISHED_TASK_STATES:
                step.move(slot, TaskEvent.ABANDONED, reason)
        finish = FinishRun(state=RunState.FAILED, reason=reason)
        return Decision(moves=tuple(step.moves), finish=finish)

    def _conclude(self) -> FinishRun:
        """The run's outcome from its leaves, as in Airflow."""
        for task_id in self.graph.leaves:
            if self._roster.standing(task_id, ()).bad:
                for path in self._roster.below(task_id, ()):
                    slot = self._roster.slot(task_id, path)
                    state = self._roster.instances[slot].state
                    if state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED):
                        return FinishRun(
                            state=RunState.FAILED, reason=f"leaf task {task_id!r} is {state}"
                        )
        return FinishRun(state=RunState.SUCCESS, reason="no leaf task failed")
