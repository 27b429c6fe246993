"""What a worker's transport believes of an entry of a Redis queue."""

import queue
from uuid import uuid4

import pytest
import redis
from kombu import Queue
from kombu.message import Message
from kombu.transport import (  # type: ignore[attr-defined]  # not in the stubs
    TRANSPORT_ALIASES,
    _transport_cache,
    get_transport_cls,
)

from orchestrator.broker.app import build_app
from orchestrator.broker.clients import KEY_PREFIX
from orchestrator.broker.messages import MessageRejectedError, MessageSigner, MessageWriter
from orchestrator.broker.transport import TolerantTransport
from orchestrator.core.ids import TiId
from orchestrator.ports import TaskMessage

SIGNER = MessageSigner("k" * 32)


@pytest.mark.parametrize("where", ["gpu", "default"])
def test_a_message_copied_to_another_queue_starts_nothing_there(
    where: str, redis_url: str, redis_client_url: str
) -> None:
    message = TaskMessage(ti_id=TiId(uuid4()), epoch=1, queue="gpu")
    with redis.Redis.from_url(redis_client_url) as client:
        client.lpush(KEY_PREFIX + where, MessageWriter(SIGNER).write(message))
    taken = take_from(where, redis_url)
    arguments = taken.payload[0]
    if where == "gpu":
        assert SIGNER.verify(arguments, queue=taken.delivery_info["routing_key"]) == message
    else:
        with pytest.raises(MessageRejectedError, match="does not fit"):
            SIGNER.verify(arguments, queue=taken.delivery_info["routing_key"])


def test_it_is_used_even_where_kombu_has_connected_before(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSPORT_ALIASES, "redis", "kombu.transport.redis:Transport")
    monkeypatch.setitem(
        _transport_cache, "redis", get_transport_cls("kombu.transport.redis:Transport")
    )
    app = build_app(redis_url)
    with app.connection_for_read() as connection:
        assert type(connection.transport) is TolerantTransport


def take_from(name: str, redis_url: str) -> Message:
    """Receive one message as a worker does."""
    received: queue.SimpleQueue[Message] = queue.SimpleQueue()
    app = build_app(redis_url)
    with app.connection_for_read() as connection:
        consumer = app.amqp.Consumer(
            connection.default_channel,
            [Queue(name, routing_key=name)],
            accept=["json"],
            on_message=received.put,
        )
        with consumer:
            connection.drain_events(timeout=10)
    return received.get_nowait()
