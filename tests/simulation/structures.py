"""What a random DAG is made of beyond single tasks: mapped tasks, mapped groups, one in another.

A task here is never run `always` where it is mapped: authoring refuses that.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.specs import (
    ConcatLength,
    Expansion,
    GroupSpec,
    LiteralLength,
    MapInput,
    ReturnLength,
    TaskSpec,
    TriggerRule,
    ZipLength,
)

LENGTH_MAX = 6
"""What is mapped over more fails: some seeds draw such a one."""


def mapped(
    rng: random.Random, tasks: Sequence[TaskSpec]
) -> tuple[tuple[TaskSpec, ...], tuple[GroupSpec, ...]]:
    """Map some tasks, and some neighbours as a group; `tasks` are in topological order."""
    groups: list[GroupSpec] = []
    grouped = list(tasks)
    begin, end = 0, len(tasks)
    for group_id in ("g", "h"):
        if end - begin < 2 or rng.random() < 0.4:
            break
        begin = rng.randrange(begin, end - 1)
        end = rng.randrange(begin + 1, end) + 1
        parent_id = groups[-1].group_id if groups else None
        above = [task.task_id for task in tasks[:begin]]
        expansion = _expansion(rng, above) if rng.random() < 0.8 else None
        groups.append(GroupSpec(group_id=group_id, parent_id=parent_id, expansion=expansion))
        grouped[begin:end] = [replace(task, group_id=group_id) for task in grouped[begin:end]]
    for index, task in enumerate(grouped):
        if rng.random() < 0.3:
            above = [each.task_id for each in tasks[:index]]
            grouped[index] = _map_one(task, _expansion(rng, above))
    is_multiplied = any(group.expansion for group in groups)
    return tuple(
        replace(task, trigger_rule=TriggerRule.ALL_DONE)
        if task.trigger_rule is TriggerRule.ALWAYS
        and (task.expansion or (task.group_id and is_multiplied))
        else task
        for task in grouped
    ), tuple(groups)


def _map_one(task: TaskSpec, expansion: Expansion) -> TaskSpec:
    inputs = {name for source in expansion.inputs for name in _tasks_of(source)}
    return replace(task, expansion=expansion, upstream=tuple(sorted({*task.upstream, *inputs})))


def _expansion(rng: random.Random, above: Sequence[str]) -> Expansion:
    inputs = [_input(rng, above)]
    if rng.random() < 0.2:
        inputs.append(LiteralLength(length=rng.choice([1, 2])))
    return Expansion(inputs=tuple(inputs), limit=LENGTH_MAX)


def _input(rng: random.Random, above: Sequence[str]) -> MapInput:
    def one() -> MapInput:
        if above and rng.random() < 0.7:
            # The first ones run in most DAGs.
            return ReturnLength(task_id=rng.choice([*above, *above[:1], *above[:2]]))
        return LiteralLength(length=rng.choice([0, 1, 2, 2, 3]))

    kind = rng.random()
    if kind < 0.8:
        return one()
    if kind < 0.9:
        return ZipLength(inputs=(one(), one()), longest=rng.random() < 0.5)
    return ConcatLength(inputs=(one(), one()))


def _tasks_of(source: MapInput) -> set[str]:
    match source:
        case ReturnLength():
            return {source.task_id}
        case ZipLength() | ConcatLength():
            return {name for part in source.inputs for name in _tasks_of(part)}
        case LiteralLength():
            return set()
