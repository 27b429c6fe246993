"""How does a person change what a task instance left?

Under the lock of its row, and only while no worker has it: a try writes its XComs when it ends, and
finds none there (its start deletes those of the tries before it, but for the first one).
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, Text, bindparam, delete, insert, null, select, update

from orchestrator.core.ids import TaskKey
from orchestrator.core.states import FINISHED_TASK_STATES, TaskState
from orchestrator.errors import ConflictError, NotFoundError
from orchestrator.store.engine import Database
from orchestrator.store.reads_tasks import TaskInstanceReads
from orchestrator.store.spilling import Spills
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import xcom_table as xcom
from orchestrator.store.types import json_text, now
from orchestrator.store.versions import Versions

__all__ = ["XComChanges"]

_CHANGEABLE = FINISHED_TASK_STATES | {TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE}
_LOCK = (
    select(task_instance)
    .where(task_instance.c.id == bindparam("of_ti"))
    .with_for_update(key_share=True)
)
_IS_THIS = (xcom.c.ti_id == bindparam("of_ti"), xcom.c.key == bindparam("of_key"))
_SELECT = select(xcom.c.key).where(*_IS_THIS)
_DELETE = delete(xcom).where(*_IS_THIS)
_NEW = {
    "value": bindparam("json", type_=Text()),
    "masked": null(),
    "created_at": now(),
}
_INSERT = insert(xcom).values(**_NEW)
_UPDATE = update(xcom).where(*_IS_THIS).values(**_NEW, epoch=bindparam("new_epoch"))


class XComChanges:
    """What control asks for, on SQL."""

    def __init__(self, database: Database, versions: Versions, spills: Spills) -> None:
        self._database = database
        self._reads = TaskInstanceReads(database, versions)
        self._spills = spills

    def create_xcom(self, of_task: TaskKey, key: str, stored: Any) -> None:
        def create(connection: Connection, row: Row[Any]) -> None:
            if connection.execute(_SELECT, {"of_ti": row.id, "of_key": key}).first() is not None:
                raise ConflictError(f"{of_task} has an XCom {key!r} already; change it instead")
            facts = {"ti_id": row.id, "key": key, "run_uid": row.run_uid, "task_id": row.task_id}
            connection.execute(
                _INSERT,
                {
                    **facts,
                    "map_index": row.map_index,
                    "epoch": row.epoch,
                    "json": json_text(stored),
                },
            )

        self._change(of_task, key, create)

    def update_xcom(self, of_task: TaskKey, key: str, stored: Any) -> None:
        def replace(connection: Connection, row: Row[Any]) -> None:
            wanted = {"of_ti": row.id, "of_key": key}
            values = {"json": json_text(stored), "new_epoch": row.epoch}
            if not connection.execute(_UPDATE, {**wanted, **values}).rowcount:
                raise _gone(of_task, key)

        self._change(of_task, key, replace)

    def delete_xcom(self, of_task: TaskKey, key: str) -> None:
        def remove(connection: Connection, row: Row[Any]) -> None:
            if not connection.execute(_DELETE, {"of_ti": row.id, "of_key": key}).rowcount:
                raise _gone(of_task, key)

        self._change(of_task, key, remove)

    def _change(
        self, of_task: TaskKey, key: str, change: Callable[[Connection, Row[Any]], None]
    ) -> None:
        """Lock the task instance, change, and remove what lay beside the row; its files last, when
        nothing names them any more."""
        dag_id, run_id, task_id, map_index = of_task
        seen = self._reads.task_instance(dag_id, run_id, task_id, map_index=map_index)
        ti_id = seen.ti_id

        def once() -> list[str]:
            with self._database.writing() as connection:
                row = connection.execute(_LOCK, {"of_ti": ti_id}).one_or_none()
                if row is None:
                    raise NotFoundError(f"{of_task} does not exist any more")
                if row.state not in _CHANGEABLE:
                    raise ConflictError(
                        f"{of_task} is {row.state}: its XComs are those that its try leaves; "
                        "change them once it has ended"
                    )
                change(connection, row)
                return self._spills.forget(connection, ti_id, key)

        self._spills.remove(self._database.retrying(once))


def _gone(of_task: TaskKey, key: str) -> NotFoundError:
    return NotFoundError(f"{of_task} left no XCom {key!r}")
