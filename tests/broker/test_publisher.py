"""Many messages in one round trip, and a clear error within the time-out when it is not known."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import redis

from orchestrator.broker.embedded import EmbeddedRedis, start_embedded
from orchestrator.broker.publisher import CeleryPublisher
from orchestrator.core.ids import TiId
from orchestrator.errors import BrokerUnavailableError
from orchestrator.ports import TaskMessage

KEY = "k" * 32


def a_message(number: int, queue: str = "default") -> TaskMessage:
    return TaskMessage(ti_id=TiId(UUID(int=number)), epoch=1, queue=queue)


@pytest.fixture
def publisher(redis_url: str) -> Iterator[CeleryPublisher]:
    with closing(CeleryPublisher(redis_url, secret_key=KEY)) as publisher:
        yield publisher


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = start_embedded(tmp_path)
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.stop()


def test_messages_wait_on_their_queues_oldest_first(
    publisher: CeleryPublisher, redis_client_url: str
) -> None:
    publisher.publish([a_message(1), a_message(2), a_message(3, "gpu")])

    assert publisher.depths(["default", "gpu", "other"]) == {"default": 2, "gpu": 1, "other": 0}
    with closing(redis.Redis.from_url(redis_client_url)) as client:
        (oldest,) = map(json.loads, client.lrange("orch:default", -1, -1))
    assert oldest["headers"]["argsrepr"] == f"{UUID(int=1)} epoch 1"


def test_a_thousand_messages_are_one_command(
    publisher: CeleryPublisher, redis_client_url: str
) -> None:
    publisher.depths(["default"])  # connected
    with closing(redis.Redis.from_url(redis_client_url)) as client:
        before = client.info("stats")["total_commands_processed"]
        publisher.publish([a_message(number) for number in range(1000)])
        commands = client.info("stats")["total_commands_processed"] - before
    assert publisher.depths(["default"]) == {"default": 1000}
    assert commands == 2  # the one, and the look at the counter


def test_nothing_to_publish_needs_no_server(tmp_path: Path) -> None:
    CeleryPublisher(f"unix://{tmp_path / 'nobody'}", secret_key=KEY).publish([])


def test_the_generation_changes_exactly_when_the_memory_is_lost(
    publisher: CeleryPublisher, redis_client_url: str
) -> None:
    first = publisher.generation()
    assert first
    assert publisher.generation() == first
    with closing(redis.Redis.from_url(redis_client_url)) as client:
        client.flushdb()
    assert publisher.generation() not in ("", first)


def test_no_server_is_said_at_once(tmp_path: Path) -> None:
    publisher = CeleryPublisher(f"unix://{tmp_path / 'nobody'}", secret_key=KEY)
    with pytest.raises(BrokerUnavailableError, match="1 task messages may be unsent"):
        publisher.publish([a_message(1)])
    with pytest.raises(BrokerUnavailableError, match="the queues cannot be measured"):
        publisher.depths(["default"])
    with pytest.raises(BrokerUnavailableError, match="start it, or set ORCHESTRATOR_REDIS_URL"):
        publisher.generation()


def test_a_frozen_server_is_given_up_after_the_socket_timeout(own_server: EmbeddedRedis) -> None:
    publisher = CeleryPublisher(own_server.url, secret_key=KEY, socket_timeout_s=0.2)
    publisher.generation()
    own_server.process.send_signal(signal.SIGSTOP)
    started_at = time.monotonic()
    with pytest.raises(BrokerUnavailableError):
        publisher.publish([a_message(1)])
    assert time.monotonic() - started_at < 1.0


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        publisher = CeleryPublisher(url, secret_key=KEY, socket_timeout_s=0.2)
        with pytest.raises(BrokerUnavailableError):
            publisher.publish([a_message(1)])


def test_a_restarted_server_is_found_again_without_an_error(
    own_server: EmbeddedRedis, tmp_path: Path
) -> None:
    publisher = CeleryPublisher(own_server.url, secret_key=KEY)
    publisher.publish([a_message(1)])
    own_server.stop()
    again = start_embedded(tmp_path)
    try:
        publisher.publish([a_message(2)])
        assert publisher.depths(["default"]) == {"default": 2}
    finally:
        again.stop()
