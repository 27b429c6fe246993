"""Which way through a DAG takes longest, by how long its tasks took lately?"""

import math
from collections.abc import Mapping

from orchestrator.core.graph import PRIORITY_MAX, Graph
from orchestrator.core.specs import WeightRule

UNMEASURED_S = 1.0
"""What a task counts that never ran: with nothing measured, the way with most tasks is longest."""


def longest_ways_s(graph: Graph, durations_s: Mapping[str, float]) -> dict[str, float]:
    """Return, for each task, the seconds of the longest way from its start to an end of the DAG."""
    ways: dict[str, float] = {}
    for task_id in reversed(graph.order):
        below = max((ways[each] for each in graph.downstream[task_id]), default=0.0)
        ways[task_id] = max(0.0, durations_s.get(task_id, UNMEASURED_S)) + below
    return ways


def critical_path(graph: Graph, durations_s: Mapping[str, float]) -> tuple[str, ...]:
    """Return the tasks of the longest way, from its first to its last."""
    ways = longest_ways_s(graph, durations_s)
    roots = [task_id for task_id in graph.order if not graph.tasks[task_id].upstream]
    path: list[str] = []
    choices: tuple[str, ...] = tuple(roots)
    while choices:
        path.append(max(choices, key=lambda task_id: (ways[task_id], task_id)))
        choices = graph.downstream[path[-1]]
    return tuple(path)


def weighted_priorities(graph: Graph, durations_s: Mapping[str, float]) -> dict[str, int]:
    """Return every task's effective priority; of one with WeightRule.CRITICAL_PATH its own weight
    plus the whole seconds, rounded up, of the longest way from it to an end."""
    ways = longest_ways_s(graph, durations_s)
    return {
        task_id: min(task.priority_weight + math.ceil(ways[task_id]), PRIORITY_MAX)
        if task.weight_rule is WeightRule.CRITICAL_PATH
        else graph.priorities[task_id]
        for task_id, task in graph.tasks.items()
    }
