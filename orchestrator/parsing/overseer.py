"""The process that watches over one file's import and says what came of it, whatever that is.

It never runs an author's code itself. It reads what the child says and prints, stops it when its
time is over, ends whatever the child left, and answers the parser with exactly one ParsedFile. When
the parser goes away (its end of the connection closes), so does everything here.
"""

import os
import re
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from orchestrator.parsing.child import OWN_FAILURE_STATUS
from orchestrator.parsing.child_run import ChildRun, run_one_child, watch_for_exits
from orchestrator.parsing.confinement import adopt_orphans
from orchestrator.parsing.results import (
    ImportProblem,
    ParsedFile,
    ParseWarning,
    ProblemKind,
    WarningKind,
)
from orchestrator.parsing.variance import compare_imports
from orchestrator.parsing.wire import Comparison, FirstImport, ParseRequest, receive, send

__all__ = ["oversee"]

_OWN_FOLDER = str(Path(__file__).parent)
_STACK_LINE = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


def oversee(connection: socket.socket) -> NoReturn:
    """Serve the one request that comes over `connection`, then end this process."""
    try:
        adopt_orphans()
        exits = watch_for_exits()
        request = receive(connection, ParseRequest)
        if request is not None:
            send(connection, _parse(request, connection, exits))
    except OSError:
        pass  # the parser went away: nobody waits for the answer
    finally:
        os._exit(0)


def _parse(request: ParseRequest, connection: socket.socket, exits: int) -> ParsedFile:
    began_at = time.monotonic()
    limit_s = request.limits.timeout_s
    run = run_one_child(request, connection, exits=exits, timeout_s=limit_s, compares=True)
    result = ParsedFile(path=request.path, digest=request.digest, text=request.text)
    if run.first is None:
        error: ImportProblem | None = _untimely_end(request, run)
        result = replace(result, warnings=_orphans(run))
    else:
        first = run.first
        comparison = _comparison(request, connection, exits, run, first)
        error = first.error or comparison.error
        result = replace(
            result,
            dags=() if error else comparison.dags,
            warnings=(*first.warnings, *comparison.warnings, *_orphans(run)),
            dependencies=first.dependencies,
        )
    return replace(
        result,
        error=replace(error, output=run.output.text()) if error else None,
        duration_s=round(time.monotonic() - began_at, 6),
    )


def _comparison(
    request: ParseRequest,
    connection: socket.socket,
    exits: int,
    run: ChildRun,
    first: FirstImport,
) -> Comparison:
    """Return the child's own comparison, or ask a second child where the first could not."""
    if run.comparison is not None or not first.dags:
        return run.comparison or Comparison()
    twin = run_one_child(request, connection, exits=exits, timeout_s=run.again_s, compares=False)
    if twin.first is not None and twin.first.error is None:
        return compare_imports(request.path, first.dags, twin.first.dags)
    return Comparison(
        dags=first.dags,
        warnings=(
            ParseWarning(
                kind=WarningKind.NOT_COMPARED,
                message=(
                    f"{request.path} could be imported, but not a second time right after, so "
                    "values that vary with each import cannot be told and may make new versions"
                ),
            ),
        ),
    )


def _orphans(run: ChildRun) -> tuple[ParseWarning, ...]:
    if not run.orphans_killed:
        return ()
    return (
        ParseWarning(
            kind=WarningKind.LEFT_RUNNING,
            message=(
                f"the import left {run.orphans_killed} process(es) running; they were killed. "
                "Every worker imports the file too: start processes within a task"
            ),
        ),
    )


def _untimely_end(request: ParseRequest, run: ChildRun) -> ImportProblem:
    """Say why a child ended before its file was imported."""
    stack = run.stack.decode("utf-8", "replace")
    line = _line_of(stack, str(Path(request.dags_folder) / request.path))
    place = f"{request.path}:{line}" if line else request.path
    kind, cause = _ending(request, run)
    return ImportProblem(
        kind=kind, message=f"{place}: {cause}", line=line, stacktrace=_author_part(stack)
    )


def _ending(request: ParseRequest, run: ChildRun) -> tuple[ProblemKind, str]:
    if run.timed_out or run.signal_number == signal.SIGXCPU:
        return ProblemKind.TIMEOUT, (
            f"the import was not done after {request.limits.timeout_s:g} s and was stopped here; "
            "move slow work (network, databases, large files) into a task, or raise "
            "ORCHESTRATOR_PARSE_TIMEOUT_S"
        )
    if run.signal_number == signal.SIGKILL:
        return ProblemKind.CRASH, (
            "the import was killed by SIGKILL from outside, as a host does that is out of memory"
        )
    if run.signal_number is not None:
        name = signal.Signals(run.signal_number).name
        what = signal.strsignal(run.signal_number)
        return ProblemKind.CRASH, (
            f"the import crashed with {name} ({what}); look at the native library that this line "
            "calls"
        )
    if run.exit_status == OWN_FAILURE_STATUS:
        return ProblemKind.CRASH, "the parser's child failed; what it printed says why"
    if run.exit_status is not None and not run.is_garbled:
        return ProblemKind.EXIT, (
            f"the import ended the process with status {run.exit_status} (os._exit, or a library "
            "that exits); a DAG file must import to its end"
        )
    return ProblemKind.CRASH, (
        "the import wrote to a file descriptor that is not its own; close only what you opened"
    )


def _line_of(stack: str, file: str) -> int | None:
    """Return the innermost line of the DAG file; the stack has the most recent call first."""
    written = file.encode("ascii", "backslashreplace").decode()
    for text in stack.splitlines():
        match = _STACK_LINE.match(text)
        if match and match["file"] == written:
            return int(match["line"])
    return None


def _author_part(stack: str) -> str:
    lines = [
        text
        for text in stack.splitlines()
        if not ((match := _STACK_LINE.match(text)) and _is_machinery(match["file"]))
    ]
    return "\n".join(lines)


def _is_machinery(file: str) -> bool:
    return file.startswith((_OWN_FOLDER, "<frozen", "<string>"))
