"""How a DAG or a run looks in a terminal: its tasks as a tree, many alike counted, not listed.

A DAG with task groups is drawn as these, tasks in the order in which they can run. Any other is
drawn along its edges: a task with several upstream tasks stands below the deepest one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.output import STATE_STYLES, duration
from orchestrator.core.graph import Graph
from orchestrator.core.ids import Slot
from orchestrator.core.map_paths import index_name
from orchestrator.core.specs import TriggerRule
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.core.views import RunView, TaskInstanceView

__all__ = ["Progress", "draw_dag", "draw_run", "state_counts"]

_SIBLINGS_SHOWN_MAX = 12
_INSTANCES_SHOWN_MAX = 5
_UPSTREAM_NAMED_MAX = 3
_DIM = "bright_black"
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
_LEAST_INTEREST = len(_INTEREST)
_WORTH_A_LINE = frozenset({TaskState.FAILED, TaskState.RUNNING, TaskState.UP_FOR_RETRY})
"""Of many instances of a mapped task those in these states are named, a few of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A run as of one moment."""

    run: RunView
    instances: Mapping[str, Sequence[TaskInstanceView]]
    """By task id, in the order of the map indexes."""
    now: datetime

    @property
    def elapsed_s(self) -> float | None:
        """Seconds since the run started, until it ended."""
        if self.run.started_at is None:
            return None
        return ((self.run.ended_at or self.now) - self.run.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class _Node:
    """A task, or a group of them. `parent` is the id of the group or task it stands below."""

    node_id: str
    parent: str
    is_group: bool

    @property
    def name(self) -> str:
        """Its id, without what its group's says already."""
        return self.node_id.removeprefix(f"{self.parent}.") if self.parent else self.node_id


def draw_run(progress: Progress, graph: Graph) -> Tree:
    """Draw a run's tasks with their states and durations."""
    run = progress.run
    title = Text.assemble((run.dag_id, "bold"), f"  {run.run_id}  ")
    title.append(str(run.state), style=STATE_STYLES[run.state])
    if progress.elapsed_s is not None:
        title.append(f"  {duration(progress.elapsed_s)}")
    return _draw(title, graph, progress, lambda node: _standing(node, progress))


def draw_dag(graph: Graph) -> Tree:
    """Draw a DAG's tasks with their operators, upstream tasks and trigger rules."""
    return _draw(Text(graph.spec.dag_id, "bold"), graph, None, lambda node: _meaning(node, graph))


def state_counts(instances: Iterable[TaskInstanceView]) -> str:
    """Say how many are in which state: `3 success, 1 running`."""
    counts = Counter(instance.state for instance in instances)
    return ", ".join(f"{counts[state]} {state}" for state in TaskState if counts[state])


def _draw(
    title: Text, graph: Graph, progress: Progress | None, label: Callable[[_Node], Text]
) -> Tree:
    tree = Tree(title, guide_style=_DIM)
    below = _children(graph)
    # Depth first with an explicit stack: a chain may be longer than Python's recursion allows.
    stack = [(tree, "")]
    while stack:
        branch, parent = stack.pop()
        shown, hidden = _choose(below.get(parent, ()), progress)
        added = []
        for node in shown:
            below_it = branch.add(Text(node.name, _DIM) if node.is_group else label(node))
            if progress is not None:
                _name_instances(below_it, node, graph, progress)
            added.append((below_it, node.node_id))
        if hidden and progress is not None:
            branch.add(_one_line(Text(_summary(hidden, progress), _DIM)))
        stack.extend(reversed(added))
    return tree


