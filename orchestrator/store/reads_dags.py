"""Which DAGs are there, what do their versions say, and which files do not import?"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select, true

from orchestrator.core.ids import VersionId
from orchestrator.core.listings import DagFilter, Page, PageRequest, TextMatch
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState
from orchestrator.core.views import (
    DagDetails,
    DagView,
    ImportErrorView,
    SourceView,
    VersionView,
    WarningView,
)
from orchestrator.errors import NotFoundError
from orchestrator.store.conditions import UNFINISHED_RUN, is_one_of
from orchestrator.store.reads_base import ReadBase, unknown_dag
from orchestrator.store.reads_paging import Ordering, SortKey, contains, matches, read_piece
from orchestrator.store.tables import (
    dag_run_table,
    dag_table,
    dag_version_table,
)
from orchestrator.store.tables_imports import dag_warning_table, import_error_table

__all__ = ["DagReads"]

_DAG = dag_table.c
_VERSION = dag_version_table.c
_ERROR = import_error_table.c
_RUN = dag_run_table.c
_WARNING = dag_warning_table.c

_DISPLAY_NAME = func.coalesce(_DAG.display_name, _DAG.dag_id)
_HAS_IMPORT_ERROR = exists().where(_ERROR.path == _DAG.path)
_LAST_RUN_STATE = (
    select(_RUN.state)
    .where(_RUN.dag_id == _DAG.dag_id)
    .order_by(_RUN.run_after.desc())
    .limit(1)
    .scalar_subquery()
)

_DAG_ORDER = Ordering(
    keys={
        "dag_id": SortKey(_DAG.dag_id),
        "dag_display_name": SortKey(_DISPLAY_NAME),
        "last_parsed_time": SortKey(_DAG.last_parsed_at),
        "next_dagrun": SortKey(_DAG.next_tick_at, is_nullable=True),
    },
    default=("dag_id",),
    tie_breaker="dag_id",
)
_VERSION_ORDER = Ordering(
    keys={
        "id": SortKey(_VERSION.id),
        "version_number": SortKey(_VERSION.version_number),
        "created_at": SortKey(_VERSION.created_at),
    },
    default=("version_number",),
    tie_breaker="id",
)
_ERROR_ORDER = Ordering(
    keys={
        "id": SortKey(_ERROR.id),
        "import_error_id": SortKey(_ERROR.id),
        "filename": SortKey(_ERROR.path),
        "timestamp": SortKey(_ERROR.at),
    },
    default=("id",),
    tie_breaker="id",
)
_WARNING_ORDER = Ordering(
    keys={
        "dag_id": SortKey(_WARNING.dag_id),
        "warning_type": SortKey(_WARNING.kind),
        "timestamp": SortKey(_WARNING.at),
    },
    default=("dag_id", "warning_type"),
    tie_breaker="warning_type",
)


class DagReads(ReadBase):
    """DAGs, their versions and sources, import errors and warnings."""

    def dags(self, wanted: DagFilter, request: PageRequest) -> Page[DagView]:
        """List DAGs."""
        statement = _select_dags().where(_passes(wanted))
        with self._database.reading() as connection:
            piece = read_piece(connection, statement, _DAG_ORDER, request)
        return Page(
            items=tuple(self._dag_view(row) for row in piece.rows),
            total=piece.total,
            next_cursor=piece.next_cursor,
            previous_cursor=piece.previous_cursor,
        )

    def dag(self, dag_id: str) -> DagView:
        """Return one DAG, also a stale one; raise NotFoundError."""
        with self._database.reading() as connection:
            row = _one_dag(connection, dag_id)
        return self._dag_view(row)

    def dag_details(self, dag_id: str) -> DagDetails:
        """Return one DAG with its definition and its number of running runs."""
        running = select(func.count()).where(
            _RUN.dag_id == dag_id,
            is_one_of(_RUN.state, *UNFINISHED_RUN),
            _RUN.state == RunState.RUNNING,
        )
        with self._database.reading() as connection:
            row = _one_dag(connection, dag_id)
            running_runs = connection.execute(running).scalar_one()
        spec = self._versions.version(VersionId(row.current_version_id)).spec
        return DagDetails(dag=self._dag_view(row), spec=spec, running_runs=running_runs)

    def current_spec(self, dag_id: str) -> DagSpec:
        """Return the definition of a DAG's current version."""
        with self._database.reading() as connection:
            row = _one_dag(connection, dag_id)
        return self._versions.version(VersionId(row.current_version_id)).spec

    def dag_tags(
        self, match: TextMatch, *, limit: int, offset: int, is_descending: bool = False
    ) -> Page[str]:
        """List the tags of DAGs that are not stale, each once, in order. The tags of all DAGs are
        read: as many as there are files, not as there is history."""
        statement = select(_DAG.tags).where(_DAG.is_stale.is_(False)).where(_DAG.tags != [])
        with self._database.reading() as connection:
            rows = connection.execute(statement).scalars().all()
        tags = sorted(
            {tag for row in rows for tag in row if _text_passes(tag, match)}, reverse=is_descending
        )
        return Page(items=tuple(tags[offset : offset + limit]), total=len(tags))

    def versions(
        self, dag_id: str, request: PageRequest, *, version_number: int | None = None
    ) -> Page[VersionView]:
        """List the versions of one DAG; `~` lists those of all."""
        statement = _select_versions()
        if dag_id != "~":
            statement = statement.where(_VERSION.dag_id == dag_id)
        if version_number is not None:
            statement = statement.where(_VERSION.version_number == version_number)
        with self._database.reading() as connection:
            if dag_id != "~":
                _one_dag(connection, dag_id)
            piece = read_piece(connection, statement, _VERSION_ORDER, request)
        return Page(items=tuple(version_view(row) for row in piece.rows), total=piece.total)

    def version(self, dag_id: str, version_number: int) -> VersionView:
        """Return one version."""
        return version_view(self._version_row(dag_id, version_number))

    def source(self, dag_id: str, version_number: int | None = None) -> SourceView:
        """Return the file's text at a version, or at the current one."""
        row = self._version_row(dag_id, version_number)
        return SourceView(version=version_view(row), path=row.path, text=row.source)

    def import_errors(
        self,
        request: PageRequest,
        *,
        path: str | None = None,
        path_match: TextMatch | None = None,
    ) -> Page[ImportErrorView]:
        """List the files that do not import."""
        statement = select(import_error_table).where(
            matches(_ERROR.path, path_match or TextMatch())
        )
        if path is not None:
            statement = statement.where(_ERROR.path == path)
        with self._database.reading() as connection:
            piece = read_piece(connection, statement, _ERROR_ORDER, request)
        return Page(items=tuple(_import_error_view(row) for row in piece.rows), total=piece.total)

    def import_error(self, error_id: int) -> ImportErrorView:
        """Return one import error."""
        statement = select(import_error_table).where(_ERROR.id == error_id)
        with self._database.reading() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise NotFoundError(
                f"import error {error_id} does not exist (any more); its file may import again"
            )
        return _import_error_view(row)

    def dag_warnings(self, request: PageRequest, *, dag_id: str | None = None) -> Page[WarningView]:
        """List what is odd about DAGs that import."""
        statement = select(dag_warning_table, _DISPLAY_NAME.label("shown")).join(
            dag_table, _DAG.dag_id == _WARNING.dag_id
        )
        if dag_id is not None:
            statement = statement.where(_WARNING.dag_id == dag_id)
        with self._database.reading() as connection:
            piece = read_piece(connection, statement, _WARNING_ORDER, request)
        return Page(
            items=tuple(
                WarningView(
                    dag_id=row.dag_id,
                    dag_display_name=row.shown,
                    kind=row.kind,
                    message=row.message,
                    recorded_at=row.at,
                )
                for row in piece.rows
            ),
            total=piece.total,
        )

    def _version_row(self, dag_id: str, version_number: int | None) -> Row[Any]:
        wanted = (
            _VERSION.id == _DAG.current_version_id
            if version_number is None
            else _VERSION.version_number == version_number
        )
        statement = _select_versions().add_columns(_VERSION.path, _VERSION.source)
        with self._database.reading() as connection:
            _one_dag(connection, dag_id)
            row = connection.execute(
                statement.where(_VERSION.dag_id == dag_id, wanted)
            ).one_or_none()
        if row is None:
            raise NotFoundError(f"DAG {dag_id!r} has no version {version_number}")
        return row

    def _dag_view(self, row: Row[Any]) -> DagView:
        return DagView(
            dag_id=row.dag_id,
            display_name=row.shown,
            description=row.description,
            path=row.path,
            tags=tuple(row.tags),
            owners=tuple(row.owners),
            schedule=row.schedule,
            is_periodic=row.schedule not in (None, "@once"),
            is_paused=row.is_paused,
            is_stale=row.is_stale,
            has_import_error=row.has_import_error,
            max_active_runs=row.max_active_runs,
            max_active_tasks=row.max_active_tasks,
            has_task_limits=self._is_capped(VersionId(row.current_version_id)),
            last_parsed_at=row.last_parsed_at,
            next_run_at=None if row.is_paused or row.is_stale else row.next_tick_at,
            version=version_view(row),
        )


