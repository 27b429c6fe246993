"""May a task run, given how the run before this one stands?"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.core.graph import Graph
from orchestrator.core.specs import TaskSpec
from orchestrator.core.states import TaskState

_FULFILLED = frozenset({TaskState.SUCCESS, TaskState.SKIPPED, TaskState.REMOVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousRun:
    """The run that a run is compared with: with catchup the last one before it that is not manual,
    else the last one of any kind, by logical date. `states` has those of every instance of each
    task; a task that the run does not have is missing."""

    run_id: str
    states: Mapping[str, Collection[TaskState]]


def needs_past(task: TaskSpec) -> bool:
    """Whether a task looks at the run before."""
    return task.depends_on_past or task.wait_for_downstream


def looked_at(tasks: Iterable[TaskSpec], graph: Graph) -> frozenset[str]:
    """Return the tasks whose states in the run before some tasks must know."""
    wanted: set[str] = set()
    for task in tasks:
        wanted.add(task.task_id)
        wanted.update(graph.downstream[task.task_id] if task.wait_for_downstream else ())
    return frozenset(wanted)


def blocked_tasks(
    tasks: Iterable[TaskSpec], graph: Graph, previous: PreviousRun | None
) -> Mapping[str, str]:
    """Say which of some tasks the run before keeps from running, by task id, and in which words."""
    found = {
        task.task_id: past_blocks(task, children=graph.downstream[task.task_id], previous=previous)
        for task in tasks
    }
    return {task_id: reason for task_id, reason in found.items() if reason is not None}


def past_blocks(
    task: TaskSpec, *, children: Collection[str], previous: PreviousRun | None
) -> str | None:
    """Say what keeps a task from running, or None. `children` are its direct downstream tasks;
    `previous` is None for the first run, the first of a backfill and one without logical date."""
    if previous is None or not needs_past(task):
        return None
    before = f"the run before, {previous.run_id!r}"
    own = previous.states.get(task.task_id)
    if own is None:
        if task.ignore_first_depends_on_past:
            return None
        return (
            f"depends_on_past: {before}, has no task {task.task_id!r}"
            " (ignore_first_depends_on_past=True would let it run)"
        )
    state = _unfulfilled(own)
    if state is not None:
        return f"depends_on_past: it is {state} in {before}"
    for child in sorted(children) if task.wait_for_downstream else ():
        state = _unfulfilled(previous.states.get(child, ()))
        if state is not None:
            return f"wait_for_downstream: {child!r} is {state} in {before}"
    return None


def _unfulfilled(states: Collection[TaskState]) -> TaskState | None:
    return next((state for state in sorted(states) if state not in _FULFILLED), None)
