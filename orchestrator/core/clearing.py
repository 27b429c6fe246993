"""What changes in a run when a person clears or marks task instances, or the run itself?

Each function looks at a `RunPicture` and returns a `RunChange`; nothing is written here. Clearing
sends task instances back to the beginning and a finished run to the queue. Marking says how they
ended, and clears what failed below them, so that it gets its chance.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.graph import Graph
from orchestrator.core.ids import Slot, VersionId
from orchestrator.core.lifecycle import TaskEvent, advance
from orchestrator.core.scheduling import FinishRun, Instance, Move, RunLedger
from orchestrator.core.selection import FAILED_STATES, Relations, Selection
from orchestrator.core.states import FINISHED_RUN_STATES, FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.errors import ConflictError

MARKS: Mapping[TaskState, TaskEvent] = {
    TaskState.SUCCESS: TaskEvent.MARKED_SUCCESS,
    TaskState.FAILED: TaskEvent.MARKED_FAILED,
    TaskState.SKIPPED: TaskEvent.MARKED_SKIPPED,
}
"""The states a person can set, and the event that does."""

_UNDER_WAY = frozenset({TaskState.RUNNING, TaskState.DEFERRED, TaskState.UP_FOR_RESCHEDULE})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPicture:
    """One run as it stands. `graph` is that of its own version, `latest` that of its DAG's current
    one. A run that never started has no instances."""

    dag_id: str
    run_id: str
    state: RunState
    started_at: datetime | None
    version_id: VersionId
    graph: Graph
    latest_version_id: VersionId
    latest: Graph
    dag_is_stale: bool
    now: datetime
    instances: Mapping[Slot, Instance]

    def __str__(self) -> str:
        return f"{self.dag_id}/{self.run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """What to write: moves in order, then what becomes of the run.

    `run_state` None leaves the run where it is; its scheduler looks again if anything moved.
    `fails_later` says why it shall fail once all that is left is done, whatever its leaves say.
    `adopts_latest` puts the run on its DAG's current version: `added` are the tasks that get an
    instance there."""

    moves: tuple[Move, ...] = ()
    run_state: RunState | None = None
    reason: str | None = None
    fails_later: str | None = None
    adopts_latest: bool = False
    added: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self == RunChange()

    @property
    def touched(self) -> tuple[Slot, ...]:
        """The task instances that have an event, each once."""
        return tuple(dict.fromkeys(move.slot for move in self.moves))


def named(run: RunPicture, selection: Selection) -> tuple[Slot, ...]:
    """Return the selected task instances, whatever becomes of them."""
    relations = Relations(run.graph, _states(run))
    return relations.instances(relations.reach_of(selection), keeps=selection.keeps)


def clear(
    run: RunPicture,
    selection: Selection,
    *,
    by: str,
    resets_run: bool = True,
    on_latest: bool = False,
) -> RunChange:
    """Have the selected task instances run again, with the setups they need and the teardowns of
    those. `resets_run` queues a finished run; without it nothing of it runs for now. `on_latest`
    has the run go on with its DAG's current version."""
    adopts = on_latest and run.latest_version_id != run.version_id
    graph = run.latest if adopts else run.graph
    relations = Relations(graph, _states(run))
    chosen = relations.instances(relations.reach_of(selection), keeps=selection.keeps)
    slots = relations.with_setups(chosen)
    moves = tuple(_move(slot, TaskEvent.CLEARED, f"cleared{by}") for slot in slots)
    if not moves:
        return RunChange()
    if adopts:
        return _adopt(run, moves, by=by, resets_run=resets_run)
    return RunChange(moves=moves, run_state=_queued_again(run) if resets_run else None)


def add_new_tasks(run: RunPicture, *, by: str) -> RunChange:
    """Have the tasks run that the DAG's current version has and the run does not, and nothing that
    ran already."""
    if run.latest_version_id == run.version_id:
        return RunChange()
    change = _adopt(run, (), by=by, resets_run=True)
    return change if change.added else RunChange()


def mark(run: RunPicture, selection: Selection, state: TaskState, *, by: str) -> RunChange:
    """Say how the selected task instances ended. What failed below them is cleared. A finished run
    is queued if something is to be done again, else it has the state its tasks now give it."""
    relations = Relations(run.graph, _states(run))
    reach = relations.reach_of(selection)
    marked = relations.instances(
        reach, keeps=lambda known: selection.keeps(known) and known is not state
    )
    if not marked:
        return RunChange()
    again = relations.instances(relations.below(reach), keeps=FAILED_STATES.__contains__)
    moves = tuple(_move(slot, MARKS[state], f"marked {state}{by}") for slot in marked)
    moves += tuple(
        _move(slot, TaskEvent.CLEARED, f"cleared{by}: a task above it was marked {state}")
        for slot in relations.with_setups(sorted(set(again) - set(marked)))
        if slot not in set(marked)
    )
    run_state, reason = _end_after(run, moves)
    return RunChange(moves=moves, run_state=run_state, reason=reason)


