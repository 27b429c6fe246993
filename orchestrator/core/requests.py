"""What does a person ask for when they ask for a run or name some, and what is then stored?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.ids import VersionId
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunType, TriggeredBy


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run as somebody asks for it; everything left out is chosen by `trigger`. A logical date
    in the future lets the run wait until then, unless `run_after` says otherwise."""

    run_id: str | None = None
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_after: datetime | None = None
    conf: Mapping[str, Any] | None = None
    note: str | None = None
    run_type: RunType = RunType.MANUAL
    idempotency_key: str | None = None
    """Makes the request safe to repeat: who asks again with it gets the run of the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsNamed:
    """Which runs of a DAG a person means: one by its id, with all those of an earlier (past) or
    later logical date if asked for, or without an id all whose logical date is within bounds."""

    run_id: str | None = None
    includes_past: bool = False
    includes_future: bool = False
    from_date: datetime | None = None
    to_date: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentDag:
    """A DAG's current version, and the store's clock when it was read."""

    version_id: VersionId
    spec: DagSpec
    is_stale: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """A request that may be repeated: its key, and a digest of what it asks for."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that somebody asked for, to store in state queued."""

    dag_id: str
    version_id: VersionId
    run_id: str
    run_after: datetime
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    conf: Mapping[str, Any]
    note: str | None
    triggered_by: TriggeredBy
    user: str | None
    run_type: RunType = RunType.MANUAL
    request: RequestKey | None = None
