"""By what is a task multiplied, and which instances of two tasks belong together?

A task in mapped groups, or mapped itself, has levels: the mapped groups around it, outermost first,
and at last its own expansion. An instance's map path has one step for each level. Two tasks share
the mapped groups that are around both: along these, index i depends on index i; beyond them, on all
indexes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from orchestrator.core.specs import (
    ConcatLength,
    DagSpec,
    Expansion,
    GroupSpec,
    LiteralLength,
    MapInput,
    ReturnLength,
    TaskSpec,
    ZipLength,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One multiplication of a task: by a mapped group (`name` is its id) or its own (the task's).
    `inputs` are the tasks whose results are mapped over, each once, in the author's order."""

    name: str
    expansion: Expansion
    is_own: bool
    inputs: tuple[str, ...]


Levels = tuple[Level, ...]


def levels_of(spec: DagSpec) -> dict[str, Levels]:
    """Return each task's levels."""
    groups = {group.group_id: group for group in spec.groups}
    return {task.task_id: _levels(task, groups) for task in spec.tasks}


def shared_groups(one: Levels, other: Levels) -> int:
    """Return around how many mapped groups both tasks are: the steps their paths have in common."""
    shared = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine.is_own or theirs.is_own or mine.name != theirs.name:
            break
        shared += 1
    return shared


def groups_around(levels: Levels) -> int:
    """Return how many of the levels are mapped groups: there a rule looks at its upstream."""
    return len(levels) - bool(levels and levels[-1].is_own)


def enclosing_groups(
    group_id: str | None, groups: Mapping[str, GroupSpec]
) -> tuple[GroupSpec, ...]:
    """Return a group and those around it, innermost first."""
    around: list[GroupSpec] = []
    while group_id is not None:
        around.append(groups[group_id])
        group_id = groups[group_id].parent_id
    return tuple(around)


def inputs_of(source: MapInput) -> tuple[str, ...]:
    """Return the tasks whose results make up one input."""
    match source:
        case LiteralLength():
            return ()
        case ReturnLength():
            return (source.task_id,)
        case ZipLength() | ConcatLength():
            return tuple(task_id for part in source.inputs for task_id in inputs_of(part))
        case _:
            assert_never(source)


def _levels(task: TaskSpec, groups: Mapping[str, GroupSpec]) -> Levels:
    around = reversed(enclosing_groups(task.group_id, groups))
    levels = [
        _level(group.group_id, group.expansion, is_own=False)
        for group in around
        if group.expansion is not None
    ]
    if task.expansion is not None:
        levels.append(_level(task.task_id, task.expansion, is_own=True))
    return tuple(levels)


def _level(name: str, expansion: Expansion, *, is_own: bool) -> Level:
    inputs = (task_id for source in expansion.inputs for task_id in inputs_of(source))
    return Level(name=name, expansion=expansion, is_own=is_own, inputs=tuple(dict.fromkeys(inputs)))
