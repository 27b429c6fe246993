"""The scheduler as a process: woken by the bell, stopped by signals, refused, and out of luck."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from orchestrator.broker.doorbell import RedisDoorbell
from orchestrator.broker.publisher import CeleryPublisher
from orchestrator.errors import ConflictError, StoreUnavailableError
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.loop import Scheduler, breather_s, run_scheduler
from orchestrator.scheduler.tick import PassResult
from orchestrator.store import Store, open_store
from tests.builders import NOW, a_dag
from tests.simulation.faults import Faults, Faulty
from tests.simulation.world import World
from tests.store.world import StoredWorld

DEAF = SchedulerLimits(sweep_s=3600.0, fallback_poll_s=3600.0, heartbeat_s=3600.0)
"""Only the bell and due times wake it."""
SECRET = "s" * 32
PATIENCE_S = 20.0


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    opened = open_store(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def doorbell(redis_client_url: str) -> Iterator[RedisDoorbell]:
    bell = RedisDoorbell(redis_client_url)
    yield bell
    bell.close()


@pytest.fixture
def publisher(redis_client_url: str) -> Iterator[CeleryPublisher]:
    opened = CeleryPublisher(redis_client_url, secret_key=SECRET)
    yield opened
    opened.close()


class Witness:
    """A companion that tells when the scheduler has started and stopped."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.started = threading.Event()

    def start(self) -> None:
        self.calls.append("start")
        self.started.set()

    def stop(self) -> None:
        self.calls.append("stop")


def test_the_bell_wakes_it_and_the_message_is_on_the_queue_long_before_any_poll(
    store: Store, doorbell: RedisDoorbell, publisher: CeleryPublisher
) -> None:
    world = StoredWorld(store)
    world.register(a_dag())
    scheduler = Scheduler(store.scheduler, publisher, doorbell, DEAF, scheduler_id="s")
    witness = Witness()
    thread = threading.Thread(target=scheduler.run, args=([witness],))
    thread.start()
    try:
        assert witness.started.wait(PATIENCE_S)
        world.queued_run()
        doorbell.ring()
        _until(lambda: publisher.depths(["default"])["default"] == 1)
    finally:
        scheduler.stop()
        thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert witness.calls == ["start", "stop"]


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_a_sleeping_scheduler_at_once(
    name: signal.Signals,
    store: Store,
    doorbell: RedisDoorbell,
    publisher: CeleryPublisher,
    redis_client_url: str,
) -> None:
    witness = Witness()

    def interrupt() -> None:
        with redis.Redis.from_url(redis_client_url) as client:
            _until(lambda: any(other["cmd"] == "blpop" for other in client.client_list()))
        os.kill(os.getpid(), name)

    threading.Thread(target=interrupt).start()
    run_scheduler(
        store.scheduler, publisher, doorbell, DEAF, scheduler_id="s", companions=[witness]
    )

    assert witness.calls == ["start", "stop"]
    store.scheduler.register_scheduler("another", lease_s=60.0)  # it has signed off


def test_a_second_scheduler_on_sqlite_is_refused_before_it_touches_anything(
    store: Store, doorbell: RedisDoorbell, publisher: CeleryPublisher
) -> None:
    store.scheduler.register_scheduler("first", lease_s=60.0)
    witness = Witness()

    with pytest.raises(ConflictError, match=rf"'first' \(process {os.getpid()} on .*PostgreSQL"):
        run_scheduler(
            store.scheduler, publisher, doorbell, DEAF, scheduler_id="second", companions=[witness]
        )

    assert witness.calls == []


