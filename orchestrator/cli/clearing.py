"""How a person has tasks run again, or says how they ended, at a terminal?

Every command first lists what it would touch and asks; `--yes` does it at once. With `--output
json` and without `--yes` it only tells a program what it would do.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Output, OutputOption, show_json, show_rows
from orchestrator.cli.runs import DagArgument
from orchestrator.cli.session import current_user, open_session, parse_instant

if TYPE_CHECKING:
    from orchestrator.bootstrap import Services
    from orchestrator.control import Touched
    from orchestrator.core.selection import Target

__all__ = ["clear_dag", "clear_run", "clear_tasks", "mark_run", "mark_tasks", "note_run"]

ROWS_SHOWN_MAX = 50

RunArgument = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run; `-` is the newest.")]
TasksArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TASK...",
        help="Tasks or task groups; `task[3]`, `task[1][0]` are one map index. All if left out.",
    ),
]
MarkedArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="TASK...", help="Tasks or task groups; `task[3]`, `task[1][0]` are one map index."
    ),
]
UpstreamOption = Annotated[bool, typer.Option("--upstream", help="Also all tasks above them.")]
DownstreamOption = Annotated[bool, typer.Option("--downstream", help="Also all tasks below them.")]
FailedOption = Annotated[
    bool, typer.Option("--only-failed", help="Of these only what failed or is upstream_failed.")
]
RunningOption = Annotated[bool, typer.Option("--only-running", help="Of these only what runs.")]
PastOption = Annotated[
    bool, typer.Option("--past", help="Also in the runs of earlier logical dates.")
]
FutureOption = Annotated[
    bool, typer.Option("--future", help="Also in the runs of later logical dates.")
]
LatestOption = Annotated[
    bool, typer.Option("--latest-version", help="Go on with the DAG's current version.")
]
NoteOption = Annotated[str | None, typer.Option(help="A remark that stays with what was touched.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]

Action = Callable[..., "tuple[Touched, ...]"]


def clear_tasks(
    *,
    dag_id: DagArgument,
    run_id: RunArgument,
    tasks: TasksArgument = None,
    upstream: UpstreamOption = False,
    downstream: DownstreamOption = False,
    only_failed: FailedOption = False,
    only_running: RunningOption = False,
    past: PastOption = False,
    future: FutureOption = False,
    latest_version: LatestOption = False,
    note: NoteOption = None,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have tasks run again, with the setups they need and their teardowns."""
    from orchestrator.core.requests import RunsNamed  # noqa: PLC0415 - heavy
    from orchestrator.core.selection import Selection  # noqa: PLC0415 - heavy

    selection = Selection(
        targets=tuple(map(_target, tasks)) if tasks else None,
        includes_upstream=upstream,
        includes_downstream=downstream,
        only_failed=only_failed,
        only_running=only_running,
    )

    def clear(services: "Services", *, dry_run: bool) -> "tuple[Touched, ...]":
        runs = RunsNamed(
            run_id=_resolved(services, dag_id, run_id), includes_past=past, includes_future=future
        )
        return services.clearing.clear(
            dag_id,
            runs,
            selection,
            dry_run=dry_run,
            on_latest=latest_version,
            note=note,
            user=current_user(),
        )

    _carry_out("clear", dag_id, clear, yes=yes, output=output)


