"""The store as the parser sees it: what the DAG files say, version by version.

A DAG's row is locked before its versions are looked at. Planning locks the same row before it
starts runs, so a version is never replaced while one of its runs begins.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, TypeVar, assert_never
from uuid import UUID

from sqlalchemy import (
    Connection,
    String,
    Uuid,
    bindparam,
    delete,
    exists,
    false,
    insert,
    null,
    select,
    update,
)

from orchestrator.core.codec import encode_spec
from orchestrator.core.specs import CronSchedule, DeltaSchedule, OnceSchedule, Schedule
from orchestrator.ports import ParsedVersion
from orchestrator.store.conditions import for_each_dialect
from orchestrator.store.engine import Database
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import dag_table as dag
from orchestrator.store.tables import dag_version_table as dag_version
from orchestrator.store.tables_imports import dag_warning_table as dag_warning
from orchestrator.store.tables_imports import import_error_table as import_error
from orchestrator.store.types import as_rows, now, rows_from

_of_dag = bindparam("of_dag", type_=String())
_of_path = bindparam("of_path", type_=String())

_LOCK_DAG = (
    select(dag.c.is_stale, dag.c.path, dag.c.current_version_id)
    .where(dag.c.dag_id == _of_dag)
    .with_for_update(key_share=True)
)
_SELECT_VERSION = select(
    dag_version.c.id, dag_version.c.version_number, dag_version.c.content_hash
).where(dag_version.c.id == bindparam("of_version", type_=Uuid()))
_INSERT_DAG = for_each_dialect(
    dag,
    lambda insert_: (
        insert_.values(wake_at=now(), last_parsed_at=now())
        .on_conflict_do_nothing()
        .returning(dag.c.dag_id)
    ),
)
_SHOW_DAG = update(dag).where(dag.c.dag_id == _of_dag).values(is_stale=False, last_parsed_at=now())
_LISTED = (
    *("display_name", "description", "path", "tags", "owners", "schedule", "timezone"),
    *("max_active_runs", "max_active_tasks"),
)
_SET_DAG = (
    update(dag)
    .where(dag.c.dag_id == _of_dag)
    .values(
        **{name: bindparam(name, type_=dag.c[name].type) for name in _LISTED},
        current_version_id=bindparam("of_version", type_=Uuid()),
        wake_at=now(),
    )
)
_INSERT_VERSION = insert(dag_version).values(created_at=now())
_HAS_STARTED_RUNS = select(
    exists().where(
        dag_run.c.dag_version_id == bindparam("of_version", type_=Uuid()), dag_run.c.revision > 0
    )
)
_DELETE_VERSION = delete(dag_version).where(
    dag_version.c.id == bindparam("of_version", type_=Uuid())
)
_ADOPT_RUNS = (
    update(dag_run)
    .where(dag_run.c.dag_version_id == bindparam("of_version", type_=Uuid()))
    .values(dag_version_id=bindparam("new_version", type_=Uuid()))
)
_SELECT_OWNER = select(dag.c.path).where(dag.c.dag_id == _of_dag, dag.c.is_stale == false())

_kept = rows_from("kept", {"name": String()})
_hidden = {"is_stale": True, "wake_at": null(), "next_tick_at": null()}
_HIDE_OTHERS = (
    update(dag)
    .where(
        dag.c.path == _of_path,
        dag.c.is_stale == false(),
        dag.c.dag_id.not_in(select(_kept.c.name)),
    )
    .values(_hidden)
)
_HIDE_MISSING = (
    update(dag)
    .where(dag.c.is_stale == false(), dag.c.path.not_in(select(_kept.c.name)))
    .values(_hidden)
)

_RECORD_ERROR = for_each_dialect(
    import_error,
    lambda insert_: insert_.values(at=now()).on_conflict_do_update(
        index_elements=["path"],
        set_={name: insert_.excluded[name] for name in ("kind", "message", "stacktrace", "at")},
    ),
)
_CLEAR_ERROR = delete(import_error).where(import_error.c.path == _of_path)
_CLEAR_MISSING_ERRORS = delete(import_error).where(import_error.c.path.not_in(select(_kept.c.name)))

_CLEAR_WARNINGS = delete(dag_warning).where(dag_warning.c.dag_id == _of_dag)
_INSERT_WARNING = insert(dag_warning).values(at=now())


Result = TypeVar("Result")


class SqlDagCatalog:
    """ports.DagCatalog on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, version: ParsedVersion) -> bool:
        def register(connection: Connection) -> bool:
            known = connection.execute(_LOCK_DAG, {"of_dag": version.spec.dag_id}).one_or_none()
            if known is None and self._insert(connection, version):
                return True
            if known is None:  # another process was faster
                known = connection.execute(_LOCK_DAG, {"of_dag": version.spec.dag_id}).one()
            return self._renew(connection, version, known)

        return self._write(register)

    def _insert(self, connection: Connection, version: ParsedVersion) -> bool:
        """Insert a DAG that is not stored yet, with its first version."""
        version_id = self._database.new_id()
        values = {
            "dag_id": version.spec.dag_id,
            "is_paused": version.spec.is_paused_upon_creation,
            "is_stale": False,
            "current_version_id": version_id,
            **_listed(version),
        }
        if connection.execute(_INSERT_DAG[connection.dialect.name], values).first() is None:
            return False
        _insert_version(connection, version, version_id, version_number=1)
        return True

    def _renew(self, connection: Connection, version: ParsedVersion, known: Any) -> bool:
        """Make `version` the current one of a DAG whose row is locked."""
        of_dag = {"of_dag": version.spec.dag_id}
        of_version = {"of_version": known.current_version_id}
        current = connection.execute(_SELECT_VERSION, of_version).one()
        connection.execute(_SHOW_DAG, of_dag)
        if known.is_stale or known.path != version.path:
            connection.execute(_SET_DAG, {**of_dag, **_listed(version), **of_version})
        if current.content_hash == version.content_hash:
            return False
        version_id, number = self._database.new_id(), current.version_number + 1
        if not connection.scalar(_HAS_STARTED_RUNS, of_version):
            # Nothing ran on it, so nobody will miss it; runs that wait take the new one.
            connection.execute(_DELETE_VERSION, of_version)
            connection.execute(_ADOPT_RUNS, {**of_version, "new_version": version_id})
            number = current.version_number
        _insert_version(connection, version, version_id, version_number=number)
        connection.execute(_SET_DAG, {**of_dag, **_listed(version), "of_version": version_id})
        return True

    def owner_of(self, dag_id: str) -> str | None:
        def owner_of() -> str | None:
            with self._database.reading() as connection:
                path: str | None = connection.scalar(_SELECT_OWNER, {"of_dag": dag_id})
            return path

        return self._database.retrying(owner_of)

    def keep_only(self, path: str, dag_ids: Collection[str]) -> None:
        kept = as_rows("kept", ([dag_id] for dag_id in sorted(dag_ids)))
        self._write(lambda c: c.execute(_HIDE_OTHERS, {"of_path": path, **kept}))

    def record_import_error(self, path: str, *, kind: str, message: str, stacktrace: str) -> None:
        values = {"path": path, "kind": kind, "message": message, "stacktrace": stacktrace}
        self._write(lambda c: c.execute(_RECORD_ERROR[c.dialect.name], values))

    def clear_import_error(self, path: str) -> None:
        self._write(lambda c: c.execute(_CLEAR_ERROR, {"of_path": path}))

    def record_warnings(self, dag_id: str, warnings: Mapping[str, str]) -> None:
        rows = [
            {"dag_id": dag_id, "kind": kind, "message": message}
            for kind, message in sorted(warnings.items())
        ]

        def record(connection: Connection) -> None:
            connection.execute(_CLEAR_WARNINGS, {"of_dag": dag_id})
            if rows:
                connection.execute(_INSERT_WARNING, rows)

        self._write(record)

    def forget_missing(self, existing_paths: Collection[str]) -> None:
        kept = as_rows("kept", ([path] for path in sorted(existing_paths)))

        def forget(connection: Connection) -> None:
            connection.execute(_HIDE_MISSING, kept)
            connection.execute(_CLEAR_MISSING_ERRORS, kept)

        self._write(forget)

    def _write(self, work: Callable[[Connection], Result]) -> Result:
        def write() -> Result:
            with self._database.writing() as connection:
                return work(connection)

        return self._database.retrying(write)


