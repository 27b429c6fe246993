"""How one try of a task runs: context, arguments, user code, and what came of it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.core.assignments import Assignment, RunFacts
from orchestrator.core.ids import RETURN_VALUE
from orchestrator.core.outcomes import (
    XCOM_BYTES_MAX,
    Failed,
    Outcome,
    Rescheduled,
    Skipped,
    Succeeded,
)
from orchestrator.core.specs import CallbackKind
from orchestrator.errors import NotFoundError
from orchestrator.sdk.callbacks import TryTrace, call_each
from orchestrator.sdk.callsite import is_own_file
from orchestrator.sdk.context import (
    Context,
    DagRun,
    TaskInstance,
    build_context,
    set_current_context,
)
from orchestrator.sdk.coroutines import finished
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.exceptions import (
    FailException,
    RescheduleException,
    SensorTimeoutError,
    SkipException,
    TaskException,
    TaskTimeoutError,
    TemplateError,
)
from orchestrator.sdk.instants import for_authors
from orchestrator.sdk.masking import mask, mask_secret
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.params import resolve_params
from orchestrator.sdk.positions import MapPosition
from orchestrator.sdk.preparing import map_name_of, prepare, tasks_mapped_over
from orchestrator.sdk.retry_policies import RetryAction, ask_retry_policy
from orchestrator.sdk.reuse import ResultLookup
from orchestrator.sdk.sequences import is_mappable
from orchestrator.sdk.services import TaskServices, set_current_services

__all__ = ["execute", "run_try"]

REASON_LENGTH_MAX = 500
FINAL = (FailException, SensorTimeoutError)
"""After these no other try is made, and no retry policy asked."""
_log = logging.getLogger("orchestrator.task")


def execute(
    dag: DAG,
    assignment: Assignment,
    *,
    services: TaskServices,
    xcom_bytes_max: int = XCOM_BYTES_MAX,
) -> Outcome:
    """Run one try in this process and thread and say what it came to. Nothing that user code
    raises gets out; tracebacks go to the logger `orchestrator.task`."""
    try:
        return run_try(dag, assignment, services=services, xcom_bytes_max=xcom_bytes_max)
    except KeyboardInterrupt:
        return Failed(reason="interrupted (KeyboardInterrupt)")


def run_try(
    dag: DAG,
    assignment: Assignment,
    *,
    services: TaskServices,
    xcom_bytes_max: int = XCOM_BYTES_MAX,
) -> Outcome:
    """Do as `execute`, but let Ctrl-C through to whoever sits before the terminal."""
    ti = task_instance_of(assignment, services=services, xcom_bytes_max=xcom_bytes_max)
    restore = set_current_services(services)
    try:
        outcome = _outcome(dag, assignment, ti, services)
    finally:
        restore()
    return outcome if ti.map_name is None else replace(outcome, map_name=ti.map_name)


def task_instance_of(
    assignment: Assignment, *, services: TaskServices, xcom_bytes_max: int
) -> TaskInstance:
    """Return what user code knows of a try."""
    return TaskInstance(
        assignment,
        reader=services.xcoms,
        xcom_bytes_max=xcom_bytes_max,
        dag_run=dag_run_of(assignment.run),
    )


def context_of(dag: DAG, assignment: Assignment, ti: TaskInstance) -> Context:
    """Return the context of a try whose templates are not rendered yet."""
    task_id = assignment.key.task_id
    if not dag.has_task(task_id):
        raise NotFoundError(
            f"DAG {dag.dag_id!r} of {Path(dag.fileloc).name} has no task "
            f"{task_id!r}{dag.nearest_id(task_id)}"
        )
    authored = dag.get_task(task_id)
    known = {spec.name: spec for spec in (*assignment.dag.params, *authored.params)}
    params = resolve_params(known.values(), assignment.run.conf)
    mask_secret(params)
    ti.task, ti.position = authored, MapPosition.of(authored, ti.map_index)
    return build_context(assignment, ti, dag=dag, params=params)


def _outcome(dag: DAG, assignment: Assignment, ti: TaskInstance, services: TaskServices) -> Outcome:
    try:
        return _run(dag, assignment, ti, services.trace)
    except KeyboardInterrupt:
        _clean_up(ti)
        raise
    except SkipException as error:
        reason = _one_line(error) or "the task asked to be skipped"
        _log.info("skipped: %s", reason)
        return Skipped(reason=reason, xcoms=ti.pushed)
    except RescheduleException as error:
        wait_s = (error.reschedule_date - services.clock.now()).total_seconds()
        _log.info("rescheduled: %s", error)
        return Rescheduled(wait_s=max(0.0, wait_s), reason=_one_line(error), xcoms=ti.pushed)
    except BaseException as error:  # user code may raise anything; this is its edge
        if not isinstance(error, Exception):
            _clean_up(ti)
        error.__traceback__ = _without_own_frames(error.__traceback__)
        _log.error("the try failed", exc_info=error)
        services.trace.error = error
        return _failed(error, dag, assignment, ti, services.trace)


def _failed(
    error: BaseException, dag: DAG, assignment: Assignment, ti: TaskInstance, trace: TryTrace
) -> Failed:
    """Say how a try failed, and whether and when its retry policy wants another one."""
    reason, is_final = _reason(error, dag, assignment), isinstance(error, FINAL)
    policy = None if ti.task is None else ti.task.retry_policy
    if is_final or policy is None:
        return Failed(reason=reason, retryable=not is_final, xcoms=ti.pushed)
    decision = ask_retry_policy(
        policy,
        error,
        try_number=assignment.try_number,
        max_tries=assignment.max_tries,
        context=trace.context,
    )
    wait = decision.retry_delay
    return Failed(
        reason=f"{reason}; retry policy: {decision.reason}" if decision.reason else reason,
        retryable=decision.action is not RetryAction.FAIL,
        retry_in_s=None if wait is None else wait.total_seconds(),
        xcoms=ti.pushed,
    )


def _run(dag: DAG, assignment: Assignment, ti: TaskInstance, trace: TryTrace) -> Succeeded:
    context = trace.context = context_of(dag, assignment, ti)
    authored = dag.get_task(assignment.key.task_id)
    restore = set_current_context(context)
    try:
        task = context["task"] = ti.task = prepare(authored, context)
        if task.pre_execute_hook is not None:
            task.pre_execute_hook(context)
        task.pre_execute(context)
        call_each(task.callbacks.get(CallbackKind.EXECUTE, ()), context)
        lookup = None if task.cache is None else ResultLookup(task, task.cache, context, ti)
        if lookup is not None and lookup.find():
            result = lookup.result()
        else:
            result = finished(task.execute(context))
        if task.post_execute_hook is not None:
            task.post_execute_hook(context, result)
        task.post_execute(context, result)
        # The decision is checked before anything is pushed: a branch to nowhere pushes nothing.
        skip = task.skipped_by(result, assignment.dag)
        _refuse_unmappable(result, task, dag, assignment)
        _push(task, result, ti)
        if lookup is not None:
            lookup.keep()
        ti.map_name = map_name_of(authored, context)
    except BaseException:
        with suppress(TemplateError):  # what the task raised says more
            ti.map_name = map_name_of(authored, context)
        raise
    finally:
        restore()
    length = len(result) if is_mappable(result) and RETURN_VALUE in ti.pushed else None
    return Succeeded(
        xcoms=ti.pushed, skip=skip, length=length, reason=None if lookup is None else lookup.reason
    )


def _refuse_unmappable(result: Any, task: BaseOperator, dag: DAG, assignment: Assignment) -> None:
    """Fail, as Airflow does, the task whose result is no list or dict where a task is mapped over
    it: its author must look here."""
    if is_mappable(result):
        return
    mapped = tasks_mapped_over(task.task_id, dag, assignment.dag)
    if mapped:
        raise TaskException(
            f"{mapped[0]!r} is expanded over what this task returns, so it must return a list or "
            f"a dict; it returned {'None' if result is None else type(result).__name__}"
        )


def _push(task: BaseOperator, result: Any, ti: TaskInstance) -> None:
    if result is None or not task.do_xcom_push:
        return
    if task.multiple_outputs:
        if not isinstance(result, Mapping):
            raise TaskException(
                f"the task has multiple_outputs, so it must return a dict; it returned "
                f"{type(result).__name__}"
            )
        for key, value in result.items():
            ti.xcom_push(key, value)
    ti.xcom_push(RETURN_VALUE, result)


def _clean_up(ti: TaskInstance) -> None:
    """Let a task that was cut short end what it started elsewhere."""
    if ti.task is None:
        return
    try:
        ti.task.on_kill()
    except Exception:
        _log.exception("on_kill failed")


def dag_run_of(run: RunFacts) -> DagRun:
    """Return what user code knows of a run."""
    return DagRun(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_type=run.run_type,
        logical_date=for_authors(run.logical_date),
        data_interval_start=for_authors(run.data_interval_start),
        data_interval_end=for_authors(run.data_interval_end),
        run_after=for_authors(run.run_after),
        start_date=for_authors(run.started_at),
        conf=run.conf,
    )


def _reason(error: BaseException, dag: DAG, assignment: Assignment) -> str:
    match error:
        case TaskTimeoutError():
            limit = assignment.task.execution_timeout_s
            after = f" after {limit:g} s" if limit is not None else ""
            # Whoever raised it stands innermost; only the task's own line says something.
            return f"timed out{after}{_place(error, dag, own_only=True)}"
        case SystemExit():
            code = mask(repr(error.code))
            return f"SystemExit: the task called sys.exit({code}){_place(error, dag)}"
        case _:
            text = _one_line(error)
            said = f"{type(error).__name__}{f': {text}' if text else ''}"
            place = _place(error, dag)
            return said if said.endswith(place) else f"{said}{place}"  # the SDK's own say it too


def _place(error: BaseException, dag: DAG, *, own_only: bool = False) -> str:
    """The innermost line in the DAG's own folder, else (unless `own_only`) the innermost of all,
    where that is not the SDK's own check."""
    frames = traceback.extract_tb(error.__traceback__)
    folder = str(Path(dag.fileloc).parent)
    own = [frame for frame in frames if str(Path(frame.filename).parent) == folder]
    candidates = own[-1:] if own or own_only else frames[-1:]
    for frame in candidates:
        if not is_own_file(frame.filename):
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""


def _one_line(error: BaseException) -> str:
    try:
        # Masked whole: of a secret that is cut, or joined from its lines, nothing is recognised.
        text = " ".join(mask(str(error)).split())
    except Exception:  # an exception's own __str__ is user code too
        text = "(its message cannot be shown)"
    return text if len(text) <= REASON_LENGTH_MAX else f"{text[: REASON_LENGTH_MAX - 1]}…"


def _without_own_frames(traceback_: TracebackType | None) -> TracebackType | None:
    """Drop the SDK's frames above the user's code; keep all if there is no user code in it."""
    below = traceback_
    while below is not None and is_own_file(below.tb_frame.f_code.co_filename):
        below = below.tb_next
    return below or traceback_
