"""People clear and mark while workers report, die and freeze: no invariant breaks, all runs end."""

import random
from typing import Any

import pytest

from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.selection import Selection, Target
from orchestrator.core.specs import RetryPolicy
from orchestrator.core.states import RunState, TaskState
from orchestrator.ports import TaskMessage
from tests.builders import a_task
from tests.simulation.checkers import InvariantBrokenError
from tests.simulation.faults import ROUGH, FaultRates
from tests.simulation.journeys import FAULTY_S, QUIET_WITHIN_S, journey
from tests.simulation.people import Person
from tests.simulation.programs import diamond, steady
from tests.simulation.world import World

ACTIONS = 25


def a_busy_journey(seed: int, *, marks: bool = True, **options: Any) -> World:
    """Live through a seed's world with a person in it."""
    world = journey(seed, **options)
    rng = random.Random(f"{seed}/people")
    person = Person(world, rng, marks=marks)
    for _ in range(ACTIONS):
        world.after(rng.uniform(0, FAULTY_S), person.acts)
    try:
        world.run_for(FAULTY_S)
        world.faults.stop()
        world.run_until_quiet(QUIET_WITHIN_S)
        world.run_until_settled(QUIET_WITHIN_S)
        world.check_ends()
    except InvariantBrokenError as error:
        raise InvariantBrokenError(f"{error}\nrepeat it with SEED={seed}") from error
    return world


def test_every_invariant_holds_with_people_about(seed: int) -> None:
    a_busy_journey(seed)


def test_with_clears_alone_every_run_ends_as_the_core_says(seed: int) -> None:
    """Whatever is cleared, and whenever: what tasks do is the same each time, so is the end."""
    a_busy_journey(seed, marks=False)


def test_the_people_of_some_seeds_do_all_there_is() -> None:
    seen: dict[TaskEvent, int] = {}
    for seed in range(3):
        for event, count in a_busy_journey(seed).checkers.edges.items():
            seen[event] = seen.get(event, 0) + count

    people = (
        TaskEvent.CLEARED,
        TaskEvent.MARKED_SUCCESS,
        TaskEvent.MARKED_FAILED,
        TaskEvent.MARKED_SKIPPED,
    )
    assert all(seen.get(event, 0) for event in people), seen


def the_run_of(world: World, dag_id: str) -> str:
    (run_id,) = (run.run_id for run in world.picture().runs.values() if run.dag_id == dag_id)
    return run_id


def test_a_finished_run_cleared_as_a_whole_runs_again() -> None:
    world = World(1, [diamond()])
    person = Person(world, random.Random(1))
    world.run_until_quiet(60)

    person.clears("diamond", the_run_of(world, "diamond"))
    assert world.run_states() == {RunState.QUEUED}
    world.run_until_quiet(60)

    assert world.states("diamond") == dict.fromkeys("abcde", TaskState.SUCCESS)
    assert {ti.try_number for ti in world.picture().tis.values()} == {2}
    world.check_ends()


def test_a_running_task_cleared_is_cancelled_at_once_and_runs_again() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=30.0)])
    person = Person(world, random.Random(1))
    world.run_for(5)
    (busy,) = [worker for worker in world.workers if worker.is_busy]

    person.clears("d", the_run_of(world, "d"))
    world.run_for(0.5)
    assert world.states("d") == {"a": TaskState.RUNNING}
    assert sum(worker.is_busy for worker in world.workers) == 1

    world.run_until_quiet(40)
    assert world.checkers.edges[TaskEvent.CLEARED] == 1
    assert busy.is_alive


def test_a_clear_between_a_message_and_its_start_makes_the_message_void() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=1.0)], workers=0)
    person = Person(world, random.Random(1))
    world.run_for(10)
    assert world.states("d") == {"a": TaskState.QUEUED}
    stale = list(world.broker.queues["default"])

    person.clears("d", the_run_of(world, "d"))
    world.run_for(1)

    fresh = world.broker.queues["default"]
    assert [each.epoch for each in stale if isinstance(each, TaskMessage)] == [1]
    assert 3 in [each.epoch for each in fresh if isinstance(each, TaskMessage)]


def test_a_mark_while_its_worker_is_frozen_is_not_overwritten_by_its_report() -> None:
    retried = a_task("a", retry=RetryPolicy(retries=3))
    world = World(1, [steady("d", retried, a_task("b", "a"), duration_s=10.0)], workers=1)
    person = Person(world, random.Random(1))
    world.run_for(5)
    world.workers[0].freezes(20.0)

    person.marks("d", the_run_of(world, "d"), TaskState.SKIPPED, "a")
    world.run_until_quiet(120)

    assert world.states("d") == {"a": TaskState.SKIPPED, "b": TaskState.SKIPPED}


def test_clearing_a_lost_task_gives_it_all_its_lives_again() -> None:
    world = World(1, [steady("d", a_task("a"), duration_s=600.0)], workers=1)
    person = Person(world, random.Random(1))
    for _ in range(3):
        while not world.workers[0].is_busy:
            world.run_for(1)
        world.workers[0].dies(restarts_in_s=1.0)
    world.run_until_quiet(120)
    assert world.states("d") == {"a": TaskState.FAILED}

    chosen = Selection(targets=(Target(name="a"),), only_failed=True)
    person.clears("d", the_run_of(world, "d"), chosen)
    world.run_until_quiet(1000)

    assert world.states("d") == {"a": TaskState.SUCCESS}


@pytest.mark.parametrize("rates", [ROUGH, FaultRates(worker_freeze=0.3, message_doubled=0.7)])
def test_people_in_bad_weather(rates: FaultRates) -> None:
    for seed in range(100, 104):
        a_busy_journey(seed, rates=rates, schedulers=2)
