"""What follows a try: its end for good, or another try, and after which wait."""

import hashlib
import math
from dataclasses import dataclass
from typing import assert_never

from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.outcomes import Failed, Outcome, Rescheduled, Skipped, Succeeded
from orchestrator.core.specs import RetryPolicy
from orchestrator.core.states import TaskState

RETRY_DELAY_MAX_S = 86_400.0
"""No retry waits longer than a day, as in Airflow."""
BACKOFF_EXPONENT_MAX = 64
"""Far beyond a day for every real multiplier, and below what overflows a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """How a try is recorded. `retry_in_s` is the wait until the next one (or until this one goes
    on), counted from its end; `length` is how many a task mapped over its returned value has."""

    event: TaskEvent
    reason: str | None = None
    retry_in_s: float | None = None
    skip: tuple[str, ...] | None = None
    length: int | None = None
    map_name: str | None = None
    """What a mapped task's map_index_template made of this try: its index's name for people."""

    @property
    def state(self) -> TaskState:
        """The state the task instance is in afterwards."""
        return TRANSITIONS[self.event].target


def conclude(
    outcome: Outcome, *, policy: RetryPolicy, try_number: int, max_tries: int, seed: str
) -> Conclusion:
    """Say what follows try number `try_number` (from 1) that came to `outcome`.

    `seed` names the try (`dag#task#logical date#try`), so that the jitter of a backoff is spread
    between task instances and yet the same whenever it is computed again.
    """
    name = outcome.map_name
    match outcome:
        case Succeeded():
            return Conclusion(
                event=TaskEvent.SUCCEEDED,
                reason=outcome.reason,
                skip=outcome.skip,
                length=outcome.length,
                map_name=name,
            )
        case Skipped():
            return Conclusion(event=TaskEvent.WAS_SKIPPED, reason=outcome.reason, map_name=name)
        case Rescheduled():
            return Conclusion(
                event=TaskEvent.WILL_RESCHEDULE,
                reason=outcome.reason,
                retry_in_s=outcome.wait_s,
                map_name=name,
            )
        case Failed() if outcome.retryable and try_number <= max_tries:
            wait_s = outcome.retry_in_s
            if wait_s is None:
                wait_s = retry_delay_s(policy, try_number=try_number, seed=seed)
            return Conclusion(
                event=TaskEvent.WILL_RETRY, reason=outcome.reason, retry_in_s=wait_s, map_name=name
            )
        case Failed():
            return Conclusion(event=TaskEvent.FAILED, reason=outcome.reason, map_name=name)
        case _:
            assert_never(outcome)


def retry_delay_s(policy: RetryPolicy, *, try_number: int, seed: str) -> float:
    """Return the wait after failed try `try_number`, in seconds.

    With a backoff multiplier m other than 0 and 1: b = max(1, ceil(delay * m**(try-1))), then a
    value in [b, 2b) chosen by SHA-1 of the seed (Airflow's formula), capped by the policy's
    maximum and by a day.
    """
    delay = policy.delay_s
    if policy.backoff not in (0, 1):
        exponent = min(try_number - 1, BACKOFF_EXPONENT_MAX)
        base = max(1, math.ceil(min(delay * policy.backoff**exponent, RETRY_DELAY_MAX_S)))
        jitter = int.from_bytes(hashlib.sha1(seed.encode(), usedforsecurity=False).digest(), "big")
        delay = float(base + jitter % base)
    ceiling = RETRY_DELAY_MAX_S if policy.max_delay_s is None else policy.max_delay_s
    return min(delay, ceiling, RETRY_DELAY_MAX_S)


def jitter_seed(*, dag_id: str, task_id: str, logical_date: str, try_number: int) -> str:
    """Name a try for `retry_delay_s`."""
    return f"{dag_id}#{task_id}#{logical_date}#{try_number}"