def version_view(row: Row[Any]) -> VersionView:
    """Return the version that a row was joined with, under the labels of `version_columns`."""
    return VersionView(
        version_id=VersionId(row.version_id),
        dag_id=row.dag_id,
        dag_display_name=row.shown,
        version_number=row.version_number,
        created_at=row.version_created_at,
    )


def version_columns() -> tuple[ColumnElement[Any], ...]:
    """Return the columns `version_view` needs besides `dag_id`, of dag and dag_version joined."""
    return (
        _DISPLAY_NAME.label("shown"),
        _VERSION.id.label("version_id"),
        _VERSION.version_number,
        _VERSION.created_at.label("version_created_at"),
    )


def display_name() -> ColumnElement[str]:
    """Return a DAG's name for people, as a column."""
    return _DISPLAY_NAME


def _select_dags() -> Select[Any]:
    return select(dag_table, *version_columns(), _HAS_IMPORT_ERROR.label("has_import_error")).join(
        dag_version_table, _VERSION.id == _DAG.current_version_id
    )


def _select_versions() -> Select[Any]:
    return select(_VERSION.dag_id, *version_columns()).join_from(
        dag_version_table, dag_table, _DAG.dag_id == _VERSION.dag_id
    )


def _one_dag(connection: Connection, dag_id: str) -> Row[Any]:
    row = connection.execute(_select_dags().where(_DAG.dag_id == dag_id)).one_or_none()
    if row is None:
        raise unknown_dag(connection, dag_id)
    return row


