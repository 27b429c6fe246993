"""What people do to runs while everything else goes on: they clear, mark and queue, at any moment.

A person who gets no answer asks again until there is one; each answer is checked against the rows.
"""

import random
from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.control import Clearing, Touched
from orchestrator.core.lifecycle import Actor, TaskEvent
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection, Target
from orchestrator.core.states import FINISHED_RUN_STATES, RunState, TaskState
from orchestrator.errors import ConflictError, StoreUnavailableError
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.versions import Versions
from tests.simulation.broker import Bell
from tests.simulation.checkers import Checkers, Picture, RunRow, require
from tests.simulation.faults import Faults, Faulty
from tests.simulation.stores import SimulatedStore

ASKS_AGAIN_S = 2.0
MARKS = (TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED)

Action = Callable[[], tuple[Touched, ...]]


class Surroundings(Protocol):
    """What a person needs of the world."""

    faults: Faults
    bell: Bell
    store: SimulatedStore
    checkers: Checkers

    def after(self, delay_s: float, action: Callable[[], None]) -> None: ...

    def acting(self, actor: Actor, action: Callable[[], Any]) -> Any: ...

    def picture(self) -> Picture: ...


class Person:
    """Somebody who repairs runs, or only believes to."""

    def __init__(self, world: Surroundings, rng: random.Random, *, marks: bool = True) -> None:
        self._world = world
        self._rng = rng
        self._marks = marks
        database = world.store.database
        sql = Faulty(SqlClearing(database, Versions(database)), world.faults, may_crash=False)
        self._clearing = Clearing(sql, world.bell)
        self.answers: list[Touched] = []

    def acts(self) -> None:
        """Do something to some run, if there is one."""
        runs = sorted(self._world.picture().runs.values(), key=lambda run: (run.dag_id, run.run_id))
        if not runs:
            return
        run = self._rng.choice(runs)
        kinds = [self._clear] * 4 + ([self._mark] * 2 + [self._end, self._queue]) * self._marks
        self._ask(self._rng.choice(kinds)(run))

    def clears(self, dag_id: str, run_id: str, selection: Selection | None = None) -> None:
        """Clear what is selected of a run, by default all of it."""
        self._ask(self._clearing_of(dag_id, run_id, selection or Selection()))

    def marks(self, dag_id: str, run_id: str, state: TaskState, *names: str) -> None:
        """Say how tasks ended."""
        selection = Selection(targets=tuple(Target(name=name) for name in names))
        runs = RunsNamed(run_id=run_id)
        self._ask(lambda: self._clearing.mark(dag_id, runs, selection, state, dry_run=False))

    def _ask(self, action: Action) -> None:
        try:
            touched = self._world.acting(Actor.PERSON, action)
        except ConflictError:
            return  # it says why: a run that runs cannot be queued
        except StoreUnavailableError:
            self._world.after(ASKS_AGAIN_S, lambda: self._ask(action))
            return
        self.answers.extend(touched)
        for answer in touched:
            self._check(answer)

    def _check(self, answer: Touched) -> None:
        """What was answered is so: it has the state it was given and an epoch of its own."""
        rows = {
            (ti.run_uid, ti.slot): ti
            for ti in self._world.picture().tis.values()
            if ti.run_uid == answer.uid.hex
        }
        for move in answer.change.moves:
            row = rows[answer.uid.hex, move.slot]
            known = answer.run.instances.get(move.slot)
            before = -1 if known is None else known.epoch
            require(row.epoch > before, "clear", "an epoch stayed", row)
            if move.event is TaskEvent.CLEARED:
                require(row.state is TaskState.NONE, "clear", "was not cleared", row)

    def _clear(self, run: RunRow) -> Action:
        return self._clearing_of(run.dag_id, run.run_id, self._selection(run))

    def _clearing_of(self, dag_id: str, run_id: str, selection: Selection) -> Action:
        runs = RunsNamed(run_id=run_id)
        return lambda: self._clearing.clear(dag_id, runs, selection, dry_run=False)

    def _mark(self, run: RunRow) -> Action:
        self._world.checkers.marked_runs.add(run.uid)
        runs, selection = RunsNamed(run_id=run.run_id), self._selection(run)
        state = self._rng.choice(MARKS)
        return lambda: self._clearing.mark(run.dag_id, runs, selection, state, dry_run=False)

    def _end(self, run: RunRow) -> Action:
        state = self._rng.choice(sorted(FINISHED_RUN_STATES))
        self._world.checkers.marked_runs.add(run.uid)
        self._world.checkers.said[run.uid].add(state)
        return lambda: (self._clearing.mark_run(run.dag_id, run.run_id, state, dry_run=False),)

    def _queue(self, run: RunRow) -> Action:
        if run.uid in self._world.checkers.abandoned_runs:
            # Decided anew, it is what its tasks say, and no more what its timeout said.
            self._world.checkers.said[run.uid].update(FINISHED_RUN_STATES)
        return lambda: (
            self._clearing.mark_run(run.dag_id, run.run_id, RunState.QUEUED, dry_run=False),
        )

    def _selection(self, run: RunRow) -> Selection:
        tasks = [task.task_id for task in self._world.checkers.specs[run.dag_id].tasks]
        some = self._rng.sample(tasks, k=self._rng.randint(1, len(tasks)))
        names = self._rng.choice([None, some[:1], some])
        return Selection(
            targets=None if names is None else tuple(Target(name=name) for name in names),
            includes_upstream=self._rng.random() < 0.2,
            includes_downstream=self._rng.random() < 0.4,
            only_failed=self._rng.random() < 0.2,
            only_running=self._rng.random() < 0.1,
        )
