"""How does an authored task become the one that a try executes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.levels import enclosing_groups, inputs_of
from orchestrator.core.specs import DagSpec
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.mapped_operators import MappedOperator
from orchestrator.sdk.masking import mask
from orchestrator.sdk.references import Reference
from orchestrator.sdk.templates import render, render_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.sdk.context import Context
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["MAP_NAME_LENGTH_MAX", "map_name_of", "prepare", "tasks_mapped_over"]

MAP_NAME_LENGTH_MAX = 250


def prepare(authored: BaseOperator, context: Context) -> BaseOperator:
    """Return a copy of a task with this try's values; of a mapped task the operator that its map
    index stands for. A `.map` function may skip the index by raising."""
    if not isinstance(authored, MappedOperator):
        return render(authored, context)
    task, pulled = authored.unmap(context["ti"].position.path[-1], context)
    for name, value in vars(task).items():
        if isinstance(value, Reference) and name not in task.template_fields:
            raise TaskException(
                f"argument {name!r} is given {value!r}, but {task.operator_name} resolves outputs "
                f"only in its template_fields {tuple(task.template_fields)!r}; name it there"
            )
    return render(task, context, pulled=pulled)


def tasks_mapped_over(task_id: str, dag: DAG, spec: DagSpec) -> tuple[str, ...]:
    """Return the tasks and groups that have as many instances as one result of a task is long.

    One outside of the task's mapped groups, or beside a mapped task, has one for each of the task's
    instances instead, whatever they return."""
    known: tuple[DagSpec, Mapping[str, tuple[str, ...]]] | None = dag.__dict__.get("_mapped_over")
    if known is None or known[0] is not spec:
        # Once for a DAG and not for each of its tries: it looks at every task.
        known = dag.__dict__["_mapped_over"] = (spec, _mapped_over(spec))
    return known[1].get(task_id, ())


def _mapped_over(spec: DagSpec) -> dict[str, tuple[str, ...]]:
    groups = {group.group_id: group for group in spec.groups}
    tasks = {task.task_id: task for task in spec.tasks}

    def mapped_around(home: str | None) -> set[str]:
        around = enclosing_groups(home, groups)
        return {group.group_id for group in around if group.expansion is not None}

    takers = [(each.task_id, each.group_id, each.expansion) for each in spec.tasks]
    takers += [(each.group_id, each.parent_id, each.expansion) for each in spec.groups]
    found: dict[str, tuple[str, ...]] = {}
    for name, home, expansion in takers:
        sources = () if expansion is None else expansion.inputs
        for task_id in dict.fromkeys(each for source in sources for each in inputs_of(source)):
            above = tasks[task_id]
            if above.expansion is None and mapped_around(above.group_id) <= mapped_around(home):
                found[task_id] = (*found.get(task_id, ()), name)
    return found


def map_name_of(authored: BaseOperator, context: Context) -> str | None:
    """Return what a task's map_index_template makes of a try: the name of its map index. Names that
    the task put into the context can be in it."""
    template = authored.map_index_template
    if template is None or not context["ti"].position.path:
        return None
    name = render_text(template, authored, field="map_index_template", context=context)
    return mask(str(name))[:MAP_NAME_LENGTH_MAX]
