"""How an author tries a DAG: in this process, a line for each task as it goes, breakpoints working.

Nothing but the DAG's file is needed: no database, no Redis, no worker.
"""

import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli.local_secrets import local_backends
from orchestrator.cli.output import STATE_STYLES, a_console
from orchestrator.cli.session import read_settings
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import NotFoundError, RequestInvalidError, SettingsError, did_you_mean
from orchestrator.parsing import DagFileError, import_dags
from orchestrator.parsing.discovery import list_folder
from orchestrator.sdk import DAG
from orchestrator.sdk.masking import MaskingFilter
from orchestrator.sdk.secrets import secrets_for_imports, set_current_secrets
from orchestrator.testing import TaskChange, run_dag

__all__ = ["test_dag"]


def test_dag(dag: str, *, conf: Mapping[str, Any] | None, logical_date: datetime | None) -> bool:
    """Run a DAG, named by its id or its file, and say whether it succeeded."""
    settings = read_settings()
    folder = settings.dags_folder
    places = local_backends(settings)
    restore = set_current_secrets(secrets_for_imports(places[-1]))
    try:
        found = _from_file(Path(dag), folder) if dag.endswith(".py") else _from_folder(dag, folder)
    finally:
        restore()
    _show_task_logs()
    console = a_console()

    def show(change: TaskChange) -> None:
        if change.state in (TaskState.SCHEDULED, TaskState.QUEUED):
            return
        again = f" (try {change.try_number})" if change.try_number > 1 else ""
        reason = f": {change.reason.splitlines()[0]}" if change.reason else ""
        style = STATE_STYLES[change.state]
        sys.stderr.flush()  # what the task said comes before how it ended
        console.print(f"[{style}]{change.state:>15}[/]  {change.task_id}{again}", end="")
        console.print(reason, markup=False)

    result = run_dag(
        found,
        conf=conf,
        logical_date=logical_date,
        xcom_bytes_max=settings.xcom_bytes_max,
        on_event=show,
        secrets_backends=places,
    )
    typer.echo(f"\n{result}")
    return result.state is RunState.SUCCESS


def _from_file(path: Path, folder: Path) -> DAG:
    if not path.is_file():
        raise NotFoundError(f"there is no file {str(path)!r}; name a DAG file or a DAG id")
    # Beside a file from elsewhere lie the modules it imports.
    inside = path.absolute().is_relative_to(folder.absolute())
    dags = import_dags(path, dags_folder=folder if inside else path.parent)
    if not dags:
        raise RequestInvalidError(
            f"{path} defines no DAG; a @dag function makes one only when it is called"
        )
    if len(dags) != 1:
        named = ", ".join(dag.dag_id for dag in dags) or "none"
        raise RequestInvalidError(
            f"{path} defines {len(dags)} DAGs ({named}); name the one to test by its id"
        )
    return dags[0]


def _from_folder(dag_id: str, folder: Path) -> DAG:
    """Import files until one defines the DAG, those first whose text names it."""
    try:
        files = [folder / name for name in list_folder(folder).files]
    except OSError as error:
        raise SettingsError(
            f"the DAG folder {folder} cannot be read ({error.strerror}); "
            "set ORCHESTRATOR_DAGS_FOLDER to the folder of your DAG files"
        ) from None
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    named = [path for path in files if dag_id in texts[path]]
    others = [path for path in files if dag_id not in texts[path] and "dag" in texts[path].lower()]
    known: list[str] = []
    problems: list[str] = []
    for path in [*named, *others]:
        try:
            dags = import_dags(path, dags_folder=folder)
        except DagFileError as error:
            problems.append(str(error))
            if path in named:
                typer.echo(f"does not import: {error}", err=True)
            continue
        for dag in dags:
            if dag.dag_id == dag_id:
                return dag
        known.extend(dag.dag_id for dag in dags)
    raise NotFoundError(_not_found(dag_id, folder, known, problems))


def _not_found(dag_id: str, folder: Path, known: Iterable[str], problems: list[str]) -> str:
    hint = did_you_mean(dag_id, known)
    if not hint and problems:
        hint = f"; {len(problems)} files there do not import: {problems[0]}"
    return f"no file in {folder} defines DAG {dag_id!r}{hint}"


def _show_task_logs() -> None:
    """Let what tasks log through `logging` appear between the lines of their states."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s  %(levelname)-7s  %(message)s", stream=sys.stderr
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(MaskingFilter())
