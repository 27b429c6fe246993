"""Another DAG's tasks as a group: they end as they would in a run of their own."""

from typing import Any

import pytest

from orchestrator.core.states import RunState
from orchestrator.errors import DagInvalidError, ParamInvalidError
from orchestrator.sdk import (
    DAG,
    BashOperator,
    EmptyOperator,
    FailException,
    Label,
    Param,
    SubDag,
    TaskGroup,
    XComArg,
    task,
    task_group,
)
from orchestrator.testing import DagRunResult, run_dag


def child_dag() -> DAG:
    """A bit of everything that names other tasks: by id, by output, by group, by index."""
    with DAG(
        "child",
        params={"n": Param(3, type="integer", maximum=9)},
        user_defined_macros={"shout": str.upper},
    ) as dag:

        @task
        def numbers(params: Any = None) -> list[int]:
            return list(range(params["n"]))

        @task
        def double(x: int) -> int:
            if x == 2:
                raise FailException("two")
            return 2 * x

        @task.branch(trigger_rule="all_done")
        def choose(ti: Any = None) -> list[str]:
            return ["left.first", "plain"] if ti.xcom_pull(task_ids="numbers") else ["right"]

        @task(trigger_rule="all_done")
        def pull(ti: Any = None) -> list[Any]:
            return [ti.xcom_pull(task_ids=["numbers", "double"]), ti.xcom_pull("numbers")]

        @task_group
        def each(value: int, factor: int) -> Any:
            return double.override(task_id="times")(value)

        found = numbers()
        doubled = double.expand(x=found)
        chosen = choose()
        doubled >> chosen >> pull()
        with TaskGroup("left") as left:
            EmptyOperator(task_id="first") >> EmptyOperator(task_id="second")
        chosen >> Label("yes") >> left
        chosen >> [EmptyOperator(task_id="right"), EmptyOperator(task_id="plain")]
        each.partial(factor=2).expand(value=found.map(lambda value: value + 3))
        made = BashOperator(task_id="make", bash_command="echo {{ shout('a') }}{{ params.n }}")
        gone = BashOperator(task_id="remove", bash_command="exit 1").as_teardown(setups=made)
        with gone:
            EmptyOperator(task_id="work")
    return dag


def ends_of(result: DagRunResult, prefix: str = "") -> dict[tuple[str, int], tuple[str, Any]]:
    return {
        (slot.task_id.removeprefix(prefix), slot.map_index): (
            str(each.state),
            result.xcoms.get(slot, {}).get("return_value"),
        )
        for slot, each in result.instances.items()
        if slot.task_id.startswith(prefix)
    }


def test_a_subdag_ends_as_the_dag_would_alone() -> None:
    child = child_dag()
    before = child.spec()
    with DAG("parent") as parent:
        EmptyOperator(task_id="begin") >> SubDag(child) >> EmptyOperator(task_id="end")
    assert child.spec() == before, "it is not changed"
    alone, within = run_dag(child), run_dag(parent)
    assert ends_of(within, "child.") == ends_of(alone)
    assert ends_of(alone)["left.second", -1] == ("success", None)
    assert ends_of(alone)["right", -1] == ("skipped", None)
    assert ends_of(alone)["make", -1] == ("success", "A3")
    assert ends_of(alone)["each.times", 2] == ("success", 10)


def test_params_of_a_subdag_are_its_own() -> None:
    with DAG("parent", params={"n": 1}) as parent:
        SubDag(child_dag(), group_id="one", params={"n": 2})
        SubDag(child_dag(), group_id="two")
        BashOperator(task_id="own", bash_command="echo {{ params.n }}")
    result = run_dag(parent)
    assert result.xcom("one.numbers") == [0, 1]
    assert result.xcom("two.numbers") == [0, 1, 2]
    assert result.xcom("own") == "1"
    assert run_dag(parent, conf={"n": 4}).xcom("one.numbers") == [0, 1, 2, 3]


def test_a_subdag_keeps_the_structure_and_nests() -> None:
    with DAG("middle") as middle:
        SubDag(child_dag(), group_id="inner")
    with DAG("parent") as parent, TaskGroup("around"):
        SubDag(middle, group_id="m", tooltip="the middle")
    child, spec = child_dag().spec(), parent.spec()
    prefix = "around.m.inner."
    assert {each.task_id.removeprefix(prefix) for each in spec.tasks} == {
        each.task_id for each in child.tasks
    }
    upstream = {each.task_id: each.upstream for each in spec.tasks}
    for each in child.tasks:
        assert upstream[prefix + each.task_id] == tuple(prefix + up for up in each.upstream)
    assert [each.group_id for each in spec.groups] == [
        *("around", "around.m", "around.m.inner"),
        *(prefix + each.group_id for each in child.groups),
    ]
    assert {(each.upstream, each.label) for each in spec.edge_labels} == {
        (prefix + "choose", "yes")
    }
    assert ends_of(run_dag(parent), prefix) == ends_of(run_dag(child_dag()))


def test_a_subdag_in_a_mapped_group_runs_for_each_index() -> None:
    @task
    def base() -> int:
        return 5

    with DAG("child") as child:

        @task
        def add(x: int) -> int:
            return x + 1

        add(base())

    @task_group
    def g(n: int) -> None:
        SubDag(child)

    with DAG("parent") as parent:
        g.expand(n=[1, 2])
    result = run_dag(parent)
    assert result.state is RunState.SUCCESS
    assert [result.xcom("g.child.add", map_index=index) for index in (0, 1)] == [6, 6]


def test_the_output_of_a_task_in_a_subdag_can_be_taken() -> None:
    @task
    def take(value: Any) -> Any:
        return value

    with DAG("parent") as parent:
        SubDag(child_dag())
        take(XComArg(parent.get_task("child.numbers")))
    assert run_dag(parent).xcom("take") == [0, 1, 2]


def test_what_cannot_be_held_is_told() -> None:
    def refused(message: str, **arguments: Any) -> None:
        with pytest.raises(DagInvalidError) as caught, DAG("parent"):
            SubDag(**{"subdag": child_dag(), **arguments})
        assert message in str(caught.value)
        assert "(test_subdags.py:" in str(caught.value)

    refused("it is given 'child'; its first argument is the DAG that it holds", subdag="child")
    refused("DAG 'child' has no param 'm'", params={"m": 1})
    refused("unknown argument 'schedul'", schedul=1)
    with pytest.raises(ParamInvalidError, match="10"), DAG("parent"):
        SubDag(child_dag(), params={"n": 10})
    with pytest.raises(DagInvalidError, match="cannot hold itself"), DAG("d") as dag:
        SubDag(dag)
    with DAG("parent"):
        SubDag(child_dag())
        with pytest.raises(DagInvalidError, match="the id 'child' is taken by the task group"):
            SubDag(child_dag())


def test_a_group_may_be_retried_as_a_unit() -> None:
    with DAG("d") as dag:
        with TaskGroup("g", retries=2, retry_delay=5):
            EmptyOperator(task_id="a")
        with TaskGroup("h"):
            EmptyOperator(task_id="a")
    first, second = dag.spec().groups
    assert first.retry is not None
    assert (first.retry.retries, first.retry.delay_s, second.retry) == (2, 5.0, None)
    with pytest.raises(DagInvalidError, match="retries is -1; it must be at least 0"), DAG("d"):
        TaskGroup("g", retries=-1)
