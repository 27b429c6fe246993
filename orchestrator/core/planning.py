"""Which runs of a DAG are due, and which waiting ones may start?"""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.ids import RunUid, VersionId
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunType
from orchestrator.core.timetables import Tick, next_tick


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run in state queued."""

    uid: RunUid
    run_type: RunType
    run_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSnapshot:
    """One DAG as planning sees it. `last_tick_at` is the run_after of its newest scheduled run;
    `waiting` are its queued runs in the order they shall start."""

    spec: DagSpec
    version_id: VersionId
    is_paused: bool
    is_stale: bool
    last_tick_at: datetime | None
    running: int
    waiting: tuple[WaitingRun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRun:
    """A scheduled run is due."""

    run_id: str
    tick: Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Runs to create (they start queued), runs to start, and when to look again."""

    create: tuple[CreateRun, ...] = ()
    start: tuple[RunUid, ...] = ()
    wake_at: datetime | None = None


def plan(dag: DagSnapshot, now: datetime) -> Plan:
    """Say which scheduled runs of `dag` are due at `now` and which of its waiting runs may start.

    A paused or stale DAG does neither. Created runs start in a later pass, when they are stored:
    `wake_at` is then `now`. No more runs are created than max_active_runs lets start soon, so that
    a catchup over years does not fill the store at once.
    """
    if dag.is_stale or dag.is_paused:
        return Plan()
    limit = dag.spec.max_active_runs
    due = tuple(run for run in dag.waiting if run.run_after <= now)
    start = tuple(run.uid for run in due[: max(0, limit - dag.running)])
    room = limit - dag.running - len(dag.waiting)
    create: list[CreateRun] = []
    last, tick = dag.last_tick_at, _next(dag.spec, dag.last_tick_at, now)
    while tick is not None and tick.run_after <= now and len(create) < room:
        create.append(CreateRun(run_id=run_id_of(RunType.SCHEDULED, tick.run_after), tick=tick))
        last = tick.run_after
        tick = _next(dag.spec, last, now)
    return Plan(create=tuple(create), start=start, wake_at=_wake_at(dag, create, tick, now, room))


def run_id_of(run_type: RunType, run_after: datetime) -> str:
    """Return the id a run gets when nobody names it, as in Airflow."""
    return f"{run_type}__{run_after.isoformat()}"


def _next(spec: DagSpec, last: datetime | None, now: datetime) -> Tick | None:
    return next_tick(
        spec.schedule,
        last_tick_at=last,
        start_date=spec.start_date,
        end_date=spec.end_date,
        catchup=spec.catchup,
        now=now,
    )


def _wake_at(
    dag: DagSnapshot, create: list[CreateRun], tick: Tick | None, now: datetime, room: int
) -> datetime | None:
    if create:
        return now
    instants = [run.run_after for run in dag.waiting if run.run_after > now]
    if tick is not None and room > 0:
        instants.append(tick.run_after)
    # Without room the end of a run wakes the DAG again.
    return min(instants, default=None)
