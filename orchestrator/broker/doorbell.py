"""How a sleeping scheduler learns within a millisecond that SQL has news, and a worker of a cancel.

Ringing leaves one token on a list, waiting takes it: of two schedulers one wakes, and many rings
between two ticks are one. A worker listens on a channel of its own. The bell carries no data; when
Redis is away it is silent, and whoever waits looks at SQL after its timeout.
"""

import threading
import time
from collections.abc import Callable

import structlog
from redis import Redis
from redis.exceptions import RedisError

from orchestrator.broker.clients import KEY_PREFIX, build_client

__all__ = ["RedisDoorbell"]

_BELL_KEY = KEY_PREFIX + "bell"
_RING_TIMEOUT_S = 1.0
_MUTE_AFTER_FAILURE_S = 1.0
"""A ring that failed is followed by silence, so that a frozen server does not slow every task."""
_WAIT_SLICE_S = 5.0
_WAIT_MARGIN_S = 2.0
_RECONNECT_AFTER_S = 0.5
_BLOCK_S_MIN = 0.001
"""BLPOP takes 0 as `for ever`."""

_log = structlog.get_logger(__name__)


class RedisDoorbell:
    """The port `Doorbell` on Redis. One thread waits; any number may ring."""

    def __init__(self, redis_url: str) -> None:
        self._ringer = build_client(
            redis_url, name="orchestrator-ring", socket_timeout_s=_RING_TIMEOUT_S
        )
        self._waiter = build_client(
            redis_url,
            name="orchestrator-wait",
            socket_timeout_s=_WAIT_SLICE_S + _WAIT_MARGIN_S,
        )
        self._muted_until = 0.0
        self._outages: set[str] = set()
        self._is_closed = threading.Event()

    def ring(self) -> None:
        """Wake one scheduler."""

        def leave_token(client: Redis) -> None:
            pipeline = client.pipeline(transaction=False)
            pipeline.lpush(_BELL_KEY, b"1")
            pipeline.ltrim(_BELL_KEY, 0, 0)
            pipeline.execute()

        self._try(leave_token)

    def ring_worker(self, worker_id: str) -> None:
        """Ask a worker to look at its task instances now: one of them was cancelled."""
        self._try(lambda client: client.publish(_channel(worker_id), b"1"))

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the bell rings (True) or the time is over (False)."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                token = self._waiter.blpop([_BELL_KEY], max(_BLOCK_S_MIN, min(left, _WAIT_SLICE_S)))
                self._outages.discard("doorbell_out_of_reach")
                if token:
                    return True
            except RedisError as error:
                self._warn_once("doorbell_out_of_reach", error)
                left = deadline - time.monotonic()
                self._is_closed.wait(max(0.0, min(left, _RECONNECT_AFTER_S)))
        return False

    def listen(self, worker_id: str, on_ring: Callable[[], None], *, stop: threading.Event) -> None:
        """Call `on_ring` whenever this worker is rung for, until `stop` is set.

        Also called after a reconnection: what was rung meanwhile was not heard. Blocks its thread.
        """
        is_first = True
        while not stop.is_set():
            try:
                with self._waiter.pubsub(  # type: ignore[no-untyped-call]
                    ignore_subscribe_messages=True
                ) as channel:
                    channel.subscribe(_channel(worker_id))
                    self._outages.discard("worker_bell_out_of_reach")
                    if not is_first:
                        on_ring()
                    is_first = False
                    while not stop.is_set():
                        if channel.get_message(timeout=_RECONNECT_AFTER_S) is not None:
                            on_ring()
            except RedisError as error:
                self._warn_once("worker_bell_out_of_reach", error)
                stop.wait(_RECONNECT_AFTER_S)

    def close(self) -> None:
        """Give the connections back."""
        self._is_closed.set()
        self._ringer.close()
        self._waiter.close()

    def _try(self, command: Callable[[Redis], object]) -> None:
        if time.monotonic() < self._muted_until:
            return
        try:
            command(self._ringer)
            self._outages.discard("doorbell_not_rung")
        except RedisError as error:
            self._muted_until = time.monotonic() + _MUTE_AFTER_FAILURE_S
            self._warn_once("doorbell_not_rung", error)

    def _warn_once(self, event: str, error: RedisError) -> None:
        """Say that an outage began, not twice a second that it lasts."""
        if event not in self._outages:
            self._outages.add(event)
            _log.warning(event, error=str(error))


def _channel(worker_id: str) -> str:
    return f"{KEY_PREFIX}worker:{worker_id}"
