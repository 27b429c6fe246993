"""How everything that user code writes becomes its try's log, as it happens and whatever ends it.

A prefork child has one append-only file, its log stream; file descriptors 1 and 2 point there, so
that C code and subprocesses write to it too, and a write can never wait for a reader. What goes
through Python (print, logging, structlog) is written as JSON records, each after a record separator
(U+001E); everything else is raw lines, which become records when the supervisor ships them. A child
that has written nothing has not cost a system call.

Files in a worker's spool folder, of which `workers.log_shipping` is the reader:

    <pid>-<n>.log     the stream; a new one is begun when it has grown
    <pid>-<n>.tries   one line for each ended try that wrote something: id, try, epoch, first and
                        last byte
    <pid>-<n>.hidden  which secrets to mask in raw lines, and from which byte on (workers.hidden)
"""

import faulthandler
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec

from orchestrator.core.ids import TiId
from orchestrator.sdk.masking import mask, redact
from workers.hidden import note_hidden

__all__ = ["LOG_BYTES_MAX", "RECORD_START", "JoinedStream", "LogStream", "capture", "record_line"]

RECORD_START = b"\x1e"
LOG_BYTES_MAX = 16 * 1024 * 1024
"""A try's log is cut there: more is a flood that nobody reads and every reader pays for."""
STREAM_BYTES_MAX = 1024 * 1024
"""A stream that has grown past it is followed by a new one, when the try ends."""
EVENT_CHARACTERS_MAX = 16 * 1024
"""A longer line becomes several records."""
_OURS = frozenset({"timestamp", "level", "logger", "exc_info", "stack_info"})
_LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def record_line(*, event: str, level: str, logger: str, **more: Any) -> bytes:
    """Return one record of a log: a line of JSON. Its length does not depend on the time."""
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    fields = {"timestamp": timestamp, "level": level, "event": event, "logger": logger, **more}
    try:
        return _encode(fields) + b"\n"
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError):
        shown = {name: _printable(value) for name, value in fields.items()}
        return _encode(shown) + b"\n"


