"""Callbacks are delivered whatever crashes, and the checker would notice if they were not (I15)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.callbacks import CallbackState
from orchestrator.core.specs import CallbackKind, RetryPolicy
from orchestrator.ports import DueCallbacks
from orchestrator.store import callbacks, deadlines, reaping
from orchestrator.store.scheduling import SqlSchedulerStore
from tests.builders import a_task
from tests.simulation.callbacks import KINDS
from tests.simulation.checkers import InvariantBrokenError
from tests.simulation.faults import ROUGH
from tests.simulation.journeys import simulate
from tests.simulation.programs import steady
from tests.simulation.world import World

SEEDS_MAX = 25
Patch = pytest.MonkeyPatch


def a_world(**fields: Any) -> World:
    """One task of five seconds with every callback, on one worker."""
    task = a_task("a", callbacks=KINDS, retry=RetryPolicy(retries=1, delay_s=0.0))
    return World(1, [steady("d", task, duration_s=5.0, **fields)], workers=1)


def kinds(world: World) -> list[tuple[str, str, int]]:
    return sorted((row.kind, row.state, row.attempts) for row in world.observer.callbacks())


def test_o9_a_worker_that_dies_in_its_callback_has_it_delivered_again() -> None:
    world = a_world()
    while not world.observer.callbacks():
        world.run_for(0.1)
    world.workers[0].dies()
    world.run_until_quiet(600.0)
    world.run_until_settled(600.0)
    assert kinds(world) == [("success", CallbackState.DONE, 2)]
    world.check_ends()


def test_o9_a_try_that_is_lost_with_its_host_tells_that_it_is_retried() -> None:
    world = a_world(callbacks=(CallbackKind.SUCCESS,))
    world.run_for(2.0)
    assert world.workers[0].is_busy
    world.workers[0].dies()
    world.run_until_quiet(600.0)
    world.run_until_settled(600.0)
    assert kinds(world) == [
        ("retry", CallbackState.DONE, 1),
        ("success", CallbackState.DONE, 1),
        ("success", CallbackState.DONE, 1),
    ]
    world.check_ends()


def test_random_worlds_owe_callbacks_of_every_kind() -> None:
    missing: set[str] = {*KINDS, CallbackKind.DEADLINE}
    for seed in range(SEEDS_MAX):
        missing -= {row.kind for row in simulate(seed, rates=ROUGH).observer.callbacks()}
        if not missing:
            return
    pytest.fail(f"no callback of these kinds in {SEEDS_MAX} seeds: {missing}")


def forget_what_lost_tries_owe(patch: Patch) -> None:
    patch.setattr(reaping, "_owed", lambda *_: [])


def forget_what_ends_owe(patch: Patch) -> None:
    patch.setattr(callbacks, "owe_end", lambda *_, **__: False)


def believe_that_what_was_begun_is_done(patch: Patch) -> None:
    """Nothing is handed out again once a worker has begun it."""
    lease = SqlSchedulerStore.lease_callbacks

    def first_only(self: Any, **limits: Any) -> DueCallbacks:
        with self._database.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE callback SET state = 'done', due_at = NULL, lease_until = NULL"
                " WHERE attempts > 0 AND state = 'owed'"
            )
        return lease(self, **limits)

    patch.setattr(SqlSchedulerStore, "lease_callbacks", first_only)


def miss_deadlines_again_and_again(patch: Patch) -> None:
    miss = deadlines.miss_deadlines

    def twice(connection: Any, *, limit: int) -> int:
        count = miss(connection, limit=limit)
        if count:
            connection.exec_driver_sql(
                "INSERT INTO deadline SELECT lower(hex(randomblob(16))), run_uid,"
                " deadline_index + 90, dag_version_id, due_at, missed_at FROM deadline"
                " WHERE missed_at IS NOT NULL AND deadline_index < 90"
            )
        return count

    patch.setattr(deadlines, "miss_deadlines", twice)


@pytest.mark.parametrize(
    "mutate",
    [
        forget_what_lost_tries_owe,
        forget_what_ends_owe,
        believe_that_what_was_begun_is_done,
        miss_deadlines_again_and_again,
    ],
)
def test_a_mutant_is_killed(mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    for seed in range(SEEDS_MAX):
        try:
            simulate(seed, rates=replace(ROUGH, worker_crash=0.05))
        except InvariantBrokenError as error:
            if "I15" in str(error):
                return
            raise
    pytest.fail(f"{mutate.__name__} survived {SEEDS_MAX} seeds")
