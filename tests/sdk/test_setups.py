"""What an author says about setups and teardowns, and what edges and fields become of it."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core.specs import TriggerRule
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BashOperator,
    EmptyOperator,
    TaskGroup,
    setup,
    task,
    task_group,
    teardown,
)


def made(task_id: str, **arguments: Any) -> BashOperator:
    return BashOperator(task_id=task_id, bash_command="true", **arguments)


def edges_of(write: Callable[[], Any]) -> list[str]:
    with DAG("d") as dag:
        write()
    return [f"{up}>{each.task_id}" for each in dag.spec().tasks for up in each.upstream]


def test_s6_tasks_are_marked_and_a_teardown_knows_its_setups() -> None:
    with DAG("d") as dag:
        first, second = made("s1"), made("s2")
        made("t").as_teardown(setups=[first, second], on_failure_fail_dagrun=True)
        first >> made("w") >> dag.get_task("t")
    s1, s2, t, w = dag.spec().tasks
    assert (s1.is_setup, s2.is_setup, t.is_setup) == (True, True, False)
    assert (t.is_teardown, t.setups, t.on_failure_fail_dagrun) == (True, ("s1", "s2"), True)
    assert t.trigger_rule is TriggerRule.ALL_DONE_SETUP_SUCCESS
    assert t.upstream == ("s1", "s2", "w")
    assert (w.setups, w.trigger_rule) == ((), TriggerRule.ALL_SUCCESS)


def test_s6_functions_become_setups_and_teardowns() -> None:
    @setup
    def create() -> str:
        """Create it."""
        return "name"

    @task
    def work(name: str) -> None: ...

    @teardown(on_failure_fail_dagrun=True)
    @task(retries=2)
    def remove(name: str) -> None: ...

    @teardown
    def plain() -> None: ...

    with DAG("d") as dag:
        name = create()
        work(name) >> remove(name)
        plain.override(task_id="other")()
    created, other, removed, worked = dag.spec().tasks
    assert (created.is_setup, created.doc_md) == (True, "Create it.")
    assert (removed.is_teardown, removed.setups, removed.retry.retries) == (True, ("create",), 2)
    assert (removed.on_failure_fail_dagrun, other.on_failure_fail_dagrun) == (True, False)
    assert other.is_teardown
    assert removed.upstream == ("create", "work")
    assert not worked.is_setup


def test_s6_setup_and_teardown_take_operator_arguments() -> None:
    @setup(retries=2, task_id="make")
    def create() -> None: ...

    @teardown(retries=3, on_failure_fail_dagrun=True)
    def remove() -> None: ...

    @setup(retries=5)
    @task(retries=4, owner="me")
    def other() -> None: ...

    with DAG("d") as dag:
        [create(), other()] >> remove()
    made_, other_, removed = dag.spec().tasks
    assert (made_.task_id, made_.is_setup, made_.retry.retries) == ("make", True, 2)
    assert (other_.is_setup, other_.retry.retries, other_.owner) == (True, 5, "me")
    assert (removed.is_teardown, removed.on_failure_fail_dagrun) == (True, True)
    assert removed.retry.retries == 3


def test_s6_a_with_block_stands_between_setups_and_teardown() -> None:
    def write() -> None:
        s, t = made("s"), made("t")
        with t.as_teardown(setups=s):
            made("a") >> made("b")
            made("c")

    assert edges_of(write) == ["s>a", "a>b", "s>c", "b>t", "c>t", "s>t"]


def test_s6_blocks_nest_and_take_outputs_arrows_and_tasks_made_before() -> None:
    @setup
    def s(_x: int = 0) -> None: ...

    @teardown
    def t(_x: int = 0) -> None: ...

    @task
    def w(_x: Any = None) -> None: ...

    def write() -> None:
        early = w.override(task_id="early")()
        with s() >> t() as outer:
            outer.add_task(early)
            with s.override(task_id="s2")() >> t.override(task_id="t2")():
                w()

    assert set(edges_of(write)) == {
        *("s>early", "early>t", "s>t"),
        *("s>s2", "s2>w", "w>t2", "s2>t2", "t2>t"),
    }


def test_s6_a_block_of_a_setup_alone() -> None:
    def write() -> None:
        s = made("s").as_setup()
        t = made("t").as_teardown(setups=s)
        with s:
            made("a")
        assert t.is_teardown

    assert edges_of(write) == ["s>a", "a>t", "s>t"]


def test_s6_groups_in_a_block_and_the_leaves_of_a_group_ignore_its_teardowns() -> None:
    def write() -> None:
        with TaskGroup("g") as g:
            s = made("s").as_setup()
            with made("t").as_teardown(setups=s):
                made("a") >> made("b")
        g >> made("after")

    assert edges_of(write) == ["g.b>after", "g.s>g.a", "g.a>g.b", "g.b>g.t", "g.s>g.t"]

    def only_both() -> None:
        with TaskGroup("g") as g:
            made("t").as_teardown(setups=made("s"))
        g >> made("after")

    assert edges_of(only_both) == ["g.s>g.t"]


def test_s6_a_group_that_runs_into_a_teardown() -> None:
    @task_group
    def g() -> None:
        made("a")
        made("b")

    def write() -> None:
        s = made("s").as_setup()
        t = made("t").as_teardown()
        s >> g() >> t
        s >> t

    assert edges_of(write) == ["s>g.a", "s>g.b", "g.a>t", "g.b>t", "s>t"]


def test_mapped_tasks_may_be_setups_and_teardowns() -> None:
    @setup
    def s(n: int) -> None: ...

    @teardown
    def t(n: int) -> None: ...

    with DAG("d") as dag:
        s.expand(n=[1, 2]) >> t.partial().expand(n=[1, 2])
    first, second = dag.spec().tasks
    assert first.is_setup
    assert second.is_teardown
    assert second.setups == ("s",)


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: made("s").as_setup() >> made("w", trigger_rule="all_done"),
        "task 'w': trigger_rule is 'all_done', but it is directly downstream of the setup 's'",
    ),
    (
        lambda: made("x").as_setup().as_teardown(),
        "task 'x': it is a setup, so it cannot be a teardown",
    ),
    (lambda: made("x").as_teardown().as_setup(), "it is a teardown, so it cannot be a setup"),
    (lambda: made("x").as_teardown(setups="s"), "setups names 's', which is no task"),
    (
        lambda: made("x").as_teardown(on_failure_fail_dagrun=1),  # type: ignore[arg-type]
        "on_failure_fail_dagrun is 1; it must be True or False",
    ),
    (
        lambda: teardown(task(trigger_rule="all_done")(lambda: None)),
        "a teardown has a trigger rule of its own",
    ),
    (
        lambda: teardown(trigger_rule="all_done")(lambda: None),
        "a teardown has a trigger rule of its own",
    ),
    (lambda: setup(retires=2)(abs)(1), "unknown argument 'retires'; did you mean 'retries'?"),
    (lambda: setup(retries=2)(task_group(lambda: None)), "a task group cannot be a setup"),
    (lambda: setup(task_group(lambda: None)), "a task group cannot be a setup; mark the tasks"),
    (lambda: made("x").__enter__(), "only a setup or teardown can stand in `with`"),
    (
        lambda: made("x").as_setup().add_task(made("y")),
        "add_task works within a `with` block of the task",
    ),
    (
        lambda: setattr(made("x").as_teardown(), "trigger_rule", TriggerRule.ALL_DONE),
        "but a teardown has a rule of its own",
    ),
]


@pytest.mark.parametrize(("write", "message"), MISTAKES, ids=[each for _, each in MISTAKES])
def test_s6_mistakes_are_told(write: Callable[[], Any], message: str) -> None:
    def author() -> None:
        with DAG("d") as dag:
            write()
        dag.spec()

    with pytest.raises(DagInvalidError) as caught:
        author()
    assert message in str(caught.value)


def test_fail_fast_takes_all_success_only() -> None:
    with DAG("d", fail_fast=True) as dag:
        made("s") >> EmptyOperator(task_id="e", trigger_rule="all_done")
    with pytest.raises(DagInvalidError, match="task 'e': trigger_rule is 'all_done', but the DAG"):
        dag.spec()
    with DAG("d", fail_fast=True) as dag:
        made("t").as_teardown(setups=made("s"))
    assert dag.spec().fail_fast
