"""The store as a running task sees it: XComs, values kept across tries, cached results."""

import zlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    String,
    Text,
    Uuid,
    and_,
    bindparam,
    delete,
    exists,
    func,
    select,
)

from orchestrator.core.ids import Slot, TaskKey, TiId
from orchestrator.core.results import CachedResult
from orchestrator.core.states import TaskState
from orchestrator.core.values import XComPart, elements_of, item_at
from orchestrator.store.conditions import for_each_dialect, is_one_of
from orchestrator.store.engine import Database
from orchestrator.store.spilling import SpilledXCom, Spills
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import xcom_table as xcom
from orchestrator.store.tables_values import cached_result_table as cached_result
from orchestrator.store.tables_values import task_value_table as task_value
from orchestrator.store.tables_values import xcom_spill_table as spill
from orchestrator.store.types import BigId, Instant, as_rows, now, now_plus, rows_from

__all__ = ["SqlValueStore"]

_T = TypeVar("_T")

_wanted = rows_from("wanted", {"task_id": String()})
_SELECT_XCOMS = (
    select(
        xcom.c.task_id,
        xcom.c.map_index,
        xcom.c.value,
        xcom.c.ti_id,
        xcom.c.epoch,
        spill.c.parts,
        spill.c.head,
        spill.c.length,
    )
    .join(dag_run, dag_run.c.id == xcom.c.run_uid)
    .outerjoin(
        spill,
        and_(
            spill.c.ti_id == xcom.c.ti_id, spill.c.key == xcom.c.key, spill.c.epoch == xcom.c.epoch
        ),
    )
    .where(
        dag_run.c.dag_id == bindparam("of_dag"),
        dag_run.c.run_id == bindparam("of_run"),
        xcom.c.key == bindparam("of_key"),
    )
    .order_by(xcom.c.task_id, xcom.c.map_index)
)
_SELECT_XCOMS_OF_TASKS = _SELECT_XCOMS.where(xcom.c.task_id.in_(select(_wanted.c.task_id)))
_SELECT_XCOM = _SELECT_XCOMS.where(
    xcom.c.task_id == bindparam("of_task"), xcom.c.map_index == bindparam("of_index", type_=BigId)
)
_IS_IN_RANGE = and_(xcom.c.map_index >= bindparam("start"), xcom.c.map_index < bindparam("stop"))

_SELECT_SUCCEEDED = (
    select(task_instance.c.map_index)
    .join(dag_run, dag_run.c.id == task_instance.c.run_uid)
    .where(
        dag_run.c.dag_id == bindparam("of_dag"),
        dag_run.c.run_id == bindparam("of_run"),
        task_instance.c.task_id == bindparam("of_task"),
        task_instance.c.map_index >= bindparam("start"),
        task_instance.c.map_index < bindparam("stop"),
        is_one_of(task_instance.c.state, TaskState.SUCCESS),
    )
    .order_by(task_instance.c.map_index)
)
_SELECT_SUCCEEDED_AT = _SELECT_SUCCEEDED.offset(bindparam("position", type_=Integer())).limit(1)

_stands_at = func.coalesce(dag_run.c.logical_date, dag_run.c.run_after)
_SELECT_LATEST_RUN = (
    select(dag_run.c.run_id)
    .where(
        dag_run.c.dag_id == bindparam("of_dag"),
        _stands_at <= bindparam("until", type_=Instant()),
        exists().where(
            xcom.c.run_uid == dag_run.c.id,
            xcom.c.key == bindparam("of_key"),
            xcom.c.task_id == bindparam("of_task"),
        ),
    )
    .order_by(_stands_at.desc(), dag_run.c.run_after.desc(), dag_run.c.id.desc())
    .limit(1)
)

_OF_TRY = (
    task_instance.c.id == bindparam("of_ti", type_=Uuid()),
    task_instance.c.epoch == bindparam("of_epoch", type_=BigInteger()),
    is_one_of(task_instance.c.state, TaskState.RUNNING),
    task_instance.c.lease_owner == bindparam("worker_id", type_=String()),
)
_SELECT_TASK_VALUES = select(task_value.c.key, task_value.c.value).where(
    task_value.c.ti_id == bindparam("of_ti", type_=Uuid())
)
_KEEP_TASK_VALUE = for_each_dialect(
    task_value,
    lambda insert_: (
        insert_.from_select(
            ["ti_id", "key", "value", "updated_at"],
            select(
                task_instance.c.id,
                bindparam("of_key", type_=String()),
                bindparam("json", type_=Text()),
                now(),
            ).where(*_OF_TRY),
        )
        .on_conflict_do_update(
            index_elements=["ti_id", "key"],
            set_={name: insert_.excluded[name] for name in ("value", "updated_at")},
        )
        .execution_options(preserve_rowcount=True)
    ),
)
_IS_TRY = select(task_instance.c.id).where(*_OF_TRY)
_DROP_TASK_VALUE = delete(task_value).where(
    task_value.c.ti_id == bindparam("of_ti", type_=Uuid()),
    task_value.c.key == bindparam("of_key", type_=String()),
    exists().where(*_OF_TRY),
)

_SELECT_RESULT = select(cached_result).where(
    cached_result.c.key == bindparam("of_key"), cached_result.c.expires_at > now()
)
_KEEP_RESULT = for_each_dialect(
    cached_result,
    lambda insert_: insert_.values(
        created_at=now(), expires_at=now_plus(bindparam("ttl_s"))
    ).on_conflict_do_update(
        index_elements=["key"],
        set_={
            name: insert_.excluded[name]
            for name in (
                *("dag_id", "run_id", "task_id", "map_index", "try_number"),
                *("xcoms", "created_at", "expires_at"),
            )
        },
    ),
)
_DELETE_EXPIRED_RESULTS = delete(cached_result).where(cached_result.c.expires_at <= now())


