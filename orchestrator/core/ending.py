"""What ends a run before all is done, and how did a run end?"""

from orchestrator.core.decisions import FinishRun
from orchestrator.core.ids import MapPath, Slot, name_at
from orchestrator.core.roster import Roster
from orchestrator.core.setups import is_ignored
from orchestrator.core.specs import RunStatePolicy
from orchestrator.core.states import RunState, TaskState
from orchestrator.core.trigger_rules import Tally

_BAD = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED})


def failed_fast(roster: Roster) -> str | None:
    """Say which failure ends everything else in a DAG with fail_fast."""
    if not roster.graph.spec.fail_fast or not roster.failed:
        return None
    for task_id in roster.graph.order:
        if not is_ignored(roster.graph.tasks[task_id]):
            name = _first(roster, task_id, frozenset({TaskState.FAILED}))
            if name is not None:
                return f"fail_fast: task {name[0]!r} failed"
    raise AssertionError("a failure was counted that is nowhere")


def to_abandon(roster: Roster) -> list[Slot]:
    """Return, upstream first, what is unfinished and not a teardown that has something to tear
    down: of these at least one setup succeeded, or they have none."""
    return [
        roster.slot(task_id, path)
        for task_id in roster.graph.order
        if roster.standing(task_id, (), seen_by=task_id).unfinished
        for path in roster.below(task_id, ())
        if roster.is_unfinished(roster.slot(task_id, path))
        and not _is_spared(roster, task_id, path)
    ]


def conclude(roster: Roster) -> FinishRun:
    """Say how a run ended of which nothing is left to do."""
    graph = roster.graph
    policy = graph.spec.run_state
    match policy:
        case RunStatePolicy.LEAVES:
            deciding, what = graph.leaves, "leaf task"
        case RunStatePolicy.CRITICAL:
            deciding, what = graph.spec.critical_tasks, "critical task"
        case RunStatePolicy.ALL:
            deciding, what = graph.order, "task"
    for task_id in deciding:
        if policy is RunStatePolicy.ALL and is_ignored(graph.tasks[task_id]):
            continue
        found = _first(roster, task_id, _BAD)
        if found is not None:
            name, state = found
            return FinishRun(state=RunState.FAILED, reason=f"{what} {name!r} is {state}")
    return FinishRun(state=RunState.SUCCESS, reason=f"no {what} failed")


def _is_spared(roster: Roster, task_id: str, path: MapPath) -> bool:
    task = roster.graph.tasks[task_id]
    return task.is_teardown and (
        not task.setups or any(_seen(roster, setup, task_id, path).success for setup in task.setups)
    )


def _seen(roster: Roster, setup: str, task_id: str, path: MapPath) -> Tally:
    place = path[: roster.graph.shared(setup, task_id)]
    return roster.standing(setup, place, seen_by=task_id)


def _first(
    roster: Roster, task_id: str, states: frozenset[TaskState]
) -> tuple[str, TaskState] | None:
    if not roster.standing(task_id, (), seen_by=None).bad:
        return None
    for path in roster.below(task_id, ()):
        state = roster.seen_state(roster.slot(task_id, path))
        if state in states:
            return name_at(task_id, path), state
    return None
