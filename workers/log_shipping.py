"""How the logs of tries get from a worker's spool folder into the store, also after it was killed.

The supervisor reads what its children have appended to their streams, turns raw lines into
records, and stores the records at byte offsets. How many bytes a line becomes depends on nothing
but the line, so a successor of a killed worker simply stores all that is left in the spool from the
beginning: what is there already is repeated at its own offset, which is harmless.
"""

import ctypes
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec

from orchestrator.core.ids import TiId
from orchestrator.ports import LOG_BYTES_PER_EPOCH
from workers.board import Phase, SlotView, TryBoard
from workers.hidden import HiddenTexts
from workers.logs import EVENT_CHARACTERS_MAX, LOG_BYTES_MAX, RECORD_START, record_line

__all__ = ["LogShipper", "open_spool", "ship_leftovers"]

PIECE_BYTES_MAX = 256 * 1024
"""Read and stored at a time: one row, and a bound on how long a heartbeat can wait."""
_CUT = (
    f"the log is cut here: a try keeps the first {LOG_BYTES_MAX // 1024**2} MiB of what it writes"
)
_FALLOC_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_BOARD = "board"


@contextmanager
def open_spool(spool_folder: Path, worker_id: str) -> Iterator[tuple[Path, TryBoard]]:
    """Make a worker's spool folder with its board, locked as long as one of its processes lives."""
    folder = spool_folder / worker_id
    draft = folder.with_name(f".{worker_id}")
    draft.mkdir(mode=0o700, parents=True)
    board = TryBoard.create(draft / _BOARD)
    with (draft / _BOARD).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Seen by other workers only once it is locked, or they would take it for a dead one's.
        draft.rename(folder)
        yield folder, board


def ship_leftovers(
    spool_folder: Path, store: "LogStore", *, unseal: Callable[[str], str] = str
) -> int:
    """Store what killed workers with this folder have left; return how many tries it cut short.
    `unseal` decrypts the notes of what is to be masked."""
    count = 0
    for folder in sorted(spool_folder.glob("[!.]*")):
        try:
            lock = (folder / _BOARD).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            count += _ship_folder(folder, store, unseal)
            shutil.rmtree(folder, ignore_errors=True)
    return count


def _ship_folder(folder: Path, store: "LogStore", unseal: Callable[[str], str]) -> int:
    shipper = LogShipper(folder, unseal=unseal)
    shipper.know(path.stem for path in folder.glob("*.log"))
    cut_short = [view for view in TryBoard.read(folder / _BOARD).views() if view.try_number]
    for view in cut_short:
        shipper.finish(store, view)
    shipper.ship(store, ())
    return len(cut_short)


class LogStore(Protocol):
    """The part of the worker's store that takes logs."""

    def append_log(self, ti_id: TiId, try_number: int, *, offset: int, data: bytes) -> None:
        """Store a piece of a try's log at a byte offset. Safe to repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a try's log is stored: the next byte of the stream, and where it goes."""

    ti_id: TiId
    try_number: int
    start: int
    read: int
    offset: int
    is_cut: bool = False

    def is_of(self, other: "Position") -> bool:
        """Whether both are about the same try."""
        return (self.ti_id, self.start) == (other.ti_id, other.start)


def _beginning(ti_id: TiId, try_number: int, epoch: int, start: int) -> Position:
    return Position(
        ti_id=ti_id,
        try_number=try_number,
        start=start,
        read=start,
        offset=epoch * LOG_BYTES_PER_EPOCH,
    )


@dataclass(slots=True)
class _Stream:
    """One file of one child, as far as it was read."""

    path: Path
    hidden: HiddenTexts
    index_read: int = 0
    ended_at: int = 0
    """Where the last ended try that wrote something ended."""
    position: Position | None = None


