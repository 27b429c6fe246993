"""What is a worker told when it starts a try?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.ids import RunUid, TaskKey, TiId, VersionId
from orchestrator.core.specs import DagSpec, TaskSpec
from orchestrator.core.states import RunType


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The run a try belongs to. Instants are aware UTC."""

    uid: RunUid
    dag_id: str
    run_id: str
    run_type: RunType
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    started_at: datetime | None
    conf: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSource:
    """The file a DAG version came from: `path` relative to the DAG folder (POSIX separators),
    `text` its content at that version, `digest` the SHA-256 of it in hex."""

    version_id: VersionId
    path: str
    text: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One started try. `epoch` fences every write the worker makes for it."""

    ti_id: TiId
    epoch: int
    key: TaskKey
    try_number: int
    max_tries: int
    """Retries allowed: at most max_tries + 1 tries."""
    started_at: datetime
    began_at: datetime
    """When this try began: before `started_at` for one that goes on after a reschedule."""
    run: RunFacts
    dag: DagSpec
    task: TaskSpec
    source: DagSource
