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
    from orchestrator.sdk.context import Context
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


def tasks_mapped_over(task_id: str, dag: DagSpec) -> tuple[str, ...]:
    """Return the tasks and groups that have as many instances as one result of a task is long.

    One outside of the task's mapped groups, or beside a mapped task, has one for each of the task's
    instances instead, whatever they return."""
    takers = [(each.task_id, each.group_id, each.expansion) for each in dag.tasks]
    takers += [(each.group_id, each.parent_id, each.expansion) for each in dag.groups]
    found = [
        (name, home)
        for name, home, expansion in takers
        if expansion is not None
        and any(task_id in inputs_of(source) for source in expansion.inputs)
    ]
    if not found:
        return ()
    groups = {group.group_id: group for group in dag.groups}

    def mapped_around(home: str | None) -> set[str]:
        around = enclosing_groups(home, groups)
        return {group.group_id for group in around if group.expansion is not None}

    mine = next(each for each in dag.tasks if each.task_id == task_id)
    if mine.expansion is not None:
        return ()
    around_mine = mapped_around(mine.group_id)
    return tuple(name for name, home in found if around_mine <= mapped_around(home))


def map_name_of(authored: BaseOperator, context: Context) -> str | None:
    """Return what a task's map_index_template makes of a try: the name of its map index. Names that
    the task put into the context can be in it."""
    template = authored.map_index_template
    if template is None or not context["ti"].position.path:
        return None
    name = render_text(template, authored, field="map_index_template", context=context)
    return mask(str(name))[:MAP_NAME_LENGTH_MAX]
