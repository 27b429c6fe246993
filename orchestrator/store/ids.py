"""Where the keys of new rows come from: UUIDs whose order is the order of their making."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last_ms_and_fraction = 0


def uuid7() -> UUID:
    """Return a version 7 UUID (RFC 9562): milliseconds, a 12-bit fraction that makes the ids of one
    process rise strictly, and randomness. Rising keys keep the indexes of large tables dense."""
    global _last_ms_and_fraction  # noqa: PLW0603 - rising within the process is what it is for
    now = (time.time_ns() << 12) // 1_000_000
    with _lock:
        now = _last_ms_and_fraction = max(now, _last_ms_and_fraction + 1)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    milliseconds, fraction = now >> 12, now & 0xFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)
