"""Which rows to list, which piece of them, and in which order?

The frontends turn their parameters into these values, the store turns them into SQL. An empty
tuple, an empty match and None let everything pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from orchestrator.core.states import RunState, RunType, TaskState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A piece of a listing. `total` counts what the filters let through, but stops counting far
    behind the piece shown, so that a long history costs no more than a short one."""

    items: tuple[T, ...]
    total: int
    next_cursor: str | None = None
    """Where the next piece starts, when the listing was asked for by cursor; None at the end."""
    previous_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The part of a column a filter lets through; None is no bound on that side."""

    gte: datetime | float | None = None
    gt: datetime | float | None = None
    lte: datetime | float | None = None
    lt: datetime | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMatch:
    """Which texts a filter lets through: those containing one of `substrings` whatever the case
    (`%` and `_` are wildcards) and those that start with one of `prefixes` as written."""

    substrings: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which piece of a listing, in which order. `order_by` names columns, `-` before one turns it
    round; `cursor` (from an earlier Page, "" to start) replaces `offset`."""

    limit: int = 50
    offset: int = 0
    order_by: tuple[str, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagFilter:
    """Which DAGs to list; the defaults list all that are not stale."""

    tags: tuple[str, ...] = ()
    needs_all_tags: bool = False
    owners: tuple[str, ...] = ()
    dag_id: TextMatch = TextMatch()
    display_name: TextMatch = TextMatch()
    is_paused: bool | None = None
    has_import_error: bool | None = None
    includes_stale: bool = False
    last_run_state: RunState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list. `bounds` maps run_after, logical_date, started_at, ended_at
    or duration_s to what may pass; a run that has not started or ended may yet do so, so it passes
    every lower bound of those."""

    dag_id: str | None = None
    dag_ids: tuple[str, ...] = ()
    run_id: TextMatch = TextMatch()
    dag_id_match: TextMatch = TextMatch()
    user: TextMatch = TextMatch()
    conf_contains: str | None = None
    states: tuple[RunState, ...] = ()
    run_types: tuple[RunType, ...] = ()
    version_numbers: tuple[int, ...] = ()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstanceFilter:
    """Which task instances to list; like RunFilter."""

    dag_id: str | None = None
    run_id: str | None = None
    dag_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    group_id: str | None = None
    dag_id_match: TextMatch = TextMatch()
    run_id_match: TextMatch = TextMatch()
    task_id_match: TextMatch = TextMatch()
    pool_match: TextMatch = TextMatch()
    queue_match: TextMatch = TextMatch()
    operator_match: TextMatch = TextMatch()
    states: tuple[TaskState, ...] = ()
    pools: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    map_indexes: tuple[int, ...] = ()
    try_numbers: tuple[int, ...] = ()
    version_numbers: tuple[int, ...] = ()
    is_mapped: bool | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class XComFilter:
    """Which XComs to list; None is any."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    key: str | None = None
    key_match: TextMatch = TextMatch()
    dag_id_match: TextMatch = TextMatch()
    run_id_match: TextMatch = TextMatch()
    task_id_match: TextMatch = TextMatch()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
