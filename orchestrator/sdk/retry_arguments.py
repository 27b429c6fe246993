"""How does an author say how a task is retried?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.retry_policies import RetryPolicyArgument

__all__ = ["DEFAULT_RETRY_DELAY", "backoff_multiplier", "retry_policy_or_none"]

DEFAULT_RETRY_DELAY = timedelta(seconds=300)


def backoff_multiplier(value: object, subject: Subject) -> float:
    """Return the multiplier that retry_exponential_backoff means: False or 0 is none, True is
    Airflow's 2."""
    if isinstance(value, bool):
        return 2.0 if value else 0.0
    if not isinstance(value, int | float) or not (value == 0 or 1 <= value < float("inf")):
        raise subject.error(
            f"retry_exponential_backoff is {value!r}; it must be True, False or a multiplier of 1 "
            "or more"
        )
    return float(value)


def retry_policy_or_none(value: object, subject: Subject) -> RetryPolicyArgument | None:
    """Return what decides by exception on another try, if anything does."""
    if value is None:
        return None
    from orchestrator.sdk.retry_policies import (  # noqa: PLC0415 - few tasks have one
        freeze_retry_policy,
    )

    return freeze_retry_policy(value, subject)