def _insert_version(
    connection: Connection, version: ParsedVersion, version_id: UUID, *, version_number: int
) -> None:
    connection.execute(
        _INSERT_VERSION,
        {
            "id": version_id,
            "dag_id": version.spec.dag_id,
            "version_number": version_number,
            "content_hash": version.content_hash,
            "spec": encode_spec(version.spec).decode(),
            "max_active_tasks": version.spec.max_active_tasks,
            "path": version.path,
            "source": version.source,
            "source_digest": version.source_digest,
        },
    )


def _listed(version: ParsedVersion) -> Mapping[str, Any]:
    """What lists of DAGs show."""
    spec = version.spec
    return {
        "display_name": spec.display_name,
        "description": spec.description,
        "path": version.path,
        "tags": list(spec.tags),
        "owners": list(spec.owners),
        "schedule": _in_words(spec.schedule),
        "timezone": spec.timezone,
        "max_active_runs": spec.max_active_runs,
        "max_active_tasks": spec.max_active_tasks,
    }


def _in_words(schedule: Schedule) -> str | None:
    """Write a schedule as Airflow lists it."""
    match schedule:
        case None:
            return None
        case CronSchedule():
            return schedule.expression
        case DeltaSchedule():
            return str(timedelta(seconds=schedule.seconds))
        case OnceSchedule():
            return "@once"
        case _:
            assert_never(schedule)
