"""The way of one message through a child: verify, start, load, run, conclude, finish, ring."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, assert_never

import structlog

from orchestrator.broker.messages import MessageRejectedError, MessageSigner
from orchestrator.core.assignments import Assignment
from orchestrator.core.outcomes import Failed, Outcome
from orchestrator.core.retries import Conclusion, conclude, jitter_seed
from orchestrator.errors import OperatorError, OrchestratorError, StoreUnavailableError
from orchestrator.ports import CallbackMessage, Doorbell, TaskMessage, WorkerStore
from orchestrator.sdk.callbacks import TryTrace
from orchestrator.sdk.exceptions import TaskTimeoutError
from orchestrator.sdk.execution import execute
from orchestrator.sdk.masking import mask, masked_values, secret_scope
from orchestrator.sdk.operators import Isolation
from workers.board import Interruption, Phase, Slot
from workers.callbacks import CallbackRunner
from workers.dag_cache import DagCache
from workers.deaths import EXIT_DEFECT, EXIT_IN_DOUBT
from workers.interrupts import InterruptHandler, TaskCancelledError
from workers.isolation import Ended, Interpreter
from workers.logs import LogStream, flush_lines
from workers.patience import until_answered
from workers.services import TryServices

__all__ = ["TryLimits", "TryRunner", "conclude_try"]

START_PATIENCE_S = 60.0
"""How long a start is retried while the database is away; after that the message is as good as
lost, and a scheduler sends another."""
SHIPPING_PATIENCE_S = 1.0
"""A log that cannot be stored does not keep the result back for longer."""
_SHIPPING_POLL_S = 0.0005

_log = structlog.get_logger("orchestrator.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class TryLimits:
    """What the settings allow one try."""

    lease_s: float
    load_timeout_s: float
    xcom_bytes_max: int


class TryRunner:
    """Runs tries in one child, one at a time."""

    def __init__(
        self,
        *,
        worker_id: str,
        store: WorkerStore,
        services: TryServices,
        interpreter: Interpreter,
        doorbell: Doorbell,
        signer: MessageSigner,
        dags: DagCache,
        slot: Slot,
        stream: LogStream,
        interrupts: InterruptHandler,
        callbacks: CallbackRunner,
        wake_supervisor: Callable[[], None],
        limits: TryLimits,
    ) -> None:
        self._pid = os.getpid()
        self._worker_id = worker_id
        self._store = store
        self._services = services
        self._interpreter = interpreter
        self._doorbell = doorbell
        self._signer = signer
        self._dags = dags
        self._slot = slot
        self._stream = stream
        self._interrupts = interrupts
        self._callbacks = callbacks
        self._wake_supervisor = wake_supervisor
        self._limits = limits

    def handle(self, arguments: Sequence[object], *, queue: str) -> None:
        """Do what a message asks for, if it is ours and still current."""
        try:
            message = self._signer.verify(arguments, queue=queue)
        except MessageRejectedError as error:
            self._slot.count(rejected=1)
            _log.error("message_rejected", reason=str(error))
            return
        try:
            match message:
                case TaskMessage():
                    self._try(message)
                case CallbackMessage():
                    self._callbacks.handle(message)
                case _:
                    assert_never(message)
        except Exception:
            # A defect of ours. The try must not stay running for ever: this process dies with it,
            # and the supervisor reports both.
            _log.exception("worker_defect", message=repr(message))
            os._exit(EXIT_DEFECT)
        self._slot.phase = Phase.IDLE

    def _try(self, message: TaskMessage) -> None:
        self._slot.begin(message.ti_id, message.epoch)
        assignment = self._start(message)
        if assignment is None:
            self._slot.count(fenced=1)
        else:
            self._slot.count(started=1)
            self._carry_out(assignment)

    def _start(self, message: TaskMessage) -> Assignment | None:
        """Ask for the try until the store answers; give up, and the process, after a while."""

        def ask() -> Assignment | None:
            return self._store.start(
                message.ti_id,
                message.epoch,
                worker_id=self._worker_id,
                pid=os.getpid(),
                lease_s=self._limits.lease_s,
            )

        try:
            return until_answered(ask, patience_s=START_PATIENCE_S)
        except StoreUnavailableError as error:
            # The last attempt may have been carried out all the same.
            _log.error("start_given_up", ti_id=str(message.ti_id), reason=str(error))
            os._exit(EXIT_IN_DOUBT)

    def _carry_out(self, assignment: Assignment) -> None:
        with ExitStack() as own_secrets:
            self._run_and_report(assignment, own_secrets)

    def _run_and_report(self, assignment: Assignment, own_secrets: ExitStack) -> None:
        started_at = time.monotonic()
        log_start = self._stream.begin_try()
        trace = TryTrace()
        ended = self._outcome(assignment, own_secrets, trace, log_start=log_start)
        trace.ended_at = datetime.now(UTC)
        if os.getpid() != self._pid:
            os._exit(0)  # user code has forked, and its child has come to the end of the task
        flush_lines()
        has_log = self._stream.end_try(
            assignment.ti_id, assignment.try_number, epoch=assignment.epoch, start=log_start
        )
        self._slot.go(
            Phase.FINISHING,
            try_number=assignment.try_number,
            log_start=log_start,
            started_at=time.monotonic(),
            limit_s=None,
        )
        if has_log:
            self._await_shipping()
        if self._interrupts.cut_short_by is Interruption.CANCEL:
            _log.info("task_cancelled", key=str(assignment.key), try_number=assignment.try_number)
            return
        conclusion = conclude_try(assignment, ended.outcome)
        is_recorded, conclusion = self._finish(
            assignment, conclusion, ended.outcome.xcoms, ended.masked
        )
        self._doorbell.ring()
        _log.info(
            "task_finished" if is_recorded else "task_report_fenced",
            key=str(assignment.key),
            try_number=assignment.try_number,
            state=str(conclusion.state),
            duration_s=round(time.monotonic() - started_at, 3),
        )
        if is_recorded:
            self._callbacks.run_after(assignment, conclusion, trace)

    def _await_shipping(self) -> None:
        """Have the log stored before the end is: who sees that a try is over may read it whole."""
        self._wake_supervisor()
        give_up_at = time.monotonic() + SHIPPING_PATIENCE_S
        while not self._slot.is_shipped and time.monotonic() < give_up_at:
            time.sleep(_SHIPPING_POLL_S)

    def _outcome(
        self,
        assignment: Assignment,
        own_secrets: ExitStack,
        trace: TryTrace,
        *,
        log_start: int,
    ) -> Ended:
        """Load and run user code. Whatever it raises, and whenever it is interrupted, there is an
        outcome. What it reads is secret until `own_secrets` ends; what the import of the file has
        read stays so, like the file's modules."""

        def go(phase: Phase, limit_s: float | None) -> None:
            self._slot.go(
                phase,
                try_number=assignment.try_number,
                log_start=log_start,
                started_at=time.monotonic(),
                limit_s=limit_s,
            )

        limit_s: float | None = self._limits.load_timeout_s
        activity = f"importing {assignment.source.path}"
        try:
            with self._interrupts.arm():
                go(Phase.LOADING, limit_s)
                if assignment.task.isolation == Isolation.PROCESS:
                    return self._isolate(assignment, go)
                dag = self._dags.load(assignment)
                limit_s, activity = assignment.task.execution_timeout_s, "the task"
                own_secrets.enter_context(secret_scope())
                go(Phase.RUNNING, limit_s)
                outcome = execute(
                    dag,
                    assignment,
                    services=replace(
                        self._services.of_a_try(assignment, worker_id=self._worker_id),
                        trace=trace,
                    ),
                    xcom_bytes_max=self._limits.xcom_bytes_max,
                )
                return Ended(outcome=outcome, masked=masked_values(outcome.xcoms))
        except OrchestratorError as error:
            self._stream.write(event=str(error), level="error", logger="orchestrator.worker")
            return Ended(outcome=Failed(reason=mask(str(error))))
        except TaskTimeoutError:
            return Ended(outcome=Failed(reason=timeout_reason(limit_s or 0.0, activity=activity)))
        except TaskCancelledError:
            return Ended(outcome=Failed(reason="cancelled"))

    def _isolate(self, assignment: Assignment, go: Callable[[Phase, float | None], None]) -> Ended:
        """Have an interpreter of its own import the file and run the try."""
        limit_s: float | None = self._limits.load_timeout_s
        activity = f"importing {assignment.source.path}"

        def run() -> None:
            nonlocal limit_s, activity
            limit_s, activity = assignment.task.execution_timeout_s, "the task"
            go(Phase.RUNNING, limit_s)

        try:
            return self._interpreter.run(
                assignment,
                log=self._stream.path,
                log_end_max=self._stream.end_max,
                on_loaded=run,
            )
        except TaskTimeoutError:
            return Ended(outcome=Failed(reason=timeout_reason(limit_s or 0.0, activity=activity)))
        finally:
            self._stream.hide_again()

    def _finish(
        self,
        assignment: Assignment,
        conclusion: Conclusion,
        xcoms: Mapping[str, Any],
        masked: Mapping[str, Any],
    ) -> tuple[bool, Conclusion]:
        """Report, as long as the process lives; say whether it counted, and what was reported."""

        def report(conclusion: Conclusion, xcoms: Mapping[str, Any]) -> tuple[bool, Conclusion]:
            is_recorded = until_answered(
                lambda: self._store.finish(
                    assignment,
                    conclusion,
                    worker_id=self._worker_id,
                    xcoms=xcoms,
                    masked=masked,
                    callback_lease_s=self._callbacks.lease_s,
                )
            )
            return is_recorded, conclusion

        try:
            return report(conclusion, xcoms)
        except OperatorError:
            raise
        except Exception as error:  # the database refuses a value: the try must end all the same
            _log.exception("task_report_refused", key=str(assignment.key))
            reason = f"what the try came to cannot be stored: {type(error).__name__}"
            return report(conclude_try(assignment, Failed(reason=reason)), {})


def conclude_try(assignment: Assignment, outcome: Outcome) -> Conclusion:
    """Say what follows a try, by its task's retry policy."""
    key, run = assignment.key, assignment.run
    return conclude(
        outcome,
        policy=assignment.task.retry,
        try_number=assignment.try_number,
        max_tries=assignment.max_tries,
        seed=jitter_seed(
            dag_id=key.dag_id,
            task_id=key.task_id,
            logical_date=run.logical_date.isoformat() if run.logical_date else run.run_id,
            try_number=assignment.try_number,
        ),
    )


def timeout_reason(limit_s: float, *, activity: str) -> str:
    """Say that something took too long."""
    subject = "" if activity == "the task" else f"{activity} "
    return f"{subject}timed out after {limit_s:g} s"
