"""How every Redis connection of ours behaves when the server is slow, gone or back again."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from orchestrator.broker.urls import client_url

__all__ = ["CONNECT_TIMEOUT_S", "KEY_PREFIX", "SOCKET_TIMEOUT_S", "build_client", "queue_key"]

KEY_PREFIX = "orch:"
"""Every key of ours begins with it, so that a shared server stays tidy."""
SOCKET_TIMEOUT_S = 10.0
"""A frozen server must not hang its caller for longer; a healthy one answers in milliseconds."""
CONNECT_TIMEOUT_S = 5.0


def build_client(redis_url: str, *, name: str, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> Redis:
    """Return a client that connects when first used.

    A connection that a restarted server has closed is replaced once, at once; a timeout is never
    retried, since that would double the wait.
    """
    return Redis.from_url(
        client_url(redis_url),
        client_name=name,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=min(CONNECT_TIMEOUT_S, socket_timeout_s),
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


def queue_key(queue: str) -> str:
    """Return the list that holds a Celery queue's messages."""
    return KEY_PREFIX + queue
