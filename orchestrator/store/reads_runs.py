"""Which runs are there, and how does each of them stand?"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    FunctionElement,
    Row,
    Select,
    and_,
    func,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from orchestrator.core.ids import RunUid
from orchestrator.core.listings import Bounds, Page, PageRequest, RunFilter
from orchestrator.core.states import RunState, RunType, TriggeredBy
from orchestrator.core.views import RunCounts, RunView
from orchestrator.errors import NotFoundError
from orchestrator.store.conditions import UNFINISHED_RUN, is_one_of
from orchestrator.store.reads_base import ReadBase, unknown_dag
from orchestrator.store.reads_dags import version_columns, version_view
from orchestrator.store.reads_paging import (
    Ordering,
    SortKey,
    contains,
    matches,
    read_piece,
    within,
)
from orchestrator.store.tables import dag_run_table, dag_table, dag_version_table

__all__ = ["RunReads"]

_RUN = dag_run_table.c
_DAG = dag_table.c
_VERSION = dag_version_table.c


def run_columns() -> Mapping[str, SortKey]:
    """Return what runs can be ordered by. Time-ordered ids make `id` the order of creation."""
    return {
        "id": SortKey(_RUN.id),
        "dag_id": SortKey(_RUN.dag_id),
        "run_id": SortKey(_RUN.run_id),
        "dag_run_id": SortKey(_RUN.run_id),
        "state": SortKey(_RUN.state),
        "run_type": SortKey(_RUN.run_type),
        "run_after": SortKey(_RUN.run_after),
        "queued_at": SortKey(_RUN.queued_at),
        "logical_date": SortKey(_RUN.logical_date, is_nullable=True),
        "start_date": SortKey(_RUN.started_at, is_nullable=True),
        "end_date": SortKey(_RUN.ended_at, is_nullable=True),
    }


_OF_ONE_DAG = Ordering(keys=run_columns(), default=("run_after",), tie_breaker="id")
_OF_ALL_DAGS = Ordering(keys=run_columns(), default=("id",), tie_breaker="id")


class RunReads(ReadBase):
    """Runs."""

    def runs(self, wanted: RunFilter, request: PageRequest) -> Page[RunView]:
        """List runs: of one DAG by run_after, of all DAGs by creation, unless ordered otherwise
        (`-id` is the newest first, quickly, for all DAGs; `-run_after` for one)."""
        statement = select_runs().where(_passes(wanted))
        ordering = _OF_ALL_DAGS if wanted.dag_id is None else _OF_ONE_DAG
        with self._database.reading() as connection:
            if wanted.dag_id is not None:
                require_dag(connection, wanted.dag_id)
            piece = read_piece(connection, statement, ordering, request)
        return Page(
            items=tuple(run_view(row) for row in piece.rows),
            total=piece.total,
            next_cursor=piece.next_cursor,
            previous_cursor=piece.previous_cursor,
        )

    def run(self, dag_id: str, run_id: str) -> RunView:
        """Return one run; raise NotFoundError naming what does not exist."""
        with self._database.reading() as connection:
            return run_view(one_run(connection, dag_id, run_id))

    def run_counts(self, dag_ids: Collection[str] = ()) -> tuple[RunCounts, ...]:
        """Count the runs of DAGs by state, in order of their ids: of those named that exist, or of
        all that are not stale. It costs as much as they have runs."""
        which = _DAG.dag_id.in_(dag_ids) if dag_ids else ~_DAG.is_stale
        dags = select(_DAG.dag_id, _DAG.display_name).where(which).order_by(_DAG.dag_id)
        named = select(_DAG.dag_id).where(which)
        counts = (
            select(_RUN.dag_id, _RUN.state, func.count())
            .where(_RUN.dag_id.in_(named))
            .group_by(_RUN.dag_id, _RUN.state)
        )
        with self._database.reading() as connection:
            rows = connection.execute(dags).all()
            found: dict[str, dict[RunState, int]] = {row.dag_id: {} for row in rows}
            for dag_id, state, count in connection.execute(counts):
                found.setdefault(dag_id, {})[RunState(state)] = count
        return tuple(
            RunCounts(
                dag_id=row.dag_id,
                dag_display_name=row.display_name or row.dag_id,
                by_state=found[row.dag_id],
            )
            for row in rows
        )


def select_runs() -> Select[Any]:
    """Return the statement behind every `run_view`. Every run has a DAG and a version; they are
    joined as if it might not, so that SQLite begins with the runs and takes them in order."""
    return (
        select(dag_run_table, *version_columns())
        .outerjoin(dag_table, _DAG.dag_id == _RUN.dag_id)
        .outerjoin(dag_version_table, _VERSION.id == _RUN.dag_version_id)
    )


def run_view(row: Row[Any]) -> RunView:
    """Turn a row of `select_runs` into what people see."""
    return RunView(
        uid=RunUid(row.id),
        dag_id=row.dag_id,
        dag_display_name=row.shown,
        run_id=row.run_id,
        state=RunState(row.state),
        run_type=RunType(row.run_type),
        triggered_by=TriggeredBy(row.triggered_by),
        user=row.triggering_user,
        logical_date=row.logical_date,
        data_interval_start=row.data_interval_start,
        data_interval_end=row.data_interval_end,
        run_after=row.run_after,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        conf=row.conf,
        note=row.note,
        reason=row.reason,
        version=version_view(row),
    )


def one_run(connection: Connection, dag_id: str, run_id: str) -> Row[Any]:
    """Read one run, or say whether it is the DAG or the run that does not exist."""
    statement = select_runs().where(_RUN.dag_id == dag_id, _RUN.run_id == run_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        require_dag(connection, dag_id)
        raise NotFoundError(
            f"DAG {dag_id!r} has no run {run_id!r}; `orchestrator runs list` shows those it has"
        )
    return row


def require_dag(connection: Connection, dag_id: str) -> None:
    """Raise NotFoundError, naming the most similar one, unless there is such a DAG."""
    if connection.execute(select(_DAG.dag_id).where(_DAG.dag_id == dag_id)).first() is None:
        raise unknown_dag(connection, dag_id)


def run_bounds(bounds: Mapping[str, Bounds]) -> ColumnElement[bool]:
    """Return the condition that a run is within bounds."""
    return and_(
        true(),
        within(_RUN.run_after, bounds.get("run_after")),
        within(_RUN.logical_date, bounds.get("logical_date")),
    )


def lasting(
    started_at: ColumnElement[Any], ended_at: ColumnElement[Any], bounds: Bounds | None
) -> ColumnElement[bool]:
    """Return the condition that what started and ended then took between so many seconds."""
    if bounds is None:
        return true()
    return within(_seconds(started_at, ended_at), bounds)


class _seconds(FunctionElement[float]):  # noqa: N801 - an SQL expression
    """Seconds from the first instant to the second."""

    inherit_cache = True
    type = Float()


@compiles(_seconds, "postgresql")
def _seconds_on_postgresql(element: _seconds, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(extract(epoch FROM ({end} - {start})) AS double precision)"


@compiles(_seconds, "sqlite")
def _seconds_on_sqlite(element: _seconds, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(({end} - {start}) / 1000000.0)"


def _passes(wanted: RunFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [
        matches(_RUN.dag_id, wanted.dag_id_match),
        matches(_RUN.run_id, wanted.run_id),
        matches(_RUN.triggering_user, wanted.user),
        run_bounds(wanted.bounds),
        within(_RUN.started_at, wanted.bounds.get("started_at"), null_is_now=True),
        within(_RUN.ended_at, wanted.bounds.get("ended_at"), null_is_now=True),
        lasting(_RUN.started_at, _RUN.ended_at, wanted.bounds.get("duration_s")),
    ]
    if wanted.dag_id is not None:
        conditions.append(_RUN.dag_id == wanted.dag_id)
    if wanted.dag_ids:
        conditions.append(_RUN.dag_id.in_(wanted.dag_ids))
    if wanted.states:
        conditions.append(_RUN.state.in_(wanted.states))
    if wanted.states and set(wanted.states) <= set(UNFINISHED_RUN):
        conditions.append(is_one_of(_RUN.state, *UNFINISHED_RUN))  # what their index is for
    if wanted.run_types:
        conditions.append(_RUN.run_type.in_(wanted.run_types))
    if wanted.version_numbers:
        conditions.append(_VERSION.version_number.in_(wanted.version_numbers))
    if wanted.conf_contains is not None:
        conditions.append(contains(_RUN.conf, wanted.conf_contains))
    return and_(true(), *conditions)
