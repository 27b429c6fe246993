"""ports.SchedulerTransaction: a mapped task gets its instances once, and what ends them is kept."""

from collections.abc import Sequence

import pytest

from orchestrator.core.ids import PATH_STRIDE, UNMAPPED, RunUid, Slot, index_of
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Expand, Instance, Move
from orchestrator.core.specs import GroupSpec, RetryPolicy
from orchestrator.core.states import TaskState
from orchestrator.ports import StaleLedgerError
from tests.builders import a_dag, a_task
from tests.store.world import StoredWorld

UNEXPANDED = Slot("a", UNMAPPED)
DEEP = 2 * PATH_STRIDE * PATH_STRIDE + 7
"""An index of a task in a mapped group in a mapped group: more than 32 bits."""


def expand(*indexes: int, first: Slot | None = UNEXPANDED) -> tuple[Expand, ...]:
    return (Expand(task_id="a", first=first, indexes=indexes),)


def moves(event: TaskEvent, *indexes: int) -> Sequence[Move]:
    return [Move(slot=Slot("a", index), event=event) for index in indexes]


def indexes(world: StoredWorld, uid: RunUid) -> list[int]:
    with world.store.scheduler.transaction() as transaction:
        return [slot.map_index for slot, _ in transaction.load_instances(uid)]


def test_s10_what_stood_for_all_becomes_the_first_and_the_others_are_like_it(
    world: StoredWorld,
) -> None:
    task = a_task("a", retry=RetryPolicy(retries=2), queue="gpu", pool_slots=3, group_id="g")
    uid = world.started_run(a_dag(task, groups=(GroupSpec(group_id="g"),)))
    (before,) = world.rows("SELECT id FROM task_instance")

    world.decide(uid, *moves(TaskEvent.BECAME_READY, 0, DEEP), expansions=expand(0, 1, DEEP))

    shared = "dag_id, run_id, group_id, operator, pool, pool_slots, named_queue, max_tries"
    rows = world.rows(
        f"SELECT id, map_index, state, epoch, try_number, {shared} FROM task_instance"
        " ORDER BY map_index"
    )
    alike = ("d", "r1", "g", "PythonOperator", "default_pool", 3, "gpu", 2)
    assert [tuple(row)[1:] for row in rows] == [
        (0, "scheduled", 0, 0, *alike),
        (1, "none", 0, 0, *alike),
        (DEEP, "scheduled", 0, 0, *alike),
    ]
    assert rows[0].id == before.id
    assert len({row.id for row in rows}) == 3


