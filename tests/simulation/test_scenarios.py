"""What survives which fault, told as sentences; a fault found by a seed gets a name here."""

from datetime import timedelta

from sqlalchemy import text

from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.specs import RetryPolicy
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_task
from tests.simulation.faults import FaultRates
from tests.simulation.programs import diamond, steady
from tests.simulation.schedulers import LIMITS
from tests.simulation.world import World

ALL_SUCCEEDED = dict.fromkeys("abcde", TaskState.SUCCESS)
LONG_S = 600.0


def test_a_diamond_runs_to_success() -> None:
    world = World(1, [diamond()])

    world.run_until_quiet(60)

    assert world.states("diamond") == ALL_SUCCEEDED
    assert world.run_states() == {RunState.SUCCESS}
    world.check_ends()


def test_a_crash_at_any_single_call_of_the_scheduler_costs_nothing_but_time() -> None:
    calm = World(1, [diamond(duration_s=0.0)])
    calm.run_until_quiet(60)

    for point in range(calm.faults.points):
        world = World(1, [diamond(duration_s=0.0)], crash_at=point)
        world.run_until_quiet(60)
        assert world.states("diamond") == ALL_SUCCEEDED, f"crash at call {point}"
        world.check_ends()


def test_a_dead_worker_s_task_is_tried_again_elsewhere() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=30.0)], workers=1)
    world.run_for(5)
    assert world.states("d") == {"a": TaskState.RUNNING}

    world.workers[0].dies(restarts_in_s=1.0)
    world.run_until_quiet(60 + 60)

    assert world.states("d") == {"a": TaskState.SUCCESS}
    assert world.checkers.edges[TaskEvent.LOST] == 1
    world.check_ends()


def test_a_task_that_kills_every_worker_fails_after_three_losses() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=LONG_S)], workers=1)

    for _ in range(LIMITS.infra_tries_max):
        while not world.workers[0].is_busy:
            world.run_for(1)
        world.workers[0].dies(restarts_in_s=1.0)
    world.run_until_quiet(120)

    assert world.states("d") == {"a": TaskState.FAILED}
    assert world.checkers.edges[TaskEvent.LOST] == LIMITS.infra_tries_max - 1
    assert world.checkers.edges[TaskEvent.LOST_FOR_GOOD] == 1
    world.check_ends()


def test_lost_messages_are_published_again() -> None:
    world = World(1, [diamond()], rates=FaultRates(message_lost=1.0))
    world.run_for(30)
    assert world.states("diamond")["a"] is TaskState.QUEUED

    world.faults.stop()
    world.run_until_quiet(LIMITS.emptied_queue_s + LIMITS.sweep_s + 10)

    assert world.states("diamond") == ALL_SUCCEEDED


def test_a_lost_message_behind_doubled_ones_is_missed_as_soon_as_the_queue_is_empty() -> None:
    """Seed 133: doubles kept the queue as deep as SQL said, so each look at the lost message was
    put off for twice as long, and idle workers waited for the last of them."""
    tasks = [a_task(name) for name in ("a", "b", "c")]
    world = World(1, [steady("d", *tasks, duration_s=LONG_S)], workers=0)
    world.run_for(10)
    lost, *others = world.broker.queues["default"]
    world.broker.queues["default"] = [others[0]] * 2 + [others[1]] * 2
    world.run_for(1000)
    assert lost not in world.broker.queues["default"]

    world.broker.queues["default"].clear()
    world.run_for(LIMITS.emptied_queue_s + LIMITS.sweep_s)

    assert lost in world.broker.queues["default"]


def test_a_message_that_comes_ten_times_is_started_once() -> None:
    world = World(1, [diamond()], rates=FaultRates(message_doubled=1.0))

    world.run_until_quiet(60)

    assert world.states("diamond") == ALL_SUCCEEDED
    assert set(world.checkers.starts.values()) == {1}


def test_a_flushed_broker_gets_everything_again_within_two_sweeps() -> None:
    world = World(1, [steady("d", a_task("a"), a_task("b"), duration_s=LONG_S)], workers=0)
    world.run_for(10)
    assert len(world.broker.queues["default"]) == 2

    world.broker.flush()
    world.run_for(2 * LIMITS.sweep_s)

    assert len(world.broker.queues["default"]) == 2


def test_a_long_queue_is_not_published_again_while_no_message_is_missing() -> None:
    tasks = [a_task(f"t{number}") for number in range(10)]
    world = World(1, [steady("d", *tasks, duration_s=1.0)], workers=0)

    world.run_for(20 * LIMITS.republish_s)

    assert len(world.broker.queues["default"]) == 10


def test_while_the_broker_is_away_decisions_go_on_and_its_return_is_noticed_at_once() -> None:
    world = World(1, [diamond()], workers=2)
    world.faults.broker_is_down = True
    world.run_for(60)
    assert world.states("diamond")["a"] is TaskState.QUEUED

    world.faults.broker_is_down = False
    world.run_until_quiet(30)

    assert world.states("diamond") == ALL_SUCCEEDED


