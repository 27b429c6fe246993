"""Clearing and marking: what runs again, and what a person says has ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.context import Context
from api.parameters import Index
from api.problems import problem
from api.schemas.clearing import (
    ClearBody,
    ClearedCollection,
    PatchRunBody,
    PatchTaskBody,
    RunClearBody,
    cleared_collection,
)
from api.schemas.runs import RunResponse, run_response
from api.schemas.tasks import TaskInstanceCollection, task_instance_collection
from orchestrator.bootstrap import Services
from orchestrator.control import Touched
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.listings import Page, PageRequest, TaskInstanceFilter
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection
from orchestrator.core.states import RunState, TaskState
from orchestrator.core.views import TaskInstanceView
from orchestrator.errors import ConflictError, RequestInvalidError, did_you_mean

__all__ = ["router"]

router = APIRouter(prefix="/dags/{dag_id}")

RUN = "/dagRuns/{dag_run_id}"
TASK = RUN + "/taskInstances/{task_id}"
GROUP = RUN + "/taskGroupInstances/{group_id}"
Mask = Annotated[list[str], Query()]


@router.post("/clearTaskInstances", tags=["Task Instance"], response_model=TaskInstanceCollection)
def post_clear_task_instances(context: Context, dag_id: str, body: ClearBody) -> Any:
    """Have task instances run again, or (dry_run) list those that would."""
    if body.dag_run_id is not None and (body.include_past or body.include_future):
        undated = _undated(context, dag_id, body.dag_run_id)
        if undated is not None:
            return undated
    touched = context.clearing.clear(
        dag_id,
        body.runs(),
        body.selection(),
        dry_run=body.dry_run,
        resets_runs=body.reset_dag_runs,
        on_latest=bool(body.run_on_latest_version),
        prevents_running=body.prevent_running_task,
        note=body.note,
    )
    return _collection([seen for one in touched for seen in one.instances])


@router.post(RUN + "/clear", tags=["DagRun"])
def clear_dag_run(
    context: Context, dag_id: str, dag_run_id: str, body: RunClearBody
) -> ClearedCollection | RunResponse:
    """Have a run start over, or (dry_run) list what of it would run again."""
    if body.only_new:
        touched = context.clearing.add_new_tasks(dag_id, dag_run_id, dry_run=body.dry_run)
    else:
        (touched,) = context.clearing.clear(
            dag_id,
            RunsNamed(run_id=dag_run_id),
            Selection(only_failed=body.only_failed),
            dry_run=body.dry_run,
            on_latest=bool(body.run_on_latest_version),
        )
    if body.dry_run:
        return cleared_collection(touched)
    if body.note is not None:
        context.clearing.note_run(dag_id, dag_run_id, body.note)
    return run_response(context.reads.run(dag_id, dag_run_id))


@router.patch(RUN, tags=["DagRun"])
def patch_dag_run(
    context: Context,
    dag_id: str,
    dag_run_id: str,
    body: PatchRunBody,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> RunResponse:
    """Say how a run ended, have it decided anew, or set its note."""
    changes = _changes(body, update_mask, ("state", "note"))
    if changes.get("state") is not None:
        context.clearing.mark_run(dag_id, dag_run_id, RunState(changes["state"]), dry_run=False)
    if "note" in changes:
        context.clearing.note_run(dag_id, dag_run_id, changes["note"])
    return run_response(context.reads.run(dag_id, dag_run_id))


@router.patch(TASK + "/dry_run", tags=["Task Instance"], response_model=TaskInstanceCollection)
def patch_task_instance_dry_run(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    body: PatchTaskBody,
    map_index: Index | None = None,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """List the task instances whose state would change."""
    asked = _Asked(context, dag_id, dag_run_id, task_id, map_index, dry_run=True)
    return asked.patch(body, update_mask)


@router.patch(TASK, tags=["Task Instance"], response_model=TaskInstanceCollection)
def patch_task_instance(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    body: PatchTaskBody,
    map_index: Index | None = None,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Say how a task's instances ended (of a mapped one, all), or set their note."""
    asked = _Asked(context, dag_id, dag_run_id, task_id, map_index, dry_run=False)
    return asked.patch(body, update_mask)


