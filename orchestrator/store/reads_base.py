"""How do reads reach the database and the stored definitions?"""

from difflib import get_close_matches
from functools import lru_cache

from sqlalchemy import Connection, select

from orchestrator.core.ids import VersionId
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.errors import NotFoundError
from orchestrator.store.engine import Database
from orchestrator.store.tables import dag_table
from orchestrator.store.versions import Versions

__all__ = ["ReadBase", "unknown_dag"]

ANSWERS_KEPT_MAX = 10_000
"""Versions whose yes-or-no facts are kept: more than anybody lists."""
SIMILAR_AMONG_MAX = 10_000


class ReadBase:
    """What all groups of reads share: the database and the definitions decoded so far."""

    def __init__(self, database: Database, versions: Versions) -> None:
        self._database = database
        self._versions = versions
        self._is_capped = lru_cache(maxsize=ANSWERS_KEPT_MAX)(self._read_is_capped)

    def spec(self, version_id: VersionId) -> DagSpec:
        """Return what a stored version says."""
        return self._versions.version(version_id).spec

    def _task(self, version_id: VersionId, task_id: str) -> TaskSpec | None:
        return self._versions.version(version_id).tasks.get(task_id)

    def _read_is_capped(self, version_id: VersionId) -> bool:
        try:
            return self._versions.version(version_id).is_capped
        except NotFoundError:  # replaced since its DAG was read, and so nothing to cap
            return False


def unknown_dag(connection: Connection, dag_id: str) -> NotFoundError:
    """Return the error for a DAG that is not stored, naming the most similar one that is."""
    known = connection.execute(select(dag_table.c.dag_id).limit(SIMILAR_AMONG_MAX)).scalars().all()
    near = get_close_matches(dag_id, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; `orchestrator dags list` shows all"
    return NotFoundError(f"DAG {dag_id!r} does not exist{hint}")
