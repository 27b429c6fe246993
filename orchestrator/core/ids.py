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
