"""What whole runs make of rules, mappings, branches and retries that stand together."""

from collections import Counter
from typing import Any

import pytest

from orchestrator.core.states import RunState, TaskState
from orchestrator.sdk import (
    DAG,
    EmptyOperator,
    FailException,
    PythonOperator,
    PythonSensor,
    SkipException,
    TaskGroup,
    TriggerRule,
    task,
    task_group,
)
from orchestrator.testing import DagRunResult, run_dag
from tests.core.test_trigger_rules import cells

S, F, K = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED
U = TaskState.UPSTREAM_FAILED
ENDS = {"S": S, "F": F, "K": K, "U": U}
VERDICTS = {"R": S, "SK": K, "UF": U}


def states(result: DagRunResult, task_id: str) -> str:
    """How the instances of a task ended, a letter for each in order of map index."""
    letters = {state: letter for letter, state in ENDS.items()}
    return "".join(letters[each.state] for each in result.instances_of(task_id))


def fail(*_: Any) -> None:
    raise FailException("on purpose")


def ends(task_id: str, end: str, *, weight: int) -> PythonOperator:
    """A task that ends as the letter says; the one of greater weight ends first."""

    def work() -> None:
        if end == "F":
            fail()
        if end == "K":
            raise SkipException("on purpose")

    made = PythonOperator(
        task_id=task_id, python_callable=work, priority_weight=weight, weight_rule="absolute"
    )
    if end == "U":
        PythonOperator(task_id=f"{task_id}_above", python_callable=fail) >> made
    return made


@pytest.mark.parametrize("rule", TriggerRule)
@pytest.mark.parametrize("weights", [(9, 1), (1, 9)])
def test_s2_every_cell_in_a_run_whoever_finishes_first(
    rule: TriggerRule, weights: tuple[int, int]
) -> None:
    row = {pair: cell for name, pair, cell in cells() if name == rule}
    with DAG("d") as dag:
        for pair in row:
            upstream = [
                ends(f"{pair}_{place}", end, weight=weight)
                for place, (end, weight) in enumerate(zip(pair, weights, strict=True))
            ]
            upstream >> EmptyOperator(task_id=pair, trigger_rule=rule)
    result = run_dag(dag)
    assert {pair: result[pair].state for pair in row} == {
        pair: VERDICTS[cell] for pair, cell in row.items()
    }


def test_s2_always_waits_for_nothing() -> None:
    order: list[str] = []
    with DAG("d") as dag:
        slow = PythonOperator(
            task_id="slow",
            python_callable=lambda: order.append("slow"),
            weight_rule="absolute",
        )
        slow >> PythonOperator(
            task_id="at_once",
            python_callable=lambda: order.append("at_once"),
            trigger_rule="always",
            priority_weight=9,
            weight_rule="absolute",
        )
    run_dag(dag)
    assert order == ["at_once", "slow"]


@task
def letter(end: str) -> str:
    if end == "F":
        fail()
    if end == "K":
        raise SkipException("on purpose")
    return end


def test_s2_a_mapped_upstream_counts_each_index_in_a_run() -> None:
    expected = {
        "all_success": U,
        "all_done": S,
        "one_success": S,
        "one_failed": S,
        "none_failed": U,
        "none_skipped": K,
        "all_done_min_one_success": K,
    }
    with DAG("d") as dag:
        mapped = letter.expand(end=["F", "K", "S"])
        for rule in expected:
            mapped >> EmptyOperator(task_id=rule, trigger_rule=rule)
    result = run_dag(dag)
    assert states(result, "letter") == "FKS"
    assert {rule: result[rule].state for rule in expected} == expected


def test_s4_a_branch_outside_skips_every_index_of_the_mapped_task_it_does_not_choose() -> None:
    with DAG("d") as dag:
        chosen = letter.override(task_id="chosen").expand(end=["S", "S"])
        other = letter.override(task_id="other").expand(end=["S", "S"])
        task.branch(lambda: "chosen", task_id="branch")() >> [chosen, other]
    result = run_dag(dag)
    assert (states(result, "chosen"), set(states(result, "other"))) == ("SS", {"K"})


def test_a_sensor_does_not_keep_what_it_waits_for_from_its_turn() -> None:
    there: list[int] = []
    with DAG("d") as dag:
        wait = PythonSensor(
            task_id="wait", python_callable=lambda: bool(there), timeout=60, priority_weight=99
        )
        PythonSensor.partial(task_id="waits", python_callable=lambda n: n in there).expand(
            op_args=[[1], [2]]
        )
        make = PythonOperator(task_id="make", python_callable=lambda: there.append(1))
        make >> PythonOperator(task_id="more", python_callable=lambda: there.append(2))
        wait >> EmptyOperator(task_id="after")
    assert run_dag(dag).state is RunState.SUCCESS


# --- groups that are retried ----------------------------------------------------------------------


