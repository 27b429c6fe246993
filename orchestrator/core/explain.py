"""Why is this task instance not running?

Answered by the code that decides: the ledger's verdict for one that waits for its upstream, the
admission's refusal for one that waits for a limit. What only the services know (is anybody alive?)
comes in as facts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from orchestrator.core.admission import Candidate, Capacity, Holding, refusal
from orchestrator.core.ids import Slot
from orchestrator.core.judging import Waits
from orchestrator.core.scheduling import RunLedger
from orchestrator.core.states import (
    FINISHED_RUN_STATES,
    FINISHED_TASK_STATES,
    RunState,
    TaskState,
)
from orchestrator.core.trigger_rules import Verdict

HOLDERS_NAMED_MAX = 5
UPSTREAM_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What else decides whether a run moves. `run_blocked_by` are the ids of the running runs that
    fill max_active_runs; `import_error` is why the DAG's file does not import now."""

    now: datetime
    run_state: RunState
    run_after: datetime
    dag_is_paused: bool
    max_active_runs: int
    run_blocked_by: tuple[str, ...] = ()
    scheduler_alive: bool = True
    import_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The task instance asked about, as stored."""

    slot: Slot
    state: TaskState
    queue: str
    reason: str | None = None
    eligible_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    worker: str | None = None
    try_number: int = 0
    candidate: Candidate | None = None
    """Set when it is scheduled: what admission would look at."""


def explain(
    subject: Subject, ledger: RunLedger | None, capacity: Capacity, around: Surroundings
) -> tuple[str, ...]:
    """Return sentences that say what `subject` waits for, the most telling first; for a finished
    one, how it ended. `ledger` is None for a run that has not started."""
    return tuple(_reasons(subject, ledger, capacity, around))


def _reasons(
    subject: Subject, ledger: RunLedger | None, capacity: Capacity, around: Surroundings
) -> Iterable[str]:
    match subject.state:
        case (
            TaskState.SUCCESS
            | TaskState.FAILED
            | TaskState.SKIPPED
            | TaskState.UPSTREAM_FAILED
            | TaskState.REMOVED
        ):
            yield from _ended(subject, ledger)
            return
        case TaskState.RUNNING:
            yield (
                f"It is running on worker {subject.worker} since {_clock(subject.started_at)},"
                f" try {subject.try_number}."
            )
            return
        case _:
            pass
    if subject.state is TaskState.NONE and subject.reason:
        yield f"It is to run again: {subject.reason}."
    if around.run_state in FINISHED_RUN_STATES:
        yield (
            f"Its run is {around.run_state}, so nothing in it moves until it is queued:"
            " `orchestrator runs mark queued` does that."
        )
        return
    yield from _surroundings(around)
    if around.run_state is RunState.QUEUED or ledger is None:
        return
    match subject.state:
        case TaskState.NONE:
            yield from _upstream(subject.slot, ledger)
        case TaskState.UP_FOR_RETRY | TaskState.UP_FOR_RESCHEDULE:
            yield from _time(subject, around.now)
        case TaskState.DEFERRED:
            yield "It is deferred: it waits for its trigger to fire."
        case TaskState.SCHEDULED:
            yield from _limits(subject, capacity, around)
        case TaskState.QUEUED:
            yield from _queue(subject, capacity)
        case _:
            assert_never(subject.state)


def _ended(subject: Subject, ledger: RunLedger | None) -> Iterable[str]:
    yield f"It ended {subject.state}" + (f": {subject.reason}." if subject.reason else ".")
    retry = ledger.group_retry(subject.slot) if ledger is not None else None
    if retry is not None:
        yield f"It runs again at {_clock(retry.at)}: {retry}."


def _surroundings(around: Surroundings) -> Iterable[str]:
    if not around.scheduler_alive:
        yield "No scheduler is alive: start one with `orchestrator scheduler`."
    if around.dag_is_paused:
        yield "Its DAG is paused: nothing new starts until `orchestrator dags unpause`."
    if around.run_state is RunState.QUEUED:
        yield from _queued_run(around)
    if around.import_error:
        yield (
            "The DAG's file does not import at present, so the run goes on with its stored version:"
            f" {around.import_error}"
        )


def _queued_run(around: Surroundings) -> Iterable[str]:
    if around.run_after > around.now:
        yield f"Its run starts at {_clock(around.run_after)}."
    elif around.run_blocked_by:
        names = _named(around.run_blocked_by, HOLDERS_NAMED_MAX)
        yield (
            f"Its run is queued: {len(around.run_blocked_by)} of {around.max_active_runs} runs"
            f" allowed by max_active_runs are running ({names})."
        )
    elif not around.dag_is_paused:
        yield "Its run is queued and starts with the scheduler's next pass."


def _upstream(slot: Slot, ledger: RunLedger) -> Iterable[str]:
    ruling = ledger.ruling(slot)
    if ruling.verdict is not Verdict.WAIT or ruling.waits_for is None:
        words = f" ({ruling.reason})" if ruling.reason else ""
        yield f"Its trigger rule is decided{words}: the scheduler's next pass carries it out."
        return
    waiting = [
        f"{ledger.name(found)} ({_standing(found, ledger)})"
        for found in ledger.waits_on(slot, ruling)
    ]
    names = _named(waiting, UPSTREAM_NAMED_MAX)
    match ruling.waits_for:
        case Waits.UPSTREAM:
            yield f"It waits for upstream {names}; its trigger rule is {ruling.reason}."
        case Waits.BRANCH:
            yield f"It waits for {names}, which may decide against it; so far: {ruling.reason}."
        case Waits.MAPPING:
            yield f"It waits for mapping input {names}, which says how many instances it has."
        case Waits.SETUP:
            yield f"It waits for its setup {names}, which it needs whatever its trigger rule."
        case Waits.SCOPE:
            yield f"It waits for {names}, which may still need what it tears down."
        case Waits.PAST:
            yield f"It waits for the past: {ruling.reason}."
        case _:
            assert_never(ruling.waits_for)


def _standing(slot: Slot, ledger: RunLedger) -> str:
    state = ledger.instances[slot].state
    if state not in FINISHED_TASK_STATES:
        return str(state)
    retry = ledger.group_retry(slot)
    when = f" at {_clock(retry.at)}" if retry is not None else ""
    return f"{state}, but its task group may run again{when}"


def _time(subject: Subject, now: datetime) -> Iterable[str]:
    what = "retries" if subject.state is TaskState.UP_FOR_RETRY else "looks again"
    why = f" after: {subject.reason}" if subject.reason else ""
    if subject.eligible_at is not None and subject.eligible_at > now:
        wait_s = (subject.eligible_at - now).total_seconds()
        yield f"It {what} at {_clock(subject.eligible_at)} (in {wait_s:.0f} s){why}."
    else:
        yield f"It {what} with the scheduler's next pass{why}."


def _limits(subject: Subject, capacity: Capacity, around: Surroundings) -> Iterable[str]:
    candidate = subject.candidate
    refused = refusal(candidate, capacity) if candidate is not None else None
    if candidate is not None and refused is not None:
        yield f"It is ready, but {refused.reason}{_held_by(candidate, refused.limit, capacity)}."
    elif not around.dag_is_paused:
        yield "It is ready and gets its slot with the scheduler's next pass."


def _held_by(candidate: Candidate, limit: str, capacity: Capacity) -> str:
    holders = {f"{h.dag_id}/{h.task_id}" for h in capacity.holdings if _holds(h, candidate, limit)}
    return f"; held by {_named(sorted(holders), HOLDERS_NAMED_MAX)}" if holders else ""


def _holds(holding: Holding, candidate: Candidate, limit: str) -> bool:
    key = candidate.key
    match limit:
        case "pool":
            return holding.pool == candidate.pool
        case "max_active_tasks":
            return holding.run_uid == candidate.run_uid
        case "max_active_tis_per_dag":
            return (holding.dag_id, holding.task_id) == (key.dag_id, key.task_id)
        case "max_active_tis_per_dagrun":
            return (holding.run_uid, holding.task_id) == (candidate.run_uid, key.task_id)
        case _:
            return holding.queue == candidate.queue and holding.queued > 0


def _queue(subject: Subject, capacity: Capacity) -> Iterable[str]:
    slots = capacity.worker_slots.get(subject.queue, 0)
    since = f" since {_clock(subject.queued_at)}" if subject.queued_at else ""
    if not slots:
        yield (
            f"It is on queue {subject.queue!r}{since}, which no live worker serves:"
            f" start one with `orchestrator worker -Q {subject.queue}`."
        )
    else:
        yield (
            f"It is on queue {subject.queue!r}{since}, served by {slots} worker slots;"
            " the next free one takes it."
        )


def _named(names: Iterable[str], at_most: int) -> str:
    known = list(names)
    more = f" and {len(known) - at_most} more" if len(known) > at_most else ""
    return ", ".join(known[:at_most]) + more


def _clock(instant: datetime | None) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC") if instant is not None else "an unknown time"
