"""What a stored DAG version says, decoded once per process: content never changes under one id."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType

import structlog
from msgspec import DecodeError
from sqlalchemy import bindparam, select

from orchestrator.core.assignments import DagSource
from orchestrator.core.codec import decode_spec
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import VersionId
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.errors import NotFoundError
from orchestrator.store.engine import Database
from orchestrator.store.tables import dag_version_table as dag_version

VERSIONS_KEPT_MAX = 128
"""Far more DAGs than one process works on at a time; a version of 10,000 tasks takes some 20 MB."""

_log = structlog.get_logger(__name__)

_SELECT_VERSION = select(
    dag_version.c.spec, dag_version.c.path, dag_version.c.source, dag_version.c.source_digest
).where(dag_version.c.id == bindparam("version_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A decoded version. `is_capped` says that some task has a limit of its own."""

    spec: DagSpec
    source: DagSource
    tasks: Mapping[str, TaskSpec]
    is_capped: bool


class Versions:
    """The versions this process used last. Safe in threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._kept: OrderedDict[VersionId, Version] = OrderedDict()
        self._unreadable: set[VersionId] = set()
        self._priorities: OrderedDict[VersionId, Mapping[str, int]] = OrderedDict()

    def version(self, version_id: VersionId) -> Version:
        """Return a version; raise NotFoundError if there is none of this id (any more)."""
        with self._lock:
            version = self._kept.get(version_id)
            if version is not None:
                self._kept.move_to_end(version_id)
                return version
        version = self._load(version_id)
        with self._lock:
            self._kept[version_id] = version
            while len(self._kept) > VERSIONS_KEPT_MAX:
                self._kept.popitem(last=False)
        return version

    def readable(self, version_id: VersionId) -> Version | None:
        """Return a version, or None if its text is not what this release can decode (a newer one
        wrote it, say): whoever works on many DAGs at once leaves that one out."""
        try:
            return self.version(version_id)
        except DecodeError as error:
            if version_id not in self._unreadable:
                self._unreadable.add(version_id)
                _log.error("dag_version_unreadable", version_id=str(version_id), error=str(error))
            return None

    def priorities(self, version_id: VersionId) -> Mapping[str, int]:
        """Return each task's effective priority."""
        with self._lock:
            priorities = self._priorities.get(version_id)
        if priorities is None:
            priorities = build_graph(self.version(version_id).spec).priorities
            with self._lock:
                self._priorities[version_id] = priorities
                while len(self._priorities) > VERSIONS_KEPT_MAX:
                    self._priorities.popitem(last=False)
        return priorities

    def _load(self, version_id: VersionId) -> Version:
        with self._database.reading() as connection:
            row = connection.execute(_SELECT_VERSION, {"version_id": version_id}).one_or_none()
        if row is None:
            raise NotFoundError(f"DAG version {version_id} does not exist; it was replaced")
        spec = decode_spec(row.spec)
        return Version(
            spec=spec,
            source=DagSource(
                version_id=version_id, path=row.path, text=row.source, digest=row.source_digest
            ),
            tasks=MappingProxyType({task.task_id: task for task in spec.tasks}),
            is_capped=any(is_capped(task) for task in spec.tasks),
        )


def is_capped(task: TaskSpec) -> bool:
    """Whether a task has a limit of its own on how many of its instances are out at a time."""
    limits = (task.max_active_tis_per_dag, task.max_active_tis_per_dagrun)
    return any(each is not None for each in (*limits, task.concurrency_key, task.rate_limit))
