"""Would the checkers notice? Each mutant breaks one promise of the protocol; some seed kills it.

This is the one place where our own code is patched: a checker that cannot fail proves nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Update

from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Decision
from orchestrator.ports import DueRun
from orchestrator.scheduler.janitor import Janitor
from orchestrator.scheduler.ledgers import LedgerCache
from orchestrator.scheduler.pasts import Pasts
from orchestrator.scheduler.tick import Tick
from orchestrator.store import expanding, moving, pasts, reaping, tries
from orchestrator.store.scheduling import SqlSchedulerTransaction
from orchestrator.store.tables import task_instance_table
from tests.simulation.checkers import InvariantBrokenError
from tests.simulation.faults import CALM, ROUGH, FaultRates
from tests.simulation.journeys import simulate

SEEDS_MAX = 25
Patch = pytest.MonkeyPatch


def start_without_epoch_guard(patch: Patch) -> None:
    patch.setattr(tries, "_START", _unguarded(tries._START, "epoch"))


def start_whatever_the_state(patch: Patch) -> None:
    patch.setattr(tries, "_START", _unguarded(tries._START, "state"))


def finish_without_epoch_and_owner_guard(patch: Patch) -> None:
    patch.setattr(tries, "_FINISH", _unguarded(tries._FINISH, "epoch", "lease_owner"))


def reap_without_new_epoch(patch: Patch) -> None:
    kept = {event: _without_value(update, "epoch") for event, update in reaping._TAKE_AWAY.items()}
    patch.setattr(reaping, "_TAKE_AWAY", kept)


def claim_without_counting_under_the_lock(patch: Patch) -> None:
    _after(
        patch, SqlSchedulerTransaction, "lock_capacity", lambda known: replace(known, holdings=())
    )


def start_runs_without_counting_the_running(patch: Patch) -> None:
    _after(
        patch,
        SqlSchedulerTransaction,
        "lock_due_dags",
        lambda dags: [replace(dag, running=0) for dag in dags],
    )


def drop_the_news(patch: Patch) -> None:
    _after(
        patch,
        SqlSchedulerTransaction,
        "lock_due_runs",
        lambda runs: [replace(run, news=()) for run in runs],
    )


def forget_to_look_again(patch: Patch) -> None:
    carry_out = SqlSchedulerTransaction.carry_out_decision

    def carry_out_without_wake_at(self: Any, run: DueRun, decision: Decision) -> int:
        return carry_out(self, run, replace(decision, wake_at=None))

    patch.setattr(SqlSchedulerTransaction, "carry_out_decision", carry_out_without_wake_at)


def trust_a_ledger_of_any_revision(patch: Patch) -> None:
    take = LedgerCache.take

    def take_any(self: Any, uid: Any, *, revision: int) -> Any:
        known = self._kept.get(uid)
        return take(self, uid, revision=revision if known is None else known[0])

    patch.setattr(LedgerCache, "take", take_any)


def keep_a_ledger_that_was_not_committed(patch: Patch) -> None:
    def peek(self: Any, uid: Any, *, revision: int) -> Any:
        known = self._kept.get(uid)
        return known[1] if known is not None and known[0] == revision else None

    def keep(self: Any, uid: Any, ledger: Any, *, revision: int) -> None:
        self._kept[uid] = (revision, ledger)

    patch.setattr(LedgerCache, "take", peek)
    patch.setattr(LedgerCache, "keep", keep)


def publish_before_the_commit(patch: Patch) -> None:
    claim = Tick._claim

    def claim_and_publish(self: Any, transaction: Any, now: Any) -> Any:
        handout = claim(self, transaction, now)
        self._dispatch.send(handout.messages)
        return handout

    patch.setattr(Tick, "_claim", claim_and_publish)


def never_publish_again(patch: Patch) -> None:
    patch.setattr(Janitor, "_republish", lambda self, due: None)
    patch.setattr(Janitor, "_withdraw", lambda self: None)  # its new claim would be published


def count_every_start_as_a_try(patch: Patch) -> None:
    counting = tries._START.values(try_number=task_instance_table.c.try_number + 1)
    patch.setattr(tries, "_START", counting)


def go_on_with_a_try_that_was_lost(patch: Patch) -> None:
    kept = {
        event: _without_value(update, "began_at") for event, update in reaping._TAKE_AWAY.items()
    }
    patch.setattr(reaping, "_TAKE_AWAY", kept)


def expand_without_guard_by_a_ledger_of_any_revision(patch: Patch) -> None:
    trust_a_ledger_of_any_revision(patch)
    patch.setattr(expanding, "_require", lambda *_: None)


def forget_one_index(patch: Patch) -> None:
    batches = expanding._batches
    patch.setattr(expanding, "_batches", lambda indexes: batches(indexes[:-1]))


def forget_lengths(patch: Patch) -> None:
    patch.setattr(tries, "_FINISH", _without_value(tries._FINISH, "length"))


def nudge_nobody(patch: Patch) -> None:
    patch.setattr(pasts, "nudge_next_runs", lambda *_: None)


def tell_no_past(patch: Patch) -> None:
    patch.setattr(Pasts, "tell", lambda *_: True)


def count_no_retry_of_a_group(patch: Patch) -> None:
    again = moving._MOVES[TaskEvent.GROUP_RETRIED]
    patch.setitem(moving._MOVES, TaskEvent.GROUP_RETRIED, _without_value(again, "group_try"))


FREEZING = FaultRates(worker_freeze=0.3)
LOSING = FaultRates(message_lost=0.3)
LATE = FaultRates(worker_freeze=0.3, message_doubled=0.7, message_delayed=0.5)
REFUSING = FaultRates(store_error=0.03)
MUTANTS: dict[Callable[[Patch], None], dict[str, Any]] = {
    start_without_epoch_guard: {"rates": LATE},
    start_whatever_the_state: {"rates": ROUGH},
    finish_without_epoch_and_owner_guard: {"rates": FREEZING},
    reap_without_new_epoch: {"rates": FREEZING},
    claim_without_counting_under_the_lock: {"rates": ROUGH},
    start_runs_without_counting_the_running: {"rates": ROUGH},
    drop_the_news: {"rates": CALM},
    forget_to_look_again: {"rates": CALM},
    trust_a_ledger_of_any_revision: {"rates": ROUGH, "schedulers": 2},
    keep_a_ledger_that_was_not_committed: {"rates": REFUSING},
    publish_before_the_commit: {"rates": ROUGH},
    never_publish_again: {"rates": LOSING},
    count_every_start_as_a_try: {"rates": CALM},
    go_on_with_a_try_that_was_lost: {"rates": FREEZING},
    expand_without_guard_by_a_ledger_of_any_revision: {"rates": ROUGH, "schedulers": 2},
    forget_one_index: {"rates": CALM},
    forget_lengths: {"rates": CALM},
    nudge_nobody: {"rates": CALM},
    tell_no_past: {"rates": CALM},
    count_no_retry_of_a_group: {"rates": ROUGH},
}
"""Each with the weather in which it shows soonest."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_some_seed_kills_the_mutant(mutant: Callable[[Patch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        for seed in range(SEEDS_MAX):
            try:
                simulate(seed, **MUTANTS[mutant])
            except InvariantBrokenError:
                return
    pytest.fail(f"{mutant.__name__} survived {SEEDS_MAX} seeds")


