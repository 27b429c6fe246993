"""A bell that wakes one waiter at once, and whose silence never costs more than the wait."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from orchestrator.broker.doorbell import RedisDoorbell
from orchestrator.broker.embedded import EmbeddedRedis, start_embedded

LONG_S = 30.0


@pytest.fixture
def bell(redis_url: str) -> Iterator[RedisDoorbell]:
    with closing(RedisDoorbell(redis_url)) as bell:
        yield bell


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = start_embedded(tmp_path)
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.stop()


class Thread(threading.Thread):
    """A thread whose function's result can be waited for."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self.result: Any = None
        self.start()

    def run(self) -> None:
        self.result = self._function()

    def wait(self) -> Any:
        self.join(LONG_S)
        assert not self.is_alive(), "it still waits"
        return self.result


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.005)


def blocked(url: str) -> Callable[[], bool]:
    client = redis.Redis.from_url(url)
    return lambda: client.info("clients")["blocked_clients"] > 0


def test_silence_lasts_as_long_as_the_wait(bell: RedisDoorbell) -> None:
    started_at = time.monotonic()
    assert bell.wait(0.05) is False
    assert 0.05 <= time.monotonic() - started_at < 1.0


def test_a_ring_before_the_wait_is_not_lost(bell: RedisDoorbell) -> None:
    bell.ring()
    assert bell.wait(LONG_S) is True


def test_many_rings_are_one(bell: RedisDoorbell) -> None:
    for _ in range(5):
        bell.ring()
    assert bell.wait(LONG_S) is True
    assert bell.wait(0.01) is False


def test_a_ring_wakes_a_sleeper_at_once(bell: RedisDoorbell, redis_client_url: str) -> None:
    sleeper = Thread(lambda: bell.wait(LONG_S))
    until(blocked(redis_client_url))
    bell.ring()
    assert sleeper.wait() is True


def test_of_two_sleepers_one_wakes(redis_url: str, redis_client_url: str) -> None:
    awake: list[int] = []
    lock = threading.Lock()

    def sleep(number: int) -> None:
        with closing(RedisDoorbell(redis_url)) as own:
            own.wait(LONG_S)
            with lock:
                awake.append(number)

    sleepers = [Thread(partial(sleep, number)) for number in range(2)]
    client = redis.Redis.from_url(redis_client_url)
    until(lambda: client.info("clients")["blocked_clients"] == 2)
    with closing(RedisDoorbell(redis_url)) as bell:
        bell.ring()
        until(lambda: awake)
        assert client.info("clients")["blocked_clients"] == 1
        bell.ring()
    for sleeper in sleepers:
        sleeper.wait()
    assert sorted(awake) == [0, 1]
    client.close()


def test_ringing_without_a_server_says_nothing_and_soon_costs_nothing(tmp_path: Path) -> None:
    bell = RedisDoorbell(f"unix://{tmp_path / 'nobody'}")
    bell.ring()
    bell.ring_worker("w")
    started_at = time.monotonic()
    for _ in range(1000):
        bell.ring()
    assert time.monotonic() - started_at < 0.5


def test_waiting_without_a_server_waits(tmp_path: Path) -> None:
    bell = RedisDoorbell(f"unix://{tmp_path / 'nobody'}")
    started_at = time.monotonic()
    assert bell.wait(0.2) is False
    assert 0.2 <= time.monotonic() - started_at < 2.0


def test_the_wait_goes_on_through_a_restart_of_the_server(
    own_server: EmbeddedRedis, tmp_path: Path
) -> None:
    bell = RedisDoorbell(own_server.url)
    sleeper = Thread(lambda: bell.wait(LONG_S))
    until(blocked(own_server.client_url))
    own_server.process.kill()
    own_server.process.wait()
    again = start_embedded(tmp_path)
    try:
        until(blocked(again.client_url))
        bell.ring()
        assert sleeper.wait() is True
    finally:
        again.stop()


def test_an_outage_is_told_once_however_long_it_lasts(
    own_server: EmbeddedRedis, tmp_path: Path
) -> None:
    def end(server: EmbeddedRedis) -> None:
        server.process.kill()
        server.process.wait()

    with closing(RedisDoorbell(own_server.url)) as bell, capture_logs() as logs:
        end(own_server)
        assert not bell.wait(1.2)  # it tries again each half second
        assert [line["event"] for line in logs] == ["doorbell_out_of_reach"]
        again = start_embedded(tmp_path)
        try:
            bell.ring()
            assert bell.wait(LONG_S)
        finally:
            end(again)
        assert not bell.wait(0.6)
        assert [line["event"] for line in logs] == ["doorbell_out_of_reach"] * 2


def test_a_worker_hears_its_own_bell_only(bell: RedisDoorbell, redis_client_url: str) -> None:
    heard, stop = threading.Event(), threading.Event()
    listener = Thread(lambda: bell.listen("w1", heard.set, stop=stop))
    client = redis.Redis.from_url(redis_client_url)
    until(lambda: client.pubsub_numsub("orch:worker:w1")[0][1] == 1)
    bell.ring_worker("w2")
    bell.ring()
    assert not heard.is_set()
    bell.ring_worker("w1")
    assert heard.wait(LONG_S)
    stop.set()
    listener.wait()
    client.close()


def test_a_worker_is_told_to_look_after_the_server_was_away(
    own_server: EmbeddedRedis, tmp_path: Path
) -> None:
    bell = RedisDoorbell(own_server.url)
    heard, stop = threading.Event(), threading.Event()
    listener = Thread(lambda: bell.listen("w1", heard.set, stop=stop))
    with closing(redis.Redis.from_url(own_server.client_url)) as client:
        until(lambda: client.pubsub_numsub("orch:worker:w1")[0][1] == 1)
    own_server.process.kill()
    own_server.process.wait()
    again = start_embedded(tmp_path)
    try:
        assert heard.wait(LONG_S)
        stop.set()
        listener.wait()
    finally:
        again.stop()
