"""What a random DAG is made of beyond single tasks: mapped tasks, mapped groups, one in another,
setups with their teardowns, groups retried as a unit, tasks that depend on the past.

What authoring refuses is not drawn: `always` where a task is mapped, another rule than all_success
right below a setup.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.graph import build_graph
from orchestrator.core.specs import (
    ConcatLength,
    DagSpec,
    Expansion,
    GroupSpec,
    LiteralLength,
    MapInput,
    RetryPolicy,
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


def torn_down(rng: random.Random, tasks: Sequence[TaskSpec]) -> tuple[TaskSpec, ...]:
    """Make a task a setup, and add a teardown below it and some that are below it."""
    number = rng.randrange(len(tasks))
    setup = replace(tasks[number], is_setup=True, expansion=None)
    below = [task.task_id for task in tasks if setup.task_id in task.upstream]
    upstream = {setup.task_id, *(name for name in below if rng.random() < 0.7)}
    teardown = TaskSpec(
        task_id="u",
        operator="PythonOperator",
        upstream=tuple(sorted(upstream)),
        trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS,
        group_id=setup.group_id,
        is_teardown=True,
        setups=(setup.task_id,),
        on_failure_fail_dagrun=rng.random() < 0.3,
    )
    changed = (setup if task.task_id == setup.task_id else task for task in tasks)
    return *(
        replace(task, trigger_rule=TriggerRule.ALL_SUCCESS) if task.task_id in below else task
        for task in changed
    ), teardown


def retried(
    rng: random.Random, tasks: Sequence[TaskSpec], groups: Sequence[GroupSpec]
) -> tuple[tuple[TaskSpec, ...], tuple[GroupSpec, ...]]:
    """Retry the outermost group as a unit, or make one that is; not one that a way leaves and comes
    back to, which would wait for itself."""
    policy = RetryPolicy(retries=rng.choice([1, 1, 2]), delay_s=rng.choice([0.0, 20.0]))
    if not groups:
        begin = rng.randrange(len(tasks))
        end = rng.randrange(begin, len(tasks)) + 1
        tasks = [
            replace(task, group_id="r") if begin <= index < end else task
            for index, task in enumerate(tasks)
        ]
        groups = [GroupSpec(group_id="r")]
    inside = {task.task_id for task in tasks if task.group_id is not None}
    graph = build_graph(DagSpec(dag_id="d", tasks=tuple(tasks), groups=tuple(groups)))
    between = graph.descendants(inside) - inside
    if graph.descendants(between) & inside:
        return tuple(tasks), tuple(groups)
    return tuple(tasks), (replace(groups[0], retry=policy), *groups[1:])


def looking_back(rng: random.Random, tasks: Sequence[TaskSpec]) -> tuple[TaskSpec, ...]:
    """Have some tasks depend on the run before."""
    return tuple(
        replace(
            task,
            depends_on_past=rng.random() < 0.7,
            wait_for_downstream=rng.random() < 0.4,
            wait_for_past_depends_before_skipping=rng.random() < 0.3,
        )
        if rng.random() < 0.4
        else task
        for task in tasks
    )


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