def mark_tasks(
    *,
    state: Annotated[str, typer.Argument(metavar="STATE", help="success, failed or skipped.")],
    dag_id: DagArgument,
    run_id: RunArgument,
    tasks: MarkedArgument,
    upstream: UpstreamOption = False,
    downstream: DownstreamOption = False,
    past: PastOption = False,
    future: FutureOption = False,
    note: NoteOption = None,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how tasks ended; what failed below them runs again."""
    from orchestrator.control.clearing import task_state_to_set  # noqa: PLC0415 - heavy
    from orchestrator.core.requests import RunsNamed  # noqa: PLC0415 - heavy
    from orchestrator.core.selection import Selection  # noqa: PLC0415 - heavy

    wanted = task_state_to_set(state)
    selection = Selection(
        targets=tuple(map(_target, tasks)),
        includes_upstream=upstream,
        includes_downstream=downstream,
    )

    def mark(services: "Services", *, dry_run: bool) -> "tuple[Touched, ...]":
        runs = RunsNamed(
            run_id=_resolved(services, dag_id, run_id), includes_past=past, includes_future=future
        )
        user = current_user()
        return services.clearing.mark(
            dag_id, runs, selection, wanted, dry_run=dry_run, note=note, user=user
        )

    _carry_out("mark", dag_id, mark, yes=yes, output=output)


def clear_run(
    *,
    dag_id: DagArgument,
    run_id: RunArgument,
    only_failed: FailedOption = False,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Only tasks that the current version added.")
    ] = False,
    latest_version: LatestOption = False,
    note: NoteOption = None,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have a whole run start over."""
    from orchestrator.core.requests import RunsNamed  # noqa: PLC0415 - heavy
    from orchestrator.core.selection import Selection  # noqa: PLC0415 - heavy

    if only_failed and only_new:
        raise typer.BadParameter("--only-failed and --only-new together select nothing")

    def clear(services: "Services", *, dry_run: bool) -> "tuple[Touched, ...]":
        run, user = _resolved(services, dag_id, run_id), current_user()
        touched: tuple[Touched, ...]
        if only_new:
            touched = (services.clearing.add_new_tasks(dag_id, run, dry_run=dry_run, user=user),)
        else:
            touched = services.clearing.clear(
                dag_id,
                RunsNamed(run_id=run),
                Selection(only_failed=only_failed),
                dry_run=dry_run,
                on_latest=latest_version,
                user=user,
            )
        if note is not None and not dry_run:
            services.clearing.note_run(dag_id, run, note)
        return touched

    _carry_out("clear", dag_id, clear, yes=yes, output=output)


def mark_run(
    *,
    state: Annotated[str, typer.Argument(metavar="STATE", help="success, failed or queued.")],
    dag_id: DagArgument,
    run_id: RunArgument,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a run as success or failed, once its teardowns are done; `queued` decides it anew."""
    from orchestrator.control.clearing import run_state_to_set  # noqa: PLC0415 - heavy

    wanted = run_state_to_set(state)

    def mark(services: "Services", *, dry_run: bool) -> "tuple[Touched, ...]":
        run, user = _resolved(services, dag_id, run_id), current_user()
        return (services.clearing.mark_run(dag_id, run, wanted, dry_run=dry_run, user=user),)

    _carry_out("mark", dag_id, mark, yes=yes, output=output)


def clear_dag(
    *,
    dag_id: DagArgument,
    tasks: TasksArgument = None,
    from_date: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From this logical date on.")
    ] = None,
    to_date: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Up to this logical date.")
    ] = None,
    downstream: DownstreamOption = False,
    only_failed: FailedOption = False,
    latest_version: LatestOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have tasks run again in all runs of a DAG whose logical date is in a range."""
    from orchestrator.core.requests import RunsNamed  # noqa: PLC0415 - heavy
    from orchestrator.core.selection import Selection  # noqa: PLC0415 - heavy

    runs = RunsNamed(from_date=parse_instant(from_date), to_date=parse_instant(to_date))
    selection = Selection(
        targets=tuple(map(_target, tasks)) if tasks else None,
        includes_downstream=downstream,
        only_failed=only_failed,
    )

    def clear(services: "Services", *, dry_run: bool) -> "tuple[Touched, ...]":
        user = current_user()
        return services.clearing.clear(
            dag_id, runs, selection, dry_run=dry_run, on_latest=latest_version, user=user
        )

    _carry_out("clear", dag_id, clear, yes=yes, output=output)


def note_run(
    dag_id: DagArgument,
    run_id: RunArgument,
    note: Annotated[str, typer.Argument(help="The remark; '' removes it.")],
) -> None:
    """Set or remove a run's note."""
    with open_session() as services:
        run = _resolved(services, dag_id, run_id)
        services.clearing.note_run(dag_id, run, note or None)
    typer.echo(f"{dag_id} {run} " + ("has the note" if note else "has no note"))


def _carry_out(verb: str, dag_id: str, action: Action, *, yes: bool, output: Output) -> None:
    with open_session() as services:
        if not yes:
            foreseen = [one for one in action(services, dry_run=True) if not one.change.is_empty]
            if output is Output.JSON:
                show_json(_as_json(foreseen, dry_run=True))
                return
            if not foreseen:
                typer.echo(f"there is nothing to {verb}")
                return
            _show(foreseen)
            typer.confirm(f"{verb} {_in_numbers(foreseen)}?", abort=True)
        done = [one for one in action(services, dry_run=False) if not one.change.is_empty]
        if output is Output.JSON:
            show_json(_as_json(done, dry_run=False))
            return
        past = {"clear": "cleared", "mark": "marked"}[verb]
        typer.echo(f"{past} {_in_numbers(done)}" if done else f"there is nothing to {verb}")
        _warn(services, dag_id, done)


def _warn(services: "Services", dag_id: str, done: "list[Touched]") -> None:
    """Say what keeps the runs that were queued from starting."""
    if not any(one.change.run_state == "queued" for one in done):
        return
    if services.reads.dag(dag_id).is_paused:
        typer.echo(
            f"{dag_id} is paused: what is queued starts with `orchestrator dags unpause {dag_id}`",
            err=True,
        )
    elif not services.reads.scheduler_pulse().alive:
        typer.echo("no scheduler is alive: what is queued starts when one is started", err=True)


def _show(foreseen: "list[Touched]") -> None:
    rows = [row for one in foreseen for row in _rows(one)]
    show_rows(rows[:ROWS_SHOWN_MAX], Output.TABLE, empty="no task instance is touched")
    if len(rows) > ROWS_SHOWN_MAX:
        typer.echo(f"... and {len(rows) - ROWS_SHOWN_MAX} more")
    for one in foreseen:
        after = _run_after(one)
        if after is not None:
            typer.echo(f"run {one.run.run_id}: {one.run.state} -> {after}")


def _rows(touched: "Touched") -> list[dict[str, Any]]:
    from orchestrator.core.lifecycle import TRANSITIONS  # noqa: PLC0415 - heavy
    from orchestrator.core.map_paths import instance_name  # noqa: PLC0415 - heavy

    # A task instance that is cleared to be removed has two moves: the last one stands.
    becomes = {move.slot: TRANSITIONS[move.event].target for move in touched.change.moves}
    rows: list[dict[str, Any]] = [
        {
            "run_id": touched.run.run_id,
            "task": instance_name(slot, touched.run.graph.levels),
            "state": touched.run.instances[slot].state if slot in touched.run.instances else None,
            "becomes": state,
        }
        for slot, state in becomes.items()
    ]
    rows += [
        {"run_id": touched.run.run_id, "task": task_id, "state": None, "becomes": "new"}
        for task_id in touched.change.added
    ]
    return rows


def _run_after(touched: "Touched") -> str | None:
    if touched.change.fails_later is not None:
        return "failed, once its teardowns are done"
    state = touched.change.run_state
    return None if state is None else str(state)


def _as_json(touched: "list[Touched]", *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "runs": [
            {
                "run_id": one.run.run_id,
                "state": str(one.run.state),
                "becomes": _run_after(one) or str(one.run.state),
                "tasks": [
                    {name: value for name, value in row.items() if name != "run_id"}
                    for row in _rows(one)
                ],
            }
            for one in touched
        ],
    }


def _in_numbers(touched: "list[Touched]") -> str:
    count = sum(len(one.change.touched) + len(one.change.added) for one in touched)
    instances = "1 task instance" if count == 1 else f"{count} task instances"
    if len(touched) == 1:
        return f"{instances} of {touched[0].run}"
    return f"{instances} of {len(touched)} runs"


def _target(text: str) -> "Target":
    from orchestrator.core.map_paths import read_name  # noqa: PLC0415 - heavy
    from orchestrator.core.selection import Target  # noqa: PLC0415 - heavy

    name, steps = read_name(text)
    return Target(name=name, steps=steps)


def _resolved(services: "Services", dag_id: str, run_id: str) -> str:
    from orchestrator.cli.watching import resolve_run_id  # noqa: PLC0415 - heavy

    return resolve_run_id(services, dag_id, run_id)
