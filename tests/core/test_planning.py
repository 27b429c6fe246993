"""Which runs are due, and which waiting ones start."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchestrator.core.ids import RunUid, VersionId
from orchestrator.core.planning import DagSnapshot, Plan, WaitingRun, plan
from orchestrator.core.specs import CronSchedule
from orchestrator.core.states import RunType
from tests.builders import a_dag, uuid_of

NOW = datetime(2026, 6, 15, 10, 30, tzinfo=UTC)
START = datetime(2026, 6, 1, tzinfo=UTC)
DAILY = a_dag(
    schedule=CronSchedule(expression="0 0 * * *"),
    start_date=START,
    catchup=True,
    max_active_runs=3,
)


def a_snapshot(**fields: object) -> DagSnapshot:
    defaults: dict[str, object] = {
        "spec": DAILY,
        "version_id": VersionId(uuid_of("v")),
        "is_paused": False,
        "is_stale": False,
        "last_tick_at": None,
        "running": 0,
    }
    return DagSnapshot(**{**defaults, **fields})  # type: ignore[arg-type]


def waiting(name: str, *, run_after: datetime = NOW) -> WaitingRun:
    return WaitingRun(uid=RunUid(uuid_of(name)), run_type=RunType.MANUAL, run_after=run_after)


def test_a_catchup_creates_as_many_as_may_run() -> None:
    planned = plan(a_snapshot(), NOW)
    assert [run.run_id for run in planned.create] == [
        "scheduled__2026-06-01T00:00:00+00:00",
        "scheduled__2026-06-02T00:00:00+00:00",
        "scheduled__2026-06-03T00:00:00+00:00",
    ]
    assert planned.wake_at == NOW


def test_no_room_no_new_runs_and_no_wake_up() -> None:
    assert plan(a_snapshot(running=3), NOW) == Plan()


def test_waiting_runs_start_in_order_up_to_the_limit() -> None:
    planned = plan(a_snapshot(running=1, waiting=(waiting("x"), waiting("y"), waiting("z"))), NOW)
    assert planned.start == (uuid_of("x"), uuid_of("y"))
    assert planned.create == ()


def test_a_run_for_later_waits_for_its_time() -> None:
    later = NOW + timedelta(hours=1)
    planned = plan(a_snapshot(spec=a_dag(), waiting=(waiting("x", run_after=later),)), NOW)
    assert planned == Plan(wake_at=later)


def test_a_paused_or_stale_dag_does_nothing() -> None:
    snapshot = a_snapshot(waiting=(waiting("x"),))
    assert plan(replace(snapshot, is_paused=True), NOW) == Plan()
    assert plan(replace(snapshot, is_stale=True), NOW) == Plan()


def test_up_to_date_it_wakes_for_the_next_tick() -> None:
    last = datetime(2026, 6, 15, tzinfo=UTC)
    assert plan(a_snapshot(last_tick_at=last), NOW) == Plan(wake_at=last + timedelta(days=1))


def test_nothing_starts_before_its_time() -> None:
    """I12, over a year of one pass a day with catchup: every day once, in order, never early."""
    created: list[datetime] = []
    last = None
    for days in range(365):
        now = START + timedelta(days=days, hours=3)
        planned = plan(a_snapshot(last_tick_at=last), now)
        created += [run.tick.run_after for run in planned.create]
        assert all(instant <= now for instant in created)
        last = created[-1]
    assert created == [START + timedelta(days=n) for n in range(365)]
