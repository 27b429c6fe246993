"""Which tasks a branch or a short circuit does not follow."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.outcomes import Failed, Succeeded
from orchestrator.sdk import (
    DAG,
    BaseBranchOperator,
    BranchPythonOperator,
    EmptyOperator,
    ShortCircuitOperator,
    TaskGroup,
    chain,
    task,
)
from orchestrator.sdk.branching import tasks_not_chosen
from tests.builders import a_dag, a_task
from tests.sdk.tries import try_task


def branch_to(result: Any, write: Callable[..., Any], ids: str = "abcd") -> Any:
    """The outcome of a branch that returns `result` above tasks wired by `write`."""
    with DAG("d") as dag:
        branch = BranchPythonOperator(task_id="br", python_callable=lambda: result)
        write(branch, *(EmptyOperator(task_id=each) for each in ids))
    return try_task(dag, "br")


def fan(br: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    br >> [a, b, c] >> d


def deep(br: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    chain(br, a, b)
    br >> c


def joined(br: Any, a: Any, b: Any, join: Any, d: Any) -> None:
    br >> [a, b]
    br >> join
    a >> join


CHOICES: list[tuple[str, Any, Callable[..., Any], tuple[str, ...]]] = [
    ("one", "a", fan, ("b", "c")),
    ("several", ["a", "c"], fan, ("b",)),
    ("all", ["a", "b", "c"], fan, ()),
    ("none", None, fan, ("a", "b", "c")),
    ("an empty list", [], fan, ("a", "b", "c")),
    ("a set", {"c", "a"}, fan, ("b",)),
    ("a deep descendant saves no direct child in between", "b", deep, ("a", "c")),
    ("a child downstream of the chosen one is followed", "a", joined, ("b",)),
    ("a task that is not downstream at all", "d", joined, ("a", "b", "c")),
]


@pytest.mark.parametrize(
    ("result", "write", "skip"), [each[1:] for each in CHOICES], ids=[each[0] for each in CHOICES]
)
def test_s4_a_branch_skips_the_direct_children_it_does_not_follow(
    result: Any, write: Callable[..., Any], skip: tuple[str, ...]
) -> None:
    assert branch_to(result, write).skip == skip


def test_s4_the_choice_is_pushed() -> None:
    assert branch_to({"c", "a"}, fan) == Succeeded(
        xcoms={"return_value": ["a", "c"]}, skip=("b",), length=2
    )


def group_dag(result: Any) -> DAG:
    with DAG("d") as dag:
        branch = task.branch(lambda: result, task_id="br")()
        with TaskGroup("g") as group:
            first, second = EmptyOperator(task_id="first"), EmptyOperator(task_id="second")
            first >> second
            with TaskGroup("inner"):
                third = EmptyOperator(task_id="third")
        other = EmptyOperator(task_id="other")
        branch >> [group, other]
        branch >> second
        assert third.task_id == "g.inner.third"
    return dag


@pytest.mark.parametrize(
    ("result", "skip"),
    [
        ("g", ("other",)),
        ("g.inner", ("g.first", "g.second", "other")),
        (["g.inner", "other"], ("g.first", "g.second")),
    ],
)
def test_s4_a_group_stands_for_its_roots(result: Any, skip: tuple[str, ...]) -> None:
    outcome = try_task(group_dag(result), "br")
    assert isinstance(outcome, Succeeded)
    assert outcome.skip == skip


WRONG: list[tuple[Any, str]] = [
    (
        "othr",
        "branch 'br' chose 'othr', which is no task or group of this DAG; did you mean 'other",
    ),
    ("first", "chose 'first', which is no task or group of this DAG; did you mean 'g.first'?"),
    (["other", "zzzzz"], "branch 'br' chose 'zzzzz', which is no task or group of this DAG"),
    (7, "branch 'br' returned 7; it must return a task or group id, a list of them, or None"),
    ([7], "branch 'br' returned 7 among its ids, which is no text"),
]


@pytest.mark.parametrize(("result", "message"), WRONG)
def test_s4_a_branch_to_nowhere_fails_and_pushes_nothing(result: Any, message: str) -> None:
    outcome = try_task(group_dag(result), "br")
    assert isinstance(outcome, Failed)
    assert message in outcome.reason
    assert (outcome.retryable, outcome.xcoms) == (True, {})


def test_s4_own_branch_operators_choose_by_choose_branch() -> None:
    class Weekend(BaseBranchOperator):
        def choose_branch(self, context: Any) -> str:
            return "rest" if context["logical_date"].weekday() > 4 else "work"

    with DAG("d") as dag:
        Weekend(task_id="br") >> [EmptyOperator(task_id="rest"), EmptyOperator(task_id="work")]
    assert try_task(dag, "br") == Succeeded(xcoms={"return_value": "work"}, skip=("rest",))


@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))), st.sets(st.integers(1, 6), max_size=3)
)
def test_s4_a_child_is_skipped_unless_it_is_chosen_or_below_a_chosen_one(
    pairs: set[tuple[int, int]], chosen: set[int]
) -> None:
    ids = [f"t{number}" for number in range(7)]
    upstream = {id_: {ids[a] for a, b in pairs if a < b and ids[b] == id_} for id_ in ids}
    spec = a_dag(*(a_task(id_, *sorted(upstream[id_])) for id_ in ids))

    def is_followed(id_: str) -> bool:
        return id_ in picked or any(is_followed(above) for above in upstream[id_])

    picked = {ids[number] for number in chosen}
    expected = tuple(id_ for id_ in ids if "t0" in upstream[id_] and not is_followed(id_))
    assert tasks_not_chosen(sorted(picked), task_id="t0", dag=spec) == expected


def circuit(answer: Any, **arguments: Any) -> Any:
    with DAG("d") as dag:
        check = ShortCircuitOperator(task_id="s", python_callable=lambda: answer, **arguments)
        a, b, c = (EmptyOperator(task_id=each) for each in "abc")
        check >> a >> b
        c >> b
    return try_task(dag, "s")


@pytest.mark.parametrize(
    ("answer", "arguments", "skip"),
    [
        (True, {}, ()),
        ("yes", {}, ()),
        (False, {}, ("a", "b")),
        (None, {}, ("a", "b")),
        ([], {}, ("a", "b")),
        (False, {"ignore_downstream_trigger_rules": False}, ("a",)),
        (True, {"ignore_downstream_trigger_rules": False}, ()),
    ],
)
def test_s4_a_short_circuit_skips_all_descendants_or_direct_children_only(
    answer: Any, arguments: dict[str, Any], skip: tuple[str, ...]
) -> None:
    assert circuit(answer, **arguments).skip == skip


def test_a_task_that_decides_nothing_has_no_decision() -> None:
    with DAG("d") as dag:
        task(lambda: "a", task_id="t")() >> EmptyOperator(task_id="a")
    assert try_task(dag, "t") == Succeeded(xcoms={"return_value": "a"}, skip=None)
