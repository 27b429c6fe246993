"""What does this very exception mean for the next try?

A task's `retry_policy` is asked where it failed, with the exception in hand, and may fail it for
good, or choose another wait. It never adds tries: `retries` stays the most there can be.
"""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callsite import author_call

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = [
    "ExceptionRetryPolicy",
    "RetryAction",
    "RetryDecision",
    "RetryPolicy",
    "RetryRule",
    "ask_retry_policy",
    "freeze_retry_policy",
]

_log = logging.getLogger("orchestrator.task")


class RetryAction(StrEnum):
    """What follows a failed try."""

    RETRY = "retry"
    """Another try, if one is left."""
    FAIL = "fail"
    """None, whatever is left."""
    DEFAULT = "default"
    """As `retries` and `retry_delay` say."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What a policy decided. `retry_delay` replaces the task's own wait, backoff and cap included;
    `reason` is shown with the try's."""

    action: RetryAction = RetryAction.DEFAULT
    retry_delay: timedelta | None = None
    reason: str | None = None

    @classmethod
    def retry(cls, delay: timedelta | None = None, reason: str | None = None) -> RetryDecision:
        """Try again, after `delay` or the task's own wait."""
        return cls(RetryAction.RETRY, delay, reason)

    @classmethod
    def fail(cls, reason: str | None = None) -> RetryDecision:
        """Fail for good."""
        return cls(RetryAction.FAIL, None, reason)

    @classmethod
    def default(cls) -> RetryDecision:
        """Do as without a policy."""
        return cls()


class RetryPolicy(ABC):
    """Subclass it for a policy of your own. It runs in the worker, in the try that failed."""

    @abstractmethod
    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide what follows try `try_number` (from 1); `max_tries` is how many retries there may
        be. Not asked after an AirflowFailException or a sensor's timeout: they are final."""


class RetryRule:
    """What to do after one kind of exception.

    `exception` is a class, a dotted path (for a package that only workers have, as in
    "requests.exceptions.HTTPError"), or a list of these. `match_subclasses=False` matches the very
    class only.
    """

    def __init__(
        self,
        exception: type[BaseException] | str | Iterable[type[BaseException] | str],
        action: RetryAction | str = RetryAction.RETRY,
        retry_delay: timedelta | float | None = None,
        reason: str | None = None,
        match_subclasses: bool = True,
    ) -> None:
        subject = Subject("RetryRule", author_call())
        one = isinstance(exception, str | type) or not isinstance(exception, Iterable)
        given: Iterable[object] = (exception,) if one else tuple(exception)  # type: ignore[arg-type]
        self.exceptions = tuple(_checked(each, subject) for each in given)
        if not self.exceptions:
            raise subject.error("exception is empty; name at least one exception class")
        self.action = subject.choice("action", action, RetryAction)
        self.retry_delay = (
            None if retry_delay is None else subject.duration("retry_delay", retry_delay, zero=True)
        )
        if self.retry_delay is not None and self.action is not RetryAction.RETRY:
            raise subject.error(
                f"retry_delay is {self.retry_delay}, but action is {self.action}; only "
                "RetryAction.RETRY waits"
            )
        self.reason = subject.prose("reason", reason)
        self.match_subclasses = subject.flag("match_subclasses", match_subclasses)

    def matches(self, exception: BaseException) -> bool:
        """Say whether this rule is about an exception."""
        kinds = type(exception).__mro__ if self.match_subclasses else (type(exception),)
        return any(_is_among(known, kinds) for known in self.exceptions)


class ExceptionRetryPolicy(RetryPolicy):
    """Decides by rules: the first that matches the exception wins, else `default`."""

    def __init__(
        self, rules: Iterable[RetryRule], default: RetryAction | str = RetryAction.DEFAULT
    ) -> None:
        subject = Subject("ExceptionRetryPolicy", author_call())
        self.rules = tuple(rules)
        for rule in self.rules:
            if not isinstance(rule, RetryRule):
                raise subject.error(f"rules has {rule!r}; each must be a RetryRule(exception=...)")
        self.default = subject.choice("default", default, RetryAction)

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - rules look at the exception only
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Return what the first rule that matches says."""
        for rule in self.rules:
            if rule.matches(exception):
                return RetryDecision(rule.action, rule.retry_delay, rule.reason)
        return RetryDecision(self.default)


RetryPolicyArgument = RetryPolicy | Callable[[BaseException, Any], RetryDecision]
"""What `retry_policy` takes: a policy, or a function `(exception, context) -> RetryDecision`."""


def freeze_retry_policy(value: object, subject: Subject) -> RetryPolicyArgument | None:
    """Return a task's `retry_policy`; None for no policy."""
    if value is None or isinstance(value, RetryPolicy):
        return value
    if isinstance(value, type) or not callable(value):
        raise subject.error(
            f"retry_policy is {value!r}; it must be a RetryPolicy, as in "
            "ExceptionRetryPolicy(rules=[...]), or a function (exception, context) that returns a "
            "RetryDecision"
        )
    return value


def ask_retry_policy(
    policy: RetryPolicyArgument,
    error: BaseException,
    *,
    try_number: int,
    max_tries: int,
    context: Context | None,
) -> RetryDecision:
    """Return what follows a try that failed with `error`. A policy that fails itself decides
    nothing: the task's own retries are as good as they were."""
    try:
        decision: object = (
            policy.evaluate(error, try_number, max_tries, context)
            if isinstance(policy, RetryPolicy)
            else policy(error, context)
        )
    except Exception:  # user code
        _log.exception("the retry policy failed; retries and retry_delay decide")
        return RetryDecision()
    if not isinstance(decision, RetryDecision):
        _log.error(
            "the retry policy returned %r instead of a RetryDecision; retries and retry_delay "
            "decide",
            decision,
        )
        return RetryDecision()
    why = f": {decision.reason}" if decision.reason else ""
    _log.info("the retry policy says %s%s", decision.action, why)
    return decision


def _checked(exception: object, subject: Subject) -> type[BaseException] | str:
    if isinstance(exception, type) and issubclass(exception, BaseException):
        return exception
    if isinstance(exception, str):
        parts = exception.split(".")
        if len(parts) > 1 and all(part.isidentifier() for part in parts):
            return exception
        raise subject.error(
            f"exception is {exception!r}; a text must be the dotted path of a class, as in "
            f"'builtins.{exception}'"
            if exception.isidentifier()
            else f"exception is {exception!r}; it must be an exception class or its dotted path"
        )
    raise subject.error(
        f"exception is {exception!r}; it must be an exception class or its dotted path"
    )


def _is_among(known: type[BaseException] | str, kinds: Iterable[type]) -> bool:
    if isinstance(known, type):
        return known in kinds
    # Its own name needs no import; another one may be where a package shows it again.
    if any(f"{kind.__module__}.{kind.__qualname__}" == known for kind in kinds):
        return True
    module, _, name = known.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing is user code, as far as this goes
        _log.warning("a retry rule names %s, which cannot be imported: %s", known, error)
        return False
    return found in kinds
