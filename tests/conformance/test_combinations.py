"""Mapped, grouped, branched, retried and cleared at once, on the stores that there are."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.clearing import clear
from orchestrator.core.ids import RunUid, index_of
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.selection import Selection, Target
from orchestrator.core.specs import DagSpec
from orchestrator.sdk import DAG, EmptyOperator, task, task_group
from tests.conformance.test_clearing import FAILED, SUCCEEDED, WILL_RETRY, Day, of_length
from tests.store.world import StoredWorld

Ends = Callable[[str, int, int], Conclusion | None]
"""How a try of a task at a map index ends; None: with success."""


@pytest.fixture
def day(world: StoredWorld) -> Day:
    return Day(world)


@task
def listed() -> list[int]:
    return []


@task
def work(*_: Any) -> None:
    pass


def combined(**group: Any) -> DagSpec:
    """A list; for each of it a branch to the left or right and a join; one task after all."""

    @task_group
    def g(n: int) -> None:
        @task.branch
        def choose(n: int) -> str:
            return "g.left"

        left = work.override(task_id="left", retries=1, retry_delay=0)(n)
        right = work.override(task_id="right")(n)
        join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
        choose(n) >> [left, right] >> join

    with DAG("d") as dag:
        grown = g.override(**group) if group else g
        grown.expand(n=listed()) >> work.override(task_id="after", trigger_rule="all_done")()
    return dag.spec()


def work_off(day: Day, end: Ends) -> None:
    """Work off all that can run. Passes without work end a group, retry it and begin it again."""
    idle = 0
    while idle < 4:
        started = day.start()
        idle = 0 if started else idle + 1
        for each in started:
            assert day.world.finish(each, _end(each, end), xcoms={"return_value": 1})


def _end(each: Assignment, end: Ends) -> Conclusion:
    return end(each.key.task_id, each.key.map_index, each.try_number) or SUCCEEDED


def chosen(side: str) -> Conclusion:
    other = {"left": "g.right", "right": "g.left"}[side]
    return Conclusion(event=TaskEvent.SUCCEEDED, skip=(other,))


def clear_of(day: Day, uid: RunUid, name: str, index: int | None = None) -> None:
    target = Target(name=name) if index is None else Target(name=name, map_index=index)
    selection = Selection(targets=(target,), includes_downstream=True)
    day.change(uid, lambda picture: clear(picture, selection=selection, by=""))


def table(day: Day, uid: RunUid, *task_ids: str) -> dict[str, str]:
    """The states of tasks by map index, their first letters."""
    return {
        task_id: "".join(state[0] for _, state in sorted(day.indexes(uid, task_id).items()))
        for task_id in task_ids
    }


def tries(day: Day, uid: RunUid, task_id: str) -> list[int]:
    return [day.row(uid, task_id, index).try_number for index in sorted(day.indexes(uid, task_id))]


GROUP = ("g.choose", "g.left", "g.right", "g.join")


def test_s25_mapped_grouped_branched_retried_and_cleared(day: Day) -> None:
    def first(task_id: str, index: int, try_number: int) -> Conclusion | None:
        if task_id == "listed":
            return of_length(3)
        if task_id == "g.choose":
            return chosen("right" if index == 1 else "left")
        if (task_id, index) == ("g.left", 2):
            return WILL_RETRY if try_number == 1 else FAILED
        return None

    uid = day.world.started_run(combined())
    work_off(day, first)
    # left of 0 and 2, right of 1; 2 fails for good at its second try.
    assert table(day, uid, *GROUP, "after") == {
        "g.choose": "sss",
        "g.left": "ssf",
        "g.right": "sss",
        "g.join": "ssu",
        "after": "s",
    }
    assert day.indexes(uid, "g.left") == {0: "success", 1: "skipped", 2: "failed"}
    assert day.indexes(uid, "g.right") == {0: "skipped", 1: "success", 2: "skipped"}
    assert tries(day, uid, "g.left") == [1, 0, 2]
    assert day.world.run_row(uid).state == "success"

    # The failed one again: only its index and who is outside; its branch has decided already.
    clear_of(day, uid, "g.left", 2)
    assert day.indexes(uid, "g.join") == {0: "success", 1: "success", 2: "none"}
    work_off(day, lambda task_id, index, n: WILL_RETRY if (task_id, n) == ("g.left", 3) else None)
    assert day.indexes(uid, "g.left") == {0: "success", 1: "skipped", 2: "success"}
    assert day.indexes(uid, "g.right")[2] == "skipped"
    assert table(day, uid, "g.join") == {"g.join": "sss"}
    assert tries(day, uid, "g.left") == [1, 0, 4]
    assert tries(day, uid, "after") == [2]

    # The branch of 0 again, which goes the other way now.
    clear_of(day, uid, "g.choose", 0)
    work_off(day, lambda task_id, *_: chosen("right") if task_id == "g.choose" else None)
    assert day.indexes(uid, "g.left") == {0: "skipped", 1: "skipped", 2: "success"}
    assert day.indexes(uid, "g.right") == {0: "success", 1: "success", 2: "skipped"}
    assert tries(day, uid, "g.choose") == [2, 1, 1]
    assert tries(day, uid, "after") == [3]
    assert day.world.run_row(uid).state == "success"


def test_s25_a_branched_group_gets_shorter_and_longer(day: Day) -> None:
    def going(length: int, side: str) -> Ends:
        ends = {"listed": of_length(length), "g.choose": chosen(side)}
        return lambda task_id, *_: ends.get(task_id)

    uid = day.world.started_run(combined())
    work_off(day, going(3, "left"))
    assert set(day.indexes(uid, "g.right").values()) == {"skipped"}

    clear_of(day, uid, "listed")
    work_off(day, going(1, "right"))
    for task_id in GROUP:
        assert [*day.indexes(uid, task_id).values()][1:] == ["removed", "removed"], task_id
    assert (day.indexes(uid, "g.left")[0], day.indexes(uid, "g.right")[0]) == ("skipped", "success")
    assert day.world.run_row(uid).state == "success"

    clear_of(day, uid, "listed")
    work_off(day, going(4, "left"))
    assert day.indexes(uid, "g.left") == dict.fromkeys(range(4), "success")
    assert day.indexes(uid, "g.right") == dict.fromkeys(range(4), "skipped")
    assert tries(day, uid, "g.choose") == [3, 2, 2, 1]
    assert tries(day, uid, "after") == [3]


def test_s25_a_rerun_may_have_nothing_to_map_over_and_something_again(day: Day) -> None:
    def going(length: int) -> Ends:
        ends = {"listed": of_length(length), "g.choose": chosen("left")}
        return lambda task_id, *_: ends.get(task_id)

    uid = day.world.started_run(combined())
    work_off(day, going(0))
    for task_id in GROUP:
        assert day.indexes(uid, task_id) == {-1: "skipped"}, task_id
    assert table(day, uid, "after") == {"after": "s"}

    clear_of(day, uid, "listed")
    work_off(day, going(2))
    assert day.indexes(uid, "g.left") == {0: "success", 1: "success"}
    assert day.indexes(uid, "g.join") == {0: "success", 1: "success"}

    clear_of(day, uid, "listed")
    work_off(day, going(0))
    live = {index: state for index, state in day.indexes(uid, "g.join").items() if state[0] != "r"}
    assert set(live.values()) == {"skipped"}
    assert len(live) == 1
    assert day.world.run_row(uid).state == "success"


def test_s25_a_mapped_group_whose_lengths_change_is_reconciled_level_by_level(day: Day) -> None:
    @task_group
    def inner(m: int) -> None:
        work.override(task_id="deep")(m)

    @task_group
    def outer(n: int) -> None:
        inner.expand(m=listed.override(task_id="within")())

    with DAG("d") as dag:
        outer.expand(n=listed.override(task_id="outside")())
    uid = day.world.started_run(dag.spec())

    def going(*lengths: int) -> Ends:
        def end(task_id: str, index: int, _: int) -> Conclusion | None:
            if task_id == "outside":
                return of_length(len(lengths))
            return of_length(lengths[index]) if task_id == "outer.within" else None

        return end

    def deep() -> dict[tuple[int, int], str]:
        paths = {index_of((n, m), depth=2): (n, m) for n in range(4) for m in range(4)}
        return {
            paths[index]: state for index, state in day.indexes(uid, "outer.inner.deep").items()
        }

    work_off(day, going(2, 1))
    assert deep() == {(0, 0): "success", (0, 1): "success", (1, 0): "success"}

    # One list within is another now: the others are not touched.
    clear_of(day, uid, "outer.within", 1)
    work_off(day, going(2, 3))
    assert deep() == dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], "success")
    assert day.row(uid, "outer.inner.deep", index_of((0, 0), depth=2)).try_number == 1

    # The list outside is shorter: what was within it goes with it.
    clear_of(day, uid, "outside")
    work_off(day, going(1))
    assert {path for path, state in deep().items() if state == "success"} == {(0, 0)}
    assert {state for path, state in deep().items() if path != (0, 0)} == {"removed"}
    assert day.world.run_row(uid).state == "success"

    clear_of(day, uid, "outside")
    work_off(day, going(1, 2, 1))
    assert {path for path, state in deep().items() if state == "success"} == {
        (0, 0),
        (1, 0),
        (1, 1),
        (2, 0),
    }


def test_s23_a_mapped_group_is_retried_by_index_and_cleared(day: Day) -> None:
    failing = {2: 1}

    def end(task_id: str, index: int, _: int) -> Conclusion | None:
        if task_id == "listed":
            return of_length(3)
        if task_id == "g.choose":
            return chosen("left")
        if task_id == "g.left" and failing.get(index, 0) > 0:
            failing[index] -= 1
            return FAILED
        return None

    uid = day.world.started_run(combined(retries=1, retry_delay=0))
    work_off(day, end)
    assert table(day, uid, "g.left", "g.join") == {"g.left": "sss", "g.join": "sss"}
    assert tries(day, uid, "g.choose") == [1, 1, 2]
    assert tries(day, uid, "after") == [1]

    # Cleared, it may be retried again as often as its author said.
    failing[2] = 1
    clear_of(day, uid, "g.choose", 2)
    work_off(day, end)
    assert table(day, uid, "g.left") == {"g.left": "sss"}
    assert tries(day, uid, "g.choose") == [1, 1, 4]
    failing[2] = 2
    clear_of(day, uid, "g.choose", 2)
    work_off(day, end)
    assert day.indexes(uid, "g.left") == {0: "success", 1: "success", 2: "failed"}
    assert day.indexes(uid, "g.join")[2] == "upstream_failed"
