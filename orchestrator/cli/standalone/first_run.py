"""How the run that a standalone orchestrator was started for is made, watched and summed up."""

import os
import select
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from orchestrator.bootstrap import Services
from orchestrator.cli.session import current_user, program
from orchestrator.cli.standalone.supervisor import Supervisor
from orchestrator.cli.watching import watch_run
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import RETURN_VALUE
from orchestrator.core.listings import PageRequest
from orchestrator.core.requests import RunRequest
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, TaskState, TriggeredBy
from orchestrator.core.views import RunView
from orchestrator.errors import ConflictError, NotFoundError

__all__ = ["make_run"]

_SCAN_TIMEOUT_S = 300.0
_STEP_S = 0.05
_POOL_SLOTS = 2


def make_run(
    services: Services,
    supervisor: Supervisor,
    dag_id: str,
    conf: Mapping[str, Any] | None,
    *,
    ready_fd: int,
) -> int:
    """Trigger the DAG once its file was looked at, show the run live; return 0 if it succeeds."""
    _wait_for_scan(supervisor, ready_fd)
    dag = services.reads.dag_details(dag_id)
    if dag.dag.is_stale:
        raise NotFoundError(_missing(services, dag_id))
    if dag.dag.is_paused:
        raise ConflictError(
            f"DAG {dag_id!r} is paused, so a run of it would wait; "
            f"`{program()} dags unpause {dag_id}` first"
        )
    _make_pools(services, dag.spec)
    run = services.control.trigger(
        dag_id,
        RunRequest(conf=conf, logical_date=datetime.now(UTC)),
        triggered_by=TriggeredBy.CLI,
        user=current_user(),
    )
    run = watch_run(services, dag_id, run.run_id, pause=supervisor.wait)
    _sum_up(services, run, dag.spec)
    return 0 if run.state is RunState.SUCCESS else 1


def _wait_for_scan(supervisor: Supervisor, ready_fd: int) -> None:
    waited_s = 0.0
    while not select.select([ready_fd], [], [], 0)[0] and waited_s < _SCAN_TIMEOUT_S:
        supervisor.wait(_STEP_S)
        waited_s += _STEP_S


def _missing(services: Services, dag_id: str) -> str:
    broken = services.reads.import_errors(PageRequest(limit=1)).items
    hint = f"; a file does not import: {broken[0].message}" if broken else ""
    return f"no file in {services.settings.dags_folder} defines DAG {dag_id!r}{hint}"


def _make_pools(services: Services, spec: DagSpec) -> None:
    """Make the pools that the DAG names and nobody has made: alone on a machine, waiting for an
    operator to do so would be waiting for oneself."""
    for name in sorted({task.pool for task in spec.tasks}):
        try:
            services.reads.pool(name)
        except NotFoundError:
            services.control.create_pool(name, slots=_POOL_SLOTS)
            typer.echo(
                f"made pool {name} with {_POOL_SLOTS} slots; "
                f"`{program()} pools set {name} SLOTS` changes it"
            )


def _sum_up(services: Services, run: RunView, spec: DagSpec) -> None:
    if run.state is not RunState.SUCCESS:
        typer.echo(f"\nrun {run.run_id} failed: {run.reason or 'see its tasks'}")
        typer.echo(f"  read a log: {program()} tasks log {run.dag_id} {run.run_id} TASK_ID")
        return
    for path in _files_returned(services, run, spec):
        typer.echo(f"\n  result             {path}")


def _files_returned(services: Services, run: RunView, spec: DagSpec) -> list[Path]:
    """Return the files whose paths the DAG's last tasks returned. One that is mapped may have
    returned any number: those are for whoever looks at it."""
    found = []
    graph = build_graph(spec)
    for task_id in graph.leaves:
        if graph.depth(task_id) > 0:
            continue
        ti = services.reads.task_instance(run.dag_id, run.run_id, task_id)
        if ti.state is not TaskState.SUCCESS:
            continue
        try:
            value = services.reads.xcom(run.dag_id, run.run_id, task_id, RETURN_VALUE).value
        except NotFoundError:
            continue
        if isinstance(value, str) and os.sep in value and Path(value).is_file():
            found.append(Path(value))
    return found
