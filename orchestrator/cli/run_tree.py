"""How a run looks in a terminal: its tasks as a tree, each below the upstream it waits longest for.

A DAG is no tree: a task with several upstream tasks stands below the deepest one, the others are
named behind it. Many siblings alike are counted, not listed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.output import STATE_STYLES, duration
from orchestrator.core.graph import Graph
from orchestrator.core.specs import TriggerRule
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.core.views import RunView, TaskInstanceView

__all__ = ["Progress", "draw_dag", "draw_run", "state_counts"]

_SIBLINGS_SHOWN_MAX = 12
_UPSTREAM_NAMED_MAX = 3
_SYMBOLS = {
    TaskState.SUCCESS: "✓",
    TaskState.FAILED: "✗",
    TaskState.UPSTREAM_FAILED: "✗",
    TaskState.SKIPPED: "–",
    TaskState.REMOVED: "–",
    TaskState.RUNNING: "▶",
    TaskState.UP_FOR_RETRY: "↻",
    TaskState.UP_FOR_RESCHEDULE: "↻",
}
_PENDING = "·"
# What a person looks for first when not all can be shown.
_INTEREST = {
    state: rank
    for rank, state in enumerate(
        (
            TaskState.FAILED,
            TaskState.RUNNING,
            TaskState.UP_FOR_RETRY,
            TaskState.UP_FOR_RESCHEDULE,
            TaskState.DEFERRED,
            TaskState.QUEUED,
            TaskState.SCHEDULED,
        )
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A run as of one moment."""

    run: RunView
    instances: Mapping[str, tuple[TaskInstanceView, ...]]
    """By task id, in the order of the map indexes."""
    now: datetime

    @property
    def elapsed_s(self) -> float | None:
        """Seconds since the run started, until it ended."""
        if self.run.started_at is None:
            return None
        return ((self.run.ended_at or self.now) - self.run.started_at).total_seconds()


def draw_run(progress: Progress, graph: Graph) -> Tree:
    """Draw a run's tasks with their states and durations."""
    run = progress.run
    title = Text.assemble((run.dag_id, "bold"), f"  {run.run_id}  ")
    title.append(str(run.state), style=STATE_STYLES[run.state])
    if progress.elapsed_s is not None:
        title.append(f"  {duration(progress.elapsed_s)}")
    return _draw(title, graph, progress)


def draw_dag(graph: Graph) -> Tree:
    """Draw a DAG's tasks with their operators and whatever is not the default about them."""
    return _draw(Text(graph.spec.dag_id, "bold"), graph, None)


def _draw(title: Text, graph: Graph, progress: Progress | None) -> Tree:
    tree = Tree(title, guide_style="bright_black")
    below = _children(graph)
    # Depth first with an explicit stack: a chain may be longer than Python's recursion allows.
    stack = [(tree, "")]
    while stack:
        branch, parent = stack.pop()
        siblings = below.get(parent, ())
        shown, hidden = (siblings, ()) if progress is None else _choose(siblings, progress)
        added = [(branch.add(_label(task_id, graph, progress)), task_id) for task_id in shown]
        if hidden and progress is not None:
            branch.add(Text(_summary(hidden, progress), style="bright_black"))
        stack.extend(reversed(added))
    return tree


def state_counts(instances: Sequence[TaskInstanceView]) -> str:
    """Say how many are in which state: `3 success, 1 running`."""
    counts = Counter(instance.state for instance in instances)
    return ", ".join(f"{counts[state]} {state}" for state in TaskState if counts[state])


def _children(graph: Graph) -> Mapping[str, Sequence[str]]:
    """Return each task's children in the tree; those of "" are the roots."""
    depth: dict[str, int] = {}
    children: dict[str, list[str]] = {}
    for task_id in graph.order:
        upstream = graph.tasks[task_id].upstream
        parent = max(upstream, key=lambda above: depth[above], default="")
        depth[task_id] = depth.get(parent, -1) + 1
        children.setdefault(parent, []).append(task_id)
    return children


def _choose(siblings: Sequence[str], progress: Progress) -> tuple[Sequence[str], Sequence[str]]:
    """Split siblings into those worth a line and those to count."""
    if len(siblings) <= _SIBLINGS_SHOWN_MAX:
        return siblings, ()
    ranked = sorted(siblings, key=lambda task_id: (_interest(task_id, progress), task_id))
    shown = set(ranked[:_SIBLINGS_SHOWN_MAX])
    return sorted(shown), [task_id for task_id in siblings if task_id not in shown]


def _interest(task_id: str, progress: Progress) -> int:
    states = [ti.state for ti in progress.instances.get(task_id, ())]
    return min((_INTEREST.get(state, len(_INTEREST)) for state in states), default=len(_INTEREST))


def _summary(task_ids: Sequence[str], progress: Progress) -> str:
    instances = [ti for task_id in task_ids for ti in progress.instances.get(task_id, ())]
    return f"… and {len(task_ids)} more: {state_counts(instances)}"


def _label(task_id: str, graph: Graph, progress: Progress | None) -> Text:
    task = graph.tasks[task_id]
    if progress is None:
        rule = "" if task.trigger_rule is TriggerRule.ALL_SUCCESS else f"  {task.trigger_rule}"
        label = Text.assemble(task_id, (f"  {task.operator}{rule}", "bright_black"))
    else:
        label = _standing(task_id, progress)
    if len(task.upstream) > 1:
        names = ", ".join(task.upstream[:_UPSTREAM_NAMED_MAX])
        left = len(task.upstream) - _UPSTREAM_NAMED_MAX
        more = f" and {left} more" if left > 0 else ""
        label.append(f"  after {names}{more}", style="bright_black")
    return label


def _standing(task_id: str, progress: Progress) -> Text:
    instances = progress.instances.get(task_id, ())
    state = _overall(instances)
    style = STATE_STYLES[state]
    label = Text.assemble((f"{_SYMBOLS.get(state, _PENDING)} ", style), task_id)
    if len(instances) > 1:
        label.append(f"  {state_counts(instances)}", style=style)
    elif instances and state is not TaskState.NONE:
        label.append(f"  {state}", style=style)
    label.append("".join(_details(instances, progress)), style="bright_black")
    return label


def _overall(instances: Sequence[TaskInstanceView]) -> TaskState:
    """Return the state that tells most about a task's instances."""
    states = [ti.state for ti in instances]
    if not states:
        return TaskState.NONE
    unfinished = [state for state in states if state not in FINISHED_TASK_STATES]
    return min(unfinished or states, key=lambda state: _INTEREST.get(state, len(_INTEREST)))


def _details(instances: Sequence[TaskInstanceView], progress: Progress) -> list[str]:
    if len(instances) != 1:
        return []
    (ti,) = instances
    details = []
    if ti.started_at is not None and ti.state is not TaskState.NONE:
        end = ti.ended_at or (progress.now if ti.state is TaskState.RUNNING else None)
        if end is not None:
            details.append(f"  {duration(max(0.0, (end - ti.started_at).total_seconds()))}")
    if ti.try_number > 1:
        details.append(f"  try {ti.try_number}")
    if ti.reason and (ti.state in _INTEREST or progress.run.state is RunState.FAILED):
        details.append(f"  {ti.reason.splitlines()[0]}")
    return details
