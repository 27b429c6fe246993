"""The process that runs one author's file: import it, say what it gave, import it elsewhen, end.

It ends by `os._exit`, always: neither an atexit hook nor a thread of the author's can hold it.
"""

import faulthandler
import gc
import io
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NoReturn

from orchestrator.core.codec import encode_spec
from orchestrator.core.specs import DagSpec
from orchestrator.parsing.confinement import allow_last_words, confine
from orchestrator.parsing.elsewhen import elsewhen, here, here_again
from orchestrator.parsing.importer import DagFileError, guard_author_code, import_dags
from orchestrator.parsing.results import (
    ImportProblem,
    ParsedDag,
    ParseWarning,
    ProblemKind,
    WarningKind,
)
from orchestrator.parsing.tracking import ReadTracker, module_candidates
from orchestrator.parsing.variance import compare_imports, graph_varies
from orchestrator.parsing.wire import Comparison, FirstImport, ParseRequest, write_frame
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.masking import mask
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.scope import watching_for_homeless
from orchestrator.sdk.secrets import secrets_for_imports, set_current_secrets

__all__ = ["OWN_FAILURE_STATUS", "STACK_SIGNAL", "Pipes", "run_child"]

STACK_SIGNAL = signal.SIGUSR2
"""On it the child writes down where it is, whatever it is doing, even within a C function."""

OWN_FAILURE_STATUS = 70
"""Exit status when it is the child itself that failed, not the file (BSD's EX_SOFTWARE)."""

_process_id = os.getpid
"""Kept under our own name: the author's code may replace the one in `os`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """The writing ends the child has: frames, what it prints, its stack when it is asked."""

    frames: int
    output: int
    stack: int


def run_child(
    request: ParseRequest, pipes: Pipes, *, supervisor_pid: int, compares: bool
) -> NoReturn:
    """Answer a request with a FirstImport and, if it `compares` and it can, a Comparison."""
    status = OWN_FAILURE_STATUS
    try:
        _settle(pipes)
        confine(request.limits, supervisor_pid=supervisor_pid)
        _answer(request, pipes, compares=compares)
        status = 0
    except BaseException:  # whatever it is, it must not unwind into the overseer
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _answer(request: ParseRequest, pipes: Pipes, *, compares: bool) -> None:
    pid = _process_id()
    tracker = ReadTracker(Path(request.dags_folder))
    here()
    set_current_secrets(
        secrets_for_imports(GivenSecrets(label="the store", variables=request.variables))
    )
    dags, first = _first_import(request, tracker)
    _say(pipes, first, pid=pid)
    if compares and first.dags:
        comparison = _compare(request, first)
        if comparison is not None:
            _say(pipes, comparison, pid=pid)
    del dags  # held until now, so that no object of the second import had the first one's address


def _first_import(request: ParseRequest, tracker: ReadTracker) -> tuple[list[DAG], FirstImport]:
    missing: tuple[str, ...] = ()
    try:
        with watching_for_homeless() as homeless:
            dags, parsed = _import(request)
        found = FirstImport(dags=parsed, warnings=(*_without_dag(homeless), *_left_running()))
    except DagFileError as error:
        dags, found = [], FirstImport(error=_masked(error.problem))
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            missing = module_candidates(cause.name)
    read = {*tracker.read(besides=request.path), *missing}
    return dags, FirstImport(
        dags=found.dags,
        error=found.error,
        warnings=found.warnings,
        dependencies=tuple(sorted(read)),
    )


def _masked(problem: ImportProblem) -> ImportProblem:
    """Hide what the file has read of the environment's Connections and Variables."""
    return replace(problem, message=mask(problem.message), stacktrace=mask(problem.stacktrace))


def _import(request: ParseRequest) -> tuple[list[DAG], tuple[ParsedDag, ...]]:
    folder = Path(request.dags_folder)
    path = folder / request.path
    dags = import_dags(path, dags_folder=folder, source=request.text)
    return dags, tuple(
        ParsedDag(
            spec=_freeze(dag, path, folder),
            line=dag.site.line if dag.site.path == str(path) else None,
        )
        for dag in dags
    )


def _freeze(dag: DAG, path: Path, folder: Path) -> DagSpec:
    def freeze() -> DagSpec:
        spec = dag.spec()
        encode_spec(spec)  # what cannot be written down is the author's to change, too
        return spec

    try:
        return guard_author_code(freeze, path=path, dags_folder=folder)
    except DagFileError as error:
        if error.problem.kind is ProblemKind.INVALID and _has_cycle(dag):
            problem = replace(error.problem, kind=ProblemKind.CYCLE)
            raise DagFileError(problem) from error.__cause__
        raise


def _has_cycle(dag: DAG) -> bool:
    try:
        TopologicalSorter(dag.edges().upstream).prepare()
    except CycleError:
        return True
    except Exception:  # then it is something else that is wrong with it
        return False
    return False


def _compare(request: ParseRequest, first: FirstImport) -> Comparison | None:
    """Import the file again elsewhen; where its code or its graph cannot bear that, as before.

    None when it cannot be imported twice in one process (a registry that refuses a second entry).
    """
    try:
        with elsewhen():
            _, second = _import(request)
        comparison = compare_imports(request.path, first.dags, second)
        if not graph_varies(comparison):
            return comparison
    except DagFileError:
        pass  # an expiry date in the file, say: tomorrow is not its concern today
    try:
        here_again()
        _, third = _import(request)
    except DagFileError:
        return None
    return compare_imports(request.path, first.dags, third)


def _without_dag(tasks: list[BaseOperator]) -> tuple[ParseWarning, ...]:
    lost = [f"{task.task_id!r} ({task.site})" for task in tasks if task.dag is None]
    if not lost:
        return ()
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return (
        ParseWarning(
            kind=WarningKind.WITHOUT_DAG,
            message=(
                f"tasks that belong to no DAG and so never run: {', '.join(lost[:5])}{more}; "
                "create them inside `with DAG(...)` or pass dag="
            ),
        ),
    )


def _left_running() -> tuple[ParseWarning, ...]:
    names = sorted(
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    )
    if not names:
        return ()
    return (
        ParseWarning(
            kind=WarningKind.LEFT_RUNNING,
            message=(
                f"the import left threads running: {', '.join(names)}; they were stopped. Every "
                "worker imports the file too: start threads within a task"
            ),
        ),
    )


def _say(pipes: Pipes, frame: FirstImport | Comparison, *, pid: int) -> None:
    if _process_id() != pid:
        os._exit(0)  # a copy that the author's os.fork() made; the original answers
    allow_last_words()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed or replaced by the author's code
    write_frame(pipes.frames, frame)


def _settle(pipes: Pipes) -> None:
    """Make descriptors, signals and streams those of a process of its own."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(pipes.output, 1)
    os.dup2(pipes.output, 2)
    kept = sorted({0, 1, 2, pipes.frames, pipes.stack})
    for below, above in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(below + 1, above)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.stdin = _stream(0, "r")
    sys.stdout = _stream(1, "w")
    sys.stderr = _stream(2, "w")
    faulthandler.enable(file=pipes.stack, all_threads=False)
    faulthandler.register(STACK_SIGNAL, file=pipes.stack, all_threads=False, chain=False)
    gc.enable()


def _stream(fd: int, mode: str) -> io.TextIOWrapper:
    """Open a standard stream anew: the zygote's own remember where they led before."""
    raw = io.FileIO(fd, mode, closefd=False)
    buffered = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