def _children(graph: Graph) -> Mapping[str, Sequence[_Node]]:
    """Return each node's children in the tree, in the order in which they can run; those of "" are
    the roots. A group's id is never a task's."""
    nodes = _grouped(graph) if graph.spec.groups else _spanned(graph)
    children: dict[str, list[_Node]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    return children


def _grouped(graph: Graph) -> Iterable[_Node]:
    parents = {group.group_id: group.parent_id or "" for group in graph.spec.groups}
    told: set[str] = set()
    for task_id in graph.order:
        own = graph.tasks[task_id].group_id or ""
        group, missing = own, []
        while group and group not in told:
            missing.append(group)
            group = parents[group]
        for group in reversed(missing):
            told.add(group)
            yield _Node(group, parents[group], is_group=True)
        yield _Node(task_id, own, is_group=False)


def _spanned(graph: Graph) -> Iterable[_Node]:
    depth: dict[str, int] = {}
    for task_id in graph.order:
        parent = max(graph.tasks[task_id].upstream, key=lambda above: depth[above], default="")
        depth[task_id] = depth.get(parent, -1) + 1
        yield _Node(task_id, parent, is_group=False)


def _choose(
    siblings: Sequence[_Node], progress: Progress | None
) -> tuple[Sequence[_Node], Sequence[_Node]]:
    """Split siblings into those worth a line and those to count. A group is always worth one."""
    if progress is None or len(siblings) <= _SIBLINGS_SHOWN_MAX:
        return siblings, ()
    tasks = [node for node in siblings if not node.is_group]
    ranked = sorted(tasks, key=lambda node: (_interest(node, progress), node.node_id))
    hidden = set(ranked[_SIBLINGS_SHOWN_MAX:])
    return [node for node in siblings if node not in hidden], sorted(
        hidden, key=lambda node: node.node_id
    )


def _interest(node: _Node, progress: Progress) -> int:
    states = [ti.state for ti in progress.instances.get(node.node_id, ())]
    return min((_INTEREST.get(state, _LEAST_INTEREST) for state in states), default=_LEAST_INTEREST)


def _summary(nodes: Sequence[_Node], progress: Progress) -> str:
    instances = [ti for node in nodes for ti in progress.instances.get(node.node_id, ())]
    return f"… and {len(nodes)} more: {state_counts(instances) or 'not started'}"


def _meaning(node: _Node, graph: Graph) -> Text:
    task = graph.tasks[node.node_id]
    label = Text.assemble(node.name, (f"  {task.operator}", _DIM))
    if task.upstream and task.upstream != (node.parent,):
        names = ", ".join(task.upstream[:_UPSTREAM_NAMED_MAX])
        left = len(task.upstream) - _UPSTREAM_NAMED_MAX
        label.append(f"  after {names}" + (f" and {left} more" if left > 0 else ""), style=_DIM)
    if task.trigger_rule is not TriggerRule.ALL_SUCCESS:
        label.append(f"  {task.trigger_rule}", style="yellow")
    return _one_line(label)


def _standing(node: _Node, progress: Progress) -> Text:
    instances = progress.instances.get(node.node_id, ())
    state = _overall(instances)
    style = STATE_STYLES[state]
    label = Text.assemble((f"{_SYMBOLS.get(state, _PENDING)} ", style), node.name)
    if len(instances) > 1:
        label.append(f"  {state_counts(instances)}", style=style)
    elif instances and state is not TaskState.NONE:
        label.append(f"  {state}", style=style)
        label.append("".join(_details(instances[0], progress)), style=_DIM)
    return _one_line(label)


def _name_instances(branch: Tree, node: _Node, graph: Graph, progress: Progress) -> None:
    """Add a line for each of the first instances of a mapped task that failed or run."""
    instances = progress.instances.get(node.node_id, ())
    if len(instances) < 2:  # its task's line says all
        return
    named = [ti for ti in instances if ti.state in _WORTH_A_LINE]
    named.sort(key=lambda ti: (_INTEREST[ti.state], ti.key.map_index))
    for ti in named[:_INSTANCES_SHOWN_MAX]:
        index = index_name(Slot(ti.key.task_id, ti.key.map_index), graph.levels)
        style = STATE_STYLES[ti.state]
        label = Text.assemble((f"{_SYMBOLS.get(ti.state, _PENDING)} ", style))
        label.append(index if index.startswith("[") else f"[{index}]")
        if ti.rendered_map_index:
            label.append(f"  {ti.rendered_map_index}")
        label.append(f"  {ti.state}", style=style)
        label.append("".join(_details(ti, progress)), style=_DIM)
        branch.add(_one_line(label))
    rest = named[_INSTANCES_SHOWN_MAX:]
    if rest:
        branch.add(_one_line(Text(f"… and {len(rest)} more: {state_counts(rest)}", _DIM)))


def _overall(instances: Sequence[TaskInstanceView]) -> TaskState:
    """Return the state that tells most about a task's instances."""
    states = [ti.state for ti in instances]
    unfinished = [state for state in states if state not in FINISHED_TASK_STATES]
    return min(
        unfinished or states,
        key=lambda state: _INTEREST.get(state, _LEAST_INTEREST),
        default=TaskState.NONE,
    )


def _details(ti: TaskInstanceView, progress: Progress) -> list[str]:
    details = []
    if ti.started_at is not None:
        end = ti.ended_at or (progress.now if ti.state is TaskState.RUNNING else None)
        if end is not None:
            details.append(f"  {duration(max(0.0, (end - ti.started_at).total_seconds()))}")
    if ti.try_number > 1:
        details.append(f"  try {ti.try_number}")
    if ti.reason and (ti.state in _INTEREST or progress.run.state is RunState.FAILED):
        details.append(f"  {ti.reason.splitlines()[0]}")
    return details


def _one_line(label: Text) -> Text:
    label.no_wrap = True
    label.overflow = "ellipsis"
    return label
