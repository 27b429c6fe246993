"""Can the scheduler expand what the author wrote, and what does it need to know for that?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.core.ids import PATH_DEPTH_MAX, PATH_STRIDE
from orchestrator.core.specs import Expansion, LiteralLength, TriggerRule
from orchestrator.sdk.positions import depth_of, mapped_groups

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.mapping import ExpandInput

__all__ = ["check_mapping", "freeze_expansion"]


def freeze_expansion(expand_input: ExpandInput | None, dag: DAG) -> Expansion | None:
    """Return the expansion of a task or group; None for one that is not mapped."""
    if expand_input is None:
        return None
    return Expansion(inputs=expand_input.inputs(), limit=dag.max_map_length)


def check_mapping(dag: DAG) -> None:
    """Refuse what cannot be expanded: too deep, too long, or never waiting for its input."""
    for promise in dag.promises:
        promise.check()
    for group in dag.groups:
        if group.expand_input is not None:
            _check_length(group.expand_input, dag, group.subject)
    for task in dag.tasks:
        if task.expand_input is not None:
            _check_length(task.expand_input, dag, task.subject)
        around = mapped_groups(task)
        if around and task.trigger_rule is TriggerRule.ALWAYS:
            raise task.subject.error(
                f"trigger_rule is 'always' in the mapped group {around[-1].group_id!r}: it would "
                "not wait for what the group is expanded over; use 'all_done'"
            )
        depth = depth_of(task)
        if depth > PATH_DEPTH_MAX:
            levels = " > ".join((*(group.group_id for group in around), task.task_id))
            raise task.subject.error(
                f"it is mapped {depth} times over ({levels}); at most "
                f"{PATH_DEPTH_MAX} levels are possible: return a flat list and expand over that"
            )
        if depth > 1 and dag.max_map_length >= PATH_STRIDE:
            raise dag.subject.error(
                f"max_map_length is {dag.max_map_length:,}, but task {task.task_id!r} is mapped in "
                f"a mapped group: there at most {PATH_STRIDE - 1:,} are possible"
            )


def _check_length(expand_input: ExpandInput, dag: DAG, subject: Subject) -> None:
    inputs = expand_input.inputs()
    if not all(isinstance(each, LiteralLength) for each in inputs):
        return
    length = math.prod(each.length for each in inputs if isinstance(each, LiteralLength))
    if length > dag.max_map_length:
        raise subject.error(
            f"it is expanded to {length:,} instances; at most {dag.max_map_length:,} are allowed: "
            "give the DAG a higher max_map_length"
        )
