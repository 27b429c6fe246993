"""How one file is parsed, from its bytes on disk to a ParsedFile."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.parsing.forkserver import ForkServer
from orchestrator.parsing.importer import DagFileError, decode_file, shown_path
from orchestrator.parsing.results import ImportProblem, ParsedFile, ParseLimits, ProblemKind
from orchestrator.parsing.sources import digest_of
from orchestrator.parsing.wire import ParseRequest

__all__ = ["parse_file"]

SOURCE_BYTES_MAX = 4 * 1024 * 1024
"""A run carries its file's text along; a file larger than this holds data, not a DAG."""


def parse_file(
    path: Path,
    dags_folder: Path,
    limits: ParseLimits | None = None,
    *,
    server: ForkServer | None = None,
    variables: Mapping[str, str] | None = None,
) -> ParsedFile:
    """Import one DAG file in a confined child process and say what came of it.

    Nothing the file does raises here. Without `server` one is started for this file alone (a third
    of a second); whoever parses several passes its own. `variables` are those of the store.
    """
    path, dags_folder = path.absolute(), dags_folder.absolute()
    limits = limits or ParseLimits()
    shown = shown_path(path, dags_folder)
    try:
        text = _text(path, shown)
    except DagFileError as error:
        return ParsedFile(path=shown, digest=digest_of(""), text="", error=error.problem)
    request = ParseRequest(
        path=shown,
        dags_folder=str(dags_folder),
        text=text,
        digest=digest_of(text),
        limits=limits,
        variables=variables or {},
    )
    if server is not None:
        return server.parse(request)
    with ForkServer() as own:
        return own.parse(request)


def _text(path: Path, shown: str) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # reading it says what is wrong
    if size > SOURCE_BYTES_MAX:
        raise DagFileError(
            ImportProblem(
                kind=ProblemKind.INVALID,
                message=(
                    f"{shown}: the file has {size} bytes; a DAG file may have {SOURCE_BYTES_MAX}. "
                    "Keep its data in a file of its own"
                ),
            )
        )
    return decode_file(path, shown)