def test_a_database_away_for_five_minutes_loses_no_running_task() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=LONG_S)], workers=1)
    world.run_for(5)

    world.faults.store_is_down = True
    world.run_for(300)
    world.faults.store_is_down = False
    world.run_until_quiet(LONG_S)

    assert world.states("d") == {"a": TaskState.SUCCESS}
    assert world.checkers.edges[TaskEvent.LOST] == 0


def test_a_frozen_worker_is_fenced_and_the_overlap_is_explained() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=100.0)], workers=2)
    world.run_for(5)
    frozen = next(worker for worker in world.workers if worker.is_busy)

    frozen.freezes(400.0)
    world.run_until_quiet(300)
    assert world.states("d") == {"a": TaskState.SUCCESS}
    world.run_for(400)

    assert world.checkers.edges[TaskEvent.LOST] == 1
    assert world.checkers.edges[TaskEvent.SUCCEEDED] == 1
    world.check_ends()


def test_two_schedulers_share_the_work_and_one_may_die() -> None:
    programs = [diamond(f"d{number}") for number in range(6)]
    world = World(1, programs, schedulers=2)
    world.run_for(2)

    world.schedulers[0].dies(restarts_in_s=1000.0)
    world.run_until_quiet(120)

    assert world.run_states() == {RunState.SUCCESS}
    world.check_ends()


def test_a_pool_is_never_exceeded_by_two_racing_schedulers() -> None:
    tasks = [a_task(f"t{number}", pool="small") for number in range(12)]
    world = World(
        1,
        [steady("d", *tasks, duration_s=1.0)],
        schedulers=2,
        pools={"small": 2},
        rates=FaultRates(bell_lost=0.01),
    )

    world.run_until_quiet(120)

    world.check_ends()


def test_a_retry_waits_for_its_time_and_not_longer() -> None:
    retry = RetryPolicy(retries=1, delay_s=90.0)
    world = World(1, [steady("d", a_task("a", retry=retry), duration_s=1.0, mishap_rate=1.0)])
    world.run_for(85)
    assert world.states("d") == {"a": TaskState.UP_FOR_RETRY}

    world.run_for(10)

    assert world.states("d") == {"a": TaskState.FAILED}


def test_a_run_past_its_timeout_is_abandoned_with_its_running_task() -> None:
    world = World(
        1, [steady("d", a_task("a"), a_task("b", "a"), duration_s=LONG_S, dagrun_timeout_s=30.0)]
    )
    world.run_for(31)

    assert world.states("d") == {"a": TaskState.SKIPPED, "b": TaskState.SKIPPED}
    assert world.run_states() == {RunState.FAILED}
    world.run_for(LONG_S)
    assert world.states("d") == {"a": TaskState.SKIPPED, "b": TaskState.SKIPPED}


def test_a_run_that_cannot_be_decided_costs_the_others_nothing() -> None:
    world = World(1, [diamond("bad", duration_s=50.0), diamond("good", duration_s=100.0)])
    world.run_for(10)
    with world.store.database.writing() as connection:
        connection.execute(
            text(
                "UPDATE task_instance SET task_id = 'unheard-of' WHERE dag_id='bad' AND task_id='e'"
            )
        )
        connection.execute(text("UPDATE dag_run SET revision = revision + 1"))
    world.run_for(900)

    good = {r.state for r in world.picture().runs.values() if r.dag_id == "good"}
    assert good == {RunState.SUCCESS}
    (run_id,) = [r.run_id for r in world.picture().runs.values() if r.dag_id == "bad"]
    assert world.schedulers[0].failing() == (f"bad/{run_id}",)


def test_a_dag_version_that_cannot_be_read_costs_the_others_nothing() -> None:
    later = NOW + timedelta(seconds=300)
    world = World(
        1,
        [
            diamond("bad", duration_s=20.0),
            diamond("good", duration_s=100.0),
            diamond("late", start_date=later),
        ],
    )
    world.run_for(10)
    with world.store.database.writing() as connection:
        connection.execute(
            text("UPDATE dag_version SET spec = '{\"dag_id\": 7}' WHERE dag_id = 'bad'")
        )
        connection.execute(text("UPDATE dag SET wake_at = 0"))
    for scheduler in world.schedulers:
        scheduler.dies()
    world.forget_versions()
    world.run_for(900)

    runs = {run.dag_id: run.state for run in world.picture().runs.values()}
    assert runs == {
        "bad": RunState.RUNNING,
        "good": RunState.SUCCESS,
        "late": RunState.SUCCESS,
    }


def test_a_queue_that_nobody_serves_gives_its_pool_slots_back_in_the_end() -> None:
    world = World(
        1,
        [
            steady("lonely", a_task("a", pool="small", queue="moon"), duration_s=1.0),
            steady(
                "served",
                a_task("b", pool="small"),
                duration_s=1.0,
                start_date=NOW + timedelta(seconds=60),
            ),
        ],
        pools={"small": 1},
    )

    world.run_for(3600)

    assert world.checkers.edges[TaskEvent.WAS_UNDELIVERABLE] >= 1
    assert world.states("served") == {"b": TaskState.SUCCESS}