def mark_run(run: RunPicture, state: RunState, *, by: str) -> RunChange:
    """End a run as `state`. For success, all its tasks become success; for failed, those that are
    under way become failed and those still to come skipped. Teardowns that have not run do so: the
    run then ends, as `state`, after them."""
    moves: list[Move] = []
    left = False
    for slot, instance in sorted(run.instances.items()):
        task = run.graph.tasks.get(slot.task_id)
        is_open = instance.state not in FINISHED_TASK_STATES
        if task is not None and task.is_teardown and is_open:
            left = True
            continue
        target = _end_for(instance.state, state)
        if target is not None and target is not instance.state:
            moves.append(_move(slot, MARKS[target], f"its run was marked {state}{by}"))
    reason = f"marked {state}{by}"
    if left:
        # Where all else succeeded, the leaves will say success without being told.
        is_doomed = state is RunState.FAILED
        return RunChange(moves=tuple(moves), fails_later=reason if is_doomed else None)
    if run.state is state and not moves:
        return RunChange()
    return RunChange(moves=tuple(moves), run_state=state, reason=reason)


def queue_run(run: RunPicture) -> RunChange:
    """Have a finished run decided anew, with its task instances as they are."""
    if run.state is RunState.RUNNING:
        raise ConflictError(
            f"run {run.run_id!r} of DAG {run.dag_id!r} is running; a run that has ended can be "
            "queued, and of one that runs the tasks to run again can be cleared"
        )
    return RunChange(run_state=_queued_again(run))


def running_among(run: RunPicture, change: RunChange) -> tuple[Slot, ...]:
    """Return the task instances that a change would take from their workers."""
    return tuple(
        slot
        for slot in change.touched
        if slot in run.instances and run.instances[slot].state is TaskState.RUNNING
    )


def _adopt(run: RunPicture, moves: tuple[Move, ...], *, by: str, resets_run: bool) -> RunChange:
    """Put the run on the current version: new tasks get an instance, what is gone is removed, and
    what was removed because its task was gone comes back."""
    cleared = {move.slot for move in moves}
    gone, back = [], []
    for slot, instance in sorted(run.instances.items()):
        if not run.latest.has_place_for(slot):
            if instance.state is not TaskState.REMOVED:
                gone.append(slot)
        elif instance.state is TaskState.REMOVED and not run.graph.has_place_for(slot):
            back.append(slot)
    there = {slot.task_id for slot in run.instances if run.latest.has_place_for(slot)}
    added = tuple(task_id for task_id in run.latest.order if task_id not in there)
    reason = f"its task is not in the DAG's current version (chosen{by})"
    moves += tuple(
        _move(slot, event, reason)
        for slot in gone
        # A finished one is opened first: only what is not over can be removed.
        for event in (TaskEvent.CLEARED, TaskEvent.WAS_REMOVED)
        if event is TaskEvent.WAS_REMOVED or slot not in cleared
    )
    moves += tuple(_move(slot, TaskEvent.CLEARED, f"back with its task{by}") for slot in back)
    return RunChange(
        moves=moves,
        run_state=_queued_again(run) if resets_run else None,
        adopts_latest=True,
        added=added,
    )


def _end_for(known: TaskState, run_state: RunState) -> TaskState | None:
    """What becomes of a task instance when its run is marked; None leaves it as it is."""
    if known is TaskState.REMOVED:
        return None
    if run_state is RunState.SUCCESS:
        return TaskState.SUCCESS
    if known in _UNDER_WAY:
        return TaskState.FAILED
    return None if known in FINISHED_TASK_STATES else TaskState.SKIPPED


def _end_after(run: RunPicture, moves: Iterable[Move]) -> tuple[RunState | None, str | None]:
    """Return the state and reason of a finished run whose task instances had these moves: what
    the ledger makes of them."""
    if run.state not in FINISHED_RUN_STATES:
        return None, None
    after = dict(run.instances)
    for move in moves:
        state = advance(after[move.slot].state, move.event)
        # As it will be stored: it chose nothing, returned nothing and waits for no time.
        after[move.slot] = Instance(state=state, epoch=after[move.slot].epoch + 1)
    end = _conclusion(run, after)
    if end is None:
        return _queued_again(run), None
    # A run that ended for another reason than its tasks (a timeout, a person) keeps that end.
    before = _conclusion(run, run.instances)
    if end.state is run.state or before is None or before.state is not run.state:
        return None, None
    return end.state, end.reason


def _conclusion(run: RunPicture, instances: Mapping[Slot, Instance]) -> FinishRun | None:
    """What the ledger makes of a run that stands so; None if something is left to do."""
    ledger = RunLedger(run.graph, instances.items(), started_at=run.started_at or run.now)
    decision = ledger.decide(run.now)
    return None if decision.moves or decision.expansions else decision.finish


def _queued_again(run: RunPicture) -> RunState | None:
    """Where a run goes of which something is to be done again."""
    if run.state not in FINISHED_RUN_STATES:
        return None
    if run.dag_is_stale:
        raise ConflictError(
            f"DAG {run.dag_id!r} is no longer defined by any file, so a run of it that has ended "
            "cannot run again; restore its file"
        )
    return RunState.QUEUED


def _states(run: RunPicture) -> dict[Slot, TaskState]:
    return {slot: instance.state for slot, instance in run.instances.items()}


def _move(slot: Slot, event: TaskEvent, reason: str) -> Move:
    return Move(slot=slot, event=event, reason=reason)
