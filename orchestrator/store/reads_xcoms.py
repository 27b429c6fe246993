"""Which values did the tasks of a run leave?"""

import json
from typing import Any

from sqlalchemy import Connection, Integer, Row, Select, and_, func, select

from orchestrator.core.ids import UNMAPPED, TaskKey
from orchestrator.core.listings import Page, PageRequest, XComFilter
from orchestrator.core.values import readable
from orchestrator.core.views import XComView
from orchestrator.errors import NotFoundError, did_you_mean
from orchestrator.store.reads_base import ReadBase
from orchestrator.store.reads_dags import version_columns
from orchestrator.store.reads_paging import Ordering, SortKey, matches, read_piece
from orchestrator.store.reads_runs import one_run, run_bounds
from orchestrator.store.tables import (
    dag_run_table,
    dag_table,
    dag_version_table,
    task_instance_table,
    xcom_table,
)
from orchestrator.store.tables_values import xcom_spill_table

__all__ = ["XComReads"]

_XCOM = xcom_table.c
_TI = task_instance_table.c
_RUN = dag_run_table.c
_DAG = dag_table.c
_VERSION = dag_version_table.c
_SPILL = xcom_spill_table.c

_ORDER = Ordering(
    keys={
        "id": SortKey(_XCOM.ti_id),
        "dag_id": SortKey(_RUN.dag_id),
        "run_id": SortKey(_RUN.run_id),
        "task_id": SortKey(_XCOM.task_id),
        "map_index": SortKey(_XCOM.map_index),
        "key": SortKey(_XCOM.key),
        "timestamp": SortKey(_XCOM.created_at),
        "run_after": SortKey(_RUN.run_after),
        "logical_date": SortKey(_RUN.logical_date, is_nullable=True),
    },
    default=("task_id", "map_index", "key"),
    tie_breaker="id",
)


class XComReads(ReadBase):
    """XComs."""

    def xcoms(self, wanted: XComFilter, request: PageRequest) -> Page[XComView]:
        """List XComs without their values; NotFoundError if the DAG or run does not exist."""
        statement = _select_xcoms()
        with self._database.reading() as connection:
            if wanted.dag_id is not None and wanted.run_id is not None:
                uid = one_run(connection, wanted.dag_id, wanted.run_id).id
                statement = statement.where(_XCOM.run_uid == uid)
            piece = read_piece(connection, _filtered(statement, wanted), _ORDER, request)
        return Page(
            items=tuple(self._xcom_view(row, value=None) for row in piece.rows), total=piece.total
        )

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str, *, map_index: int = UNMAPPED
    ) -> XComView:
        """Return one XCom with its value, secrets in it masked; raise NotFoundError naming what
        does not exist."""
        with self._database.reading() as connection:
            uid = one_run(connection, dag_id, run_id).id
            of_task = _select_xcoms().where(
                _XCOM.run_uid == uid, _XCOM.task_id == task_id, _XCOM.map_index == map_index
            )
            row = connection.execute(
                of_task.add_columns(_XCOM.value, _XCOM.masked).where(_XCOM.key == key)
            ).one_or_none()
            if row is None:
                raise _missing(
                    connection, of_task, TaskKey(dag_id, run_id, task_id, map_index), key
                )
        # What a row of a large one holds is a preview, made for people already.
        value = row.value if row.masked is None else row.masked
        return self._xcom_view(
            row, value=readable(value) if row.spilled_bytes is None else row.value
        )

    def _xcom_view(self, row: Row[Any], *, value: Any) -> XComView:
        task = self._task(row.dag_version_id, row.task_id)
        return XComView(
            key=row.key,
            task=TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index),
            task_display_name=(task.display_name if task else None) or row.task_id,
            dag_display_name=row.shown,
            value=value,
            size_bytes=row.spilled_bytes or row.size_bytes,
            is_preview=row.spilled_bytes is not None,
            created_at=row.created_at,
            logical_date=row.logical_date,
            run_after=row.run_after,
        )


def _select_xcoms() -> Select[Any]:
    return (
        select(
            _XCOM.key,
            _XCOM.task_id,
            _XCOM.map_index,
            _XCOM.created_at,
            _RUN.dag_id,
            _RUN.run_id,
            _RUN.run_after,
            _RUN.logical_date,
            _TI.dag_version_id,
            func.length(_XCOM.value, type_=Integer()).label("size_bytes"),
            _SPILL.size_bytes.label("spilled_bytes"),
            *version_columns(),
        )
        .join_from(xcom_table, task_instance_table, _TI.id == _XCOM.ti_id)
        .join(dag_run_table, _RUN.id == _XCOM.run_uid)
        .outerjoin(
            xcom_spill_table,
            and_(
                _SPILL.ti_id == _XCOM.ti_id,
                _SPILL.key == _XCOM.key,
                _SPILL.epoch == _XCOM.epoch,
            ),
        )
        .outerjoin(dag_table, _DAG.dag_id == _RUN.dag_id)
        .outerjoin(dag_version_table, _VERSION.id == _TI.dag_version_id)
    )


def _filtered(statement: Select[Any], wanted: XComFilter) -> Select[Any]:
    for column, value in (
        (_RUN.dag_id, wanted.dag_id),
        (_RUN.run_id, wanted.run_id),
        (_XCOM.task_id, wanted.task_id),
        (_XCOM.map_index, wanted.map_index),
        (_XCOM.key, wanted.key),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return statement.where(
        matches(_XCOM.key, wanted.key_match),
        matches(_RUN.dag_id, wanted.dag_id_match),
        matches(_RUN.run_id, wanted.run_id_match),
        matches(_XCOM.task_id, wanted.task_id_match),
        run_bounds(wanted.bounds),
    )


def _missing(
    connection: Connection, of_task: Select[Any], key: TaskKey, xcom_key: str
) -> NotFoundError:
    known = [row.key for row in connection.execute(of_task.limit(100))]
    there = f"; it left {json.dumps(known)}" if known else "; it left none"
    return NotFoundError(f"{key} left no XCom {xcom_key!r}{did_you_mean(xcom_key, known) or there}")