def test_a_scheduler_that_was_killed_does_not_keep_the_next_one_waiting(
    sqlite_url: str, store: Store
) -> None:
    code = (
        "import os, sys\n"
        "from orchestrator.store import open_store\n"
        "open_store(sys.argv[1]).scheduler.register_scheduler('killed', lease_s=3600)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code, sqlite_url], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL

    store.scheduler.register_scheduler("next", lease_s=60.0)


def test_an_outage_of_the_database_is_named_once_and_its_end_once() -> None:
    world = World(1, [])
    scheduler, faults = _scheduler_of(world)

    with capture_logs() as logs:
        scheduler.turn(now_s=0.0, rang=True)
        faults.store_is_down = True
        waits_s = [scheduler.turn(now_s=1.0 + attempt, rang=False) for attempt in range(8)]
        faults.store_is_down = False
        scheduler.turn(now_s=10.0, rang=False)

    assert [log["event"] for log in logs] == ["scheduler_hindered", "scheduler_well_again"]
    assert waits_s == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_an_outage_of_the_broker_is_named_once_and_its_end_once() -> None:
    world = World(1, [])
    scheduler, faults = _scheduler_of(world)

    with capture_logs() as logs:
        scheduler.turn(now_s=0.0, rang=True)
        faults.broker_is_down = True
        for attempt in range(8):
            scheduler.turn(now_s=10.0 * (1 + attempt), rang=False)
        faults.broker_is_down = False
        scheduler.turn(now_s=200.0, rang=False)

    assert [log["event"] for log in logs] == ["broker_unavailable", "broker_available_again"]


def test_leases_are_spared_until_the_database_has_answered_for_a_whole_one() -> None:
    reaps: list[float] = []
    world = World(1, [])
    scheduler, faults = _scheduler_of(world, on_reap=lambda: reaps.append(now_s))
    seconds = [*range(0, 200, 10)]

    for now_s in seconds:
        faults.store_is_down = now_s == 80
        scheduler.turn(now_s=float(now_s), rang=False)

    assert reaps == [60, 70, 150, 160, 170, 180, 190]


@pytest.mark.parametrize(
    ("per_slot", "has_more", "pause_s"),
    [
        (0.0, False, 0.0),
        (1.9, False, 0.0),
        (8.0, False, 0.008),
        (500.0, False, 0.02),
        (8.0, True, 0),
    ],
)
def test_passes_pause_only_while_every_worker_has_work(
    per_slot: float, has_more: bool, pause_s: float
) -> None:
    result = PassResult(
        now=NOW,
        did_work=True,
        has_more=has_more,
        candidates_left=False,
        messages_per_slot=per_slot,
    )
    assert breather_s(result) == pytest.approx(pause_s)


def test_an_idle_scheduler_rests_until_something_is_due() -> None:
    world = World(1, [])
    scheduler, _ = _scheduler_of(world)
    scheduler.turn(now_s=0.0, rang=True)

    assert scheduler.turn(now_s=0.5, rang=False) == 1.5  # the next sweep


def test_a_store_that_is_away_at_the_start_is_waited_for(
    store: Store, doorbell: RedisDoorbell, publisher: CeleryPublisher
) -> None:
    class LateStore:
        attempts = 0

        def __getattr__(self, name: str) -> object:
            return getattr(store.scheduler, name)

        def register_scheduler(self, scheduler_id: str, *, lease_s: float) -> None:
            self.attempts += 1
            if self.attempts < 3:
                raise StoreUnavailableError("not yet")
            scheduler.stop()

    late = LateStore()
    scheduler = Scheduler(late, publisher, doorbell, DEAF, scheduler_id="s", jitter=lambda: 0.0)  # type: ignore[arg-type]
    scheduler.run()

    assert late.attempts == 3


def _scheduler_of(
    world: World, *, on_reap: Callable[[], object] = lambda: None
) -> tuple[Scheduler, Faults]:
    class Reaping:
        def __getattr__(self, name: str) -> object:
            return getattr(world.store.scheduler, name)

        def reap(self, *, spares_leases: bool, **options: int) -> object:
            if not spares_leases:
                on_reap()
            return world.store.scheduler.reap(spares_leases=spares_leases, **options)

    store = Faulty(Reaping(), world.faults, may_crash=False)
    limits = SchedulerLimits()
    scheduler = Scheduler(
        store, world.broker, world.bell, limits, scheduler_id="s", jitter=lambda: 1.0
    )
    return scheduler, world.faults


def _until(holds: Callable[[], bool]) -> None:
    """Poll real processes for what they will do, within bounds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        threading.Event().wait(0.01)
