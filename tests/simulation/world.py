"""A whole installation in one thread: virtual time, one seed, the production scheduler and store.

Events happen one after the other at virtual instants; between two calls of one process another may
act, as real processes do. After every event the checkers look at what it did. Nothing here sleeps,
and the same seed gives the same transition log.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from orchestrator.core.assignments import Assignment
from orchestrator.core.callbacks import CallbackId, CallbackState
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import Actor
from orchestrator.core.outcomes import Failed, Outcome
from orchestrator.core.states import FINISHED_RUN_STATES, FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.store.versions import Versions
from tests.builders import NOW
from tests.simulation.broker import Bell, Broker
from tests.simulation.checkers import Checkers, InvariantBrokenError, Picture, RunRow, require
from tests.simulation.faults import CALM, FaultRates, Faults, Faulty
from tests.simulation.pictures import Observer
from tests.simulation.programs import Program, expected_end
from tests.simulation.schedulers import LIMITS, SchedulerProcess
from tests.simulation.stores import open_store
from tests.simulation.workers import SimulatedWorker, slot_of

INTERLEAVING = 0.2
"""How often another process acts between two calls of one."""
SILENT_MAX_S = 2 * (LIMITS.emptied_queue_s + LIMITS.sweep_s) + 5.0
EVENTS_MAX = 400_000


@dataclass(order=True, slots=True)
class _Event:
    at_s: float
    number: int
    owner: object = field(compare=False)
    action: Callable[[], None] = field(compare=False)


class World:
    """Schedulers, workers, a broker and a store, and what people would see of them."""

    def __init__(
        self,
        seed: int,
        programs: Sequence[Program],
        *,
        rates: FaultRates = CALM,
        crash_at: int | None = None,
        schedulers: int = 1,
        workers: int = 2,
        pools: dict[str, int] | None = None,
    ) -> None:
        self.seed = seed
        self.programs = {program.spec.dag_id: program for program in programs}
        self.faults = Faults(random.Random(f"{seed}/faults"), rates=rates, crash_at=crash_at)
        self._now_s = 0.0
        self._events: list[_Event] = []
        self._numbers = 0
        self._silent_since_s: dict[tuple[str, int], float] = {}
        self._ids = random.Random(f"{seed}/ids")
        self._has_people = False
        self._acting: list[tuple[Actor, tuple[str, int] | None]] = []
        self.store = open_store(self.now, self._new_id, self.programs.values(), pools or {})
        self.observer = Observer(self.store.database)
        self.checkers = Checkers(
            specs={dag_id: program.spec for dag_id, program in self.programs.items()},
            infra_tries_max=LIMITS.infra_tries_max,
        )
        self.broker = Broker(self.faults, self.after, self._message_arrived, self._published)
        self.bell = Bell(self.faults, self._rang, self._rang_worker)
        self.schedulers = [
            SchedulerProcess(
                self,
                self.store.scheduler,
                f"scheduler{number}",
                is_alone=schedulers == 1,
            )
            for number in range(schedulers)
        ]
        self.workers = [
            SimulatedWorker(
                self,
                _Acting(self, Faulty(self.store.worker, self.faults, may_crash=False)),
                f"worker{number}",
                queues=("default", "gpu") if number % 2 == 0 else ("gpu", "default"),
                concurrency=self.faults.rng.choice([1, 2, 4]) if rates is not CALM else 2,
            )
            for number in range(workers)
        ]
        for scheduler in self.schedulers:
            self.after(0.0, scheduler.boot)
        for worker in self.workers:
            self.after(0.0, worker.boot)

    # --- time -------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The clock of every process and of the database."""
        return NOW + timedelta(seconds=self._now_s)

    def monotonic(self) -> float:
        return self._now_s

    def after(self, delay_s: float, action: Callable[[], None], owner: object = None) -> None:
        """Let something happen in so many seconds."""
        self._numbers += 1
        heappush(self._events, _Event(self._now_s + delay_s, self._numbers, owner, action))

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        end_s = self._now_s + seconds
        for _ in range(EVENTS_MAX):
            if not self._events or self._events[0].at_s > end_s:
                self._now_s = end_s
                return
            self._happen(heappop(self._events))
        raise AssertionError(f"more than {EVENTS_MAX} events: something spins")

    def run_until_quiet(self, within_s: float) -> None:
        """Let time pass until every run is over (I10: it has to be within so long)."""
        end_s = self._now_s + within_s
        while not self.is_quiet():
            if self._now_s >= end_s:
                raise InvariantBrokenError(f"I10: still unfinished: {self._situation()}")
            self._check_deliveries()
            self.run_for(1.0 if end_s - self._now_s > within_s - 10.0 else 10.0)

    def run_until_settled(self, within_s: float) -> None:
        """Let time pass until no callback is owed and no deadline is to come (I15)."""
        end_s = self._now_s + within_s
        while self.observer.open_deadlines() or any(
            row.state == CallbackState.OWED for row in self.observer.callbacks()
        ):
            require(self._now_s < end_s, "I15", "callbacks are owed", self.observer.callbacks())
            self.run_for(10.0)

    def is_quiet(self) -> bool:
        """Whether every run that will ever be has ended."""
        picture = self.picture()
        unfinished = [r for r in picture.runs.values() if r.state not in FINISHED_RUN_STATES]
        seen = {run.dag_id for run in picture.runs.values()}
        stuck = Counter(r.dag_id for r in unfinished if self._waits_for_ever(r, picture))
        return seen == set(self.programs) and all(
            self._waits_for_ever(run, picture)
            or stuck[run.dag_id] == self.programs[run.dag_id].spec.max_active_runs
            for run in unfinished
        )

    def _waits_for_ever(self, run: RunRow, picture: Picture) -> bool:
        """Whether nothing in a run can go on because of how the run before has ended, or because
        that one waits in the same way: only a person helps."""
        if run.state is not RunState.RUNNING or not (past := self.checkers.past_of(run, picture)):
            return False
        actual = {t.slot: t.state for t in picture.tis.values() if t.run_uid == run.uid}
        left = {slot: s for slot, s in actual.items() if s not in FINISHED_TASK_STATES}
        if any(state is not TaskState.NONE for state in left.values()):
            return False
        if run.dag_id in self.checkers.cleared_dags:
            return any(slot.task_id in past for slot in left)
        state, expected = self._expected(run, picture, past)
        return state is RunState.RUNNING and actual == expected

    def _expected(
        self, run: RunRow, picture: Picture, past: Mapping[str, str]
    ) -> tuple[RunState, Mapping[Slot, TaskState]]:
        return expected_end(
            self.programs[run.dag_id],
            run.run_id,
            lost_for_good=frozenset(self.checkers.lost_for_good[run.uid]),
            past=past,
            order_seed=self.seed,
        )

    def forget_versions(self) -> None:
        """Have every process read DAG versions anew, as a restart would."""
        fresh = Versions(self.store.database)
        self.store.scheduler._versions = fresh

    def interleave(self, me: object) -> None:
        """Between two calls of one process: whoever is due next may act first."""
        if len(self._acting) > 1 or not self._events or self.faults.rates is CALM:
            return
        following = self._events[0]
        if following.owner is me or following.at_s > self._now_s + 0.05:
            return
        if self.faults.rng.random() < INTERLEAVING:
            self._happen(heappop(self._events))

    def acting(
        self, actor: Actor, action: Callable[[], Any], fence: tuple[str, int] | None = None
    ) -> Any:
        """Do something as the scheduler, or as a worker that may move only what `fence` names, and
        judge what it did."""
        self.check()  # what a process did before another interrupted it is its own
        self._acting.append((actor, fence))
        self._has_people = self._has_people or actor is Actor.PERSON
        try:
            return action()
        except IntegrityError as error:
            raise InvariantBrokenError(f"I1: {actor}: {error}") from error
        finally:
            self.check()
            self._acting.pop()

    # --- what people see --------------------------------------------------------------------

    def picture(self) -> Picture:
        return self.observer.picture()

    def states(self, dag_id: str) -> dict[str, TaskState]:
        """Where the tasks of a DAG's only run stand."""
        return {
            ti.slot.task_id: ti.state for ti in self.picture().tis.values() if ti.dag_id == dag_id
        }

    def run_states(self) -> set[RunState]:
        return {run.state for run in self.picture().runs.values()}

    def check(self) -> None:
        """Judge what happened since the last look."""
        steps = self.observer.new_steps()
        if not steps:
            return
        picture = self.picture()
        actor, fence = self._acting[-1] if self._acting else (Actor.SCHEDULER, None)
        for step in steps:
            if fence is not None:
                require((step.ti_id, step.epoch_after) == fence, "I3", fence, "wrote", step)
            self.checkers.follow(step, actor=actor, picture=picture)
        self.checkers.look(picture)

    def _check_deliveries(self) -> None:
        """I14: no queued task waits without a message while its queue is empty. A deeper queue may
        hide the loss of one message for a while."""
        missing = {
            (ti.ti_id, ti.epoch)
            for ti in self.picture().tis.values()
            if ti.state is TaskState.QUEUED and not self.broker.queues.get(ti.queue)
        } - self.broker.messages()
        self._silent_since_s = {
            key: self._silent_since_s.get(key, self._now_s) for key in sorted(missing)
        }
        for key, since_s in self._silent_since_s.items():
            require(self._now_s - since_s < SILENT_MAX_S, "I14", key, "has no message")

    def check_ends(self) -> None:
        """Compare the end of every run with what the pure core alone makes of the same DAG and the
        same outcomes."""
        picture = self.picture()
        for run in picture.runs.values():
            unforeseen = self.checkers.abandoned_runs | self.checkers.marked_runs
            if run.uid in unforeseen or run.state is RunState.QUEUED:
                continue
            past = self.checkers.past_of(run, picture)
            if past and run.dag_id in self.checkers.cleared_dags:
                continue  # when it was cleared, it may have let a later run go on already
            actual = {t.slot: t.state for t in picture.tis.values() if t.run_uid == run.uid}
            if self.programs[run.dag_id].spec.fail_fast and TaskState.FAILED in actual.values():
                continue  # who had ended by then depends on who was quicker
            state, states = self._expected(run, picture, past)
            require(actual == states, "oracle", run, _difference(actual, states))
            require(run.state is state, "oracle", run, "should be", state)
        self._check_callbacks(picture)
        require(not self.observer.unaccepted_xcoms(), "I13", self.observer.unaccepted_xcoms())
        require(not self.observer.miscounted_tries(), "I3", self.observer.miscounted_tries())

    def _check_callbacks(self, picture: Picture) -> None:
        problems = self.checkers.callbacks.problems(
            self.observer.callbacks(),
            ended={
                run.uid: (self.checkers.specs[run.dag_id], run.state)
                for run in picture.runs.values()
                if run.state in FINISHED_RUN_STATES
                and not self.checkers.said[run.uid]
                and run.uid not in self.checkers.marked_runs
            },
            missed=self.observer.missed_deadlines(),
            has_people=self._has_people,
        )
        require(not problems, "I15", *problems[:3])

    # --- for the actors ---------------------------------------------------------------------

    def ring(self) -> None:
        self.bell.ring()

    def script(self, assignment: Assignment) -> tuple[float, Outcome]:
        key, timeout_s = assignment.key, assignment.task.execution_timeout_s
        self.check()
        who, seen = assignment.ti_id.hex, self.checkers
        script = self.programs[key.dag_id].script(
            key.run_id, slot_of(assignment), group_try=seen.group_tries[who]
        )
        duration_s, outcome = script.at(seen.accounted_tries[who], seen.looks[who])
        if timeout_s is not None and duration_s > timeout_s:
            return timeout_s, Failed(reason="execution_timeout")
        return duration_s, outcome

    def called_back(self, callback_id: CallbackId) -> None:
        self.checkers.callbacks.called[callback_id] += 1

    def user_code_began(self, assignment: Assignment, worker_id: str) -> None:
        self.check()
        self.checkers.user_code_began(assignment, worker_id)

    def user_code_ended(self, assignment: Assignment, worker_id: str) -> None:
        self.checkers.user_code_ended(assignment)

    def _published(self, messages: Sequence[Any]) -> None:
        require(not self.observer.is_in_transaction(), "I11", "published inside a transaction")
        self.check()
        self.checkers.published(messages)

    def _message_arrived(self, _queue: str) -> None:
        for worker in self.workers:
            self.after(0.001, worker.poll)

    def _rang(self) -> None:
        awake = [scheduler for scheduler in self.schedulers if scheduler.is_alive]
        if awake:
            awake[self._numbers % len(awake)].hears_the_bell()

    def _rang_worker(self, worker_id: str) -> None:
        for worker in self.workers:
            if worker.worker_id == worker_id:
                self.after(0.001, worker.looks_now)

    def _happen(self, event: _Event) -> None:
        self._now_s = max(self._now_s, event.at_s)
        event.action()

    def _new_id(self) -> UUID:
        return UUID(int=self._ids.getrandbits(128))

    def _situation(self) -> str:
        picture = self.picture()
        unfinished = [r for r in picture.runs.values() if r.state not in FINISHED_RUN_STATES]
        waiting = [
            f"{ti.dag_id}/{ti.slot.task_id} {ti.state} epoch {ti.epoch} owner {ti.lease_owner}"
            for ti in picture.tis.values()
            if ti.run_uid in {run.uid for run in unfinished}
        ]
        return "\n".join([*map(str, unfinished), *waiting, str(self.broker.queues)])


class _Acting:
    """A worker's port: what its calls change, a worker changed."""

    def __init__(self, world: World, target: Any) -> None:
        self._world = world
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._world.acting(
                Actor.WORKER, lambda: method(*args, **kwargs), _fence_of(name, args)
            )

        return call


def _fence_of(call: str, args: Sequence[Any]) -> tuple[str, int] | None:
    """Name the one try that a worker's call may move; None for calls that move none."""
    if call == "start":
        return args[0].hex, args[1]
    return (args[0].ti_id.hex, args[0].epoch) if call == "finish" else None


def _difference(actual: Any, expected: Any) -> dict[Any, Any]:
    return {
        slot: f"{actual.get(slot)}, should be {expected.get(slot)}"
        for slot in sorted({*actual, *expected})
        if actual.get(slot) is not expected.get(slot)
    }
