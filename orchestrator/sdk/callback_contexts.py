"""What is a callback told, and which functions are called?

In the process of the try it follows, it gets the context of that very try, with the exception
itself; elsewhere one made of what is stored, with the exception as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

from orchestrator.core.callbacks import CallbackAssignment
from orchestrator.core.specs import CallbackKind
from orchestrator.core.states import TaskState
from orchestrator.errors import NotFoundError
from orchestrator.sdk.callbacks import Callback, Delivery, TryTrace
from orchestrator.sdk.context import Context, TaskInstance, bare_context, set_current_context
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.execution import context_of, dag_run_of, task_instance_of
from orchestrator.sdk.instants import for_authors
from orchestrator.sdk.params import resolve_params
from orchestrator.sdk.services import TaskServices, set_current_services

__all__ = ["call_back", "functions_of"]

_STATE_AFTER: Mapping[CallbackKind, TaskState] = MappingProxyType(
    {
        CallbackKind.SUCCESS: TaskState.SUCCESS,
        CallbackKind.FAILURE: TaskState.FAILED,
        CallbackKind.RETRY: TaskState.UP_FOR_RETRY,
        CallbackKind.SKIPPED: TaskState.SKIPPED,
    }
)


def functions_of(dag: DAG, given: CallbackAssignment) -> tuple[Callback, ...]:
    """Return what an author's file has for a callback; raise NotFoundError when it has nothing."""
    if given.kind is CallbackKind.DEADLINE:
        found = tuple(call for spec, call in dag.deadlines if spec.index == given.deadline_index)
    elif given.is_of_run:
        found = dag.callbacks.get(given.kind, ())
    else:
        assert given.tried is not None, "a callback of a try has its try"
        found = dag.get_task(given.tried.key.task_id).callbacks.get(given.kind, ())
    if not found:
        owner = "" if given.tried is None or given.is_of_run else f", {given.tried.key.task_id!r}"
        raise NotFoundError(
            f"DAG {dag.dag_id!r}{owner} has no {given.kind} callback on this worker; a DAG file "
            "must define the same on every machine"
        )
    return found


def call_back(
    dag: DAG,
    given: CallbackAssignment,
    delivery: Delivery,
    *,
    services: TaskServices,
    xcom_bytes_max: int,
    trace: TryTrace | None = None,
) -> None:
    """Call what is left of a callback. `trace` is that of the try it follows, if it was run in
    this process."""
    with ExitStack() as restoring:
        restoring.callback(set_current_services(services))
        if trace is not None and trace.context is not None:
            context = trace.context
        elif given.tried is not None:
            ti = task_instance_of(given.tried, services=services, xcom_bytes_max=xcom_bytes_max)
            context = context_of(dag, given.tried, ti)
        else:
            params = resolve_params(given.dag.params, given.run.conf)
            context = bare_context(given.run, dag_run_of(given.run), dag=dag, params=params)
        _tell(context, given, None if trace is None else trace.error)
        restoring.callback(set_current_context(context))
        delivery.call(context)


def _tell(context: Context, given: CallbackAssignment, error: BaseException | None) -> None:
    """Add what the callback is about."""
    run = replace(
        context["dag_run"], state=given.run_state, end_date=for_authors(given.run_ended_at)
    )
    context["dag_run"] = run
    context["reason"] = given.reason
    ti: TaskInstance | None = context.get("ti")
    if ti is not None:
        ti.dag_run = run
    if given.kind is CallbackKind.DEADLINE:
        context["deadline"] = {"index": given.deadline_index, "reason": given.reason}
    if ti is not None and not given.is_of_run:
        ti.state = _STATE_AFTER[given.kind]
        ti.end_date = for_authors(given.ended_at)
    match given.kind:
        case CallbackKind.FAILURE | CallbackKind.RETRY | CallbackKind.SKIPPED:
            context["exception"] = error if error is not None else given.reason
        case CallbackKind.EXECUTE | CallbackKind.SUCCESS | CallbackKind.DEADLINE:
            context["exception"] = None
        case _:
            assert_never(given.kind)
