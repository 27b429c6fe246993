"""What did a try log so far?

Workers append JSON lines as bytes; the first and the last line of what people read are made here
from the stored facts of the try, so that they are there also when its worker died with it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from orchestrator.core.ids import UNMAPPED, TiId
from orchestrator.core.states import TaskState
from orchestrator.core.views import LogPage, TaskInstanceView, TryView
from orchestrator.errors import NotFoundError
from orchestrator.ports import LOG_BYTES_PER_EPOCH
from orchestrator.store.reads_tasks import TaskInstanceReads
from orchestrator.store.tables import log_chunk_table

__all__ = ["LogReads"]

CHUNKS_PER_PAGE = 32
LINE_BYTES_MAX = 256 * 1024
"""A longer line is shown in pieces, so that a log without line ends is readable too."""

_LOGGER = "orchestrator"
_CHUNK = log_chunk_table.c


class LogReads(TaskInstanceReads):
    """Task logs."""

    def read_log(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        try_number: int,
        *,
        map_index: int = UNMAPPED,
        offset: int = 0,
    ) -> LogPage:
        """Return the next lines of a try's log from `offset` (0, then each page's `next_offset`).

        While the try runs a page may be empty; ask again later. Raise NotFoundError naming what
        does not exist, as does a try that has not started.
        """
        seen, tries = self.tries(dag_id, run_id, task_id, map_index=map_index)
        this = _find(seen, tries, try_number)
        head = [_first_line(this)] if offset == 0 else []
        position = max(0, offset - 1)  # the first line counts as one byte
        with self._database.reading() as connection:
            chunks = _chunks(connection, seen.ti_id, try_number, position)
        has_ended = this.ended_at is not None
        joined = _join(chunks, position, has_ended=has_ended)
        is_last = joined.is_whole and len(chunks) < CHUNKS_PER_PAGE
        is_cut = joined.is_cut or (has_ended and is_last)
        taken = len(joined.data) if is_cut else _whole_lines(joined.data)
        lines = [*head, *_gap_lines(joined.lost), *_parse(joined.data[:taken])]
        is_complete = has_ended and is_last
        if is_complete:
            lines.append(_last_line(this))
        return LogPage(
            lines=tuple(lines),
            next_offset=joined.begin + taken + 1,
            is_complete=is_complete,
        )


def _find(seen: TaskInstanceView, tries: Sequence[TryView], try_number: int) -> TryView:
    for one in reversed(tries):
        if one.try_number == try_number:
            return one
    if not tries:
        raise NotFoundError(f"{seen.key} has no log yet: it has not started, it is {seen.state}")
    known = ", ".join(str(one.try_number) for one in tries)
    raise NotFoundError(f"{seen.key} has no try {try_number}; it has {known}")


def _chunks(
    connection: Connection, ti_id: TiId, try_number: int, position: int
) -> list[tuple[int, bytes]]:
    """Read the pieces from the one that holds `position` on, in order, a page of them."""
    of_try = (_CHUNK.ti_id == ti_id, _CHUNK.try_number == try_number)
    first = (
        select(func.max(_CHUNK.offset)).where(*of_try, _CHUNK.offset <= position).scalar_subquery()
    )
    statement = (
        select(_CHUNK.offset, _CHUNK.data)
        .where(*of_try, _CHUNK.offset >= func.coalesce(first, 0))
        .order_by(_CHUNK.offset)
        .limit(CHUNKS_PER_PAGE)
    )
    return [(row.offset, bytes(row.data)) for row in connection.execute(statement)]


@dataclass(frozen=True, slots=True)
class _Joined:
    """The bytes from `begin` on that can be read now; `lost` ones before them never came."""

    data: bytes
    begin: int
    lost: int
    is_whole: bool
    """All pieces are in it."""
    is_cut: bool
    """The rest of its last line never comes."""


def _join(chunks: Iterable[tuple[int, bytes]], position: int, *, has_ended: bool) -> _Joined:
    """Join pieces from `position` on.

    A piece may repeat bytes of the one before it. A gap ends what can be read now: in a try that
    runs the missing piece is on its way; in one that ended it is lost and the rest follows. What
    was logged under a later epoch begins anew, however much there was before.
    """
    data = bytearray()
    begin, lost = position, 0
    for offset, piece in chunks:
        expected = begin + len(data)
        if offset > expected:
            goes_on = offset // LOG_BYTES_PER_EPOCH > expected // LOG_BYTES_PER_EPOCH
            missing = offset % LOG_BYTES_PER_EPOCH if goes_on else offset - expected
            if data or (missing and not has_ended):
                is_cut = has_ended or goes_on
                return _Joined(bytes(data), begin, lost, is_whole=False, is_cut=is_cut)
            lost = missing
            begin = expected = offset
        data += piece[expected - offset :]
    return _Joined(bytes(data), begin, lost, is_whole=True, is_cut=False)


def _whole_lines(data: bytes) -> int:
    """Return how many bytes to show: up to the last line end, unless a line is too long to wait."""
    end = data.rfind(b"\n") + 1
    return end or (len(data) if len(data) >= LINE_BYTES_MAX else 0)


def _parse(data: bytes) -> Iterable[Mapping[str, Any]]:
    for raw in data.split(b"\n"):
        if raw.strip():
            yield _line(raw.decode(errors="replace"))


def _line(text: str) -> Mapping[str, Any]:
    """Return one logged line as an object with `event`; what is no such object becomes one."""
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return {"event": text}
    if not isinstance(value, dict):
        return {"event": text}
    event = value.get("event")
    line = {**value, "event": event if isinstance(event, str) else json.dumps(event)}
    if "timestamp" in line and not _is_instant(line["timestamp"]):
        line["logged_timestamp"] = line.pop("timestamp")
    return line


def _is_instant(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _gap_lines(missing: int) -> list[Mapping[str, Any]]:
    if not missing:
        return []
    event = f"{missing} bytes of this log were lost with their worker"
    return [{"level": "warning", "event": event, "logger": _LOGGER}]


def _first_line(this: TryView) -> Mapping[str, Any]:
    where = this.hostname or "unknown host"
    who = f"worker {this.worker_id} ({where}, pid {this.pid})" if this.worker_id else where
    return _framework_line(this.started_at, "info", f"try {this.try_number} started on {who}")


def _last_line(this: TryView) -> Mapping[str, Any]:
    took = "" if this.duration_s is None else f" after {this.duration_s:.2f} s"
    why = f": {this.reason}" if this.reason else ""
    match this.state:
        case TaskState.SUCCESS:
            level, event = "info", f"finished: success{took}"
        case TaskState.FAILED:
            level, event = "error", f"failed{took}{why}"
        case TaskState.UP_FOR_RETRY:
            level, event = "error", f"failed{took}, to be retried{why}"
        case _:
            level, event = "info", f"ended {this.state}{took}{why}"
    return _framework_line(this.ended_at, level, event)


def _framework_line(at: datetime | None, level: str, event: str) -> Mapping[str, Any]:
    line: dict[str, Any] = {"level": level, "event": event, "logger": _LOGGER}
    return line if at is None else {"timestamp": at.isoformat(), **line}
