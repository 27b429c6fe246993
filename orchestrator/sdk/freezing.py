"""How an authored DAG becomes a DagSpec: checked as a whole, sorted, nothing but data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from orchestrator.core.specs import DagSpec, EdgeLabel, GroupSpec, RetryPolicy, TaskSpec
from orchestrator.sdk.arguments import Subject, is_address_only
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.dependencies import Edges
from orchestrator.sdk.group_retry_checks import check_group_retries
from orchestrator.sdk.map_checks import check_mapping, freeze_expansion
from orchestrator.sdk.masking import mask
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.references import Reference
from orchestrator.sdk.setups import check_setups
from orchestrator.sdk.signatures import accepted_arguments
from orchestrator.sdk.templates import check_syntax

FIELD_TEXT_MAX = 4_096
"""A longer text in a templated argument is cut in the spec (the worker has the whole)."""
FIELD_ITEMS_MAX = 200
"""A longer list in a templated argument is cut likewise: specs travel with every decision."""


def freeze_dag(dag: DAG) -> DagSpec:
    """Return the spec of a DAG, or raise the DagInvalidError that says what to change in it."""
    _check_default_args(dag)
    edges = dag.edges()
    _refuse_cycle(dag, edges)
    check_mapping(dag)
    check_setups(dag, edges)
    check_group_retries(dag, edges)
    tasks = sorted(dag.tasks, key=lambda task: task.task_id)
    return DagSpec(
        dag_id=dag.dag_id,
        tasks=tuple(_freeze_task(task, dag, edges) for task in tasks),
        groups=tuple(
            GroupSpec(
                group_id=group.group_id,
                parent_id=group.parent_group.group_id if group.parent_group else None,
                display_name=group.group_display_name,
                tooltip=group.tooltip,
                expansion=freeze_expansion(group.expand_input, dag),
                retry=RetryPolicy(retries=group.retries, delay_s=group.retry_delay.total_seconds())
                if group.retries
                else None,
            )
            for group in sorted(dag.groups, key=lambda group: group.group_id)
        ),
        edge_labels=tuple(
            EdgeLabel(upstream=up, downstream=down, label=label)
            for (up, down), label in sorted(edges.labels.items())
        ),
        params=dag.params,
        schedule=dag.schedule,
        start_date=dag.start_date,
        end_date=dag.end_date,
        timezone=dag.timezone,
        catchup=dag.catchup,
        max_active_runs=dag.max_active_runs,
        max_active_tasks=dag.max_active_tasks,
        dagrun_timeout_s=dag.dagrun_timeout.total_seconds() if dag.dagrun_timeout else None,
        is_paused_upon_creation=dag.is_paused_upon_creation,
        description=dag.description,
        doc_md=_doc(dag.doc_md),
        display_name=dag.dag_display_name,
        tags=dag.tags,
        owners=tuple(sorted({task.owner for task in tasks})),
        render_template_as_native_obj=dag.render_template_as_native_obj,
        fail_fast=dag.fail_fast,
        run_state=dag.run_state,
        critical_tasks=_critical_tasks(dag),
        callbacks=tuple(sorted(dag.callbacks)),
        deadlines=tuple(spec for spec, _ in dag.deadlines),
    )


def _critical_tasks(dag: DAG) -> tuple[str, ...]:
    """The tasks that `run_state=[...]` names; a group stands for the tasks in it."""
    ids: set[str] = set()
    groups = {group.group_id: group for group in dag.groups}
    for name in dag.critical_tasks:
        if name in groups:
            ids.update(task.task_id for task in groups[name].tasks)
        elif dag.has_task(name):
            ids.add(name)
        else:
            raise dag.subject.error(
                f"run_state names {name!r}, which is no task or group of it{dag.nearest_id(name)}"
            )
    return tuple(sorted(ids))


def _freeze_task(task: BaseOperator, dag: DAG, edges: Edges) -> TaskSpec:
    check_syntax(task)
    return TaskSpec(
        task_id=task.task_id,
        operator=task.operator_name,
        upstream=tuple(sorted(edges.upstream[task.task_id])),
        trigger_rule=task.trigger_rule,
        retry=RetryPolicy(
            retries=task.retries,
            delay_s=task.retry_delay.total_seconds(),
            backoff=task.retry_exponential_backoff,
            max_delay_s=task.max_retry_delay.total_seconds() if task.max_retry_delay else None,
        ),
        execution_timeout_s=task.execution_timeout.total_seconds()
        if task.execution_timeout
        else None,
        pool=task.pool,
        pool_slots=task.pool_slots,
        priority_weight=task.priority_weight,
        weight_rule=task.weight_rule,
        queue=task.queue,
        max_active_tis_per_dag=task.max_active_tis_per_dag,
        max_active_tis_per_dagrun=task.max_active_tis_per_dagrun,
        concurrency_key=task.concurrency_key,
        concurrency_limit=task.concurrency_limit,
        rate_limit=task.rate_limit,
        group_id=task.task_group.group_id if task.task_group else None,
        needs_worker=task.needs_worker,
        chooses=task.chooses,
        expansion=freeze_expansion(task.expand_input, dag),
        map_index_template=task.map_index_template,
        is_setup=task.is_setup,
        is_teardown=task.is_teardown,
        setups=_setups_of(task, dag, edges),
        on_failure_fail_dagrun=task.on_failure_fail_dagrun,
        depends_on_past=task.depends_on_past,
        wait_for_downstream=task.wait_for_downstream,
        ignore_first_depends_on_past=task.ignore_first_depends_on_past,
        wait_for_past_depends_before_skipping=task.wait_for_past_depends_before_skipping,
        isolation=task.isolation,
        callbacks=tuple(sorted(task.callbacks)),
        display_name=task.task_display_name,
        doc_md=_doc(task.doc_md),
        owner=task.owner,
        template_fields=_freeze_fields(task),
    )


def _setups_of(task: BaseOperator, dag: DAG, edges: Edges) -> tuple[str, ...]:
    """The setups that a teardown belongs to: those directly upstream of it."""
    if not task.is_teardown:
        return ()
    return tuple(
        sorted(each for each in edges.upstream[task.task_id] if dag.get_task(each).is_setup)
    )


def _freeze_fields(task: BaseOperator) -> dict[str, Any]:
    """The templated arguments as JSON for people to read; empty ones are left out."""
    fields = {name: getattr(task, name, None) for name in sorted(task.template_fields)}
    return {
        name: _readable(value)
        for name, value in fields.items()
        if value is not None and not (isinstance(value, _EMPTIABLE) and not value)
    }


def _readable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, str | Reference):
        text = mask(str(value))
        return text if len(text) <= FIELD_TEXT_MAX else f"{text[:FIELD_TEXT_MAX]}…"
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        shown = {str(key): _readable(each) for key, each in items[:FIELD_ITEMS_MAX]}
        return _with_rest(shown, len(items)) if len(items) > FIELD_ITEMS_MAX else shown
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        shown_items = [_readable(each) for each in value[:FIELD_ITEMS_MAX]]
        rest = len(value) - FIELD_ITEMS_MAX
        return [*shown_items, f"… {rest} more"] if rest > 0 else shown_items
    # Never repr(): it may hold a memory address, and a new version would come of every import.
    return f"<{getattr(value, '__qualname__', type(value).__qualname__)}>"


_EMPTIABLE = (str, list, tuple, dict, set, frozenset)


def _with_rest(shown: dict[str, Any], total: int) -> dict[str, Any]:
    return {**shown, "…": f"{total - FIELD_ITEMS_MAX} more"}


def _doc(text: str | None) -> str | None:
    return inspect.cleandoc(text) if text else None


def _refuse_cycle(dag: DAG, edges: Edges) -> None:
    if _cycle(edges.upstream):
        # Searched again in sorted order, so that every import reports the same one.
        ordered = {each: sorted(edges.upstream[each]) for each in sorted(edges.upstream)}
        ring = " >> ".join(_from_smallest(_cycle(ordered)))
        raise dag.subject.error(
            f"its tasks wait for each other in a cycle: {ring}; remove one of these edges"
        )


def _cycle(upstream: Mapping[str, Iterable[str]]) -> list[str]:
    try:
        TopologicalSorter(upstream).prepare()
    except CycleError as error:
        found: list[str] = error.args[1][:-1]
        return found
    return []


def _from_smallest(cycle: list[str]) -> list[str]:
    """One way to write a ring, wherever its discovery began."""
    start = cycle.index(min(cycle))
    ring = [*cycle[start:], *cycle[:start]]
    return [*ring, ring[0]]


def _check_default_args(dag: DAG) -> None:
    """Refuse default_args that no task in their reach takes: a misspelt one would do nothing."""
    _check_defaults(dag.default_args, dag.tasks, dag.subject)
    for group in dag.groups:
        if group.default_args:
            _check_defaults(group.default_args, group.tasks, group.subject)


def _class_of(task: BaseOperator) -> type[BaseOperator]:
    kind: type[BaseOperator] = getattr(task, "operator_class", type(task))
    return kind


def _check_defaults(
    defaults: Mapping[str, Any], tasks: list[BaseOperator], subject: Subject
) -> None:
    known = accepted_arguments(BaseOperator).union(
        *(accepted_arguments(kind) for kind in {_class_of(task) for task in tasks})
    )
    for name, value in defaults.items():
        if name in known or is_address_only(name, defaults):
            continue
        error = subject.unknown(name, value, known, place=" in default_args: no task takes it")
        if error is not None:
            raise error
