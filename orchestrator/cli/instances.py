"""Which task instance does a person name, and how is it written for them?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.bootstrap import Services
from orchestrator.cli.output import Output
from orchestrator.core.ids import UNMAPPED, Slot, TaskKey
from orchestrator.core.levels import Levels, levels_of
from orchestrator.core.map_paths import index_for, index_name, instance_name, read_name, read_steps
from orchestrator.core.views import RunView, TaskInstanceView
from orchestrator.errors import RequestInvalidError

__all__ = ["Named", "identity", "levels_in", "named", "named_instance"]

_NOT_MAPPED = "-1"
"""What Airflow's `--map-index` says for a task that is not mapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A task instance that a person named."""

    key: TaskKey
    name: str
    """Within its run, as people write it."""

    def __str__(self) -> str:
        return f"{self.key.dag_id}/{self.key.run_id}/{self.name}"


def levels_in(services: Services, run: RunView) -> Mapping[str, Levels]:
    """Return by what each task of a run is multiplied."""
    return levels_of(services.reads.spec(run.version.version_id))


def identity(ti: TaskInstanceView, levels: Mapping[str, Levels], output: Output) -> dict[str, Any]:
    """Return the first columns of a listing: which task instance a row is about. A program also
    reads the map index that is stored, and the name that commands take."""
    slot = Slot(ti.key.task_id, ti.key.map_index)
    rendered = {"rendered_map_index": ti.rendered_map_index}
    if output is not Output.JSON:
        return {"task_id": slot.task_id, "map_index": index_name(slot, levels) or None, **rendered}
    return {
        "task_id": slot.task_id,
        "map_index": None if slot.map_index == UNMAPPED else slot.map_index,
        "name": instance_name(slot, levels),
        **rendered,
    }


def named_instance(
    services: Services, dag_id: str, run_id: str, task: str, *, map_index: str | None
) -> Named:
    """Return the task instance that a command's arguments stand for; whether the run has it is not
    looked up. RequestInvalidError, with the cure, for a path that its task cannot have."""
    task_id, steps = read_name(task)
    if map_index is not None and map_index != _NOT_MAPPED:
        if steps is not None:
            raise RequestInvalidError(
                f"{task!r} names a map index already; leave --map-index {map_index} out"
            )
        steps = read_steps(map_index)
    levels = levels_in(services, services.reads.run(dag_id, run_id))
    key = TaskKey(dag_id, run_id, task_id, index_for(task_id, steps, levels))
    return named(key, levels)


def named(key: TaskKey, levels: Mapping[str, Levels]) -> Named:
    """Return a task instance with the name that people know it by."""
    return Named(key=key, name=instance_name(Slot(key.task_id, key.map_index), levels))
