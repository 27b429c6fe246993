"""How long is the store asked again while it does not answer?"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from orchestrator.errors import StoreUnavailableError

__all__ = ["until_answered"]

_RETRY_S_MIN, _RETRY_S_MAX = 0.1, 5.0

_T = TypeVar("_T")
_log = structlog.get_logger("orchestrator.worker")


def until_answered(ask: Callable[[], _T], *, patience_s: float = float("inf")) -> _T:
    """Ask the store again, ever more rarely, while it is out of reach."""
    give_up_at = time.monotonic() + patience_s
    wait_s = _RETRY_S_MIN
    while True:
        try:
            return ask()
        except StoreUnavailableError as error:
            if time.monotonic() + wait_s > give_up_at:
                raise
            _log.warning("store_out_of_reach", retry_in_s=round(wait_s, 1), reason=str(error))
        time.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        wait_s = min(wait_s * 2, _RETRY_S_MAX)
