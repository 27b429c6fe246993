"""Deadlines: rows of a run that turn into one callback when they pass, and go when they are met."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from orchestrator.core.ids import RunUid, VersionId
from orchestrator.core.planning import plan
from orchestrator.core.scheduling import Decision, FinishRun
from orchestrator.core.specs import CronSchedule, DagSpec, DeadlineSpec
from orchestrator.core.states import RunState
from orchestrator.store.deadlines import renew_deadlines, write_deadlines
from orchestrator.store.reads import Reads
from orchestrator.store.tables import dag_run_table
from orchestrator.store.tables_callbacks import deadline_table
from orchestrator.store.versions import Versions
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld

HOUR_S = 3600.0
QUEUED_AT = DeadlineSpec(index=0, reference="queued_at", interval_s=HOUR_S)


def write(world: StoredWorld, spec: DagSpec, uid: RunUid) -> None:
    """Write what creating the run writes."""
    with world.store.database.writing() as connection:
        write_deadlines(
            connection,
            world.store.database,
            spec,
            VersionId(world.run_row(uid).dag_version_id),
            [uid],
        )


def found(world: StoredWorld, run_id: str = "r1") -> list[tuple[int, datetime, bool]]:
    reads = Reads(world.store.database, Versions(world.store.database))
    return [
        (each.index, each.due_at, each.missed_at is not None)
        for each in reads.deadlines("d", run_id)
    ]


def pass_by(world: StoredWorld) -> None:
    """Let every deadline have passed."""
    world.write(update(deadline_table).values(due_at=NOW))


def send(world: StoredWorld) -> Any:
    return world.store.scheduler.lease_callbacks(limit=10, republish_after_s=60)


def end(world: StoredWorld, uid: RunUid, state: RunState) -> None:
    with world.store.scheduler.transaction() as transaction:
        run = next(each for each in transaction.lock_due_runs(10) if each.uid == uid)
        transaction.carry_out_decision(
            run, Decision(finish=FinishRun(state=state, reason="as it ended"))
        )


def a_run(world: StoredWorld, *deadlines: DeadlineSpec, **fields: Any) -> RunUid:
    spec = a_dag(a_task("a"), deadlines=deadlines or (QUEUED_AT,))
    world.register(spec)
    uid = world.queued_run(**fields)
    write(world, spec, uid)
    return uid


def test_s17_each_reference_gives_its_instant(world: StoredWorld) -> None:
    a_run(
        world,
        QUEUED_AT,
        DeadlineSpec(index=1, reference="logical_date", interval_s=60.0),
        DeadlineSpec(index=2, reference="fixed", interval_s=-60.0, fixed_at=NOW),
        DeadlineSpec(index=3, reference="average_runtime", interval_s=60.0),
        run_after=NOW,
        logical_date=NOW - timedelta(days=1),
    )
    assert sorted(found(world)) == [
        (0, NOW + timedelta(hours=1), False),
        (1, NOW - timedelta(days=1) + timedelta(minutes=1), False),
        (2, NOW - timedelta(minutes=1), False),
    ], "no average without runs that succeeded"


def test_s17_the_average_counts_what_the_last_successful_runs_took(world: StoredWorld) -> None:
    average = DeadlineSpec(
        index=0, reference="average_runtime", interval_s=10.0, max_runs=2, min_runs=2
    )
    spec = a_dag(a_task("a"), deadlines=(average,))
    world.register(spec)
    for number, (took_s, state) in enumerate(
        [(900, "success"), (100, "success"), (5000, "failed"), (200, "success")]
    ):
        uid = world.queued_run(f"old{number}", run_after=NOW - timedelta(days=9 - number))
        start = NOW - timedelta(days=5)
        with world.store.database.writing() as connection:
            connection.execute(
                update(dag_run_table)
                .where(dag_run_table.c.id == uid)
                .values(state=state, started_at=start, ended_at=start + timedelta(seconds=took_s))
            )
    uid = world.queued_run("r1", run_after=NOW)
    write(world, spec, uid)
    assert found(world) == [(0, NOW + timedelta(seconds=160), False)]


def test_s17_a_missed_deadline_owes_one_callback_and_the_run_goes_on(world: StoredWorld) -> None:
    uid = a_run(world, run_after=NOW + timedelta(days=4000))
    assert send(world).missed_deadlines == 0
    pass_by(world)
    sent = send(world)
    assert (sent.missed_deadlines, len(sent.messages)) == (1, 1)
    assert send(world).missed_deadlines == 0
    claimed = world.store.worker.claim_callback(
        sent.messages[0].callback_id, worker_id="w1", lease_s=60
    )
    assert claimed is not None
    assert (claimed.kind, claimed.deadline_index, claimed.is_of_run) == ("deadline", 0, True)
    assert (claimed.reason or "").startswith("the run was not done by ")
    assert world.run_row(uid).state == "queued"


@pytest.mark.parametrize(("state", "missed"), [(RunState.SUCCESS, 0), (RunState.FAILED, 1)])
def test_s17_only_a_run_that_succeeded_in_time_is_rid_of_it(
    world: StoredWorld, state: RunState, missed: int
) -> None:
    spec = a_dag(
        a_task("a"),
        deadlines=(
            DeadlineSpec(
                index=0,
                reference="fixed",
                interval_s=0.0,
                fixed_at=datetime.max.replace(tzinfo=NOW.tzinfo) - timedelta(days=2),
            ),
        ),
    )
    uid = world.started_run(spec)
    write(world, spec, uid)
    assert len(found(world)) == 1
    end(world, uid, state)
    assert len(found(world)) == missed
    pass_by(world)
    assert send(world).missed_deadlines == missed


def test_a_run_that_a_person_marked_done_in_time_owes_nothing(world: StoredWorld) -> None:
    uid = a_run(world)
    world.write("UPDATE dag_run SET state = 'success', ended_at = queued_at")
    pass_by(world)
    assert send(world).missed_deadlines == 0
    assert found(world) == []
    assert world.run_row(uid).state == "success"


def test_a_run_that_starts_on_another_version_has_that_ones_deadlines(world: StoredWorld) -> None:
    old = a_dag(a_task("a"), deadlines=(QUEUED_AT,))
    new = a_dag(
        a_task("a"),
        deadlines=(DeadlineSpec(index=0, reference="queued_at", interval_s=2 * HOUR_S),),
        description="new",
    )
    world.register(old)
    uid = world.queued_run(run_after=NOW)
    write(world, old, uid)
    world.register(new)
    with world.store.scheduler.transaction() as transaction:
        for dag in transaction.lock_due_dags(10):
            transaction.carry_out_plan(dag, plan(dag, transaction.now()))
    assert world.run_row(uid).state == "running"
    assert found(world) == [(0, NOW + timedelta(hours=2), False)]


def test_a_scheduled_run_has_its_deadlines_from_the_start(world: StoredWorld) -> None:
    spec = a_dag(
        a_task("a"),
        schedule=CronSchedule(expression="0 0 * * *"),
        start_date=NOW - timedelta(days=3),
        deadlines=(DeadlineSpec(index=0, reference="logical_date", interval_s=HOUR_S),),
    )
    world.register(spec)
    world.write("UPDATE dag SET is_paused = :no", no=False)
    with world.store.scheduler.transaction() as transaction:
        for dag in transaction.lock_due_dags(10):
            transaction.carry_out_plan(dag, plan(dag, transaction.now()))
    (row,) = world.rows("SELECT run_id, logical_date FROM dag_run")
    assert row.logical_date is not None
    ((index, _, missed),) = found(world, row.run_id)
    assert (index, missed) == (0, False)


def test_s14_a_run_that_is_sent_back_counts_anew(world: StoredWorld) -> None:
    fixed = DeadlineSpec(index=1, reference="fixed", interval_s=0.0, fixed_at=NOW)
    uid = a_run(world, QUEUED_AT, fixed, run_after=NOW)
    pass_by(world)
    assert send(world).missed_deadlines == 2
    later = NOW + timedelta(days=400)
    spec = a_dag(a_task("a"), deadlines=(QUEUED_AT, fixed))
    with world.store.database.writing() as connection:
        connection.execute(update(dag_run_table).values(queued_at=later))
        renew_deadlines(
            connection,
            world.store.database,
            spec,
            VersionId(world.run_row(uid).dag_version_id),
            [uid],
        )
    assert sorted((index, missed) for index, _, missed in found(world)) == [(0, False), (1, True)]
    assert (0, later + timedelta(hours=1), False) in found(world)


def test_the_scheduler_wakes_for_the_next_deadline(world: StoredWorld) -> None:
    a_run(world, run_after=NOW + timedelta(days=4000))
    world.write("UPDATE dag SET wake_at = NULL")
    assert world.store.scheduler.next_wake_at() == NOW + timedelta(days=4000, hours=1)


def test_deadlines_go_with_their_run(world: StoredWorld) -> None:
    a_run(world)
    world.write("DELETE FROM dag_run")
    assert found(world) == []