class LogShipper:
    """Ships one worker's logs. Not for use by two threads at a time."""

    def __init__(self, folder: Path, *, unseal: Callable[[str], str] = str) -> None:
        """`unseal` decrypts the notes of what is to be masked."""
        self._folder = folder
        self._unseal = unseal
        self._streams: dict[str, _Stream] = {}

    def ship(self, store: LogStore, views: Iterable[SlotView]) -> list[SlotView]:
        """Store what has been written since the last call; return the tries among `views` that
        were over, so that all of their logs is stored now."""
        writing = {_stream_name(view): view for view in views if view.stream}
        over = []
        for name in sorted(writing.keys() | self._streams.keys()):
            stream = self._stream(name)
            self._ship_ended(store, stream)
            view = writing.get(name)
            if view is None:
                # Its child writes elsewhere now, or is dead: nothing more will come.
                self._forget(name)
            elif view.phase is Phase.FINISHING:
                over.append(view)
            elif view.is_trying and view.log_start >= stream.ended_at:
                self._advance(store, stream, _position_of(stream, view), end=None, is_last=False)
        return over

    def finish(self, store: LogStore, view: SlotView) -> None:
        """Store the rest of a try whose child is dead."""
        stream = self._stream(_stream_name(view))
        self._ship_ended(store, stream)
        if view.log_start >= stream.ended_at:
            self._advance(store, stream, _position_of(stream, view), end=None, is_last=True)

    def know(self, names: Iterable[str]) -> None:
        """Ship these streams too, whose children are dead."""
        for name in names:
            self._stream(name)

    def _stream(self, name: str) -> _Stream:
        known = self._streams.get(name)
        if known is None:
            path = self._folder / f"{name}.log"
            hidden = HiddenTexts(path, unseal=self._unseal)
            known = self._streams[name] = _Stream(path, hidden)
        return known

    def _ship_ended(self, store: LogStore, stream: _Stream) -> None:
        for fresh, end, line_length in _ended_tries(stream):
            known = stream.position
            position = known if known is not None and known.is_of(fresh) else fresh
            self._advance(store, stream, position, end=end, is_last=True)
            stream.index_read += line_length
            stream.ended_at = end

    def _advance(
        self,
        store: LogStore,
        stream: _Stream,
        position: Position,
        *,
        end: int | None,
        is_last: bool,
    ) -> Position:
        """Store from `position` up to `end` (None: the end of the file)."""
        with suppress(FileNotFoundError), stream.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size if end is None else end
            limit = min(size, position.start + LOG_BYTES_MAX)
            while position.read < limit:
                file.seek(position.read)
                data = file.read(min(PIECE_BYTES_MAX, limit - position.read))
                is_end = is_last and position.read + len(data) >= limit
                whole = data if is_end else data[: _whole_lines(data)]
                if not whole:
                    break
                position = self._store(store, stream, position, whole)
            if size > limit and not position.is_cut:
                position = stream.position = self._cut(store, position)
            if size > limit and end is None:
                _give_back_disk(stream.path, start=limit, end=size)
        return position

    def _store(self, store: LogStore, stream: _Stream, position: Position, raw: bytes) -> Position:
        stream.hidden.refresh()
        records = b"".join(records_of(raw, start=position.read, masked=stream.hidden.masked))
        store.append_log(position.ti_id, position.try_number, offset=position.offset, data=records)
        moved = replace(
            position, read=position.read + len(raw), offset=position.offset + len(records)
        )
        stream.position = moved
        return moved

    def _cut(self, store: LogStore, position: Position) -> Position:
        notice = record_line(event=_CUT, level="warning", logger="orchestrator.worker")
        store.append_log(position.ti_id, position.try_number, offset=position.offset, data=notice)
        return replace(position, offset=position.offset + len(notice), is_cut=True)

    def _forget(self, name: str) -> None:
        del self._streams[name]
        for path in self._folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)


class Masked(Protocol):
    """Says what a raw line says, secrets masked."""

    def __call__(self, text: str, *, end: int) -> str:
        """Mask a line that ends at byte `end` of its stream."""


def unmasked(text: str, *, end: int) -> str:  # noqa: ARG001 - as Masked has it
    """Where there is nothing to mask."""
    return text


def records_of(raw: bytes, *, start: int = 0, masked: Masked = unmasked) -> Iterator[bytes]:
    """Turn pieces of a stream, from its byte `start` on, into records, one line of JSON each."""
    end = start
    for line in raw.split(b"\n"):
        end += len(line)
        here = partial(masked, end=end)
        before, mark, record = line.partition(RECORD_START)
        if before:
            yield from _raw_records(before, here)
        if mark:
            yield from _checked(record, here)
        end += 1


def _checked(record: bytes, masked: Callable[[str], str]) -> Iterator[bytes]:
    """Pass a record on if it is one, and as raw text what only looks like it."""
    try:
        msgspec.json.decode(record, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield from _raw_records(record.replace(RECORD_START, b""), masked)
    else:
        yield record + b"\n"


def _raw_records(raw: bytes, masked: Callable[[str], str]) -> Iterator[bytes]:
    text = masked(raw.decode("utf-8", "backslashreplace").rstrip("\r"))
    for start in range(0, len(text), EVENT_CHARACTERS_MAX):
        piece = text[start : start + EVENT_CHARACTERS_MAX]
        yield record_line(event=piece, level="info", logger="task.output")


def _whole_lines(data: bytes) -> int:
    """Return how much can be turned into records now: whole lines, or a line that is too long."""
    end = data.rfind(b"\n") + 1
    return end if end or len(data) < PIECE_BYTES_MAX else len(data)


def _stream_name(view: SlotView) -> str:
    return f"{view.pid}-{view.stream}"


def _position_of(stream: _Stream, view: SlotView) -> Position:
    fresh = _beginning(view.ti_id, view.try_number, view.epoch, view.log_start)
    known = stream.position
    return known if known is not None and known.is_of(fresh) else fresh


def _ended_tries(stream: _Stream) -> Iterator[tuple[Position, int, int]]:
    """Read which tries have ended since: their beginning, their end, the length of the line."""
    with suppress(FileNotFoundError), stream.path.with_suffix(".tries").open("rb") as index:
        index.seek(stream.index_read)
        for line in index:
            if not line.endswith(b"\n"):
                return
            ti_id, *numbers = line.decode().split()
            try_number, epoch, start, end = map(int, numbers)
            yield _beginning(TiId(UUID(ti_id)), try_number, epoch, start), end, len(line)


def _give_back_disk(path: Path, *, start: int, end: int) -> None:
    """Free the blocks of a flood without moving the file's end, which its writers append to."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError), path.open("rb+") as file:
        ctypes.CDLL(None).fallocate64(
            file.fileno(),
            _FALLOC_PUNCH_HOLE_KEEP_SIZE,
            ctypes.c_int64(start),
            ctypes.c_int64(end - start),
        )
