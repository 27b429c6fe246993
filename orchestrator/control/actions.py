"""What happens when a person triggers, pauses or resizes something?

Every action is one transaction in the store, then the doorbell: a scheduler looks at once, and if
the bell is not heard, by itself a little later.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime

from orchestrator.control.checks import (
    NOTE_LENGTH_MAX,
    check_conf,
    check_name,
    check_run_id,
    check_slots,
    check_text,
    check_utc,
)
from orchestrator.control.ports import CommandStore
from orchestrator.core.planning import run_id_of
from orchestrator.core.requests import CurrentDag, NewRun, RequestKey, RunRequest
from orchestrator.core.specs import DEFAULT_POOL
from orchestrator.core.states import RunType, TriggeredBy
from orchestrator.core.views import PoolView, RunView
from orchestrator.errors import ConflictError, RequestInvalidError
from orchestrator.ports import Doorbell

__all__ = ["Control"]

_DESCRIPTION_LENGTH_MAX = 1000
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ATTEMPTS = 5
"""Two requests in one microsecond generate one run id, and a definition may be replaced between its
check and its use: look again, a few times."""


class Control:
    """People's commands. The CLI and the API share them, so they allow and refuse the same."""

    def __init__(self, store: CommandStore, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell

    def trigger(
        self,
        dag_id: str,
        request: RunRequest | None = None,
        *,
        triggered_by: TriggeredBy,
        user: str | None = None,
    ) -> RunView:
        """Ask for a run and return it, queued. A paused DAG may be triggered: its run waits.

        Raise NotFoundError for an unknown DAG, ConflictError for a run id or logical date that is
        taken or a DAG whose file is gone, RequestInvalidError or ParamInvalidError for a value.
        With an idempotency key the same request again gives the same run, as it stands by then;
        another request with it is a ConflictError.
        """
        request = request or RunRequest()
        key = _request_key(dag_id, request)
        if key is None:
            return self._trigger(dag_id, request, None, triggered_by, user)
        earlier = self._store.run_asked_for(dag_id, key)
        if earlier is not None:
            return earlier
        try:
            return self._trigger(dag_id, request, key, triggered_by, user)
        except ConflictError:
            earlier = self._store.run_asked_for(dag_id, key)  # somebody asked at the same moment
            if earlier is None:
                raise
            return earlier

    def _trigger(
        self,
        dag_id: str,
        request: RunRequest,
        key: RequestKey | None,
        triggered_by: TriggeredBy,
        user: str | None,
    ) -> RunView:
        for attempts_left in reversed(range(_ATTEMPTS)):
            dag = self._store.current_dag(dag_id)
            if dag.is_stale:
                raise ConflictError(
                    f"DAG {dag_id!r} is no longer defined by any file; restore its file to run it"
                )
            try:
                new = replace(_new_run(dag, request, triggered_by, user), request=key)
                run = self._store.create_run_if_current(new)
            except ConflictError:
                if _is_named(request) or not attempts_left:
                    raise
                continue
            if run is not None:
                self._doorbell.ring()
                return run
        raise ConflictError(
            f"the definition of DAG {dag_id!r} changes faster than it can be checked; try again"
        )

    def pause(self, dag_id: str) -> None:
        """Start nothing new of a DAG; what runs goes on. Pausing a paused DAG changes nothing."""
        self._store.set_paused(dag_id, is_paused=True)
        self._doorbell.ring()

    def unpause(self, dag_id: str) -> None:
        """Let a DAG start runs and tasks again."""
        self._store.set_paused(dag_id, is_paused=False)
        self._doorbell.ring()

    def create_pool(
        self,
        name: str,
        *,
        slots: int,
        queue: str | None = None,
        description: str | None = None,
        include_deferred: bool = False,
    ) -> PoolView:
        """Make a pool; -1 slots means no limit."""
        pool = self._store.create_pool(
            check_name(name, name="pool"),
            slots=check_slots(slots, pool=name),
            queue=None if queue is None else check_name(queue, name="queue"),
            description=_description(description),
            include_deferred=include_deferred,
        )
        self._doorbell.ring()
        return pool

    def update_pool(self, name: str, changes: Mapping[str, int | str | None]) -> PoolView:
        """Change slots, queue, description or include_deferred of a pool. Making it smaller stops
        nothing that runs: new tasks wait until its use fits."""
        checked: dict[str, int | str | None] = {}
        for field, value in changes.items():
            match field, value:
                case "include_deferred", bool():
                    checked[field] = value
                case "slots", int() if not isinstance(value, bool):
                    checked[field] = check_slots(value, pool=name)
                case "queue", str() | None:
                    checked[field] = None if value is None else check_name(value, name="queue")
                case "description", str() | None:
                    checked[field] = _description(value)
                case _:
                    raise RequestInvalidError(
                        f"{field}={value!r} cannot be set on pool {name!r}; slots, queue, "
                        "description and include_deferred can"
                    )
        pool = self._store.update_pool(name, checked)
        self._doorbell.ring()
        return pool

    def delete_pool(self, name: str) -> None:
        """Remove a pool. Tasks that name it wait until it is made again, and say so."""
        if name == DEFAULT_POOL:
            raise RequestInvalidError(
                f"pool {name!r} cannot be deleted: it is that of every task that names none"
            )
        self._store.delete_pool(name)
        self._doorbell.ring()


def _request_key(dag_id: str, request: RunRequest) -> RequestKey | None:
    key = request.idempotency_key
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise RequestInvalidError(
            f"the idempotency key {key[:80]!a} is not acceptable; use 1 to 255 visible ASCII "
            "characters, such as a UUID"
        )
    asked = {field.name: getattr(request, field.name) for field in fields(request)}
    text = json.dumps([dag_id, asked], default=_instant, sort_keys=True)
    return RequestKey(key=key, digest=hashlib.sha256(text.encode()).hexdigest())


def _instant(value: datetime) -> str:
    """Write an instant the same in whatever zone it was given."""
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _is_named(request: RunRequest) -> bool:
    """Say whether the id of the run follows from the request alone, and not from the clock."""
    instants = (request.logical_date, request.data_interval_end, request.run_after)
    return request.run_id is not None or any(instant is not None for instant in instants)


def _new_run(
    dag: CurrentDag, request: RunRequest, triggered_by: TriggeredBy, user: str | None
) -> NewRun:
    logical_date = _utc(request.logical_date, "logical_date")
    start, end = _data_interval(request, logical_date)
    run_after = _utc(request.run_after, "run_after") or end or dag.now
    conf = dict(request.conf or {})
    check_conf(conf, dag.spec)
    return NewRun(
        dag_id=dag.spec.dag_id,
        version_id=dag.version_id,
        run_id=_made_run_id(request, run_after)
        if request.run_id is None
        else check_run_id(request.run_id, run_type=request.run_type),
        run_after=run_after,
        logical_date=logical_date,
        data_interval_start=start,
        data_interval_end=end,
        conf=conf,
        note=check_text(request.note, name="note", length_max=NOTE_LENGTH_MAX),
        triggered_by=triggered_by,
        user=user,
        run_type=request.run_type,
    )


def _made_run_id(request: RunRequest, run_after: datetime) -> str:
    """Name a run that nobody named. Tasks may ask for many at one moment, so theirs have a random
    end, as in Airflow, unless their logical date tells them apart."""
    run_id = run_id_of(request.run_type, run_after)
    if request.run_type is RunType.MANUAL or request.logical_date is not None:
        return run_id
    return f"{run_id}_{secrets.token_hex(4)}"


def _data_interval(
    request: RunRequest, logical_date: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """As Airflow's trigger timetables have it: the interval of a manual run is its instant."""
    start = _utc(request.data_interval_start, "data_interval_start")
    end = _utc(request.data_interval_end, "data_interval_end")
    if (start is None) != (end is None):
        raise RequestInvalidError(
            "data_interval_start and data_interval_end belong together; give both or neither"
        )
    if start is None or end is None:
        return logical_date, logical_date
    if start > end:
        raise RequestInvalidError(
            f"data_interval_start {start.isoformat()} is after data_interval_end "
            f"{end.isoformat()}; exchange them"
        )
    return start, end


def _utc(instant: datetime | None, name: str) -> datetime | None:
    return None if instant is None else check_utc(instant, name=name)


def _description(text: str | None) -> str | None:
    return check_text(text, name="description", length_max=_DESCRIPTION_LENGTH_MAX)