def _after(patch: Patch, owner: Any, name: str, change: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda self, *args, **kw: change(original(self, *args, **kw)))


def _unguarded(statement: Any, *columns: str) -> Any:
    """Return an update without the conditions on these columns."""
    kept = [
        condition
        for condition in statement.whereclause.clauses
        if not any(f"task_instance.{column} " in str(condition) for column in columns)
    ]
    assert len(kept) == len(statement.whereclause.clauses) - len(columns), "the seam has moved"
    mutant = statement._generate()
    mutant._where_criteria = tuple(kept)
    return mutant


def _without_value(statement: Update, column: str) -> Update:
    """Return an update that leaves a column as it is."""
    mutant: Any = statement._generate()
    values: Any = statement._values
    mutant._values = {key: value for key, value in mutant._values.items() if str(key) != column}
    assert len(mutant._values) == len(values) - 1, "the seam has moved"
    changed: Update = mutant
    return changed


@pytest.mark.parametrize(
    "rates",
    [
        pytest.param(FREEZING, id="freezing"),
        pytest.param(LOSING, id="losing"),
        pytest.param(LATE, id="late"),
        pytest.param(REFUSING, id="refusing"),
    ],
)
def test_the_weather_alone_kills_nothing(rates: FaultRates) -> None:
    for seed in range(2):
        simulate(seed, rates=rates)
