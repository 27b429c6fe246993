"""The names of things."""

from typing import NamedTuple, NewType
from uuid import UUID

DagId = NewType("DagId", str)
TaskId = NewType("TaskId", str)
RunUid = NewType("RunUid", UUID)
"""Key of a run's row; `run_id` is the name people give it, unique within its DAG."""
TiId = NewType("TiId", UUID)
"""Key of a task instance's row, and what a Celery message carries."""
VersionId = NewType("VersionId", UUID)
"""Key of a stored DAG version."""

UNMAPPED = -1
"""The map index of a task instance that is not mapped."""


RETURN_VALUE = "return_value"
"""XCom key of what a task returns."""

ALL_INDEXES = range(2**53)
"""Every map index: JSON numbers are exact up to here."""

PATH_STRIDE = 2**17
"""Indexes of one level of a nested mapping: three levels fit the 53 bits that JSON numbers keep."""
PATH_DEPTH_MAX = 3

MapPath = tuple[int, ...]
"""Where a task instance stands in the mapped groups around it, outermost first, and at last in its
own expansion. Shorter than its task's depth: not expanded yet any further."""


def index_of(path: MapPath, *, depth: int) -> int:
    """Return the map index that stands for a path of a task that is `depth` levels deep: the index
    itself of a task that is mapped once, UNMAPPED for one not mapped or not expanded yet."""
    if not path:
        return UNMAPPED
    if depth <= 1:
        return path[0]
    index = 0
    for step in (*path, *(PATH_STRIDE - 1,) * (depth - len(path))):
        index = index * PATH_STRIDE + step
    return index


def path_of(index: int, *, depth: int) -> MapPath:
    """Return the path that a map index stands for."""
    if index == UNMAPPED:
        return ()
    if depth <= 1:
        return (index,)
    path: list[int] = []
    for _ in range(depth - 1):
        index, step = divmod(index, PATH_STRIDE)
        path.append(step)
    path.append(index)
    while path[0] == PATH_STRIDE - 1:
        del path[0]
    return tuple(reversed(path))


def name_at(task_id: str, path: MapPath) -> str:
    """Name a task instance within its run for people: `task`, `task[2]`, `task[0][2]`."""
    return task_id + "".join(f"[{step}]" for step in path)


class TaskKey(NamedTuple):
    """A task instance as people name it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = UNMAPPED

    def __str__(self) -> str:
        index = "" if self.map_index == UNMAPPED else f"[{self.map_index}]"
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{index}"


class Slot(NamedTuple):
    """A task instance within its run."""

    task_id: str
    map_index: int = UNMAPPED
