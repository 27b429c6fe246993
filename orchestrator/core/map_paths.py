"""How do people write and read which instance of a mapped task they mean?

A path is written `[1][0]` or `[1,0]` behind a task's name, or `1,0` alone; `*` at the end stands
for levels at which the instance is not expanded yet.
"""

import re
from collections.abc import Mapping

from orchestrator.core.ids import (
    ALL_INDEXES,
    PATH_STRIDE,
    UNMAPPED,
    MapPath,
    Slot,
    index_of,
    path_of,
)
from orchestrator.core.levels import Levels
from orchestrator.errors import RequestInvalidError

__all__ = [
    "Steps",
    "check_steps",
    "index_for",
    "index_name",
    "instance_name",
    "read_name",
    "read_steps",
]

Steps = tuple[int | None, ...]
"""A path as a person wrote it, before its task's depth is known: None is a `*`."""

_STEP_MAX = PATH_STRIDE - 2
"""The last index of one level of a nested mapping: the one above says not expanded yet."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_BRACKETS = re.compile(r"(\[[^\[\]]*\])+")
_CURE = "write task[3], or task[1][0] if it is mapped at two levels"


def read_name(text: str) -> tuple[str, Steps | None]:
    """Split what a person wrote into a task's name and the path behind it; None without one."""
    name, bracket, rest = text.partition("[")
    if not bracket:
        return text, None
    behind = bracket + rest
    if not name or not _BRACKETS.fullmatch(behind):
        raise RequestInvalidError(f"{text[:80]!r} does not name a map index; {_CURE}")
    return name, _steps(behind[1:-1].replace("][", ","), written=text)


def read_steps(text: str) -> Steps:
    """Read a path that stands alone: `3`, `1,0`, `[1][0]`."""
    if _BRACKETS.fullmatch(text):
        return _steps(text[1:-1].replace("][", ","), written=text)
    return _steps(text, written=text)


def check_steps(task_id: str, steps: Steps, *, depth: int) -> MapPath:
    """Return the path that was meant of a task `depth` levels deep; RequestInvalidError if the
    number of steps is another. Whether the run has such an instance is not known here."""
    levels = max(depth, 1)  # of a task that is not mapped, another version may have left indexes
    path = tuple(step for step in steps if step is not None)
    if len(steps) != levels:
        written = _written(steps)
        raise RequestInvalidError(
            f"{task_id}{written} has {_numbers(len(steps))}, but task {task_id!r} is "
            f"{_mapped(depth)}; {_cure(task_id, steps, depth)}"
        )
    last = ALL_INDEXES.stop - 1 if levels == 1 else _STEP_MAX
    for step in path:
        if step > last:
            raise RequestInvalidError(
                f"map index {step} in {task_id}{_written(steps)} is too large; a level of a "
                f"mapping {levels} deep has 0 to {last}"
            )
    return path


def instance_name(slot: Slot, levels: Mapping[str, Levels]) -> str:
    """Name a task instance within its run as people write it: `task[3]`, `task[1][*]`."""
    return slot.task_id + _brackets(slot, levels)


def index_name(slot: Slot, levels: Mapping[str, Levels]) -> str:
    """Name a map index alone: `3`, or `[1][0]` at several levels; nothing for one not mapped."""
    named = _brackets(slot, levels)
    return named if named.count("[") > 1 else named[1:-1]


def index_for(task_id: str, steps: Steps | None, levels: Mapping[str, Levels]) -> int:
    """Return the map index of the task instance that was meant; UNMAPPED without a path."""
    if steps is None:
        return UNMAPPED
    depth = len(levels[task_id]) if task_id in levels else len(steps)
    return index_of(check_steps(task_id, steps, depth=depth), depth=depth)


def _brackets(slot: Slot, levels: Mapping[str, Levels]) -> str:
    if slot.map_index == UNMAPPED:
        return ""
    # Of a task that is gone since nobody knows the depth: what is stored is shown.
    depth = len(levels.get(slot.task_id, ()))
    path = path_of(slot.map_index, depth=depth)
    return _written((*path, *(None,) * (depth - len(path))))


def _steps(text: str, *, written: str) -> Steps:
    steps: list[int | None] = []
    for part in text.split(","):
        step = part.strip()
        if step == "*":
            steps.append(None)
        elif not _NUMBER.fullmatch(step):
            raise RequestInvalidError(
                f"{step[:40]!r} in {written[:80]!r} is no map index; use numbers from 0 on: {_CURE}"
            )
        elif None in steps:
            raise RequestInvalidError(
                f"{written[:80]!r} has a number behind a *; a * stands for the last levels, "
                "so name the outer ones first, as in task[1][*]"
            )
        else:
            steps.append(int(step))
    return tuple(steps)


def _written(steps: Steps) -> str:
    return "".join("[*]" if step is None else f"[{step}]" for step in steps)


def _numbers(count: int) -> str:
    return "1 map index" if count == 1 else f"{count} map indexes"


def _mapped(depth: int) -> str:
    match depth:
        case 0:
            return "not mapped"
        case 1:
            return "mapped at one level"
        case _:
            return f"mapped at {depth} levels"


def _cure(task_id: str, steps: Steps, depth: int) -> str:
    if depth == 0:
        return "leave them out"
    example = (*steps, *(0,) * depth)[:depth]
    if None in example[:-1]:
        example = (0,) * depth
    return f"name one for each, as in {task_id}{_written(example)}"
