"""How are the values of one run kept where there is no store?"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from orchestrator.core.ids import RETURN_VALUE, Slot, TaskKey
from orchestrator.core.outcomes import Outcome
from orchestrator.core.results import CachedResult
from orchestrator.core.states import TaskState
from orchestrator.core.values import item_at
from orchestrator.sdk.classes import Classes
from orchestrator.sdk.clock import TaskClock, WallClock
from orchestrator.sdk.serialization import decode
from orchestrator.sdk.xcoms import PulledXCom

__all__ = ["MemoryResults", "MemoryState", "MemoryXComs"]


class MemoryXComs:
    """What the run's tasks pushed, written as JSON like in the store."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        self._run = (dag_id, run_id)
        self._pushed: dict[str, dict[int, dict[str, bytes]]] = {}
        self._decoded: tuple[bytes, Any] = (b"", None)
        self._succeeded: dict[str, list[int]] = {}

    def pull(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Sequence[str],
        key: str,
        map_indexes: Sequence[int] | None,
    ) -> list[PulledXCom]:
        """Read as `XComReader` says; other runs have pushed nothing here."""
        if (dag_id, run_id) != self._run:
            return []
        return [
            PulledXCom(task_id, msgspec.json.decode(pushed[key]), map_index)
            for task_id in task_ids
            for map_index, pushed in sorted(self._pushed.get(task_id, {}).items())
            if key in pushed and (map_indexes is None or map_index in map_indexes)
        ]

    def succeeded(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None = None
    ) -> list[int]:
        """Answer as `XComReader` says."""
        known = self._succeeded.get(task_id, []) if (dag_id, run_id) == self._run else []
        first, end = bisect_left(known, indexes.start), bisect_left(known, indexes.stop)
        if position is None:
            return known[first:end]
        return known[first + position : min(first + position + 1, end)]

    def note_state(self, slot: Slot, state: TaskState) -> None:
        """Hear of every state a task instance comes into."""
        known = self._succeeded.setdefault(slot.task_id, [])
        place = bisect_left(known, slot.map_index)
        is_known = place < len(known) and known[place] == slot.map_index
        if state is TaskState.SUCCESS and not is_known:
            known.insert(place, slot.map_index)
        elif state is not TaskState.SUCCESS and is_known:
            del known[place]

    def pull_item(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int,
        position: int,
        key: str = RETURN_VALUE,
    ) -> Any:
        """Read one element as `XComReader` says; a long input is decoded once for all of them."""
        name = f"XCom {key!r} of {TaskKey(dag_id, run_id, task_id, map_index)}"
        pushed = self._pushed.get(task_id, {}).get(map_index, {})
        if (dag_id, run_id) != self._run or key not in pushed:
            raise LookupError(f"{name} does not exist")
        text = pushed[key]
        if self._decoded[0] is not text:
            self._decoded = (text, msgspec.json.decode(text))
        return item_at(self._decoded[1], position, name=name)

    def latest_run(self, *, dag_id: str, task_id: str, key: str, until: datetime) -> str | None:  # noqa: ARG002 - there is one run
        """Answer as `XComReader` says."""
        own_dag, own_run = self._run
        pushed = self._pushed.get(task_id, {}).values()
        is_here = dag_id == own_dag and any(key in each for each in pushed)
        return own_run if is_here else None

    def forget(self, slot: Slot) -> None:
        """A new try begins without what the last one pushed."""
        self._pushed.get(slot.task_id, {}).pop(slot.map_index, None)

    def keep(self, slot: Slot, outcome: Outcome) -> None:
        """Store what a try pushed."""
        if outcome.xcoms:
            self._pushed.setdefault(slot.task_id, {})[slot.map_index] = {
                key: msgspec.json.encode(value) for key, value in sorted(outcome.xcoms.items())
            }

    def restored(self, classes: Classes) -> dict[Slot, dict[str, Any]]:
        """Return all of it as it was pushed."""
        return {
            Slot(task_id, map_index): {
                key: decode(msgspec.json.decode(value), classes) for key, value in pushed.items()
            }
            for task_id, instances in sorted(self._pushed.items())
            for map_index, pushed in sorted(instances.items())
        }


class MemoryState:
    """What the task instances of a run keep across their tries."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def values(self) -> Mapping[str, str]:
        """Return what is kept."""
        return self._values.copy()

    def write(self, key: str, value: str | None) -> None:
        """Keep or drop a value."""
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value


class MemoryResults:
    """A result cache for the runs that are given it."""

    def __init__(self, clock: TaskClock | None = None) -> None:
        """`clock` says when results expire; the wall's without one."""
        self._clock = clock or WallClock()
        self._results: dict[str, tuple[datetime, CachedResult]] = {}

    def find(self, key: str) -> CachedResult | None:
        """Return a result that has not expired."""
        expires_at, result = self._results.get(key, (None, None))
        return result if expires_at is not None and self._clock.now() < expires_at else None

    def keep(self, key: str, result: CachedResult, *, ttl_s: float) -> None:
        """Keep a result."""
        self._results[key] = (self._clock.now() + timedelta(seconds=ttl_s), result)
