"""Which setups does a task need, and for what does a teardown wait?"""

from collections.abc import Iterable, Mapping

from orchestrator.core.specs import TaskSpec

Edges = Mapping[str, tuple[str, ...]]


def setups_needed(tasks: Mapping[str, TaskSpec], below: Edges) -> dict[str, tuple[str, ...]]:
    """Return, for each task that needs any, the setups above it, also far above, whose teardown is
    not above it too. A setup without teardown counts for everything below it."""
    needed: dict[str, tuple[str, ...]] = {}
    teardowns = _teardowns(tasks)
    for setup in sorted(task_id for task_id, task in tasks.items() if task.is_setup):
        over = set(teardowns.get(setup, ()))
        over |= reach(over, below)
        for task_id in sorted(reach((setup,), below) - over):
            if not tasks[task_id].is_teardown:
                needed[task_id] = (*needed.get(task_id, ()), setup)
    return needed


def teardown_scopes(tasks: Mapping[str, TaskSpec], below: Edges) -> dict[str, tuple[str, ...]]:
    """Return, for each teardown, its setups and the tasks between them and itself; those directly
    above it, which its rule waits for, left out."""
    scopes: dict[str, tuple[str, ...]] = {}
    above = {task_id: task.upstream for task_id, task in tasks.items()}
    for task_id, task in tasks.items():
        if task.is_teardown and task.setups:
            between = reach(task.setups, below) & reach((task_id,), above)
            scopes[task_id] = tuple(sorted((between | {*task.setups}) - {*task.upstream}))
    return scopes


def is_ignored(task: TaskSpec) -> bool:
    """Whether a task's failure means nothing to its run: a teardown's, unless it is said to."""
    return task.is_teardown and not task.on_failure_fail_dagrun


def leaves(tasks: Mapping[str, TaskSpec], below: Edges) -> tuple[str, ...]:
    """Return the tasks with nothing below them, as if teardowns that are ignored were not there."""
    return tuple(
        task_id
        for task_id in sorted(tasks)
        if not is_ignored(tasks[task_id]) and all(is_ignored(tasks[id_]) for id_ in below[task_id])
    )


def reach(roots: Iterable[str], edges: Edges) -> frozenset[str]:
    """Return everything that can be got to from `roots`."""
    seen: set[str] = set()
    frontier = [each for root in roots for each in edges[root]]
    while frontier:
        task_id = frontier.pop()
        if task_id not in seen:
            seen.add(task_id)
            frontier.extend(edges[task_id])
    return frozenset(seen)


def _teardowns(tasks: Mapping[str, TaskSpec]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task_id, task in tasks.items():
        for setup in task.setups if task.is_teardown else ():
            found.setdefault(setup, []).append(task_id)
    return found
