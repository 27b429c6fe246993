"""Neighbours, order, leaves and effective priorities."""

from itertools import pairwise

import pytest

from orchestrator.core.graph import PRIORITY_MAX, build_graph
from orchestrator.core.specs import WeightRule
from tests.builders import a_dag, a_task

DIAMOND = (a_task("a"), a_task("b", "a"), a_task("c", "a"), a_task("d", "b", "c"))


def test_lookups() -> None:
    graph = build_graph(a_dag(*DIAMOND))
    assert graph.downstream == {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}
    assert graph.order == ("a", "b", "c", "d")
    assert graph.leaves == ("d",)
    assert graph.descendants(["b"]) == {"d"}
    assert graph.descendants(["a", "b"]) == {"b", "c", "d"}


@pytest.mark.parametrize(
    ("rule", "priorities"),
    [
        (WeightRule.DOWNSTREAM, {"a": 10, "b": 6, "c": 7, "d": 4}),
        (WeightRule.UPSTREAM, {"a": 1, "b": 3, "c": 4, "d": 10}),
        (WeightRule.ABSOLUTE, {"a": 1, "b": 2, "c": 3, "d": 4}),
    ],
)
def test_s9_weight_rules(rule: WeightRule, priorities: dict[str, int]) -> None:
    tasks = [
        a_task(task.task_id, *task.upstream, priority_weight=weight, weight_rule=rule)
        for weight, task in enumerate(DIAMOND, start=1)
    ]
    assert build_graph(a_dag(*tasks)).priorities == priorities


def test_s9_priorities_fit_their_column() -> None:
    tasks = (a_task("a", priority_weight=PRIORITY_MAX), a_task("b", "a", priority_weight=7))
    assert build_graph(a_dag(*tasks)).priorities == {"a": PRIORITY_MAX, "b": 7}


def test_a_cycle_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError, match="cycle"):
        build_graph(a_dag(a_task("a", "b"), a_task("b", "a")))


def test_a_chain_of_many_tasks_is_indexed() -> None:
    names = [f"t{n:05}" for n in range(5000)]
    tasks = [a_task(names[0])] + [a_task(b, a) for a, b in pairwise(names)]
    assert build_graph(a_dag(*tasks)).priorities[names[0]] == 5000
