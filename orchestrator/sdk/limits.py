"""How an author says what a task's instances share a limit by."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.core.concurrency import flaw_of_key
from orchestrator.core.specs import RateLimit

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject

__all__ = ["freeze_concurrency", "freeze_rate_limit"]

_RATE = re.compile(r"\s*([0-9]+)\s*/\s*([smhd])\s*")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def freeze_concurrency(key: object, limit: object, subject: Subject) -> tuple[str | None, int]:
    """Check a concurrency_key, text with holes such as `{{ params.tenant }}`, and its limit."""
    key = subject.text_or_none("concurrency_key", key)
    flaw = flaw_of_key(key) if key is not None else None
    if flaw is not None:
        raise subject.error(f"concurrency_key is {key!r}; {flaw}")
    limit = subject.whole("concurrency_limit", limit, least=1)
    if key is None and limit != 1:
        raise subject.error(
            f"concurrency_limit is {limit}, but there is no concurrency_key whose instances it "
            "could limit; give concurrency_key='...' too (or max_active_tis_per_dag to limit the "
            "instances of this task alone)"
        )
    return key, limit


def freeze_rate_limit(value: object, subject: Subject) -> RateLimit | None:
    """Read a rate limit: `"10/m"` (s, m, h, d), or `(10, timedelta(minutes=1))`."""
    match value:
        case None:
            return None
        case str() if (found := _RATE.fullmatch(value)) and int(found[1]) > 0:
            return RateLimit(count=int(found[1]), per_s=_UNIT_S[found[2]])
        case (int() as count, timedelta() as per) if count > 0 and per > timedelta(0):
            return RateLimit(count=count, per_s=per.total_seconds())
        case _:
            raise subject.error(
                f"rate_limit is {value!r}; it must be a text such as '10/m' (starts per second s, "
                "minute m, hour h or day d) or a pair such as (10, timedelta(minutes=5))"
            )
