"""How a worker survives what is no message at all on its queue, and knows which queue that was.

Kombu reads each entry of a queue's list as JSON with certain fields; an entry that is anything else
raises out of Celery's event loop and ends the worker, and then the next one. Here such an entry is
logged and dropped. And kombu believes a message which queue it came from; here its writer is not
asked, so that one copied to another queue cannot pass for a message of the first.
"""

from typing import Any

import structlog
from kombu.transport import (  # type: ignore[attr-defined]  # not in the stubs
    TRANSPORT_ALIASES,
    _transport_cache,
    redis,
)

__all__ = ["use_tolerant_transport"]

_SHOWN_CHARACTERS_MAX = 200

_log = structlog.get_logger("orchestrator.broker")


def use_tolerant_transport() -> None:
    """Have Celery apps of this process read Redis queues with the transport of this module."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:TolerantTransport"
        # Whoever has connected in this process before has left kombu's own one here.
        _transport_cache.pop(scheme, None)


class TolerantChannel(redis.Channel):
    """Drops queue entries that are not JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # not in the stubs
        except ValueError as error:  # of the JSON or of its encoding
            _log.error("message_rejected", reason=f"a queue entry is not JSON: {error}")
            return True


class TolerantTransport(redis.Transport):
    """Drops queue entries that have not the form of a message; tells the others where they lay."""

    Channel = TolerantChannel

    def _deliver(self, message: Any, queue: Any) -> None:
        match message:
            case {
                "body": str(),
                "headers": {**_headers},
                "properties": {"delivery_tag": str(), "delivery_info": {**info}},
            }:
                message["properties"]["delivery_info"] = {**info, "routing_key": queue}
                super()._deliver(message, queue)
            case _:
                shown = repr(message)[:_SHOWN_CHARACTERS_MAX]
                reason = f"an entry of the queue {queue!r} is no message: {shown}"
                _log.error("message_rejected", reason=reason)
