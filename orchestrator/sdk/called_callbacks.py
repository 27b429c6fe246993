"""Which callbacks did a run in `orchestrator.testing` call?

They are called at the same transitions as in production, once each and in this process: what an
attempt fails with is in the result, and is not tried again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from orchestrator.core.assignments import Assignment, DagSource, RunFacts
from orchestrator.core.callbacks import (
    CallbackAssignment,
    CallbackId,
    callback_of,
    callback_of_end,
)
from orchestrator.core.deadlines import due_at
from orchestrator.core.ids import UNMAPPED, Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import FinishRun
from orchestrator.core.specs import CallbackKind, DagSpec
from orchestrator.core.states import RunState
from orchestrator.sdk.callback_contexts import call_back, functions_of
from orchestrator.sdk.callbacks import Delivery, TryTrace
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.services import TaskServices

__all__ = ["CallbackResult", "CalledCallbacks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResult:
    """A callback that was called. `task_id` is None for one of the run; `error` says what went
    wrong, if anything did."""

    kind: CallbackKind
    task_id: str | None = None
    map_index: int = UNMAPPED
    try_number: int = 0
    error: str | None = None


class CalledCallbacks:
    """The callbacks of one run."""

    def __init__(
        self,
        dag: DAG,
        spec: DagSpec,
        facts: RunFacts,
        source: DagSource,
        *,
        services: Callable[[Slot], TaskServices],
        now: Callable[[], datetime],
        xcom_bytes_max: int,
    ) -> None:
        self._dag, self._spec, self._facts, self._source = dag, spec, facts, source
        self._services = services
        self._now = now
        self._xcom_bytes_max = xcom_bytes_max
        self._telling: Assignment | None = None
        """What callbacks of the run get as `ti`: the last that failed, else the last that ended."""
        self._has_failed = False
        self._deadlines = {
            deadline.index: at
            for deadline in spec.deadlines
            if (
                at := due_at(
                    deadline,
                    logical_date=facts.logical_date,
                    queued_at=facts.started_at or facts.run_after,
                    runtimes_s=(),
                )
            )
        }
        self.results: list[CallbackResult] = []

    def after(
        self,
        assignment: Assignment,
        event: TaskEvent,
        *,
        reason: str | None,
        trace: TryTrace | None = None,
    ) -> None:
        """Call what a transition of a task instance owes."""
        has_failed = event in (TaskEvent.FAILED, TaskEvent.EXPANSION_FAILED)
        if has_failed or not self._has_failed:
            self._telling, self._has_failed = assignment, has_failed
        kind = callback_of(assignment.task, event)
        if kind is not None:
            self._call(kind, reason=reason, tried=assignment, trace=trace)

    def miss_deadlines(self) -> None:
        """Call what is owed for the deadlines that have passed."""
        for index, at in sorted(self._deadlines.items(), key=lambda item: item[1]):
            if at <= self._now():
                self._miss(index, at)

    def after_run(self, finish: FinishRun) -> None:
        """Call what the end of the run owes. One that failed is late for every deadline to come,
        as long as nobody repairs it."""
        self.miss_deadlines()
        kind = callback_of_end(self._spec, finish.state)
        if kind is not None:
            self._call(kind, reason=finish.reason, ended_in=finish.state)
        if finish.state is not RunState.SUCCESS:
            for index, at in sorted(self._deadlines.items(), key=lambda item: item[1]):
                self._miss(index, at, ended_in=finish.state)

    def _miss(self, index: int, at: datetime, ended_in: RunState = RunState.RUNNING) -> None:
        del self._deadlines[index]
        reason = f"the run was not done by {at.isoformat()}"
        self._call(CallbackKind.DEADLINE, reason=reason, index=index, ended_in=ended_in)

    def _call(
        self,
        kind: CallbackKind,
        *,
        reason: str | None,
        tried: Assignment | None = None,
        trace: TryTrace | None = None,
        index: int | None = None,
        ended_in: RunState = RunState.RUNNING,
    ) -> None:
        given = CallbackAssignment(
            callback_id=CallbackId(uuid4()),
            kind=kind,
            attempt=1,
            delivered=(),
            reason=reason,
            run=self._facts,
            run_state=ended_in,
            run_ended_at=None if ended_in is RunState.RUNNING else self._now(),
            dag=self._spec,
            source=self._source,
            is_of_run=tried is None,
            deadline_index=index,
            ended_at=None if tried is None else self._now(),
            tried=tried or self._telling,
        )
        delivery = Delivery(functions_of(self._dag, given))
        call_back(
            self._dag,
            given,
            delivery,
            services=self._services(Slot(*given.tried.key[2:]) if given.tried else Slot("")),
            xcom_bytes_max=self._xcom_bytes_max,
            trace=trace,
        )
        self.results.append(
            CallbackResult(
                kind=kind,
                task_id=None if tried is None else tried.key.task_id,
                map_index=UNMAPPED if tried is None else tried.key.map_index,
                try_number=0 if tried is None else tried.try_number,
                error=delivery.error,
            )
        )
