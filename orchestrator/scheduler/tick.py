"""What does one pass of the scheduler do?

It decides the runs that have news, hands out free slots, publishes, and then plans the DAGs that
are due. Planning comes last because a completion's way to the next task's start is the one people
wait for; a run that planning starts is decided by the next pass, which follows at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from orchestrator.core.admission import admit, messages_per_slot, next_free_at
from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.ids import VersionId
from orchestrator.core.planning import DagSnapshot, Plan, plan
from orchestrator.core.scheduling import Decision, RunLedger
from orchestrator.errors import StoreUnavailableError
from orchestrator.ports import DueRun, SchedulerStore, SchedulerTransaction, TaskMessage
from orchestrator.scheduler.dispatch import Dispatch
from orchestrator.scheduler.ledgers import LedgerCache
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.pasts import BUSY_WAIT_S, Pasts
from orchestrator.scheduler.quarantine import Quarantine

__all__ = ["PassResult", "Tick"]

GRAPHS_MAX = 256
"""DAG versions kept indexed; each costs about what its DagSpec does."""

MOVES_LOGGED_MAX = 50
"""A hundred thousand at once would be a log of their own."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """What a pass came to. `now` is the store's clock; `has_more` means that something is left
    that can be done at once, `candidates_left` that this something is handing out slots."""

    now: datetime
    did_work: bool
    has_more: bool
    candidates_left: bool
    owes_callbacks: bool = False
    """Whether something ended that has callbacks which can be sent now."""
    cancelled_workers: frozenset[str] = frozenset()
    """Who should look at its task instances at once: some were taken away."""
    messages_per_slot: float = 0.0
    """How well supplied the workers are: nothing is gained by another pass while they are."""
    free_at: datetime | None = None
    """When a rate limit lets somebody start again, if any does not now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """A decision that is written, but not committed yet. `ledger` is None for a run put off."""

    run: DueRun
    decision: Decision
    ledger: RunLedger | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handout:
    """Messages of claims that are written, but not committed yet."""

    messages: Sequence[TaskMessage] = ()
    candidates_left: bool = False
    spoiled: bool = False
    owes_callbacks: bool = False
    cancelled_workers: frozenset[str] = frozenset()
    messages_per_slot: float = 0.0
    free_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """What planning came to: how many DAGs were due, and whether more can be done at once."""

    now: datetime
    dags: int
    has_more: bool


class _BatchSpoiledError(Exception):
    """One run's decision could not be carried out, so the whole transaction was undone."""


