"""What came of a run in `orchestrator.testing`?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.ids import RETURN_VALUE, UNMAPPED, MapPath, Slot, index_of, name_at
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import did_you_mean
from orchestrator.sdk.called_callbacks import CallbackResult
from orchestrator.sdk.other_runs import ForeignRun
from orchestrator.sdk.recorded_runs import RecordedRun

__all__ = ["DagRunResult", "TaskChange", "TaskResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """One task instance came into another state. `try_number` is 0 before its first try."""

    task_id: str
    map_index: int
    event: TaskEvent
    state: TaskState
    try_number: int
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How a task instance ended: why, after how many tries, in how many seconds of execution."""

    task_id: str
    map_index: int = UNMAPPED
    map_path: MapPath = ()
    map_name: str | None = None
    """What its map_index_template gave."""
    state: TaskState = TaskState.NONE
    reason: str | None = None
    tries: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRunResult:
    """How a run ended. As text: the run and one line for each task instance."""

    dag_id: str
    run_id: str
    state: RunState
    reason: str
    duration_s: float
    instances: Mapping[Slot, TaskResult]
    xcoms: Mapping[Slot, Mapping[str, Any]]
    logical_date: datetime
    triggered: tuple[ForeignRun, ...] = ()
    """The runs that its tasks asked for, in order."""
    callbacks: tuple[CallbackResult, ...] = ()
    """What was called when tries and the run came to their ends, in order."""

    def __getitem__(self, key: str | tuple[str, int | MapPath]) -> TaskResult:
        """`result["task"]`, or `result["task", 3]` for one map index of a mapped task, or
        `result["task", (3, 0)]` for one in a mapped group that is mapped itself."""
        task_id, index = (key, UNMAPPED) if isinstance(key, str) else key
        map_index = index if isinstance(index, int) else index_of(index, depth=len(index))
        return self.instances[self._slot(task_id, map_index)]

    def __str__(self) -> str:
        title = f"{self.dag_id} {self.run_id}: {self.state} in {self.duration_s:.2f} s"
        names = [name_at(each.task_id, each.map_path) for each in self.instances.values()]
        width = max(map(len, names), default=0)
        lines = [
            _line(result, name, width)
            for name, result in zip(names, self.instances.values(), strict=True)
        ]
        return "\n".join([f"{title} ({self.reason})", *lines])

    @property
    def states(self) -> dict[str, TaskState]:
        """The state of each task that is not mapped, by its id."""
        return {
            slot.task_id: result.state
            for slot, result in self.instances.items()
            if slot.map_index == UNMAPPED
        }

    def instances_of(self, task_id: str) -> list[TaskResult]:
        """Return how each instance of a task ended, in order of map index."""
        found = [each for slot, each in self.instances.items() if slot.task_id == task_id]
        if not found:
            self._slot(task_id, UNMAPPED)
        return found

    def xcom(self, task_id: str, key: str = RETURN_VALUE, *, map_index: int = UNMAPPED) -> Any:
        """Return what a task instance pushed under `key`, or None."""
        return self.xcoms.get(self._slot(task_id, map_index), {}).get(key)

    def _slot(self, task_id: str, map_index: int) -> Slot:
        slot = Slot(task_id, map_index)
        if slot not in self.instances:
            indexes = [each.map_index for each in self.instances if each.task_id == task_id]
            if indexes:
                raise KeyError(
                    f"task {task_id!r} has no map index {map_index}: it has "
                    f"{indexes[0]} to {indexes[-1]}"
                )
            known = [each.task_id for each in self.instances]
            raise KeyError(f"the run has no task {task_id!r}{did_you_mean(task_id, known)}")
        return slot

    def recorded(
        self, *, logical_date: datetime | None, conf: Mapping[str, Any] | None = None
    ) -> RecordedRun:
        """Return it as tasks of other runs see it."""
        states: dict[str, frozenset[TaskState]] = {}
        for slot, instance in self.instances.items():
            states[slot.task_id] = states.get(slot.task_id, frozenset()) | {instance.state}
        run = ForeignRun(
            dag_id=self.dag_id, run_id=self.run_id, state=self.state, logical_date=logical_date
        )
        return RecordedRun(run=run, tasks=states, conf=conf or {})


def _line(result: TaskResult, name: str, width: int) -> str:
    tries = {0: "not run", 1: "1 try"}.get(result.tries, f"{result.tries} tries")
    reason = "".join(f"  {each}" for each in (result.map_name, result.reason) if each)
    return f"  {name:<{width}}  {result.state:<15}  {tries:<8}  {result.duration_s:7.3f} s{reason}"