def test_an_expansion_makes_every_other_ledger_out_of_date(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    before = world.due(uid).revision

    assert world.decide(uid, expansions=expand(0)) == before + 1


@pytest.mark.parametrize(
    "again", [expand(0, 1), expand(1, 2, first=Slot("a", 0)), expand(2, 3, first=None)]
)
def test_nothing_is_expanded_twice(world: StoredWorld, again: tuple[Expand, ...]) -> None:
    uid = world.started_run(a_dag())
    world.decide(uid, *moves(TaskEvent.BECAME_READY, 0), expansions=expand(0, 1, 2))

    with pytest.raises(StaleLedgerError, match="has expanded a already"):
        world.decide(uid, expansions=again)
    assert indexes(world, uid) == [0, 1, 2]


def test_s10_a_longer_input_on_a_rerun_adds_indexes_with_all_their_retries(
    world: StoredWorld,
) -> None:
    uid = world.started_run(a_dag(a_task("a", retry=RetryPolicy(retries=1))))
    world.decide(uid, expansions=expand(0, 1))
    world.write("UPDATE task_instance SET max_tries = 9, try_number = 9, group_try = 2")

    world.decide(uid, expansions=expand(2, 3, first=None))

    rows = world.rows(
        "SELECT map_index, max_tries, try_number, group_try FROM task_instance ORDER BY map_index"
    )
    assert [tuple(row) for row in rows[2:]] == [(2, 1, 0, 0), (3, 1, 0, 0)]


def test_a_nested_mapping_expands_what_it_has_just_made(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    (before,) = world.rows("SELECT id FROM task_instance")
    zero, one, two = (index_of((step,), depth=2) for step in range(3))
    deep = [index_of(path, depth=2) for path in ((0, 0), (0, 1), (1, 0), (1, 1))]

    outer = expand(zero, one, two)
    inner = expand(*deep[:2], first=Slot("a", zero)) + expand(*deep[2:], first=Slot("a", one))
    world.decide(uid, expansions=outer + inner)

    assert indexes(world, uid) == [*deep, two]
    rows = world.rows("SELECT id FROM task_instance ORDER BY map_index")
    assert rows[0].id == before.id

    last = index_of((2, 0), depth=2)
    world.decide(uid, expansions=expand(last, first=Slot("a", two)))
    assert indexes(world, uid) == [*deep, last]


def test_a_length_reaches_the_ledger_with_the_news_and_when_it_is_loaded(
    world: StoredWorld,
) -> None:
    (assignment,) = world.running(a_dag())
    succeeded = Conclusion(event=TaskEvent.SUCCEEDED, length=12, map_name="Ümläut\0")
    world.finish(assignment, succeeded)

    ended_at = world.instance(assignment.ti_id).ended_at
    known = Instance(state=TaskState.SUCCESS, epoch=1, length=12, ended_at=ended_at)
    assert world.due(assignment.run.uid).news == ((Slot("a"), known),)
    with world.store.scheduler.transaction() as transaction:
        assert transaction.load_instances(assignment.run.uid) == [(Slot("a"), known)]
    assert world.instance(assignment.ti_id).rendered_map_index == "Ümläut\ufffd"


def test_a_deep_index_goes_all_the_way(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    world.decide(uid, *moves(TaskEvent.BECAME_READY, DEEP), expansions=expand(DEEP))
    (message,) = world.claim()
    assignment = world.start(message)
    assert assignment is not None
    assert assignment.key.map_index == DEEP

    world.finish(assignment, xcoms={"k": 1})

    assert [slot for slot, _ in world.due(uid).news] == [Slot("a", DEEP)]
    pulled = world.store.values.pull_xcoms(dag_id="d", run_id="r1", task_ids=["a"], key="k")
    assert pulled == [(Slot("a", DEEP), 1)]


def test_a_group_that_is_retried_gives_every_task_its_retries_again(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag(a_task("a", retry=RetryPolicy(retries=2))))
    world.finish(
        assignment, Conclusion(event=TaskEvent.FAILED, skip=("b",), length=1), xcoms={"k": 1}
    )
    uid = assignment.run.uid

    world.decide(uid, Move(slot=Slot("a"), event=TaskEvent.GROUP_RETRIED, reason="group 'g'"))

    row = world.instance(assignment.ti_id)
    assert (row.state, row.epoch, row.reason) == ("none", 2, "group 'g'")
    assert (row.try_number, row.max_tries, row.group_try) == (1, 3, 1)
    assert (row.started_at, row.ended_at, row.skip, row.length) == (None, None, None, None)
    assert world.rows("SELECT 1 FROM xcom") == [], "nobody reads what no longer counts"
    with world.store.scheduler.transaction() as transaction:
        (known,) = transaction.load_instances(uid)
    assert known == (Slot("a"), Instance(epoch=2, group_try=1))
    world.schedule(uid, "a")
    (message,) = world.claim()
    again = world.start(message)
    assert again is not None
    assert again.try_number == 2


def test_s10_an_index_that_is_no_longer_there_is_removed_and_may_come_back(
    world: StoredWorld,
) -> None:
    uid = world.started_run(a_dag())
    world.decide(uid, expansions=expand(0, 1))

    world.decide(uid, *moves(TaskEvent.WAS_REMOVED, 1))
    (row,) = world.rows("SELECT state, epoch, ended_at FROM task_instance WHERE map_index = 1")
    assert (row.state, row.epoch) == ("removed", 1)
    assert row.ended_at is not None

    world.decide(uid, *moves(TaskEvent.WAS_RESTORED, 1))
    (row,) = world.rows("SELECT state, epoch, ended_at FROM task_instance WHERE map_index = 1")
    assert tuple(row) == ("none", 2, None)


def test_s10_an_expansion_that_fails_says_why(world: StoredWorld) -> None:
    uid = world.started_run(a_dag())
    why = "mapped over 5 of at most 4"

    world.decide(uid, Move(slot=UNEXPANDED, event=TaskEvent.EXPANSION_FAILED, reason=why))

    (row,) = world.rows("SELECT state, reason, ended_at FROM task_instance")
    assert (row.state, row.reason) == ("failed", why)
    assert row.ended_at is not None
