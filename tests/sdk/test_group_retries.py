"""What authoring refuses of task groups that are retried as a unit."""

import pytest

from orchestrator.core.specs import RetryPolicy
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import DAG, EmptyOperator, TaskGroup


def test_a_group_says_how_it_is_retried() -> None:
    with DAG("d") as dag:
        with TaskGroup("g", retries=2, retry_delay=5):
            EmptyOperator(task_id="a")
        with TaskGroup("h"):
            EmptyOperator(task_id="b")
    g, h = dag.spec().groups
    assert (g.retry, h.retry) == (RetryPolicy(retries=2, delay_s=5.0), None)


def test_a_retried_group_is_in_no_other_one() -> None:
    with DAG("d") as dag, TaskGroup("g", retries=1), TaskGroup("h"), TaskGroup("i", retries=3):
        EmptyOperator(task_id="a")
    with pytest.raises(DagInvalidError) as error:
        dag.spec()
    assert "retries=3 in group 'g', which has retries=1; only one of them" in str(error.value)


def test_no_way_leaves_a_retried_group_and_comes_back() -> None:
    with DAG("d") as dag:
        outside = EmptyOperator(task_id="x")
        with TaskGroup("g", retries=1):
            a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
        a >> outside >> b
    with pytest.raises(DagInvalidError, match="task 'x' comes after a task in it and before"):
        dag.spec()


def test_a_group_that_is_not_retried_may_have_a_task_between() -> None:
    with DAG("d") as dag:
        outside = EmptyOperator(task_id="x")
        with TaskGroup("g"):
            a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
        a >> outside >> b
    assert dag.spec().groups[0].retry is None
