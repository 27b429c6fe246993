"""What happens when a person has tasks or runs done again, or says how they ended?

Each run is changed in a transaction of its own, decided on what it is at that moment; then the
workers that lost a task are told, and a scheduler is woken. A preview decides the same and writes
nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from orchestrator.control.checks import NOTE_LENGTH_MAX, check_text, check_utc
from orchestrator.control.ports import ClearingStore
from orchestrator.core import clearing
from orchestrator.core.clearing import MARKS, RunChange, RunPicture
from orchestrator.core.ids import RunUid, Slot
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection
from orchestrator.core.states import RunState, TaskState
from orchestrator.core.views import TaskInstanceView
from orchestrator.errors import ConflictError, NotFoundError, RequestInvalidError, did_you_mean
from orchestrator.ports import Doorbell

__all__ = ["Clearing", "Touched", "run_state_to_set", "task_state_to_set"]

RUN_MARKS = (RunState.SUCCESS, RunState.FAILED)
_NAMED_MAX = 5

Decide = Callable[[RunPicture], RunChange]
State = TypeVar("State", TaskState, RunState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What was, or in a preview would be, changed in one run. `instances` are the task instances
    of `change`: in a preview as they are, otherwise as they are now."""

    uid: RunUid
    run: RunPicture
    change: RunChange
    instances: tuple[TaskInstanceView, ...]


