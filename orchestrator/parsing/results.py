"""What came of importing one DAG file."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from orchestrator.core.specs import DagSpec

SpecPath: TypeAlias = tuple[str | int, ...]
"""Where a value sits in a spec's JSON: ("tasks", 0, "doc_md")."""


class ProblemKind(StrEnum):
    """Why a file gave no DAGs."""

    SYNTAX = "syntax"
    """It is not Python, or not text."""
    EXCEPTION = "exception"
    """Its code raised."""
    TIMEOUT = "timeout"
    """Its import took longer than allowed."""
    MEMORY = "memory"
    """Its import wanted more memory than allowed."""
    EXIT = "exit"
    """Its import ended the process (sys.exit, os._exit)."""
    CRASH = "crash"
    """A signal ended its import (a segmentation fault, say)."""
    DUPLICATE = "duplicate"
    """Its dag_id is taken, in this file or by another one."""
    CYCLE = "cycle"
    """A DAG's tasks depend on each other in a circle."""
    INVALID = "invalid"
    """An argument cannot be meant."""


class WarningKind(StrEnum):
    """What is odd about a file that imports."""

    RUNTIME_VARYING_VALUE = "runtime varying value"
    """A value differs at each import; it is left out of the version's hash."""
    RUNTIME_VARYING_TASKS = "runtime varying tasks"
    """The tasks themselves differ at each import."""
    NOT_COMPARED = "not compared"
    """The file could not be imported a second time, so varying values cannot be told."""
    WITHOUT_DAG = "task without DAG"
    """A task was made outside of any DAG, where it never runs."""
    LEFT_RUNNING = "left running"
    """The import started threads or processes and left them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProblem:
    """Why a file gave no DAGs. `message` says file:line, cause and cure; `line` is a line of the
    DAG file itself; `output` is what the import printed, for reading beside the stacktrace."""

    kind: ProblemKind
    message: str
    line: int | None = None
    stacktrace: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseWarning:
    """What is odd; about one DAG, or with `dag_id` None about the whole file."""

    kind: WarningKind
    message: str
    dag_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDag:
    """One DAG of a file, with the paths in its spec that a second import gave another value."""

    spec: DagSpec
    volatile: tuple[SpecPath, ...] = ()
    line: int | None = None
    """Line of the file that creates it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """One file as imported once: its DAGs, or its problem."""

    path: str
    """Relative to the DAG folder, POSIX separators."""
    digest: str
    """SHA-256 of `text` in hex."""
    text: str
    dags: tuple[ParsedDag, ...] = ()
    error: ImportProblem | None = None
    warnings: tuple[ParseWarning, ...] = ()
    dependencies: tuple[str, ...] = ()
    """Files of the DAG folder (relative) that the import read, or looked for and missed."""
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseLimits:
    """What the import of one file may take."""

    timeout_s: float = 30.0
    """Far above any sane file, so that only an endless loop is stopped."""
    memory_mb: int = 1024
    """MiB beyond what the empty parser holds."""
