"""The guards let every legal step through, write it down, and refuse every other."""

from collections.abc import Iterator
from itertools import product

import pytest
from sqlalchemy.exc import DatabaseError

from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TRANSITIONS
from orchestrator.core.states import TaskState
from tests.builders import a_dag
from tests.store.guards import install_transition_guards
from tests.store.world import StoredWorld

MOVE = "UPDATE task_instance SET state = :state, epoch = epoch + :bump"


def set_without_guards(world: StoredWorld, state: TaskState) -> None:
    world.unguard()
    world.write("DROP TABLE transition_log")
    if not world.store.database.is_sqlite:
        world.write("DROP FUNCTION guard_transition, guard_first_state")
    world.write("UPDATE task_instance SET state = :state, epoch = 5", state=state)
    with world.store.database.writing() as connection:
        install_transition_guards(connection)


def steps() -> Iterator[tuple[TaskState, TaskState, int]]:
    """Every pair of states with an epoch that stays, rises or falls; a pair that is no change at
    all is nobody's concern."""
    for before, after, bump in product(TaskState, TaskState, (0, 1, 2, -1)):
        if before is not after or bump:
            yield before, after, bump


def test_what_the_table_says_and_nothing_else(world: StoredWorld) -> None:
    world.started_run(a_dag())
    legal = {
        (source, edge.target, int(edge.bumps_epoch))
        for edge in TRANSITIONS.values()
        for source in edge.sources
    }
    passed = set()
    before_now = None
    for before, after, bump in steps():
        if before is not before_now:
            set_without_guards(world, before)
            before_now = before
        try:
            world.write(MOVE, state=after, bump=bump)
        except DatabaseError as error:
            assert "illegal transition" in str(error)  # noqa: PT017 - most of them raise
        else:
            passed.add((before, after, bump))
            set_without_guards(world, before)
    assert passed == legal


def test_every_step_is_written_down_in_order(world: StoredWorld) -> None:
    (assignment,) = world.running(a_dag())
    world.finish(assignment)
    rows = world.rows(
        "SELECT task_id, state_before, state_after, epoch_before, epoch_after, owner_before,"
        " owner_after FROM transition_log ORDER BY seq"
    )
    assert [tuple(row) for row in rows] == [
        ("a", "none", "scheduled", 0, 0, None, None),
        ("a", "scheduled", "queued", 0, 1, None, None),
        ("a", "queued", "running", 1, 1, None, "w1"),
        ("a", "running", "success", 1, 1, "w1", None),
    ]


def test_an_instance_begins_undecided(world: StoredWorld) -> None:
    world.started_run(a_dag())
    columns = "dag_id, run_id, operator, try_number, max_tries, infra_tries, pool, pool_slots,"
    columns += (
        " priority, named_queue, run_after, publish_count, dag_version_id, run_uid, map_index"
    )
    with pytest.raises(DatabaseError, match="illegal first state"):
        world.write(
            f"INSERT INTO task_instance (id, task_id, state, epoch, {columns})"
            f" SELECT dag_version_id, 'b', 'running', 0, {columns} FROM task_instance"
        )
    assert list(world.states(world.runs["r1"])) == [Slot("a").task_id]