class Tick:
    """The scheduler's pass. It keeps ledgers between passes and nothing that SQL does not know."""

    def __init__(
        self, store: SchedulerStore, dispatch: Dispatch, *, limits: SchedulerLimits
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._limits = limits
        self._ledgers = LedgerCache(instances_max=limits.ledger_instances_max)
        self._graphs: dict[VersionId, Graph] = {}
        self._pasts = Pasts()
        self._quarantine = Quarantine()
        self._acting_on: str | None = None

    def run_pass(self, *, hand_out: bool) -> PassResult:
        """Do one batch of everything. `hand_out` asks for a look at the waiting candidates even if
        no run is due: a pool may have grown, a worker may have come, a DAG been unpaused."""
        try:
            decided, handout = self._decide_and_claim(hand_out=hand_out)
        except _BatchSpoiledError:
            decided, handout = [], _Handout(spoiled=True)
        self._dispatch.send(handout.messages)
        planned = self._plan()
        full = len(decided) == self._limits.runs_per_tick
        return PassResult(
            now=planned.now,
            did_work=bool(decided or planned.dags or handout.messages),
            has_more=full or planned.has_more or handout.candidates_left or handout.spoiled,
            candidates_left=handout.candidates_left,
            owes_callbacks=handout.owes_callbacks,
            cancelled_workers=handout.cancelled_workers,
            messages_per_slot=handout.messages_per_slot,
            free_at=handout.free_at,
        )

    def failing(self) -> tuple[str, ...]:
        """Return, sorted, the runs and DAGs that cannot be decided at present."""
        return self._quarantine.names()

    def _decide_and_claim(self, *, hand_out: bool) -> tuple[list[_Decided], _Handout]:
        with self._isolating_failures(), self._store.transaction() as transaction:
            now = transaction.now()
            runs = transaction.lock_due_runs(self._limits.runs_per_tick)
            decided = [self._decide(transaction, run, now) for run in runs]
            handout = self._claim(transaction, now) if runs or hand_out else _Handout()
            handout = replace(
                handout,
                cancelled_workers=transaction.cancelled_workers(),
                owes_callbacks=transaction.owes_callbacks(),
            )
        for one in decided:  # only now is it true
            if one.ledger is not None:
                self._quarantine.absolve(_name_of(one.run))
                if one.decision.finish is None:
                    self._ledgers.keep(one.run.uid, one.ledger, revision=one.revision)
                _log_decision(one)
        return decided, handout

    def _decide(self, transaction: SchedulerTransaction, run: DueRun, now: datetime) -> _Decided:
        """Decide one run and write the decision; of one that failed before, only when to retry."""
        name = _name_of(run)
        ledger, decision = None, Decision(wake_at=self._quarantine.off_until(name, now))
        if decision.wake_at is None:
            self._acting_on = name
            ledger = self._ledger(transaction, run)
            if self._pasts.tell(transaction, run, ledger):
                decision = ledger.decide(now)
            else:
                decision = Decision(wake_at=now + timedelta(seconds=BUSY_WAIT_S))
        revision = transaction.carry_out_decision(run, decision)
        self._acting_on = None
        return _Decided(run=run, decision=decision, ledger=ledger, revision=revision)

    @contextmanager
    def _isolating_failures(self) -> Iterator[None]:
        """Around a transaction: what fails while acting on one run or DAG undoes the batch and is
        blamed on that one, so that a later batch leaves it out. The database's own failures are
        nobody's; they have their name only once they have left the transaction."""
        try:
            yield
        except StoreUnavailableError:
            raise
        except Exception as error:
            if self._acting_on is None:
                raise
            self._quarantine.blame(self._acting_on)
            _log.error("decision_failed", of=self._acting_on, exc_info=error)
            raise _BatchSpoiledError from error
        finally:
            self._acting_on = None

    def _ledger(self, transaction: SchedulerTransaction, run: DueRun) -> RunLedger:
        ledger = self._ledgers.take(run.uid, revision=run.revision)
        if ledger is None:
            return RunLedger(
                self._graph(run.version_id),
                transaction.load_instances(run.uid),
                started_at=run.started_at,
                fails_later=run.fails_later,
            )
        for slot, instance in run.news:
            ledger.apply(slot, instance)
        return ledger

    def _graph(self, version_id: VersionId) -> Graph:
        graph = self._graphs.get(version_id)
        if graph is None:
            graph = build_graph(self._store.spec(version_id))
            while len(self._graphs) >= GRAPHS_MAX:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[version_id] = graph
        return graph

    def _claim(self, transaction: SchedulerTransaction, now: datetime) -> _Handout:
        batch_max = self._limits.claims_per_tick
        capacity = transaction.lock_capacity()
        candidates = transaction.candidates(capacity, per_dag=batch_max)
        admitted = admit(candidates, capacity)[:batch_max]
        supply = messages_per_slot(admitted, capacity)
        free_at = next_free_at(admitted, capacity, now)
        if not admitted:
            return _Handout(messages_per_slot=supply, free_at=free_at)
        return _Handout(
            messages_per_slot=supply,
            free_at=free_at,
            messages=transaction.claim(admitted, republish_after_s=self._limits.republish_s),
            candidates_left=len(candidates) >= batch_max,
        )

    def _plan(self) -> _Planned:
        """Create and start due runs. One that started is due, and a created one has to start."""
        began = False
        try:
            with self._isolating_failures(), self._store.transaction() as transaction:
                now = transaction.now()
                dags = transaction.lock_due_dags(self._limits.dags_per_tick)
                for dag in dags:
                    began = self._plan_one(transaction, dag, now) or began
        except _BatchSpoiledError:
            return _Planned(now=now, dags=0, has_more=True)
        full = len(dags) == self._limits.dags_per_tick
        return _Planned(now=now, dags=len(dags), has_more=began or full)

    def _plan_one(self, transaction: SchedulerTransaction, dag: DagSnapshot, now: datetime) -> bool:
        name = dag.spec.dag_id
        planned = Plan(wake_at=self._quarantine.off_until(name, now))
        if planned.wake_at is not None:
            transaction.carry_out_plan(dag, planned)
            return False
        self._acting_on = name
        planned = plan(dag, now)
        started = transaction.carry_out_plan(dag, planned)
        self._acting_on = None
        self._quarantine.absolve(name)
        return bool(started or planned.create)


def _name_of(run: DueRun) -> str:
    return f"{run.dag_id}/{run.run_id}"


def _log_decision(one: _Decided) -> None:
    for expansion in one.decision.expansions:
        _log.debug(
            "task_expanded",
            run=_name_of(one.run),
            task=expansion.task_id,
            count=len(expansion.indexes),
        )
    if one.decision.moves:
        moves = one.decision.moves
        _log.debug(
            "run_decided",
            run=_name_of(one.run),
            count=len(moves),
            moves=[f"{move.slot.task_id} {move.event}" for move in moves[:MOVES_LOGGED_MAX]],
        )
    if one.decision.finish is not None:
        finish = one.decision.finish
        _log.info(
            "run_finished", run=_name_of(one.run), state=str(finish.state), reason=finish.reason
        )
