"""How long may the result of a task be reused, and for which other tries?

`@task(cache=timedelta(hours=1))` takes what the same code with the same arguments pushed within the
hour, instead of running. The code is the function's, with the functions of its file and the global
values that it names; the arguments are the rendered ones, with the dates and params that the
function asks for. What it reads in other ways (`ti`, files, the clock) is not seen: say so with
`Cache(ttl=, key=...)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orchestrator.core.results import CachedResult
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.context import Context

__all__ = ["Cache", "ResultCache", "cache_argument"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """How long a result may be reused. `key(context)` stands for the arguments where these do not
    say it all, or say too much; another `version` makes all results so far outdated."""

    ttl: timedelta
    key: Callable[[Context], Any] | None = None
    version: str = ""


class ResultCache(Protocol):
    """Keeps results. The worker and `orchestrator.testing` have one."""

    def find(self, key: str) -> CachedResult | None:
        """Return the result under a key, unless it has expired."""

    def keep(self, key: str, result: CachedResult, *, ttl_s: float) -> None:
        """Keep a result for so long."""


def cache_argument(value: object, subject: Subject) -> Cache | None:
    """Return the operator argument `cache`: a Cache, how long results hold, or None."""
    if value is None or value is False:
        return None
    if not isinstance(value, Cache):
        if value is True:
            raise subject.error("cache is True; say for how long, as in cache=timedelta(hours=1)")
        return Cache(ttl=subject.duration("cache", value, zero=False))
    subject.duration("the ttl of cache", value.ttl, zero=False)
    if value.key is not None and not callable(value.key):
        raise subject.error(f"the key of cache is {value.key!r}; it must be a function of context")
    if not isinstance(value.version, str):
        raise subject.error(f"the version of cache is {value.version!r}; it must be a text")
    return value
