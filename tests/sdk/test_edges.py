"""What `>>`, chain, labels and groups mean as edges between tasks."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.specs import EdgeLabel
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    EmptyOperator,
    Label,
    TaskGroup,
    chain,
    chain_linear,
    cross_downstream,
    task,
    task_group,
)


def edges_of(dag: DAG) -> set[str]:
    return {f"{up}>{each.task_id}" for each in dag.spec().tasks for up in each.upstream}


def tasks(*ids: str) -> list[EmptyOperator]:
    return [EmptyOperator(task_id=each) for each in ids]


WAYS: list[tuple[Callable[..., Any], set[str]]] = [
    (lambda a, b, c, d: a >> b >> c, {"a>b", "b>c"}),
    (lambda a, b, c, d: c << b << a, {"a>b", "b>c"}),
    (lambda a, b, c, d: a >> [b, c] >> d, {"a>b", "a>c", "b>d", "c>d"}),
    (lambda a, b, c, d: d << [b, c] << a, {"b>d", "c>d", "a>b", "a>c"}),
    (lambda a, b, c, d: [a, b] >> c, {"a>c", "b>c"}),
    (lambda a, b, c, d: [a, b] << c, {"c>a", "c>b"}),
    (lambda a, b, c, d: a.set_downstream([b, c]), {"a>b", "a>c"}),
    (lambda a, b, c, d: a.set_upstream([b, c]), {"b>a", "c>a"}),
    (lambda a, b, c, d: a.output >> b, {"a>b"}),
    (lambda a, b, c, d: chain(a, [b, c], d), {"a>b", "a>c", "b>d", "c>d"}),
    (lambda a, b, c, d: chain([a, b], [c, d]), {"a>c", "b>d"}),
    (lambda a, b, c, d: cross_downstream([a, b], [c, d]), {"a>c", "a>d", "b>c", "b>d"}),
    (lambda a, b, c, d: (a >> b, a >> b), {"a>b"}),
]


@pytest.mark.parametrize(("write", "expected"), WAYS)
def test_ways_to_write_edges(write: Callable[..., Any], expected: set[str]) -> None:
    with DAG("d") as dag:
        write(*tasks("a", "b", "c", "d"))
    assert edges_of(dag) == expected


LABELLED: list[tuple[Callable[..., Any], set[str]]] = [
    (lambda a, b, c, d: a >> Label("x") >> b, {"a-x>b"}),
    (lambda a, b, c, d: b << Label("x") << a, {"a-x>b"}),
    (lambda a, b, c, d: a >> Label("x") >> [b, c], {"a-x>b", "a-x>c"}),
    (lambda a, b, c, d: [a, b] >> Label("x") >> c, {"a-x>c", "b-x>c"}),
    (lambda a, b, c, d: chain(a, Label("x"), [b, c]), {"a-x>b", "a-x>c"}),
    (
        lambda a, b, c, d: chain(a, [Label("x"), Label("y")], [b, c]),
        {"a-x>b", "a-y>c"},
    ),
    (lambda a, b, c, d: (a >> b, a >> Label("x") >> b), {"a-x>b"}),
    (lambda a, b, c, d: a.set_downstream(b, Label("x")), {"a-x>b"}),
]


@pytest.mark.parametrize(("write", "expected"), LABELLED)
def test_labels_stand_on_edges(write: Callable[..., Any], expected: set[str]) -> None:
    with DAG("d") as dag:
        write(*tasks("a", "b", "c", "d"))
    labels = dag.spec().edge_labels
    assert {f"{each.upstream}-{each.label}>{each.downstream}" for each in labels} == expected
    assert len(edges_of(dag)) == len(expected)


def test_a_label_used_twice_joins_each_pair_only() -> None:
    with DAG("d") as dag:
        a, b, c, d = tasks("a", "b", "c", "d")
        label = Label("yes")
        a >> label >> b
        c >> label >> d
    assert edges_of(dag) == {"a>b", "c>d"}


def test_chain_refuses_lists_of_different_length() -> None:
    with DAG("d"):
        a, b, c = tasks("a", "b", "c")
    with pytest.raises(DagInvalidError, match="lists of 2 and 1 tasks"):
        chain([a, b], [c])


def test_arguments_are_dependencies_however_deep_they_stand() -> None:
    @task
    def give() -> int:
        return 1

    @task
    def take(*args: Any, **kwargs: Any) -> None: ...

    with DAG("d") as dag:
        one, two, three = give(), give(), give()
        take([{"x": (one,)}], key={"y": two["part"]}, z=f"{three}")
    # The third stands inside a text: that is a template, and says nothing of order.
    assert edges_of(dag) == {"give>take", "give__1>take"}


def test_s23_ids_are_prefixed_by_their_groups_unless_told_otherwise() -> None:
    with DAG("d") as dag:
        with TaskGroup("outer"):
            EmptyOperator(task_id="a")
            with TaskGroup("inner"):
                EmptyOperator(task_id="b")
            with TaskGroup("bare", prefix_group_id=False):
                EmptyOperator(task_id="c")
        with TaskGroup("plain", prefix_group_id=False):
            EmptyOperator(task_id="d")
    spec = dag.spec()
    assert [(each.task_id, each.group_id) for each in spec.tasks] == [
        ("d", "plain"),
        ("outer.a", "outer"),
        ("outer.c", "outer.bare"),
        ("outer.inner.b", "outer.inner"),
    ]
    assert [(each.group_id, each.parent_id) for each in spec.groups] == [
        ("outer", None),
        ("outer.bare", "outer"),
        ("outer.inner", "outer"),
        ("plain", None),
    ]


def test_s23_groups_are_joined_from_leaves_to_roots() -> None:
    with DAG("d") as dag:
        with TaskGroup("g") as g:
            a, b, c = tasks("a", "b", "c")
            a >> [b, c]
        with TaskGroup("h") as h:
            x, y, z = tasks("x", "y", "z")
            [x, y] >> z
        g >> Label("then") >> h
    assert edges_of(dag) == {
        "g.a>g.b",
        "g.a>g.c",
        "h.x>h.z",
        "h.y>h.z",
        "g.b>h.x",
        "g.b>h.y",
        "g.c>h.x",
        "g.c>h.y",
    }
    assert dag.spec().edge_labels[0] == EdgeLabel(upstream="g.b", downstream="h.x", label="then")


def test_s23_a_link_to_a_group_means_its_ends_as_they_are_in_the_whole_dag() -> None:
    with DAG("d") as dag:
        (start,) = tasks("start")
        with TaskGroup("g") as g:
            (a,) = tasks("a")
        start >> g
        with g:
            (b,) = tasks("b")
            a >> b
            tasks("c")
    assert edges_of(dag) == {"start>g.a", "start>g.c", "g.a>g.b"}


def test_s23_nested_groups_are_joined_inside_out() -> None:
    with DAG("d") as dag:
        (end,) = tasks("end")
        with TaskGroup("outer") as outer:
            with TaskGroup("one") as one:
                tasks("a")
            with TaskGroup("two") as two:
                tasks("b")
            one >> two
        outer >> end
    assert edges_of(dag) == {"outer.one.a>outer.two.b", "outer.two.b>end"}


def test_s23_an_empty_group_passes_its_upstream_on() -> None:
    with DAG("d") as dag:
        a, b = tasks("a", "b")
        first, second = TaskGroup("first"), TaskGroup("second")
        a >> first >> second >> b
    assert edges_of(dag) == {"a>b"}


def test_s23_a_ring_of_empty_groups_passes_nothing_on() -> None:
    with DAG("d") as dag:
        (b,) = tasks("b")
        first, second = TaskGroup("first"), TaskGroup("second")
        first >> second >> first
        first >> b
    assert edges_of(dag) == set()


def test_s23_default_args_of_groups_merge_parent_first() -> None:
    with (
        DAG("d", default_args={"owner": "dag", "retries": 1, "pool": "dag"}) as dag,
        TaskGroup("outer", default_args={"retries": 2, "pool": "outer"}),
        TaskGroup("inner", default_args={"pool": "inner"}),
    ):
        EmptyOperator(task_id="a")
        EmptyOperator(task_id="b", pool="own")
    found = [(each.owner, each.retry.retries, each.pool) for each in dag.spec().tasks]
    assert found == [("dag", 2, "inner"), ("dag", 2, "own")]


def test_s23_a_duplicate_group_id_raises_unless_a_suffix_is_wanted() -> None:
    with DAG("d") as dag:
        TaskGroup("g")
        with pytest.raises(DagInvalidError, match=r"the id 'g' is taken by the task group created"):
            TaskGroup("g")
        TaskGroup("g", add_suffix_on_collision=True)
        TaskGroup("g", add_suffix_on_collision=True)
    assert [each.group_id for each in dag.spec().groups] == ["g", "g__1", "g__2"]


def test_s23_tasks_and_groups_share_one_namespace() -> None:
    with DAG("d"):
        TaskGroup("x")
        with pytest.raises(DagInvalidError, match="the id 'x' is taken by the task group"):
            EmptyOperator(task_id="x")
        EmptyOperator(task_id="y")
        with pytest.raises(DagInvalidError, match="the id 'y' is taken by the task created"):
            TaskGroup("y")


def test_a_task_group_function_makes_a_group_per_call_and_returns_what_it_returns() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    @task_group
    def pair(x: Any) -> Any:
        """Twice over."""
        return double(double(x))

    @task_group(group_id="quiet", tooltip="no output")
    def silent() -> None:
        EmptyOperator(task_id="a")

    with DAG("d") as dag:
        second = pair(pair(1))
        second >> silent()
    assert edges_of(dag) == {
        "pair.double>pair.double__1",
        "pair.double__1>pair__1.double",
        "pair__1.double>pair__1.double__1",
        "pair__1.double__1>quiet.a",
    }
    assert [(each.group_id, each.tooltip) for each in dag.spec().groups] == [
        ("pair", "Twice over."),
        ("pair__1", "Twice over."),
        ("quiet", "no output"),
    ]


def test_a_task_group_function_can_be_given_other_arguments() -> None:
    @task_group(default_args={"retries": 1})
    def pair() -> None:
        EmptyOperator(task_id="a")

    with DAG("d") as dag:
        for number in range(2):
            pair.override(group_id=f"g{number}")()
    assert dag.task_ids == ["g0.a", "g1.a"]
    assert [each.retries for each in dag.tasks] == [1, 1]


def test_chain_linear_joins_each_with_each() -> None:
    with DAG("d") as dag:
        a, b, c, d, e = (EmptyOperator(task_id=each) for each in "abcde")
        chain_linear(a, [b, c], [d, e])
    assert edges_of(dag) == {"a>b", "a>c", "b>d", "b>e", "c>d", "c>e"}


def test_relatives_can_be_asked_for_while_writing() -> None:
    with DAG("d") as dag:
        a, b, c = tasks("a", "b", "c")
        a >> [b, c]
    assert (a.upstream_task_ids, a.downstream_task_ids) == (set(), {"b", "c"})
    assert ([each.task_id for each in dag.roots], [each.task_id for each in dag.leaves]) == (
        ["a"],
        ["b", "c"],
    )


PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20)


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_writing_edges_does_not_matter(
    pairs: list[tuple[int, int]], random: Any
) -> None:
    def spec_of(written: list[tuple[int, int]]) -> Any:
        with DAG("d") as dag:
            groups = []
            for number in range(4):
                with TaskGroup(f"g{number}") as group:
                    tasks(*(["a", "b"] if number else []))
                groups.append(group)
            singles = tasks("0", "1", "2", "3")
            nodes = [*groups, *singles]
            for up, down in written:
                if up < down:
                    nodes[up] >> nodes[down]
        return dag.spec()

    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert spec_of(pairs) == spec_of(shuffled)
