"""The longest way, and priorities by it."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.critical_path import (
    critical_path,
    longest_ways_s,
    weighted_priorities,
)
from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.specs import DagSpec, TaskSpec, WeightRule


def a_graph(edges: dict[str, tuple[str, ...]], *weighted: str) -> Graph:
    """Tasks by id with what they wait for; those named are weighted by the critical path."""
    return build_graph(
        DagSpec(
            dag_id="d",
            tasks=tuple(
                TaskSpec(
                    task_id=task_id,
                    operator="X",
                    upstream=upstream,
                    weight_rule=WeightRule.CRITICAL_PATH
                    if task_id in weighted
                    else WeightRule.ABSOLUTE,
                )
                for task_id, upstream in sorted(edges.items())
            ),
        )
    )


DIAMOND = {"a": (), "fast": ("a",), "slow": ("a",), "z": ("fast", "slow")}
MEASURED = {"a": 2.0, "fast": 1.0, "slow": 60.5, "z": 3.0}


def test_the_longest_way_goes_through_the_slow_task() -> None:
    graph = a_graph(DIAMOND)
    assert critical_path(graph, MEASURED) == ("a", "slow", "z")
    assert longest_ways_s(graph, MEASURED) == {"z": 3.0, "slow": 63.5, "fast": 4.0, "a": 65.5}


def test_with_nothing_measured_the_way_of_most_tasks_is_longest() -> None:
    graph = a_graph({"a": (), "b": ("a",), "c": ("b",), "short": ("a",)})
    assert critical_path(graph, {}) == ("a", "b", "c")


def test_what_the_end_waits_for_has_priority_and_other_rules_are_left_alone() -> None:
    graph = a_graph(DIAMOND, "fast", "slow")
    assert weighted_priorities(graph, MEASURED) == {"a": 1, "fast": 5, "slow": 65, "z": 1}


def test_an_empty_dag_has_no_way() -> None:
    assert critical_path(a_graph({}), {}) == ()


@given(st.data())
def test_no_way_is_longer_than_the_critical_one(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    edges = {
        f"t{n}": tuple(f"t{m}" for m in range(n) if data.draw(st.booleans())) for n in range(size)
    }
    durations = {task_id: data.draw(st.integers(0, 50)) for task_id in edges}
    graph = a_graph(edges)
    path = critical_path(graph, durations)

    def longest_from(task_id: str) -> int:
        below = [longest_from(each) for each in graph.downstream[task_id]]
        return durations[task_id] + max(below, default=0)

    assert sum(durations[each] for each in path) == max(longest_from(each) for each in edges)
    assert all(above in graph.tasks[below].upstream for above, below in pairwise(path))
