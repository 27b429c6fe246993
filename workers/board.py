"""Which try does each child run, told so that its supervisor still knows when the child is dead?

A small file that all processes of one worker map into memory, one slot for each child. A child
writes its slot with a few stores, no system call, so that supervision costs a task nothing; user
code that holds the GIL, crashes or is killed cannot take the slot along. A word that can be torn by
a death in mid-write carries a checksum, and what it says is written before the phase that relies
on it.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self
from uuid import UUID

from orchestrator.core.ids import TiId

__all__ = ["Interruption", "Phase", "Slot", "SlotView", "TryBoard"]

SLOTS = 256
"""Far more than children, since a dead child's slot is kept until it was read."""
_SLOT_BYTES = 192
_PHASE, _INTERRUPTION, _SEEN, _PID, _STREAM, _SERIAL, _TARGET = 0, 1, 2, 4, 8, 16, 24
_COUNTS, _SHIPPED = 32, 56
_IDENTITY, _PROGRESS = 64, 112
_identity = struct.Struct("=16sqI")
_progress = struct.Struct("=iqdddI")
_int32 = struct.Struct("=i")
_int64 = struct.Struct("=q")
_counts = struct.Struct("=qqq")


class Phase(IntEnum):
    """What a slot's child is doing."""

    FREE = 0
    RESERVED = 1
    """The parent has given the slot to a child it is about to fork."""
    IDLE = 2
    STARTING = 3
    """It asks the store for a try: it may or may not hold it."""
    LOADING = 4
    """It imports the DAG's file."""
    RUNNING = 5
    """User code runs."""
    FINISHING = 6
    """It records how the try ended."""
    CALLING = 7
    """It runs a callback; `ti_id` is that callback's id. Nobody else's try depends on it."""


INTERRUPTIBLE = frozenset({Phase.LOADING, Phase.RUNNING, Phase.CALLING})
BUSY = frozenset({Phase.STARTING, Phase.LOADING, Phase.RUNNING, Phase.FINISHING, Phase.CALLING})


class Interruption(IntEnum):
    """Why a try is cut short."""

    NONE = 0
    TIMEOUT = 1
    CANCEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """What a slot says at one moment. Instants are of the monotonic clock, which processes of one
    machine share; `deadline_at` is infinite for a try without a limit."""

    index: int
    pid: int
    phase: Phase
    serial: int
    stream: int
    ti_id: TiId
    epoch: int
    try_number: int = 0
    log_start: int = 0
    started_at: float = 0.0
    deadline_at: float = float("inf")
    limit_s: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it has, or may have, a try."""
        return self.phase in BUSY

    @property
    def is_interruptible(self) -> bool:
        """Whether user code may be running."""
        return self.phase in INTERRUPTIBLE

    @property
    def is_trying(self) -> bool:
        """Whether that user code belongs to a try."""
        return self.is_interruptible and self.phase is not Phase.CALLING


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the messages a worker took."""

    started: int = 0
    fenced: int = 0
    """Doubled or outdated messages: there was nothing to start."""
    rejected: int = 0
    """Messages that this product has not written."""


class TryBoard:
    """All slots of one worker."""

    def __init__(self, memory: mmap.mmap, *, used: int) -> None:
        self._memory = memory
        self._used = used
        """Slots from here on were never taken."""

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make an empty board in a new file."""
        with path.open("xb+") as file:
            file.truncate(SLOTS * _SLOT_BYTES)
            return cls(mmap.mmap(file.fileno(), SLOTS * _SLOT_BYTES), used=0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open the board that a dead worker left."""
        with path.open("rb+") as file:
            return cls(mmap.mmap(file.fileno(), SLOTS * _SLOT_BYTES), used=SLOTS)

    def whole(self) -> Self:
        """Return the board for a process that does not hear of reservations."""
        return type(self)(self._memory, used=SLOTS)

    def reserve(self) -> "Slot":
        """Take a free slot for a child about to be forked; only one thread may ask."""
        for index in range(SLOTS):
            slot = Slot(self._memory, index)
            if slot.phase is Phase.FREE:
                slot.clear()
                slot.phase = Phase.RESERVED
                self._used = max(self._used, index + 1)
                return slot
        raise AssertionError(f"all {SLOTS} slots are taken: the supervisor has stopped reading")

    def views(self) -> Iterator[SlotView]:
        """Say what the slots of all children say, the dead and unread ones included."""
        for index in range(self._used):
            if self._memory[index * _SLOT_BYTES] > Phase.RESERVED:
                yield Slot(self._memory, index).view()

    def slot(self, index: int) -> "Slot":
        """Return one slot."""
        return Slot(self._memory, index)

    def counts(self) -> Counts:
        """Add up what all slots have counted, those of dead children included."""
        each = [_counts.unpack_from(self._memory, i * _SLOT_BYTES + _COUNTS) for i in range(SLOTS)]
        return Counts(*(sum(column) for column in zip(*each, strict=True)))


