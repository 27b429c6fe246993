"""Would the checkers notice if clearing or marking broke a promise? Some seed kills each mutant."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core import clearing as core_clearing
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.store import clearing, moving
from tests.simulation.checkers import InvariantBrokenError
from tests.simulation.people import Person
from tests.simulation.programs import diamond
from tests.simulation.test_mutants import _without_value as without_value
from tests.simulation.test_people import a_busy_journey
from tests.simulation.world import World

SEEDS_MAX = 15
Patch = pytest.MonkeyPatch


def clear_without_a_new_revision(patch: Patch) -> None:
    run_update = clearing._run_update
    patch.setattr(
        clearing, "_run_update", lambda *given: without_value(run_update(*given), "revision")
    )


def leave_a_cleared_run_finished(patch: Patch) -> None:
    patch.setattr(core_clearing, "_queued_again", lambda _run: None)


def clear_without_a_new_epoch(patch: Patch) -> None:
    _clear_without(patch, "epoch")


def clear_without_new_tries(patch: Patch) -> None:
    _clear_without(patch, "max_tries")


def clear_and_keep_the_message_owed(patch: Patch) -> None:
    _clear_without(patch, "publish_due_at")


def clear_and_leave_the_lease(patch: Patch) -> None:
    _clear_without(patch, "lease_owner")


def mark_a_finished_run_and_leave_its_state(patch: Patch) -> None:
    patch.setattr(core_clearing, "_end_after", lambda _run, _moves: (None, None))


MUTANTS = (
    leave_a_cleared_run_finished,
    clear_without_a_new_epoch,
    clear_without_new_tries,
    clear_and_keep_the_message_owed,
    clear_and_leave_the_lease,
    mark_a_finished_run_and_leave_its_state,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_some_seed_kills_the_mutant(mutant: Callable[[Patch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        for seed in range(SEEDS_MAX):
            try:
                a_busy_journey(seed)
            except InvariantBrokenError:
                return
    pytest.fail(f"{mutant.__name__} survived {SEEDS_MAX} seeds")


def test_a_clear_that_no_ledger_in_memory_notices_is_killed() -> None:
    """Of random clears most meet a run that is over, or one that no scheduler remembers."""
    with pytest.MonkeyPatch.context() as patch:
        clear_without_a_new_revision(patch)
        world = World(1, [diamond(duration_s=30.0)])
        person = Person(world, random.Random(1))
        world.run_for(40)
        (run,) = world.picture().runs.values()
        person.clears("diamond", run.run_id)
        with pytest.raises(InvariantBrokenError, match="I10"):
            world.run_until_quiet(400)


def _clear_without(patch: Patch, column: str) -> None:
    moves: dict[TaskEvent, Any] = dict(moving._MOVES)
    moves[TaskEvent.CLEARED] = without_value(moves[TaskEvent.CLEARED], column)
    patch.setattr(moving, "_MOVES", moves)
