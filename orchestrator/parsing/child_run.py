"""What one child said, printed and ended with, within its time."""

import contextlib
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field

import msgspec

from orchestrator.parsing.child import STACK_SIGNAL, Pipes, run_child
from orchestrator.parsing.confinement import end_offspring
from orchestrator.parsing.wire import (
    HEADER_BYTES,
    Comparison,
    FirstImport,
    ParseRequest,
    decode_frame,
    frame_length,
)

__all__ = ["ChildRun", "Output", "run_one_child", "watch_for_exits"]

_OUTPUT_BYTES_MAX = 32_000
"""Of a flood of prints the first and the last half of so much are kept."""

_STACK_PATIENCE_S = 0.2
"""A child that does not write its stack within this is killed without."""

_STACK_QUIET_S = 0.02
"""It is written in one go; after so long without more it is complete."""

_CHUNK_BYTES = 1 << 16
_DRAIN_CHUNKS_MAX = 1 << 12
"""What a pipe of a dead child still holds is far less; a fork of the child's may write for ever."""


@dataclass(slots=True)
class Output:
    """The head and the tail of what was printed."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    left_out: int = 0

    def add(self, data: bytes) -> None:
        """Take what was printed next."""
        half = _OUTPUT_BYTES_MAX // 2
        room = half - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        excess = len(self.tail) - half
        if excess > 0:
            self.left_out += excess
            del self.tail[:excess]

    def text(self) -> str:
        """Return what is kept, saying how much is not."""
        between = f"\n... {self.left_out} bytes left out ...\n".encode() if self.left_out else b""
        return bytes(self.head + between + self.tail).decode("utf-8", "replace")


@dataclass(slots=True)
class ChildRun:
    """One child's life. `first` None means that it ended before its file was imported."""

    compares: bool
    output: Output = field(default_factory=Output)
    stack: bytearray = field(default_factory=bytearray)
    frames: bytearray = field(default_factory=bytearray)
    first: FirstImport | None = None
    again_s: float = 0.0
    """What another import may take: not much longer than the first one did, whose DAGs are safe."""
    comparison: Comparison | None = None
    is_garbled: bool = False
    timed_out: bool = False
    exit_status: int | None = None
    signal_number: int | None = None
    orphans_killed: int = 0

    @property
    def is_answered(self) -> bool:
        """Say whether nothing more is to come."""
        if self.first is None or self.comparison is not None:
            return self.comparison is not None
        return not self.compares or not self.first.dags

    def take_frames(self) -> None:
        """Decode what has arrived whole."""
        try:
            while len(self.frames) >= HEADER_BYTES:
                end = HEADER_BYTES + frame_length(self.frames)
                if len(self.frames) < end:
                    return
                payload = self.frames[HEADER_BYTES:end]
                del self.frames[:end]
                if self.first is None:
                    self.first = decode_frame(payload, FirstImport)
                else:
                    self.comparison = decode_frame(payload, Comparison)
        except (ValueError, msgspec.DecodeError):  # the author's code wrote to our descriptor
            self.frames.clear()
            self.is_garbled = True


def watch_for_exits() -> int:
    """Have this process told of a child's end; return the descriptor that becomes readable."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler is what makes the wakeup work
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def run_one_child(
    request: ParseRequest,
    connection: socket.socket,
    *,
    exits: int,
    timeout_s: float,
    compares: bool,
) -> ChildRun:
    """Import a request's text in a child of its own, and leave no process behind.

    Raise ConnectionAbortedError when the parser closes `connection` meanwhile.
    """
    readers, writers = _pipes()
    supervisor_pid = os.getpid()
    child = os.fork()
    if child == 0:
        run_child(request, writers, supervisor_pid=supervisor_pid, compares=compares)
    for fd in (writers.frames, writers.output, writers.stack):
        os.close(fd)
    run = ChildRun(compares=compares)
    try:
        _watch(run, child, readers, (exits, connection.fileno()), timeout_s)
    finally:
        run.orphans_killed = end_offspring(child)
        for fd in (readers.frames, readers.output, readers.stack):
            _drain(run, readers, fd)
            os.close(fd)
    return run


def _pipes() -> tuple[Pipes, Pipes]:
    ends = [os.pipe() for _ in range(3)]
    for reader, _ in ends:
        os.set_blocking(reader, False)
    (frames_in, frames), (output_in, output), (stack_in, stack) = ends
    return (
        Pipes(frames=frames_in, output=output_in, stack=stack_in),
        Pipes(frames=frames, output=output, stack=stack),
    )


def _watch(
    run: ChildRun, child: int, readers: Pipes, others: tuple[int, int], timeout_s: float
) -> None:
    """Read until the child has answered, has ended, or its time is over."""
    exits, connection = others
    began_at = time.monotonic()
    deadline = began_at + timeout_s
    with selectors.DefaultSelector() as selector:
        for fd in (readers.frames, readers.output, readers.stack, exits, connection):
            selector.register(fd, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            was_importing = run.first is None
            for key, _ in selector.select(left_s):
                if key.fd == connection:
                    raise ConnectionAbortedError  # the parser says nothing more: it is gone
                if key.fd == exits:
                    _empty(exits)
                elif not _read(run, readers, key.fd):
                    selector.unregister(key.fd)
            if run.is_answered or _note_end(run, child):
                return
            if was_importing and run.first is not None:
                now = time.monotonic()
                run.again_s = min(timeout_s, 1 + 3 * (now - began_at))
                deadline = now + run.again_s
    if run.first is None:
        run.timed_out = True
        _ask_for_stack(run, child, readers)


def _note_end(run: ChildRun, child: int) -> bool:
    """Say whether the child has ended, and how. It is not reaped yet: its process group must keep
    its number until the group is killed."""
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return False
    if ended.si_code == os.CLD_EXITED:
        run.exit_status = ended.si_status
    else:
        run.signal_number = ended.si_status
    return True


def _ask_for_stack(run: ChildRun, child: int, readers: Pipes) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, STACK_SIGNAL)
    with selectors.DefaultSelector() as selector:
        selector.register(readers.stack, selectors.EVENT_READ)
        while selector.select(_STACK_QUIET_S if run.stack else _STACK_PATIENCE_S):
            if not _read(run, readers, readers.stack):
                return


def _read(run: ChildRun, readers: Pipes, fd: int) -> bool:
    """Take what a pipe holds; False when there is nothing more, now or ever."""
    try:
        data = os.read(fd, _CHUNK_BYTES)
    except BlockingIOError:
        return False
    if fd == readers.frames:
        run.frames += data
        run.take_frames()
    elif fd == readers.output:
        run.output.add(data)
    else:
        run.stack += data
    return bool(data)


def _drain(run: ChildRun, readers: Pipes, fd: int) -> None:
    for _ in range(_DRAIN_CHUNKS_MAX):
        if not _read(run, readers, fd):
            return


def _empty(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(fd, _CHUNK_BYTES)