def flaky(failures: int, tries: "Counter[Any]", key: Any = None) -> None:
    """Raise as often as `failures` says."""
    tries[key] += 1
    if tries[key] <= failures:
        raise ValueError(f"try {tries[key]} of {key}")


def test_s23_a_group_is_retried_as_a_unit_in_a_run() -> None:
    tries: Counter[Any] = Counter()
    with DAG("d") as dag:
        with TaskGroup("g", retries=2, retry_delay=60) as group:
            first = PythonOperator(task_id="first", python_callable=lambda: tries.update(["first"]))
            second = PythonOperator(task_id="second", python_callable=lambda: flaky(2, tries))
            first >> second >> EmptyOperator(task_id="third")
        group >> EmptyOperator(task_id="after", trigger_rule="all_success")
        group >> EmptyOperator(task_id="on_failure", trigger_rule="one_failed")
    result = run_dag(dag)
    assert result.state is RunState.SUCCESS
    assert tries == {"first": 3, None: 3}
    assert result.states == {
        "g.first": S,
        "g.second": S,
        "g.third": S,
        "after": S,
        "on_failure": K,
    }


def test_s23_a_group_that_fails_each_time_has_failed() -> None:
    tries: Counter[Any] = Counter()
    with DAG("d") as dag:
        with TaskGroup("g", retries=1, retry_delay=60) as group:
            PythonOperator(
                task_id="own", python_callable=lambda: flaky(99, tries), retries=1, retry_delay=60
            )
        group >> EmptyOperator(task_id="after")
    result = run_dag(dag)
    # Each time the group begins, its tasks have all their own retries again.
    assert (result.states, tries[None]) == ({"g.own": F, "after": U}, 4)


# --- mapped, grouped, branched and retried at once ------------------------------------------------


def combined(tries: "Counter[Any]") -> DAG:
    """A mapped group in which a branch goes one way at even numbers and the other at odd ones; the
    way of the even fails once at 2 and is retried; what is mapped over the group comes after."""

    @task.branch
    def choose(n: int) -> str:
        return "g.even" if n % 2 == 0 else "g.odd"

    @task(retries=1, retry_delay=60)
    def even(n: int) -> int:
        flaky(1 if n == 2 else 0, tries, n)
        return n

    @task
    def odd(n: int) -> int:
        if n == 3:
            fail()
        return n

    @task(trigger_rule="none_failed_min_one_success")
    def join(n: int, *, ti: Any) -> int:
        pulled = ti.xcom_pull(task_ids="g.even", map_indexes=ti.map_index)
        return n if pulled is None else pulled

    @task_group
    def g(n: int) -> Any:
        joined = join(n)
        choose(n) >> [even(n), odd(n)] >> joined
        return joined

    @task(trigger_rule="all_done")
    def each(value: int) -> int:
        return 10 * value

    @task(trigger_rule="all_done")
    def total(values: list[int]) -> int:
        return sum(values)

    @task
    def numbers() -> list[int]:
        return [1, 2, 3, 4]

    with DAG("combined") as dag:
        total(each.expand(value=g.expand(n=numbers())))
    return dag


def test_s10_mapped_grouped_branched_and_retried() -> None:
    tries: Counter[Any] = Counter()
    result = run_dag(combined(tries))
    assert states(result, "g.even") == "KSKS"
    assert states(result, "g.odd") == "SKFK"
    assert states(result, "g.join") == "SSUS"
    assert [each.tries for each in result.instances_of("g.even")] == [0, 2, 0, 1]
    # `each` is mapped over what there is: the results of the three that succeeded.
    assert states(result, "each") == "SSS"
    assert result.xcom("total") == 70
    assert result.state is RunState.SUCCESS


def test_s23_each_index_of_a_mapped_group_is_retried_for_itself_in_a_run() -> None:
    tries: Counter[Any] = Counter()

    @task_group(retries=1, retry_delay=60)
    def g(n: int) -> Any:
        @task
        def begin(value: int) -> int:
            tries[f"begin {value}"] += 1
            return value

        @task.branch
        def choose(value: int) -> str:
            return "g.left" if value else "g.right"

        @task
        def left(value: int) -> int:
            flaky(value, tries, value)
            return value

        @task(trigger_rule="none_failed_min_one_success")
        def join(value: int) -> int:
            return value

        begun = begin(n)
        joined = join(begun)
        choose(begun) >> [left(begun), EmptyOperator(task_id="right")] >> joined
        return joined

    @task(trigger_rule="all_done")
    def collect(values: list[int]) -> list[int]:
        return values

    with DAG("d") as dag:
        collect(g.expand(n=[0, 1, 2]))
    result = run_dag(dag)
    # 0 goes right, 1 fails once and 2 each time; the others are not run again for it.
    assert [tries[f"begin {n}"] for n in range(3)] == [1, 2, 2]
    assert (states(result, "g.left"), states(result, "g.right")) == ("KSF", "SKK")
    assert states(result, "g.join") == "SSU"
    assert result.xcom("collect") == [0, 1]
