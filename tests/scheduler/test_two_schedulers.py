"""Two schedulers at once on PostgreSQL: they split the work, and no limit is passed by racing."""

import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from orchestrator.core.retries import Conclusion
from orchestrator.ports import Message, TaskMessage, WorkerInfo
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.loop import Scheduler
from orchestrator.store import Store, open_store
from tests.builders import a_dag, a_task
from tests.store.guards import install_transition_guards
from tests.store.world import SUCCEEDED, StoredWorld

RUNS = 30
POOL_SLOTS = 3
DEADLINE_S = 60.0
LIMITS = SchedulerLimits(runs_per_tick=4, fallback_poll_s=0.05, sweep_s=0.5)


class Queue:
    """Both a Publisher and a Doorbell, in this process."""

    def __init__(self) -> None:
        self.waiting: deque[TaskMessage] = deque()
        self._bell = threading.Semaphore(0)

    def publish(self, messages: Sequence[Message]) -> None:
        self.waiting.extend(each for each in messages if isinstance(each, TaskMessage))

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        return Counter(message.queue for message in list(self.waiting))

    def generation(self) -> str:
        return "only one"

    def ring(self) -> None:
        self._bell.release()

    def wait(self, timeout_s: float) -> bool:
        return self._bell.acquire(timeout=timeout_s)

    def ring_worker(self, worker_id: str) -> None:
        raise AssertionError("nothing is cancelled here")


class Share:
    """One scheduler's way to the queue: counts what it published."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.published = 0
        self.depths = queue.depths
        self.generation = queue.generation

    def publish(self, messages: Sequence[Message]) -> None:
        self.published += len(messages)
        self._queue.publish(messages)


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url, pool_size=8)
    with opened.database.writing() as connection:
        install_transition_guards(connection)
        connection.execute(
            text("INSERT INTO pool (name, slots, include_deferred) VALUES ('p', :slots, false)"),
            {"slots": POOL_SLOTS},
        )
    yield opened
    opened.close()


def test_they_split_the_work_and_neither_passes_a_limit(store: Store) -> None:
    below = ("b", "c", "d")
    tasks = [a_task("a", pool="p"), *(a_task(t, "a", pool="p") for t in below), a_task("e", *below)]
    world, queue = StoredWorld(store), Queue()
    for number in range(RUNS):
        dag_id = f"d{number}"
        world.register(a_dag(*tasks, dag_id=dag_id), path=f"{dag_id}.py")
        world.queued_run(f"r{number}", dag_id=dag_id)
    shares = [Share(queue), Share(queue)]
    schedulers = [
        Scheduler(store.scheduler, share, queue, LIMITS, scheduler_id=f"s{number}")
        for number, share in enumerate(shares)
    ]
    finished = threading.Event()

    with capture_logs() as logs, ThreadPoolExecutor() as threads:
        running = [threads.submit(scheduler.run) for scheduler in schedulers]
        working = [threads.submit(_work, store, queue, finished, f"w{n}") for n in range(2)]
        try:
            _wait_until_all_ended(store)
        finally:
            finished.set()
            for scheduler in schedulers:
                scheduler.stop()
        for future in (*running, *working):
            future.result(DEADLINE_S)

    with store.database.reading() as connection:
        states = Counter(connection.scalars(text("SELECT state FROM dag_run")))
        steps = connection.execute(
            text(
                "SELECT l.ti_id, l.state_before, l.state_after, t.pool, t.pool_slots"
                " FROM transition_log l JOIN task_instance t ON t.id = l.ti_id ORDER BY l.seq"
            )
        ).all()
    assert states == {"success": RUNS}
    assert {log["event"] for log in logs} & {"decision_failed", "scheduler_hindered"} == set()
    starts = Counter(step.ti_id for step in steps if step.state_after == "running")
    assert set(starts.values()) == {1}
    assert len(starts) == 5 * RUNS
    assert all(share.published for share in shares), "one of them did all the work"
    assert _most_slots_out(steps, "p") == POOL_SLOTS


def _work(store: Store, queue: Queue, finished: threading.Event, name: str) -> None:
    """Start and end whatever comes, as fast as the store allows."""
    store.worker.register_worker(
        WorkerInfo(
            worker_id=name,
            hostname="here",
            pid=1,
            queues=("default",),
            concurrency=8,
            version="test",
        )
    )
    conclusion: Conclusion = SUCCEEDED
    while not finished.is_set():
        try:
            message = queue.waiting.popleft()
        except IndexError:
            finished.wait(0.002)
            continue
        started = store.worker.start(
            message.ti_id, message.epoch, worker_id=name, pid=1, lease_s=60.0
        )
        if started is not None:
            store.worker.finish(started, conclusion, worker_id=name, xcoms={})
            queue.ring()


def _wait_until_all_ended(store: Store) -> None:
    deadline = time.monotonic() + DEADLINE_S
    unfinished = text("SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')")
    while True:
        with store.database.reading() as connection:
            left = connection.scalar(unfinished)
        if not left:
            return
        assert time.monotonic() < deadline, f"{left} runs did not end"
        threading.Event().wait(0.05)


def _most_slots_out(steps: Sequence[Any], pool: str) -> int:
    """Replay the log: how many slots of a pool were held at the worst moment?"""
    held = most = 0
    for step in steps:
        if step.pool == pool:
            was = step.state_before in ("queued", "running")
            is_now = step.state_after in ("queued", "running")
            held += (is_now - was) * step.pool_slots
            most = max(most, held)
    return most
