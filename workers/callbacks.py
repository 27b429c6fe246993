"""How a child runs a callback: the one of the try it has just ended, or one it got a message for.

A callback has a time limit of its own and changes nothing about how its task or run ended. What it
wrote is stored with it. If its process dies, its lease ends and another attempt follows.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchestrator.core.assignments import Assignment
from orchestrator.core.callbacks import (
    CallbackAssignment,
    CallbackReport,
    callback_id_of,
    callback_of,
)
from orchestrator.core.ids import TiId
from orchestrator.core.retries import Conclusion
from orchestrator.core.specs import CallbackKind
from orchestrator.core.states import RunState
from orchestrator.errors import StoreUnavailableError
from orchestrator.ports import CallbackMessage, WorkerStore
from orchestrator.sdk.callback_contexts import call_back, functions_of
from orchestrator.sdk.callbacks import Delivery, TryTrace
from orchestrator.sdk.exceptions import TaskTimeoutError
from orchestrator.sdk.masking import mask, secret_scope
from orchestrator.sdk.services import TaskServices
from workers.board import Phase, Slot
from workers.dag_cache import DagCache
from workers.interrupts import InterruptHandler, TaskCancelledError
from workers.log_shipping import records_of
from workers.logs import LogStream, flush_lines
from workers.patience import until_answered

__all__ = ["CallbackLimits", "CallbackRunner"]

OUTPUT_BYTES_MAX = 64 * 1024
"""What is kept of an attempt's output."""
LEASE_MARGIN_S = 30.0
"""Longer than a callback that is over its time can hold out, and than its report takes."""
CLAIM_PATIENCE_S = 60.0
"""How long a claim is repeated while the database is away; then another message will come."""

_log = structlog.get_logger("orchestrator.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackLimits:
    """What the settings allow one callback."""

    timeout_s: float
    load_timeout_s: float
    xcom_bytes_max: int

    @property
    def lease_s(self) -> float:
        """How long an attempt may take with everything around it."""
        return self.load_timeout_s + self.timeout_s + LEASE_MARGIN_S


class CallbackRunner:
    """Runs callbacks in one child, one at a time."""

    def __init__(
        self,
        *,
        worker_id: str,
        store: WorkerStore,
        dags: DagCache,
        slot: Slot,
        stream: LogStream,
        interrupts: InterruptHandler,
        services: Callable[[], TaskServices],
        limits: CallbackLimits,
    ) -> None:
        self._pid = os.getpid()
        self._worker_id = worker_id
        self._store = store
        self._dags = dags
        self._slot = slot
        self._stream = stream
        self._interrupts = interrupts
        self._services = services
        self._limits = limits

    @property
    def lease_s(self) -> float:
        """For how long a callback is ours once it was begun."""
        return self._limits.lease_s

    def run_after(self, assignment: Assignment, conclusion: Conclusion, trace: TryTrace) -> None:
        """Run what the try owes that this child has just ended and reported with a lease."""
        kind = callback_of(assignment.task, conclusion.event)
        if kind is None:
            return
        given = CallbackAssignment(
            callback_id=callback_id_of(assignment.ti_id, assignment.epoch, kind),
            kind=kind,
            attempt=1,
            delivered=(),
            reason=conclusion.reason,
            run=assignment.run,
            run_state=RunState.RUNNING,
            run_ended_at=None,
            dag=assignment.dag,
            source=assignment.source,
            ended_at=trace.ended_at,
            tried=assignment,
        )
        self._slot.begin(TiId(given.callback_id), 0)
        self._run(given, trace)

    def handle(self, message: CallbackMessage) -> None:
        """Run the callback that a message points at, if it is still owed."""
        self._slot.begin(TiId(message.callback_id), 0)
        try:
            given = until_answered(
                lambda: self._store.claim_callback(
                    message.callback_id, worker_id=self._worker_id, lease_s=self._limits.lease_s
                ),
                patience_s=CLAIM_PATIENCE_S,
            )
        except StoreUnavailableError as error:
            _log.error("claim_given_up", of=str(message.callback_id), reason=str(error))
            return
        if given is None:
            self._slot.count(fenced=1)
            return
        self._slot.count(started=1)
        self._run(given, None)

    def _run(self, given: CallbackAssignment, trace: TryTrace | None) -> None:
        started_at = time.monotonic()
        start = self._stream.begin_try()
        with secret_scope():
            delivered, error = self._call(given, trace)
            if os.getpid() != self._pid:
                os._exit(0)  # user code has forked, and its child has come to the callback's end
            flush_lines()
            output = self._stream.take(start=start, bytes_max=OUTPUT_BYTES_MAX)
            records = records_of(output.rstrip(b"\n"), masked=_masked)
            written = b"".join(records).decode() if output else ""
        self._go(None)
        report = CallbackReport(
            delivered=delivered,
            error=error,
            output=written,
        )
        until_answered(
            lambda: self._store.finish_callback(given.callback_id, report, attempt=given.attempt)
        )
        write = _log.info if error is None else _log.warning
        write(
            "callback_delivered" if error is None else "callback_attempt_failed",
            of=_name_of(given),
            kind=str(given.kind),
            attempt=given.attempt,
            error=error,
            duration_s=round(time.monotonic() - started_at, 3),
        )

    def _call(
        self, given: CallbackAssignment, trace: TryTrace | None
    ) -> tuple[tuple[int, ...], str | None]:
        """Load and call; return which functions have completed, and what went wrong."""
        delivery = Delivery((), delivered=given.delivered)
        limit_s = self._limits.load_timeout_s
        try:
            with self._interrupts.arm():
                self._go(limit_s)
                dag = self._dags.dag_of(given.source, given.run.dag_id)
                limit_s = self._limits.timeout_s
                self._go(limit_s)
                functions = functions_of(dag, given)
                delivery = Delivery(functions, delivered=given.delivered, attempt=given.attempt)
                call_back(
                    dag,
                    given,
                    delivery,
                    services=self._services(),
                    xcom_bytes_max=self._limits.xcom_bytes_max,
                    trace=trace,
                )
        except TaskTimeoutError:
            return delivery.delivered, f"timed out after {limit_s:g} s"
        except TaskCancelledError:
            return delivery.delivered, "the worker shut down"
        except Exception as error:  # the file, its params, its templates: user code
            self._stream.write(event=str(error), level="error", logger="orchestrator.worker")
            return delivery.delivered, mask(f"{type(error).__name__}: {error}")
        return delivery.delivered, delivery.error

    def _go(self, limit_s: float | None) -> None:
        self._slot.go(
            Phase.CALLING,
            try_number=0,
            log_start=0,
            started_at=time.monotonic(),
            limit_s=limit_s,
        )


def _masked(text: str, *, end: int) -> str:  # noqa: ARG001 - this process knows its secrets
    return mask(text)


def _name_of(given: CallbackAssignment) -> str:
    if given.tried is None or given.is_of_run or given.kind is CallbackKind.DEADLINE:
        return f"{given.run.dag_id}/{given.run.run_id}"
    return str(given.tried.key)
