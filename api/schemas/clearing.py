"""How clearing and marking look in requests and answers."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic import model_validator as validates

from api.schemas.tasks import TaskInstanceResponse, task_instance_response
from orchestrator.control import Touched
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection, Target

__all__ = [
    "ClearBody",
    "ClearedCollection",
    "PatchRunBody",
    "PatchTaskBody",
    "RunClearBody",
    "cleared_collection",
]

Note = Annotated[StrictStr, Field(max_length=1000)]
_STRICT = ConfigDict(extra="forbid")


class ClearBody(BaseModel):
    """Which task instances to clear; unless `dry_run` is false they are only listed."""

    model_config = _STRICT

    dry_run: StrictBool = True
    dag_run_id: StrictStr | None = None
    start_date: AwareDatetime | None = None
    end_date: AwareDatetime | None = None
    task_ids: list[StrictStr | tuple[StrictStr, StrictInt]] | None = Field(
        default=None, min_length=1
    )
    only_failed: StrictBool = True
    only_running: StrictBool = False
    include_upstream: StrictBool = False
    include_downstream: StrictBool = False
    include_past: StrictBool = False
    include_future: StrictBool = False
    reset_dag_runs: StrictBool = True
    run_on_latest_version: StrictBool | None = None
    prevent_running_task: StrictBool = False
    note: Note | None = None

    @validates(mode="after")
    def _is_one_thing(self) -> "ClearBody":
        if self.only_failed and self.only_running:
            raise ValueError(
                "only_failed (true unless said otherwise) and only_running together select nothing;"
                " set one of them to false"
            )
        if self.dag_run_id is not None and (self.start_date or self.end_date):
            raise ValueError("give dag_run_id, or start_date and end_date, but not both")
        return self

    def runs(self) -> RunsNamed:
        """Return which runs are meant."""
        return RunsNamed(
            run_id=self.dag_run_id,
            includes_past=self.include_past,
            includes_future=self.include_future,
            from_date=None if self.include_past else self.start_date,
            to_date=None if self.include_future else self.end_date,
        )

    def selection(self) -> Selection:
        """Return which of their task instances are meant."""
        return Selection(
            targets=None if self.task_ids is None else tuple(map(_target, self.task_ids)),
            includes_upstream=self.include_upstream,
            includes_downstream=self.include_downstream,
            only_failed=self.only_failed,
            only_running=self.only_running,
        )


class PatchTaskBody(BaseModel):
    """How task instances ended, in a person's words, or a note on them."""

    model_config = _STRICT

    new_state: Literal["success", "failed", "skipped"] | None = None
    note: Note | None = None
    include_upstream: StrictBool = False
    include_downstream: StrictBool = False
    include_past: StrictBool = False
    include_future: StrictBool = False

    def runs(self, run_id: str) -> RunsNamed:
        """Return which runs are meant."""
        return RunsNamed(
            run_id=run_id, includes_past=self.include_past, includes_future=self.include_future
        )

    def selection(self, name: str, map_index: int | None) -> Selection:
        """Return which of their task instances are meant."""
        return Selection(
            targets=(Target(name=name, map_index=map_index),),
            includes_upstream=self.include_upstream,
            includes_downstream=self.include_downstream,
        )


class RunClearBody(BaseModel):
    """How a run is to be cleared; unless `dry_run` is false it is only told what would be."""

    model_config = _STRICT

    dry_run: StrictBool = True
    only_failed: StrictBool = False
    only_new: StrictBool = False
    run_on_latest_version: StrictBool | None = None
    note: Note | None = None

    @validates(mode="after")
    def _is_one_thing(self) -> "RunClearBody":
        if self.only_failed and self.only_new:
            raise ValueError("only_failed and only_new together select nothing; give one of them")
        return self


class PatchRunBody(BaseModel):
    """What is to change of a run."""

    model_config = _STRICT

    state: Literal["queued", "success", "failed"] | None = None
    note: Note | None = None


class NewTaskResponse(BaseModel):
    """A task that has no instance yet in the run."""

    task_id: str
    task_display_name: str


class ClearedCollection(BaseModel):
    """What the clearing of a run would touch."""

    task_instances: list[TaskInstanceResponse | NewTaskResponse]
    total_entries: int


def cleared_collection(touched: Touched) -> ClearedCollection:
    """Answer what the clearing of a run would touch, new tasks last."""
    latest = touched.run.latest.tasks
    listed: list[TaskInstanceResponse | NewTaskResponse] = [
        task_instance_response(seen) for seen in touched.instances
    ]
    listed += [
        NewTaskResponse(task_id=name, task_display_name=latest[name].display_name or name)
        for name in touched.change.added
    ]
    return ClearedCollection(task_instances=listed, total_entries=len(listed))


def _target(given: str | tuple[str, int]) -> Target:
    if isinstance(given, str):
        return Target(name=given)
    name, map_index = given
    return Target(name=name, map_index=map_index)