class Slot:
    """One child's place on the board."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self._memory = memory
        self.index = index
        self._at = index * _SLOT_BYTES

    # --- written by the child

    def claim(self, pid: int) -> None:
        """The child is there and idle."""
        _int32.pack_into(self._memory, self._at + _PID, pid)
        self.phase = Phase.IDLE

    def begin(self, ti_id: TiId, epoch: int) -> None:
        """The child is about to ask for this try."""
        memory, at = self._memory, self._at
        identity = ti_id.bytes
        checksum = zlib.crc32(identity, epoch & 0xFFFFFFFF)
        _identity.pack_into(memory, at + _IDENTITY, identity, epoch, checksum)
        _int64.pack_into(memory, at + _SERIAL, self.serial + 1)
        memory[at + _INTERRUPTION] = memory[at + _SEEN] = 0
        memory[at + _PHASE] = Phase.STARTING

    def go(
        self,
        phase: Phase,
        *,
        try_number: int,
        log_start: int,
        started_at: float,
        limit_s: float | None,
    ) -> None:
        """Enter a phase that may take `limit_s` from `started_at` on; None: without end."""
        limit = float("inf") if limit_s is None else limit_s
        words = (try_number, log_start, started_at, started_at + limit, limit)
        checksum = zlib.crc32(repr(words).encode())
        _progress.pack_into(self._memory, self._at + _PROGRESS, *words, checksum)
        self._memory[self._at + _PHASE] = phase

    def see_interruption(self) -> Interruption:
        """Take note of what the supervisor asks of the present try."""
        memory, at = self._memory, self._at
        if _int64.unpack_from(memory, at + _TARGET)[0] != self.serial:
            return Interruption.NONE
        memory[at + _SEEN] = 1
        return Interruption(memory[at + _INTERRUPTION])

    def set_stream(self, number: int) -> None:
        """Say which log stream the child writes to."""
        _int32.pack_into(self._memory, self._at + _STREAM, number)

    def count(self, *, started: int = 0, fenced: int = 0, rejected: int = 0) -> None:
        """Add to what this child has counted."""
        a, b, c = _counts.unpack_from(self._memory, self._at + _COUNTS)
        _counts.pack_into(self._memory, self._at + _COUNTS, a + started, b + fenced, c + rejected)

    # --- written by the supervisor

    def interrupt(self, serial: int, why: Interruption) -> None:
        """Ask the child to cut the try with this serial short; the signal comes after."""
        memory, at = self._memory, self._at
        memory[at + _SEEN] = 0
        memory[at + _INTERRUPTION] = why
        _int64.pack_into(memory, at + _TARGET, serial)

    def note_shipped(self, serial: int) -> None:
        """The log of this try is in the store."""
        _int64.pack_into(self._memory, self._at + _SHIPPED, serial)

    def free(self) -> None:
        """Give a dead child's slot back; its counts stay until it is reserved again."""
        self.phase = Phase.FREE

    def clear(self) -> None:
        """Forget everything but the counts, which go on with the next child."""
        counts = bytes(self._memory[self._at + _COUNTS : self._at + _COUNTS + _counts.size])
        self._memory[self._at : self._at + _SLOT_BYTES] = bytes(_SLOT_BYTES)
        self._memory[self._at + _COUNTS : self._at + _COUNTS + _counts.size] = counts

    # --- read by either

    @property
    def phase(self) -> Phase:
        """What the child is doing."""
        return Phase(self._memory[self._at + _PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._memory[self._at + _PHASE] = phase

    @property
    def serial(self) -> int:
        """Which try of this child it is, counted from 1."""
        number: int = _int64.unpack_from(self._memory, self._at + _SERIAL)[0]
        return number

    @property
    def is_shipped(self) -> bool:
        """Whether the log of the present try is in the store."""
        shipped: int = _int64.unpack_from(self._memory, self._at + _SHIPPED)[0]
        return shipped == self.serial

    @property
    def has_seen(self) -> bool:
        """Whether the child's Python code has noticed the interruption."""
        return bool(self._memory[self._at + _SEEN])

    def view(self) -> SlotView:
        """Read the slot. Words that are being written this moment read as not yet written."""
        memory, at = self._memory, self._at
        phase = self.phase
        identity, epoch, checksum = _identity.unpack_from(memory, at + _IDENTITY)
        if zlib.crc32(identity, epoch & 0xFFFFFFFF) != checksum and phase in BUSY:
            phase = Phase.IDLE
        fixed = {
            "index": self.index,
            "pid": _int32.unpack_from(memory, at + _PID)[0],
            "serial": self.serial,
            "stream": _int32.unpack_from(memory, at + _STREAM)[0],
            "ti_id": TiId(UUID(bytes=identity)),
            "epoch": epoch,
        }
        *words, checksum = _progress.unpack_from(memory, at + _PROGRESS)
        if phase in (Phase.STARTING, Phase.IDLE) or (
            zlib.crc32(repr(tuple(words)).encode()) != checksum
        ):
            return SlotView(phase=phase, **fixed)
        try_number, log_start, started_at, deadline_at, limit_s = words
        return SlotView(
            phase=phase,
            try_number=try_number,
            log_start=log_start,
            started_at=started_at,
            deadline_at=deadline_at,
            limit_s=limit_s,
            **fixed,
        )
