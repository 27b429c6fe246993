"""Which line of the author's file made this call?"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import DagInvalidError

_OWN_FOLDER = str(Path(__file__).parent) + os.sep


class CallSite(NamedTuple):
    """A line of a file; as text it is short enough for an error message."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path.rpartition(os.sep)[2]}:{self.line}"


def author_call() -> CallSite:
    """Return the innermost line on the stack that is not part of the SDK."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    return CallSite(frame.f_code.co_filename, frame.f_lineno)


def _is_between(path: str) -> bool:
    """The SDK, or Python's import machinery on the way to it."""
    return is_own_file(path) or path.startswith("<frozen importlib")


def is_own_file(path: str) -> bool:
    """Say whether a source file is part of the SDK."""
    return path.startswith(_OWN_FOLDER)


def invalid(where: str, message: str, site: CallSite | None = None) -> DagInvalidError:
    """Build the error for a wrong line in a DAG file: `where` names the DAG and task."""
    return DagInvalidError(f"{where}: {message} ({site or author_call()})")
