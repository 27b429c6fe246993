"""How a person follows a run: a live tree on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.live import Live

from orchestrator.bootstrap import Services
from orchestrator.cli.listing import all_pages
from orchestrator.cli.output import a_console, clock, duration
from orchestrator.cli.run_tree import Progress, draw_run
from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.listings import PageRequest, RunFilter, TaskInstanceFilter
from orchestrator.core.map_paths import instance_name
from orchestrator.core.states import FINISHED_RUN_STATES, TaskState
from orchestrator.core.views import RunView, TaskInstanceView
from orchestrator.errors import NotFoundError

__all__ = ["newest_run_id", "print_run", "read_progress", "resolve_run_id", "watch_run"]

_POLL_S = 0.2  # as often as a person's eye follows
_POLL_SHARE = 10  # of the time, at most a tenth is spent reading: large runs are read less often


def watch_run(
    services: Services,
    dag_id: str,
    run_id: str,
    *,
    is_quiet: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> RunView:
    """Show a run until it ends and return how it ended. `pause` sleeps between two looks."""
    console = a_console()
    progress = read_progress(services, dag_id, run_id)
    graph = build_graph(services.reads.spec(progress.run.version.version_id))
    live: Live | None = None
    if console.is_terminal and not is_quiet:
        live = Live(console=console, auto_refresh=False, vertical_overflow="ellipsis")
    report = _Report(None if is_quiet or live else console, graph)
    with live or nullcontext():
        while True:
            report.note(progress)
            if live is not None:
                live.update(draw_run(progress, graph), refresh=True)
            if progress.run.state in FINISHED_RUN_STATES:
                return progress.run
            read_since = time.monotonic()
            progress = read_progress(services, dag_id, run_id)
            pause(max(_POLL_S, _POLL_SHARE * (time.monotonic() - read_since)))


def read_progress(services: Services, dag_id: str, run_id: str) -> Progress:
    """Read a run and its task instances; raise NotFoundError, naming similar ids."""
    run = services.reads.run(dag_id, run_id)
    wanted = TaskInstanceFilter(dag_id=dag_id, run_id=run_id)
    instances: dict[str, list[TaskInstanceView]] = {}
    for ti in all_pages(lambda request: services.reads.task_instances(wanted, request)):
        instances.setdefault(ti.key.task_id, []).append(ti)
    return Progress(run=run, instances=instances, now=datetime.now(UTC))


def print_run(services: Services, progress: Progress) -> None:
    """Draw a run once."""
    graph = build_graph(services.reads.spec(progress.run.version.version_id))
    a_console().print(draw_run(progress, graph))


def newest_run_id(services: Services, dag_id: str) -> str:
    """Return the id of a DAG's newest run."""
    services.reads.dag(dag_id)  # says so if there is none
    newest = services.reads.runs(
        RunFilter(dag_id=dag_id), PageRequest(limit=1, order_by=("-run_after",))
    )
    if not newest.items:
        raise NotFoundError(
            f"DAG {dag_id!r} has no runs yet; `orchestrator dags trigger {dag_id}` starts one"
        )
    return newest.items[0].run_id


def resolve_run_id(services: Services, dag_id: str, run_id: str) -> str:
    """Return a run id as given, or the newest one's for `-`."""
    return newest_run_id(services, dag_id) if run_id == "-" else run_id


class _Report:
    """Prints what changed between two looks, one line each."""

    def __init__(self, console: Console | None, graph: Graph) -> None:
        self._console = console
        self._graph = graph
        self._run_state: str | None = None
        self._seen: dict[str, tuple[TaskState, int]] = {}

    def note(self, progress: Progress) -> None:
        if self._console is None:
            return
        run = progress.run
        if run.state not in FINISHED_RUN_STATES:
            self._note_run(run)
        changes = [ti for all_of_task in progress.instances.values() for ti in all_of_task]
        changes.sort(key=lambda ti: (ti.ended_at or ti.started_at or progress.now, str(ti.key)))
        for ti in changes:
            now = (ti.state, ti.try_number)
            if ti.state is not TaskState.NONE and self._seen.get(str(ti.key)) != now:
                self._say(ti.ended_at or ti.started_at or progress.now, _line(ti, self._graph))
            self._seen[str(ti.key)] = now
        if run.state in FINISHED_RUN_STATES:
            self._note_run(run)

    def _note_run(self, run: RunView) -> None:
        if run.state != self._run_state:
            self._run_state = run.state
            took = f" in {duration(run.duration_s)}" if run.duration_s is not None else ""
            reason = f": {run.reason}" if run.reason else ""
            at = run.ended_at or run.started_at or run.queued_at
            self._say(at, f"{run.dag_id} {run.run_id} {run.state}{took}{reason}")

    def _say(self, at: datetime, line: str) -> None:
        typer.echo(f"{clock(at)}  {line}")


def _line(ti: TaskInstanceView, graph: Graph) -> str:
    name = instance_name(Slot(ti.key.task_id, ti.key.map_index), graph.levels)
    took = f" in {duration(ti.duration_s)}" if ti.duration_s is not None else ""
    again = f" (try {ti.try_number})" if ti.try_number > 1 else ""
    reason = f": {ti.reason.splitlines()[0]}" if ti.reason else ""
    return f"  {name} {ti.state}{took}{again}{reason}"
