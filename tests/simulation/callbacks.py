"""Is every callback that a transition owes delivered, whatever crashed on its way (I15)?"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from orchestrator.core.callbacks import (
    ATTEMPTS_MAX,
    CallbackId,
    CallbackState,
    callback_id_of,
    callback_of,
    callback_of_end,
)
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.specs import CallbackKind, DagSpec, DeadlineSpec, TaskSpec
from orchestrator.core.states import RunState, TaskState

KINDS = tuple(sorted(set(CallbackKind) - {CallbackKind.DEADLINE, CallbackKind.EXECUTE}))


def with_callbacks(spec: DagSpec, *, seed: int) -> DagSpec:
    """Give a DAG callbacks and deadlines, drawn from a source of their own."""
    rng = random.Random(f"{seed}/callbacks")
    if rng.random() < 0.3:
        return spec

    def some(kinds: Iterable[CallbackKind]) -> tuple[CallbackKind, ...]:
        return tuple(kind for kind in kinds if rng.random() < 0.5)

    deadlines = (
        DeadlineSpec(index=0, reference="queued_at", interval_s=rng.choice([2.0, 60.0, 400.0])),
        DeadlineSpec(index=1, reference="average_runtime", interval_s=1.0, max_runs=3, min_runs=1),
    )
    return replace(
        spec,
        tasks=tuple(replace(task, callbacks=some(KINDS)) for task in spec.tasks),
        callbacks=some((CallbackKind.FAILURE, CallbackKind.SUCCESS)),
        deadlines=deadlines[: rng.choice([0, 1, 2])],
    )


@dataclass(frozen=True, slots=True)
class CallbackRow:
    """What the checker looks at in a callback."""

    callback_id: CallbackId
    run_uid: str
    ti_id: str | None
    kind: str
    state: str
    attempts: int
    deadline_index: int | None


@dataclass(slots=True)
class CallbackChecker:
    """What was owed, and what was called."""

    tasks: Mapping[tuple[str, str], TaskSpec]
    owed: dict[CallbackId, str] = field(default_factory=dict)
    called: Counter[CallbackId] = field(default_factory=Counter)

    def follow(self, dag_id: str, step: Any, event: TaskEvent) -> None:
        """Note what a transition owes. What never began has nothing to tell of its abandonment."""
        slot: Slot = step.slot
        kind = callback_of(self.tasks[dag_id, slot.task_id], event)
        if kind is None or (event is TaskEvent.ABANDONED and step.before is not TaskState.RUNNING):
            return
        callback_id = callback_id_of(UUID(hex=step.ti_id), step.epoch_before, kind)
        self.owed[callback_id] = f"{dag_id}/{slot} {event} at epoch {step.epoch_before}"

    def problems(
        self,
        rows: Iterable[CallbackRow],
        *,
        ended: Mapping[str, tuple[DagSpec, RunState]],
        missed: Mapping[str, int],
        has_people: bool,
    ) -> list[str]:
        """Return what is wrong when everything has settled. `ended` are the runs that a decision
        ended, `missed` how many deadlines each run missed; people, who send runs back to the start,
        may have it miss more than are still known."""
        known = {row.callback_id: row for row in rows}
        found = [f"{self.owed[each]} owes a callback" for each in self.owed if each not in known]
        of_runs: Counter[tuple[str, str]] = Counter()
        for row in known.values():
            if row.ti_id is not None and row.callback_id not in self.owed:
                found.append(f"nothing owes {row}")
            if row.ti_id is None:
                of_runs[row.run_uid, row.kind] += 1
            is_given_up = row.state == CallbackState.FAILED and row.attempts == ATTEMPTS_MAX
            if row.state != CallbackState.DONE and not is_given_up:
                found.append(f"{row} is not settled")
            if row.state == CallbackState.DONE and not self.called[row.callback_id]:
                found.append(f"{row} counts as delivered and was never called")
        for uid, (spec, state) in ended.items():
            kind = callback_of_end(spec, state)
            if kind is not None and not of_runs[uid, kind]:
                found.append(f"the run {uid} ended {state} and owes a callback")
        for uid, count in missed.items():
            told = of_runs[uid, CallbackKind.DEADLINE]
            if told < count or (told > count and not has_people):
                found.append(f"the run {uid} missed {count} deadlines and told {told}")
        return found