@router.patch(
    TASK + "/{map_index}/dry_run", tags=["Task Instance"], response_model=TaskInstanceCollection
)
def patch_task_instance_dry_run_by_map_index(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: Index,
    body: PatchTaskBody,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """List the task instances whose state would change."""
    asked = _Asked(context, dag_id, dag_run_id, task_id, map_index, dry_run=True)
    return asked.patch(body, update_mask)


@router.patch(TASK + "/{map_index}", tags=["Task Instance"], response_model=TaskInstanceCollection)
def patch_task_instance_by_map_index(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: Index,
    body: PatchTaskBody,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Say how one instance of a mapped task ended, or set its note."""
    asked = _Asked(context, dag_id, dag_run_id, task_id, map_index, dry_run=False)
    return asked.patch(body, update_mask)


@router.patch(GROUP + "/dry_run", tags=["Task Instance"], response_model=TaskInstanceCollection)
def patch_task_group_instances_dry_run(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    group_id: str,
    body: PatchTaskBody,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """List the task instances of a group whose state would change."""
    asked = _Asked(context, dag_id, dag_run_id, group_id, None, dry_run=True)
    return asked.patch(body, update_mask)


@router.patch(GROUP, tags=["Task Instance"], response_model=TaskInstanceCollection)
def patch_task_group_instances(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    group_id: str,
    body: PatchTaskBody,
    update_mask: Mask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Say how the task instances of a group ended, or set their note."""
    asked = _Asked(context, dag_id, dag_run_id, group_id, None, dry_run=False)
    return asked.patch(body, update_mask)


class _Asked:
    """What a PATCH of task instances is about."""

    def __init__(
        self,
        context: Services,
        dag_id: str,
        run_id: str,
        name: str,
        map_index: int | None,
        *,
        dry_run: bool,
    ) -> None:
        self._context = context
        self._dag_id = dag_id
        self._run_id = run_id
        self._name = name
        self._map_index = map_index
        self._dry_run = dry_run

    def patch(self, body: PatchTaskBody, update_mask: list[str]) -> Any:
        """Mark, or set the note, or both; answer the task instances that this is about."""
        changes = _changes(body, update_mask, ("new_state", "note"))
        if body.include_past or body.include_future:
            undated = _undated(self._context, self._dag_id, self._run_id)
            if undated is not None:
                return undated
        runs = body.runs(self._run_id)
        selection = body.selection(self._name, self._map_index)
        if changes.get("new_state") is not None:
            marked = self._mark(runs, selection, TaskState(changes["new_state"]))
        else:
            marked = self._of(selection)
        if "note" in changes and not self._dry_run:
            noted = self._context.clearing.note_tasks(
                self._dag_id, runs, selection, changes["note"]
            )
            notes = {seen.ti_id: seen for seen in noted}
            marked = [notes.get(seen.ti_id, seen) for seen in marked]
        return _collection(marked)

    def _mark(
        self, runs: RunsNamed, selection: Selection, state: TaskState
    ) -> list[TaskInstanceView]:
        touched = self._context.clearing.mark(
            self._dag_id, runs, selection, state, dry_run=self._dry_run
        )
        marked = [seen for one in touched for seen in _marked(one)]
        if not marked and not self._dry_run:
            self._of(selection)
            raise ConflictError(
                f"{self._name!r} in run {self._run_id!r} of DAG {self._dag_id!r} is {state} already"
            )
        return marked

    def _of(self, selection: Selection) -> list[TaskInstanceView]:
        """Return what the selection names in the run itself, or say that it does not exist yet."""
        found = self._context.clearing.named(
            self._dag_id, RunsNamed(run_id=self._run_id), selection
        )
        if not found:
            wanted = TaskInstanceFilter(dag_id=self._dag_id, run_id=self._run_id)
            if not self._context.reads.task_instances(wanted, PageRequest(limit=1)).total:
                self._context.reads.require_task(self._dag_id, self._run_id, self._name)
        return list(found)


def _marked(touched: Touched) -> list[TaskInstanceView]:
    """Return what was marked, without what was cleared below it."""
    marked = {move.slot for move in touched.change.moves if move.event is not TaskEvent.CLEARED}
    return [
        seen for seen in touched.instances if Slot(seen.key.task_id, seen.key.map_index) in marked
    ]


def _changes(
    body: PatchTaskBody | PatchRunBody, update_mask: list[str], changeable: tuple[str, ...]
) -> dict[str, Any]:
    """Return what a body says of the fields that the mask names, or of all."""
    for name in update_mask:
        if name not in changeable:
            raise RequestInvalidError(
                f"update_mask names {name[:80]!r}; {' and '.join(changeable)} can be changed"
                f"{did_you_mean(name, changeable)}"
            )
    said = body.model_dump(include=set(changeable), exclude_unset=True)
    return {name: value for name, value in said.items() if not update_mask or name in update_mask}


def _undated(context: Services, dag_id: str, run_id: str) -> Any:
    """Return the refusal for a run that has no earlier nor later ones; None if it has."""
    if context.reads.run(dag_id, run_id).logical_date is not None:
        return None
    return problem(
        400,
        f"run {run_id!r} of DAG {dag_id!r} has no logical date, so none is before or after it; "
        "leave include_past and include_future out",
    )


def _collection(seen: list[TaskInstanceView]) -> TaskInstanceCollection:
    return task_instance_collection(
        Page(items=tuple(seen), total=len(seen), next_cursor=None, previous_cursor=None)
    )