def _passes(wanted: DagFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [
        matches(_DAG.dag_id, wanted.dag_id),
        matches(_DISPLAY_NAME, wanted.display_name),
    ]
    if wanted.tags:
        combine = and_ if wanted.needs_all_tags else or_
        conditions.append(combine(*_have(_DAG.tags, wanted.tags)))
    if wanted.owners:
        conditions.append(or_(*_have(_DAG.owners, wanted.owners)))
    if wanted.is_paused is not None:
        conditions.append(_DAG.is_paused.is_(wanted.is_paused))
    if not wanted.includes_stale:
        conditions.append(_DAG.is_stale.is_(False))
    if wanted.has_import_error is not None:
        conditions.append(_HAS_IMPORT_ERROR if wanted.has_import_error else ~_HAS_IMPORT_ERROR)
    if wanted.last_run_state is not None:
        conditions.append(_LAST_RUN_STATE.in_((wanted.last_run_state,)))
    return and_(true(), *conditions)


def _have(column: ColumnElement[Any], texts: Sequence[str]) -> list[ColumnElement[bool]]:
    """Return one condition for each text: that it is an element of a list stored as JSON. An
    element stands between quotes, and quotes within one are escaped: its text is unmistakable."""
    return [contains(column, json.dumps(text)) for text in texts]


def _text_passes(text: str, match: TextMatch) -> bool:
    found = not match.substrings or any(part.lower() in text.lower() for part in match.substrings)
    started = not match.prefixes or any(text.startswith(part) for part in match.prefixes)
    return found and started


def _import_error_view(row: Row[Any]) -> ImportErrorView:
    return ImportErrorView(
        error_id=row.id,
        path=row.path,
        kind=row.kind,
        message=row.message,
        stacktrace=row.stacktrace,
        recorded_at=row.at,
    )
