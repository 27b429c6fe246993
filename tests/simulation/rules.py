"""What do the trigger rule of a task instance and the run before say, recounted from all rows?"""

from collections.abc import Iterable, Sequence

from orchestrator.core.graph import Graph
from orchestrator.core.ids import MapPath, Slot, path_of
from orchestrator.core.past import PreviousRun, past_blocks
from orchestrator.core.states import TaskState
from orchestrator.core.trigger_rules import Tally


def upstream_of(
    graph: Graph, slot: Slot, rows: Iterable[tuple[Slot, TaskState, Sequence[str]]]
) -> tuple[Tally, bool]:
    """Count the upstream instances that concern one of a run's, given as (slot, state, skipped
    tasks); also say whether one of them chose not to follow its task."""
    tally, is_marked = Tally(), False
    mine = _path(graph, slot)
    for other, state, skip in rows:
        if other.task_id in graph.tasks[slot.task_id].upstream:
            shared = graph.shared(other.task_id, slot.task_id)
            theirs = _path(graph, other)
            if all(one == two for one, two in zip(mine[:shared], theirs[:shared], strict=False)):
                tally.total += 1
                tally.count(state, 1)
                is_marked = is_marked or slot.task_id in skip
    return tally, is_marked


def past_of(
    graph: Graph, previous: str | None, rows: Iterable[tuple[Slot, TaskState]]
) -> dict[str, str]:
    """Say what keeps which tasks of a run waiting for the run before, named `previous`, whose task
    instances are `rows`."""
    states: dict[str, set[TaskState]] = {}
    for slot, state in rows:
        states.setdefault(slot.task_id, set()).add(state)
    before = None if previous is None else PreviousRun(run_id=previous, states=states)
    blocked = {
        task_id: past_blocks(task, children=graph.downstream[task_id], previous=before)
        for task_id, task in graph.tasks.items()
    }
    return {task_id: why for task_id, why in blocked.items() if why is not None}


def gaps(graph: Graph, slots: Iterable[Slot]) -> list[str]:
    """Name the tasks whose map indexes are not 0 to n - 1 at every level of their mapping, or that
    have instances both expanded and not."""
    steps: dict[tuple[str, MapPath], set[int]] = {}
    leaves: set[tuple[str, MapPath]] = set()
    for slot in slots:
        if slot.task_id not in graph.tasks:
            continue  # a test has put it there
        path = _path(graph, slot)
        leaves.add((slot.task_id, path))
        for length, step in enumerate(path):
            steps.setdefault((slot.task_id, path[:length]), set()).add(step)
    return sorted(
        f"{task_id}{list(prefix)}: {sorted(found)}"
        for (task_id, prefix), found in steps.items()
        if found != set(range(len(found))) or (task_id, prefix) in leaves
    )


def _path(graph: Graph, slot: Slot) -> MapPath:
    return path_of(slot.map_index, depth=graph.depth(slot.task_id))
