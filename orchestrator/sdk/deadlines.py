"""By when must a run be done, and what happens if it is not?

    DAG(
        ...,
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(minutes=15),
            callback=page_the_owner,
        ),
    )

A late run is reported once and goes on.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from orchestrator.core.deadlines import Reference
from orchestrator.core.specs import DeadlineSpec
from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callbacks import Callback, check_callback
from orchestrator.sdk.callsite import CallSite, author_call
from orchestrator.sdk.notifiers import BaseNotifier
from orchestrator.sdk.schedules import freeze_instant

__all__ = [
    "AsyncCallback",
    "DeadlineAlert",
    "DeadlineReference",
    "SyncCallback",
    "freeze_deadlines",
]

DEADLINES_MAX = 32
RUNS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """What a deadline counts from."""

    kind: Reference
    fixed_at: datetime | None = None
    max_runs: int = 10
    min_runs: int = 10


class DeadlineReference:
    """What a deadline counts from: DAGRUN_LOGICAL_DATE, DAGRUN_QUEUED_AT, FIXED_DATETIME(instant)
    or AVERAGE_RUNTIME(max_runs=10, min_runs=10)."""

    DAGRUN_LOGICAL_DATE: ClassVar = _Reference(kind=Reference.LOGICAL_DATE)
    """The run's logical date; a run without one has no such deadline."""
    DAGRUN_QUEUED_AT: ClassVar = _Reference(kind=Reference.QUEUED_AT)
    """When the run was created, or sent back to the start."""

    @classmethod
    def FIXED_DATETIME(cls, dt: datetime) -> _Reference:  # noqa: N802 - Airflow's name
        """A date for everybody; without a time zone it is in the DAG's."""
        return _Reference(kind=Reference.FIXED, fixed_at=dt)

    @classmethod
    def AVERAGE_RUNTIME(  # noqa: N802 - Airflow's name
        cls, max_runs: int = 10, min_runs: int | None = None
    ) -> _Reference:
        """When the run was created plus what the DAG's last `max_runs` successful runs took on
        average; a DAG with fewer than `min_runs` of them (default: `max_runs`) has no deadline."""
        subject = Subject("DeadlineReference.AVERAGE_RUNTIME", author_call())
        most = subject.whole("max_runs", max_runs, least=1)
        least = subject.whole("min_runs", most if min_runs is None else min_runs, least=1)
        if most > RUNS_MAX:
            raise subject.error(f"max_runs is {most}; at most {RUNS_MAX} runs are counted")
        if least > most:
            raise subject.error(f"min_runs is {least}, and cannot exceed max_runs, {most}")
        return _Reference(kind=Reference.AVERAGE_RUNTIME, max_runs=most, min_runs=least)


class _Wrapped:
    """A function or notifier class with the arguments it is called with besides the context."""

    def __init__(
        self, callback_callable: Callable[..., Any] | str, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        subject = Subject(type(self).__name__, author_call())
        is_path = isinstance(callback_callable, str) and "." in callback_callable
        if not is_path and not callable(callback_callable):
            raise subject.error(
                f"{callback_callable!r} is neither a function nor the dotted path of one"
            )
        self.callback_callable = callback_callable
        self.kwargs = subject.named("kwargs", kwargs)

    def __call__(self, context: Any) -> Any:
        """Call it; a notifier class makes its notifier first."""
        target = self.callback_callable
        if isinstance(target, str):
            module, _, name = target.rpartition(".")
            target = getattr(importlib.import_module(module), name)
        if isinstance(target, type) and issubclass(target, BaseNotifier):
            return target(**self.kwargs)(context)
        takes = inspect.signature(target).parameters
        is_open = any(each.kind is each.VAR_KEYWORD for each in takes.values())
        given = {"context": context} if is_open or "context" in takes else {}
        return target(**{**given, **self.kwargs})


class AsyncCallback(_Wrapped):
    """A function or notifier class, or its dotted path, with `kwargs`."""


class SyncCallback(_Wrapped):
    """A function or notifier class, or its dotted path, with `kwargs`; both kinds run on a worker.
    `executor` is accepted as Airflow's: there is one here."""

    def __init__(
        self,
        callback_callable: Callable[..., Any] | str,
        kwargs: Mapping[str, Any] | None = None,
        executor: str | None = None,
    ) -> None:
        super().__init__(callback_callable, kwargs)
        self.executor = executor


class DeadlineAlert:
    """A run must be done `interval` after `reference` (before it, if negative), or `callback` is
    called with the run's context."""

    def __init__(
        self,
        reference: object,
        interval: timedelta | float,
        callback: Callback,
        name: str | None = None,
    ) -> None:
        self.site: CallSite = author_call()
        subject = Subject("DeadlineAlert", self.site)
        if not isinstance(reference, _Reference):
            raise subject.error(
                f"reference is {reference!r}; it must be one of DeadlineReference.DAGRUN_QUEUED_AT,"
                " .DAGRUN_LOGICAL_DATE, .FIXED_DATETIME(...) and .AVERAGE_RUNTIME(...)"
            )
        if not isinstance(interval, timedelta):
            interval = subject.duration("interval", interval, zero=True)
        check_callback(callback, name="callback", subject=subject)
        self.reference = reference
        self.interval = interval
        self.callback = callback
        self.name = subject.text_or_none("name", name)


def freeze_deadlines(
    value: object, *, timezone: str, subject: Subject
) -> tuple[tuple[DeadlineSpec, Callback], ...]:
    """Return a DAG's deadlines, numbered as written, each with what is called."""
    alerts = () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(alerts) > DEADLINES_MAX:
        raise subject.error(
            f"deadline has {len(alerts)} alerts; at most {DEADLINES_MAX} are allowed"
        )
    return tuple(
        _freeze(index, alert, timezone=timezone, subject=subject)
        for index, alert in enumerate(alerts)
    )


def _freeze(
    index: int, alert: object, *, timezone: str, subject: Subject
) -> tuple[DeadlineSpec, Callback]:
    if not isinstance(alert, DeadlineAlert):
        raise subject.error(
            f"deadline is {alert!r}; it must be a DeadlineAlert(reference=..., interval=..., "
            "callback=...) or a list of them"
        )
    reference = alert.reference
    spec = DeadlineSpec(
        index=index,
        reference=reference.kind.value,
        interval_s=alert.interval.total_seconds(),
        fixed_at=freeze_instant(
            "FIXED_DATETIME", reference.fixed_at, timezone=timezone, subject=subject
        ),
        max_runs=reference.max_runs,
        min_runs=reference.min_runs,
    )
    return spec, alert.callback