class LogStream:
    """The stream of this process."""

    def __init__(
        self, folder: Path, *, on_file: Callable[[int], None], seal: Callable[[str], str] = str
    ) -> None:
        """`on_file` hears the number of the file that is written to from now on; `seal` encrypts
        the notes of what is to be masked in it."""
        self._folder = folder
        self._seal = seal
        self._hidden: tuple[str, ...] = ()
        self._on_file = on_file
        self._pid = os.getpid()
        self._number = 0
        self.is_open = False
        """Whether a try is on, so that what Python code writes belongs to it."""
        self.end_max = 0
        """Where the present try's log is cut."""
        self.service = os.dup(2)
        """Where file descriptor 2 led before: the worker's own log."""
        self._file = self._next_file()

    def begin_try(self) -> int:
        """Return where the log of the try that starts now begins."""
        start = os.fstat(self._file).st_size
        self.end_max = start + LOG_BYTES_MAX
        self.is_open = True
        return start

    def end_try(self, ti_id: TiId, try_number: int, *, epoch: int, start: int) -> bool:
        """Close the try's log; tell whether there is anything in it."""
        self.is_open = False
        end = os.fstat(self._file).st_size
        if end == start:
            return False
        line = f"{ti_id} {try_number} {epoch} {start} {end}\n".encode()
        try:
            index = os.open(self._index(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            _write(index, line)
            os.close(index)
            if end > STREAM_BYTES_MAX:
                full, self._file = self._file, self._next_file()
                os.close(full)
        except OSError as error:  # a full disk costs the log, not the result
            self.write(event=f"a log is lost: {error}", level="error", logger="orchestrator.worker")
            return False
        return True

    def take(self, *, start: int, bytes_max: int) -> bytes:
        """Close what was begun like a try and is none; return what was written, and forget it."""
        self.is_open = False
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(bytes_max)
        os.ftruncate(self._file, start)
        return data

    def write(self, *, event: str, level: str, logger: str, **more: Any) -> None:
        """Add a record, secrets masked; between tries it goes to the worker's own standard
        error."""
        event, more = mask(event), redact(more) if more else more
        if not self.is_open:
            _write(self.service, record_line(event=event, level=level, logger=logger, **more))
            return
        for piece in _pieces(event):
            line = record_line(event=piece, level=level, logger=logger, **more)
            if os.fstat(self._file).st_size < self.end_max:
                _write(self._file, RECORD_START + line)

    def hide(self, texts: tuple[str, ...]) -> None:
        """Have these texts, and no others, masked in what is written past Python from now on."""
        if texts != self._hidden:
            self._hidden = texts
            start = os.fstat(self._file).st_size
            note_hidden(self.path, texts, start=start, seal=self._seal)

    def hide_again(self) -> None:
        """Note anew what is hidden: another process may have noted something else meanwhile."""
        start = os.fstat(self._file).st_size
        note_hidden(self.path, self._hidden, start=start, seal=self._seal)

    def _next_file(self) -> int:
        self._number += 1
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._hidden:
            note_hidden(self.path, self._hidden, start=0, seal=self._seal)
        os.dup2(file, 1)
        os.dup2(file, 2)
        self._on_file(self._number)
        return file

    @property
    def path(self) -> Path:
        """The file that is written to."""
        return self._folder / f"{self._pid}-{self._number}.log"

    def _index(self) -> Path:
        return self._folder / f"{self._pid}-{self._number}.tries"


class JoinedStream(LogStream):
    """The stream of the process that has started this one, which has it as its descriptors 1
    and 2."""

    def __init__(self, path: Path, *, end_max: int, seal: Callable[[str], str]) -> None:
        self._joined = path
        self._seal = seal
        self._hidden = ()
        self.is_open = True
        self.end_max = end_max
        self.service = os.dup(2)
        self._file = 1

    @property
    def path(self) -> Path:
        """The file."""
        return self._joined


def capture(stream: LogStream) -> None:
    """Lead print, logging (structlog ends there too) and a crash's traceback of this process to
    the stream. Between tries, log records go where they went before."""
    sys.stdout = cast(TextIO, _LineWriter(stream, 1, "info", "task.stdout"))
    sys.stderr = cast(TextIO, _LineWriter(stream, 2, "error", "task.stderr"))
    root = logging.getLogger()
    service = os.fdopen(os.dup(stream.service), "w", buffering=1, errors="backslashreplace")
    for handler in root.handlers:
        handler.setLevel(max(handler.level, root.level))
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(service)
    root.handlers[:] = [_StreamHandler(stream, tuple(root.handlers))]
    root.setLevel(min(root.level, logging.INFO) or logging.INFO)
    logging.captureWarnings(True)
    faulthandler.enable(file=2)


class _LineWriter(io.TextIOBase):
    """sys.stdout or sys.stderr of a child: whole lines become records."""

    def __init__(self, stream: LogStream, descriptor: int, level: str, logger: str) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._level = level
        self._logger = logger
        self._rest = ""
        self.buffer = io.FileIO(descriptor, "wb", closefd=False)
        """For code that writes bytes: they reach the log as raw lines."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._emit(line)
        if len(self._rest) >= EVENT_CHARACTERS_MAX:
            self.flush_line()
        return len(text)

    def flush_line(self) -> None:
        """Write what has no line end yet: no more will come."""
        rest, self._rest = self._rest, ""
        if rest:
            self._emit(rest)

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: the next try of this process writes here too."""

    def _emit(self, line: str) -> None:
        self._stream.write(event=line.rstrip("\r"), level=self._level, logger=self._logger)


def flush_lines() -> None:
    """Write the unfinished last lines of standard output and error."""
    for writer in (sys.stdout, sys.stderr):
        if isinstance(writer, _LineWriter):
            writer.flush_line()


class _StreamHandler(logging.Handler):
    """Writes log records to the try's log, or hands them on when there is no try."""

    def __init__(self, stream: LogStream, service: tuple[logging.Handler, ...]) -> None:
        super().__init__()
        self._stream = stream
        self._service = service

    def emit(self, record: logging.LogRecord) -> None:
        if not self._stream.is_open:
            for handler in self._service:
                if record.levelno >= handler.level:
                    handler.handle(record)
            return
        event, more = _event_of(record)
        if record.exc_info and record.exc_info[0] is not None:
            more["exception"] = logging.Formatter().formatException(record.exc_info)
        if record.stack_info:
            more["stack"] = record.stack_info
        level = _LEVELS.get(record.levelno, record.levelname.lower())
        self._stream.write(event=event, level=level, logger=record.name, **more)


def _event_of(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return a record's message, and the fields it has if it comes from structlog."""
    if isinstance(record.msg, dict):
        fields = {str(name): value for name, value in record.msg.items()}
        event = _printable(fields.pop("event", ""))
        return event, {name: value for name, value in fields.items() if name not in _OURS}
    try:
        return record.getMessage(), {}
    except Exception:  # the author's format string does not fit its arguments
        return f"{record.msg!s} {record.args!r}", {}


def _pieces(event: str) -> Iterable[str]:
    if len(event) <= EVENT_CHARACTERS_MAX:
        return (event,)
    step = EVENT_CHARACTERS_MAX
    return (event[start : start + step] for start in range(0, len(event), step))


def _printable(value: object) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # the author's own __repr__
        text = f"<{type(value).__name__} that cannot be shown>"
    return text.encode("utf-8", "backslashreplace").decode()


def _write(descriptor: int, line: bytes) -> None:
    """Write as much as the disk takes: a full one must not fail the task."""
    try:
        os.write(descriptor, line)
    except OSError:
        return
