"""What happens now to the task instances of a run that something has touched?"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from orchestrator.core.decisions import Expand, Instance, Move
from orchestrator.core.ids import MapPath, Slot
from orchestrator.core.judging import (
    MAPPED_OVER_NOTHING,
    Measured,
    Ruling,
    held_by_past,
    measure,
    rule_on,
)
from orchestrator.core.levels import Level
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent, advance
from orchestrator.core.roster import Roster
from orchestrator.core.states import FINISHED_TASK_STATES, WAITING_TASK_STATES, TaskState
from orchestrator.core.trigger_rules import Verdict

_EVENTS = {
    Verdict.SKIP: TaskEvent.RULE_SKIPPED,
    Verdict.UPSTREAM_FAILED: TaskEvent.RULE_UPSTREAM_FAILED,
    Verdict.FAIL: TaskEvent.EXPANSION_FAILED,
}


MOVES_MAX = 10_000
"""After so many moves a decision leaves the rest to the next: each is written in a transaction of
its own, and what is ready starts meanwhile."""


class Pass:
    """One decision on everything touched. `expansions` and `moves` are what it came to, carried out
    on the roster already; `reopened` are the instances left to the next decision, as is all that is
    still touched when it `is_cut`."""

    def __init__(self, roster: Roster, now: datetime, past: Mapping[str, str]) -> None:
        self.expansions: list[Expand] = []
        self.moves: list[Move] = []
        self.reopened: set[Slot] = set()
        self.is_cut = False
        self._roster = roster
        self._now = now
        self._past = past
        self._rulings: dict[MapPath, Ruling] = {}
        self._measured: dict[MapPath, Measured] = {}
        self._reconciled: set[MapPath] = set()

    def go(self) -> None:
        """Decide until nothing is touched any more, or it is enough for once."""
        while (task_id := self._roster.next_touched()) is not None:
            if self._is_full():
                self.is_cut = True
                break
            self._decide_task(task_id)
        for slot in self.reopened:
            self._roster.touch(slot.task_id, self._roster.path(slot))

    def move(self, slot: Slot, event: TaskEvent, reason: str | None = None) -> None:
        """Give an instance an event."""
        known = self._roster.instances[slot]
        epoch = known.epoch + TRANSITIONS[event].bumps_epoch
        moved = replace(known, state=advance(known.state, event), epoch=epoch, eligible_at=None)
        if moved.state is TaskState.NONE:
            group_try = known.group_try + (event is TaskEvent.GROUP_RETRIED)
            moved = Instance(epoch=epoch, group_try=group_try)
            self.reopened.add(slot)
        elif moved.state in FINISHED_TASK_STATES and slot.task_id in self._roster.graph.retried:
            moved = replace(moved, ended_at=self._now)
        self._roster.put(slot, moved)
        self.moves.append(Move(slot=slot, event=event, reason=reason))

    def _decide_task(self, task_id: str) -> None:
        # Nothing upstream of the task changes meanwhile, so what was judged once is not again.
        self._rulings.clear()
        self._measured.clear()
        self._reconciled.clear()
        for path in self._roster.take_touched(task_id):
            slot = self._roster.slot(task_id, path)
            instance = self._roster.instances.get(slot)
            if instance is None or slot in self.reopened:
                continue
            if self._is_full():
                self._roster.touch(task_id, path)
                continue
            if instance.state is TaskState.NONE:
                self._decide(slot, path)
            elif instance.state in WAITING_TASK_STATES and self._is_due(instance):
                self.move(slot, TaskEvent.BECAME_READY)

    def _is_full(self) -> bool:
        return len(self.moves) >= MOVES_MAX

    def _is_due(self, instance: Instance) -> bool:
        return instance.eligible_at is None or instance.eligible_at <= self._now

    def _decide(self, slot: Slot, path: MapPath) -> None:
        roster, task_id = self._roster, slot.task_id
        for number, level in enumerate(roster.graph.levels[task_id][: len(path) + 1]):
            prefix = path[:number]
            if level.is_own:
                ruling = self._rule(task_id, prefix)
                if ruling.verdict is not Verdict.RUN:
                    return self._end(slot, ruling)
            measured = self._measure(task_id, level, prefix)
            if measured.ruling.verdict is not Verdict.RUN:
                return self._end(slot, measured.ruling)
            if number < len(path):
                self._reconcile(task_id, prefix, measured.length)
                if roster.instances[slot].state is not TaskState.NONE:
                    return None
            if not measured.length:
                nothing = Ruling(verdict=Verdict.SKIP, reason=MAPPED_OVER_NOTHING)
                return self._end(slot, nothing)
            if number == len(path):
                return self._expand(task_id, prefix, range(measured.length), first=slot)
        return self._end(slot, self._rule(task_id, path[: roster.graph.groups_around(task_id)]))

    def _end(self, slot: Slot, ruling: Ruling) -> None:
        task = self._roster.graph.tasks[slot.task_id]
        ruling = held_by_past(ruling, task, self._past.get(slot.task_id))
        if ruling.verdict is Verdict.WAIT:
            return
        if ruling.verdict is not Verdict.RUN:
            self.move(slot, _EVENTS[ruling.verdict], ruling.reason)
        elif task.needs_worker:
            self.move(slot, TaskEvent.BECAME_READY)
        else:
            self.move(slot, TaskEvent.SUCCEEDED_INLINE)

    def _rule(self, task_id: str, prefix: MapPath) -> Ruling:
        ruling = self._rulings.get(prefix)
        if ruling is None:
            ruling = self._rulings[prefix] = rule_on(self._roster, task_id, prefix)
            self._watch(ruling, task_id, prefix)
        return ruling

    def _measure(self, task_id: str, level: Level, prefix: MapPath) -> Measured:
        measured = self._measured.get(prefix)
        if measured is None:
            measured = self._measured[prefix] = measure(self._roster, task_id, level, prefix)
            self._watch(measured.ruling, task_id, prefix)
        return measured

    def _watch(self, ruling: Ruling, task_id: str, prefix: MapPath) -> None:
        for place in ruling.on:
            self._roster.watch(place, (task_id, prefix))

    def _expand(self, task_id: str, prefix: MapPath, steps: range, *, first: Slot | None) -> None:
        indexes = self._roster.expand(task_id, prefix, steps)
        self.expansions.append(Expand(task_id=task_id, first=first, indexes=indexes))

    def _reconcile(self, task_id: str, prefix: MapPath, length: int) -> None:
        """In a rerun: have as many instances right below a path as there are values now. What is
        too many is removed, except of zero values one, to be skipped; what a worker has in hand is
        left to end."""
        if prefix in self._reconciled:
            return
        self._reconciled.add(prefix)
        roster = self._roster
        width = roster.width(task_id, prefix)
        if length > width:
            self._expand(task_id, prefix, range(width, length), first=None)
        if roster.is_settled(task_id, prefix, length=length):
            return
        is_settled = True
        if length < width or roster.standing(task_id, prefix, seen_by=task_id).removed:
            for step in range(width):
                paths = list(roster.below(task_id, (*prefix, step)))
                kept = paths if step < length else paths[:1] if step == length == 0 else []
                self._restore(task_id, kept)
                is_settled &= self._remove(task_id, paths[len(kept) :], length)
        if is_settled:
            roster.settle(task_id, prefix, length=length)

    def _restore(self, task_id: str, paths: list[MapPath]) -> None:
        """Bring the first of some instances back if all are removed: it will see to the others."""
        slots = [self._roster.slot(task_id, path) for path in paths]
        if slots and all(self._roster.instances[slot].state is TaskState.REMOVED for slot in slots):
            self.move(slots[0], TaskEvent.WAS_RESTORED, "its map index is there again")

    def _remove(self, task_id: str, paths: list[MapPath], length: int) -> bool:
        """Remove instances; say whether none of them is in a worker's hand."""
        removable = FINISHED_TASK_STATES | WAITING_TASK_STATES
        left = 0
        for path in paths:
            slot = self._roster.slot(task_id, path)
            state = self._roster.instances[slot].state
            if state is TaskState.REMOVED:
                continue
            if state in removable:
                reason = f"mapped over {length} values now"
                self.move(slot, TaskEvent.WAS_REMOVED, reason)
            else:
                left += 1
        return not left