class Clearing:
    """Clearing and marking. With `dry_run` nothing is changed: the answer is what would be."""

    def __init__(self, store: ClearingStore, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell

    def clear(
        self,
        dag_id: str,
        runs: RunsNamed,
        selection: Selection,
        *,
        dry_run: bool,
        resets_runs: bool = True,
        on_latest: bool = False,
        prevents_running: bool = False,
        note: str | None = None,
        user: str | None = None,
    ) -> tuple[Touched, ...]:
        """Have the selected task instances of these runs run again; finished runs are queued
        (`resets_runs`), and go on with their DAG's current version if `on_latest`.
        `prevents_running` refuses to take anything from a worker.

        Raise NotFoundError for what does not exist, ConflictError where a state forbids it.
        """

        def decide(run: RunPicture) -> RunChange:
            change = clearing.clear(
                run, selection, by=_by(user), resets_run=resets_runs, on_latest=on_latest
            )
            running = clearing.running_among(run, change) if prevents_running else ()
            if running:
                names = ", ".join(slot.task_id for slot in running[:_NAMED_MAX])
                raise ConflictError(
                    f"run {run.run_id!r} of DAG {run.dag_id!r} has {len(running)} of these task "
                    f"instances running ({names}); wait for them, or allow running ones"
                )
            return change

        return self._carry_out(dag_id, runs, decide, dry_run=dry_run, note=note)

    def add_new_tasks(
        self, dag_id: str, run_id: str, *, dry_run: bool, user: str | None = None
    ) -> Touched:
        """Have the tasks run that came with the DAG's current version; what ran stays."""
        decide = partial(clearing.add_new_tasks, by=_by(user))
        (touched,) = self._carry_out(dag_id, RunsNamed(run_id=run_id), decide, dry_run=dry_run)
        return touched

    def mark(
        self,
        dag_id: str,
        runs: RunsNamed,
        selection: Selection,
        state: TaskState,
        *,
        dry_run: bool,
        note: str | None = None,
        user: str | None = None,
    ) -> tuple[Touched, ...]:
        """Say that the selected task instances of these runs ended in `state` (success, failed or
        skipped). What failed below them is cleared."""
        if state not in MARKS:
            raise RequestInvalidError(_not_settable("task instance", state, MARKS))
        decide = partial(clearing.mark, selection=selection, state=state, by=_by(user))
        return self._carry_out(dag_id, runs, decide, dry_run=dry_run, note=note)

    def mark_run(
        self,
        dag_id: str,
        run_id: str,
        state: RunState,
        *,
        dry_run: bool,
        user: str | None = None,
    ) -> Touched:
        """End a run as success or failed, once its teardowns are done; `queued` has a finished one
        decided anew."""
        if state is RunState.QUEUED:
            decide: Decide = clearing.queue_run
        elif state in RUN_MARKS:
            decide = partial(clearing.mark_run, state=state, by=_by(user))
        else:
            raise RequestInvalidError(_not_settable("run", state, (*RUN_MARKS, RunState.QUEUED)))
        (touched,) = self._carry_out(dag_id, RunsNamed(run_id=run_id), decide, dry_run=dry_run)
        return touched

    def note_run(self, dag_id: str, run_id: str, note: str | None) -> None:
        """Set or (None) remove the note of a run."""
        checked = check_text(note, name="note", length_max=NOTE_LENGTH_MAX)
        (uid,) = self._store.runs_named(dag_id, RunsNamed(run_id=run_id))
        self._store.set_run_note(uid, checked)

    def named(
        self, dag_id: str, runs: RunsNamed, selection: Selection
    ) -> tuple[TaskInstanceView, ...]:
        """Return the selected task instances as they are."""
        return tuple(
            seen
            for uid in self._store.runs_named(dag_id, _in_utc(runs))
            for seen in self._store.task_instances_at(uid, self._slots(uid, selection))
        )

    def note_tasks(
        self, dag_id: str, runs: RunsNamed, selection: Selection, note: str | None
    ) -> tuple[TaskInstanceView, ...]:
        """Set or (None) remove the note of the selected task instances; return them."""
        checked = check_text(note, name="note", length_max=NOTE_LENGTH_MAX)
        for uid in self._store.runs_named(dag_id, _in_utc(runs)):
            self._store.set_notes(uid, self._slots(uid, selection), checked)
        return self.named(dag_id, runs, selection)

    def _slots(self, uid: RunUid, selection: Selection) -> tuple[Slot, ...]:
        run, _ = self._store.foresee(uid, lambda _run: RunChange())
        return clearing.named(run, selection)

    def _carry_out(
        self,
        dag_id: str,
        runs: RunsNamed,
        decide: Decide,
        *,
        dry_run: bool,
        note: str | None = None,
    ) -> tuple[Touched, ...]:
        checked = check_text(note, name="note", length_max=NOTE_LENGTH_MAX)
        uids = self._store.runs_named(dag_id, _in_utc(runs))
        change = self._foresee if dry_run else self._change
        found: list[Touched] = []
        unknown: NotFoundError | None = None
        for uid in uids:
            try:
                found.append(change(uid, decide))
            except NotFoundError as error:  # another run may be of a version that has it
                unknown = error
        if unknown is not None and not found:
            raise unknown
        if checked is not None and not dry_run:
            return tuple(self._noted(touched, checked) for touched in found)
        return tuple(found)

    def _foresee(self, uid: RunUid, decide: Decide) -> Touched:
        run, change = self._store.foresee(uid, decide)
        return self._touched(uid, run, change)

    def _change(self, uid: RunUid, decide: Decide) -> Touched:
        run, change, cancelled = self._store.change(uid, decide)
        for worker_id in sorted(cancelled):
            self._doorbell.ring_worker(worker_id)
        if not change.is_empty:
            self._doorbell.ring()
        return self._touched(uid, run, change)

    def _touched(self, uid: RunUid, run: RunPicture, change: RunChange) -> Touched:
        instances = self._store.task_instances_at(uid, change.touched)
        return Touched(uid=uid, run=run, change=change, instances=instances)

    def _noted(self, touched: Touched, note: str | None) -> Touched:
        slots = touched.change.touched
        self._store.set_notes(touched.uid, slots, note)
        instances = self._store.task_instances_at(touched.uid, slots)
        return replace(touched, instances=instances)


def task_state_to_set(text: str) -> TaskState:
    """Read the state that a person wants a task instance to have, or say which are possible."""
    return _read(text, "task instance", tuple(MARKS))


def run_state_to_set(text: str) -> RunState:
    """Read the state that a person wants a run to have, or say which are possible."""
    return _read(text, "run", (*RUN_MARKS, RunState.QUEUED))


def _read(text: str, what: str, states: tuple[State, ...]) -> State:
    for state in states:
        if text == state:
            return state
    raise RequestInvalidError(_not_settable(what, text, states))


def _not_settable(what: str, text: str, states: Any) -> str:
    known = [str(state) for state in states]
    listed = ", ".join(known[:-1]) + f" or {known[-1]}"
    return f"a {what} cannot be marked {text[:80]!r}; use {listed}{did_you_mean(text, known)}"


def _by(user: str | None) -> str:
    return "" if user is None else f" by {user}"


def _in_utc(runs: RunsNamed) -> RunsNamed:
    first = None if runs.from_date is None else check_utc(runs.from_date, name="start_date")
    last = None if runs.to_date is None else check_utc(runs.to_date, name="end_date")
    if first is not None and last is not None and first > last:
        raise RequestInvalidError(
            f"start_date {first.isoformat()} is after end_date {last.isoformat()}; exchange them"
        )
    return replace(runs, from_date=first, to_date=last)
