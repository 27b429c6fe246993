"""DAG files become DagSpecs here, in child processes, and keep doing so while they change."""

from orchestrator.parsing.forkserver import HASH_SEED, ForkServer
from orchestrator.parsing.importer import DagFileError, import_dags
from orchestrator.parsing.one_file import parse_file
from orchestrator.parsing.results import (
    ImportProblem,
    ParsedDag,
    ParsedFile,
    ParseLimits,
    ParseWarning,
    ProblemKind,
    WarningKind,
)

__all__ = [
    "HASH_SEED",
    "DagFileError",
    "ForkServer",
    "ImportProblem",
    "ParseLimits",
    "ParseWarning",
    "ParsedDag",
    "ParsedFile",
    "ProblemKind",
    "WarningKind",
    "import_dags",
    "parse_file",
]
