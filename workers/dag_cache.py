"""How a child gets the DAG a try belongs to: imported once for each version of its file, and again
when a Variable has changed that the import has read."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.assignments import Assignment, DagSource
from orchestrator.errors import OperatorError
from orchestrator.parsing.importer import DagFileError, import_dags
from orchestrator.sdk import DAG
from orchestrator.sdk.secrets import (
    BaseSecretsBackend,
    secrets_for_imports,
    set_current_secrets,
)

__all__ = ["DagCache", "DagNotFoundError"]


@dataclass(frozen=True, slots=True)
class _Imported:
    """What an import of a file gave, and the store's Variables it has read."""

    dags: dict[str, DAG]
    variables: Mapping[str, str | None]


VERSIONS_MAX = 128
"""Imported versions a child keeps; the one used longest ago goes first."""


class DagNotFoundError(OperatorError):
    """This worker cannot provide the task that it was sent."""


class DagCache:
    """The DAGs of one child. What runs is the text stored with the run's version, as if it stood
    at its path: a file edited meanwhile, or not there yet, changes nothing for the run."""

    def __init__(self, dags_folder: Path, *, stored_variable: Callable[[str], str | None]) -> None:
        """`stored_variable` returns the text of a Variable of the store."""
        self._folder = dags_folder
        self._stored_variable = stored_variable
        self._versions: OrderedDict[tuple[str, str], _Imported] = OrderedDict()

    def load(self, assignment: Assignment) -> DAG:
        """Return the DAG of a try; raise DagNotFoundError saying which file, DAG and folder."""
        dag = self.dag_of(assignment.source, assignment.key.dag_id)
        task_id = assignment.key.task_id
        if not dag.has_task(task_id):
            raise DagNotFoundError(
                f"the DAG {dag.dag_id!r} of {assignment.source.path} has no task {task_id!r} on "
                f"this worker (DAGS_FOLDER {self._folder}); a DAG file must define the same tasks "
                "on every machine"
            )
        return dag

    def dag_of(self, source: DagSource, dag_id: str) -> DAG:
        """Return a DAG of a file's version; raise DagNotFoundError likewise."""
        key = (source.path, source.digest)
        known = self._versions.get(key)
        if known is None or self._is_outdated(known):
            known = self._versions[key] = self._import(source, dag_id)
            if len(self._versions) > VERSIONS_MAX:
                self._versions.popitem(last=False)
        self._versions.move_to_end(key)
        dags = known.dags
        dag = dags.get(dag_id)
        if dag is None:
            raise DagNotFoundError(
                f"{source.path} defines no DAG {dag_id!r} on this worker "
                f"(DAGS_FOLDER {self._folder}) but {_listed(dags)}; a DAG file must define the "
                "same DAGs on every machine"
            )
        return dag

    def _is_outdated(self, known: _Imported) -> bool:
        return any(self._stored_variable(key) != text for key, text in known.variables.items())

    def _import(self, source: DagSource, dag_id: str) -> _Imported:
        read = _ReadVariables(self._stored_variable)
        restore = set_current_secrets(secrets_for_imports(read))
        try:
            dags = import_dags(
                self._folder / source.path, dags_folder=self._folder, source=source.text
            )
        except DagFileError as error:
            raise DagNotFoundError(
                f"the DAG {dag_id!r} cannot be imported on this worker "
                f"(DAGS_FOLDER {self._folder}): {error}"
            ) from error
        finally:
            restore()
        return _Imported({dag.dag_id: dag for dag in dags}, read.texts)


class _ReadVariables(BaseSecretsBackend):
    """The store's Variables; remembers which were read, and what they held."""

    label = "the store"

    def __init__(self, stored_variable: Callable[[str], str | None]) -> None:
        self._stored_variable = stored_variable
        self.texts: dict[str, str | None] = {}

    def get_variable(self, key: str) -> str | None:
        text = self.texts[key] = self._stored_variable(key)
        return text


def _listed(dags: dict[str, DAG]) -> str:
    return ", ".join(repr(dag_id) for dag_id in sorted(dags)) or "none at all"