class SqlValueStore:
    """What workers.stored_values asks for, on SQL."""

    def __init__(self, database: Database, spills: Spills) -> None:
        self._database = database
        self._spills = spills

    def pull_xcoms(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Collection[str] | None,
        key: str,
        indexes: range | None = None,
    ) -> list[tuple[Slot, Any]]:
        statement = _SELECT_XCOMS if task_ids is None else _SELECT_XCOMS_OF_TASKS
        parameters: dict[str, Any] = {"of_dag": dag_id, "of_run": run_id, "of_key": key}
        if task_ids is not None:
            parameters |= as_rows("wanted", ([task_id] for task_id in task_ids))
        if indexes is not None:
            statement = statement.where(_IS_IN_RANGE)
            parameters |= {"start": indexes.start, "stop": indexes.stop}

        def pull(connection: Connection) -> list[tuple[Slot, Any]]:
            rows = connection.execute(statement, parameters).all()
            return [
                (Slot(row.task_id, row.map_index), self._value(connection, row, key))
                for row in rows
            ]

        return self._asking(pull)

    def pull_xcom_part(self, key: TaskKey, *, xcom_key: str, position: int) -> XComPart:
        wanted = {"of_dag": key.dag_id, "of_run": key.run_id, "of_task": key.task_id}
        name = f"XCom {xcom_key!r} of {key}"

        def ask(connection: Connection) -> XComPart:
            row = connection.execute(
                _SELECT_XCOM, {**wanted, "of_index": key.map_index, "of_key": xcom_key}
            ).one_or_none()
            if row is None:
                raise LookupError(f"{name} does not exist")
            if row.parts is None or row.head is None:
                value = self._value(connection, row, xcom_key)
                item_at(value, position, name=name)
                return XComPart(0, tuple(elements_of(value) or ()))
            if not 0 <= position < row.length:
                raise LookupError(
                    f"{name} has {row.length} elements: there is no number {position}"
                )
            first, elements = self._spills.elements_around(
                connection, _place(row, xcom_key), position
            )
            return XComPart(first, tuple(elements))

        return self._asking(ask)

    def latest_run_with_xcom(
        self, *, dag_id: str, task_id: str, key: str, until: datetime
    ) -> str | None:
        wanted = {"of_dag": dag_id, "of_task": task_id, "of_key": key, "until": until}

        def ask(connection: Connection) -> str | None:
            found: str | None = connection.scalar(_SELECT_LATEST_RUN, wanted)
            return found

        return self._asking(ask)

    def succeeded_indexes(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None
    ) -> list[int]:
        statement = _SELECT_SUCCEEDED if position is None else _SELECT_SUCCEEDED_AT
        parameters: dict[str, Any] = {"of_dag": dag_id, "of_run": run_id, "of_task": task_id}
        parameters |= {"start": indexes.start, "stop": indexes.stop}
        if position is not None:
            parameters["position"] = position
        return self._asking(
            lambda connection: list(connection.execute(statement, parameters).scalars())
        )

    def task_values(self, ti_id: TiId) -> Mapping[str, str]:
        return self._asking(
            lambda connection: {
                row.key: row.value
                for row in connection.execute(_SELECT_TASK_VALUES, {"of_ti": ti_id})
            }
        )

    def write_task_value(
        self, ti_id: TiId, epoch: int, *, worker_id: str, key: str, value: str | None
    ) -> bool:
        owner = {"of_ti": ti_id, "of_epoch": epoch, "worker_id": worker_id}

        def write(connection: Connection) -> bool:
            if value is None:
                connection.execute(_DROP_TASK_VALUE, {**owner, "of_key": key})
                return connection.execute(_IS_TRY, owner).one_or_none() is not None
            statement = _KEEP_TASK_VALUE[connection.dialect.name]
            written = connection.execute(statement, {**owner, "of_key": key, "json": value})
            return written.rowcount > 0

        return self._asking(write)

    def find_result(self, key: str) -> CachedResult | None:
        row = self._asking(
            lambda connection: connection.execute(_SELECT_RESULT, {"of_key": key}).one_or_none()
        )
        if row is None:
            return None
        return CachedResult(
            xcoms=msgspec.json.decode(zlib.decompress(row.xcoms)),
            source=TaskKey(row.dag_id, row.run_id, row.task_id, row.map_index),
            try_number=row.try_number,
        )

    def keep_result(self, key: str, result: CachedResult, *, ttl_s: float) -> None:
        values = {
            "key": key,
            **result.source._asdict(),
            "try_number": result.try_number,
            "xcoms": zlib.compress(msgspec.json.encode(result.xcoms)),
            "ttl_s": ttl_s,
        }

        def keep(connection: Connection) -> None:
            connection.execute(_DELETE_EXPIRED_RESULTS)
            connection.execute(_KEEP_RESULT[connection.dialect.name], values)

        self._asking(keep)

    def _value(self, connection: Connection, row: Any, key: str) -> Any:
        if row.parts is None:
            return row.value
        return self._spills.whole(connection, _place(row, key))

    def _asking(self, ask: Callable[[Connection], _T]) -> _T:
        """Do what is safe to repeat on a connection, again while there is passing trouble."""

        def once() -> _T:
            with self._database.each_alone() as connection:
                return ask(connection)

        return self._database.retrying(once)


def _place(row: Any, key: str) -> SpilledXCom:
    return SpilledXCom(row.ti_id, key, row.epoch, row.parts, row.head)
