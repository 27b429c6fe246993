"""How many task messages reach their Celery queues in one round trip."""

import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from redis.exceptions import RedisError

from orchestrator.broker.clients import KEY_PREFIX, SOCKET_TIMEOUT_S, build_client, queue_key
from orchestrator.broker.messages import MessageSigner, MessageWriter
from orchestrator.errors import BrokerUnavailableError
from orchestrator.ports import Message

__all__ = ["CeleryPublisher"]

_GENERATION_KEY = KEY_PREFIX + "gen"


class CeleryPublisher:
    """The port `Publisher` on Redis. Not for use by two threads at a time."""

    def __init__(
        self, redis_url: str, *, secret_key: str, socket_timeout_s: float = SOCKET_TIMEOUT_S
    ) -> None:
        self._client = build_client(
            redis_url, name="orchestrator-publisher", socket_timeout_s=socket_timeout_s
        )
        self._writer = MessageWriter(MessageSigner(secret_key))

    def publish(self, messages: Sequence[Message]) -> None:
        """Send all in one pipeline; raise BrokerUnavailableError when it is not known that all
        arrived. A repeated message is harmless."""
        if not messages:
            return
        by_queue: dict[str, list[str]] = defaultdict(list)
        for message in messages:
            by_queue[message.queue].append(self._writer.write(message))
        pipeline = self._client.pipeline(transaction=False)
        for queue, texts in by_queue.items():
            pipeline.lpush(queue_key(queue), *texts)
        try:
            pipeline.execute()
        except RedisError as error:
            raise _unavailable(error, f"{len(messages)} task messages may be unsent") from error

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        """Return how many messages wait on each queue."""
        names = sorted(queues)
        pipeline = self._client.pipeline(transaction=False)
        for queue in names:
            pipeline.llen(queue_key(queue))
        try:
            return dict(zip(names, pipeline.execute(), strict=True))
        except RedisError as error:
            raise _unavailable(error, "the queues cannot be measured") from error

    def generation(self) -> str:
        """Return a name that changes when the broker has lost its memory (flush, restart)."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(_GENERATION_KEY, secrets.token_hex(8), nx=True)
        pipeline.get(_GENERATION_KEY)
        try:
            _, name = pipeline.execute()
        except RedisError as error:
            raise _unavailable(error, "start it, or set ORCHESTRATOR_REDIS_URL") from error
        if name is None:
            # Flushed between the two commands: the next look names the new generation.
            return ""
        assert isinstance(name, bytes)
        return name.decode()

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()


def _unavailable(error: RedisError, consequence: str) -> BrokerUnavailableError:
    return BrokerUnavailableError(
        f"the Redis server does not answer ({type(error).__name__}: {error}); {consequence}"
    )
