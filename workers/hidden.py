"""Which secrets may stand in what is written past Python: by C code, or a program that a task
started and that shares its standard output?

A child notes, beside its stream, from which byte on which texts are to be masked; whoever ships the
stream masks them in raw lines. It depends on the files alone, so that a successor of a killed
worker makes the same records of them. The notes are encrypted and go with the stream.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from orchestrator.errors import SettingsError
from orchestrator.sdk.masking import MASK, mask_with

__all__ = ["HiddenTexts", "note_hidden", "notes_of"]

_UNREADABLE = f"{MASK} (a line that cannot be told from a secret: the worker's keys have changed)"


def notes_of(stream: Path) -> Path:
    """Return where the notes of a stream are."""
    return stream.with_suffix(".hidden")


def note_hidden(
    stream: Path, texts: Sequence[str], *, start: int, seal: Callable[[str], str]
) -> None:
    """Note that from byte `start` on these texts, and no others, are to be masked."""
    line = f"{start} {seal(msgspec.json.encode(list(texts)).decode())}\n".encode()
    with suppress(OSError):  # a full disk must not fail the task; its log is lost then, too
        file = os.open(notes_of(stream), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)


class HiddenTexts:
    """The notes of one stream, read as they grow."""

    def __init__(self, stream: Path, *, unseal: Callable[[str], str]) -> None:
        self._path = notes_of(stream)
        self._unseal = unseal
        self._read = 0
        self._starts: list[int] = []
        self._texts: list[tuple[str, ...] | None] = []

    def masked(self, text: str, *, end: int) -> str:
        """Return what a raw line says that ends at byte `end`."""
        place = bisect_left(self._starts, end) - 1
        if place < 0:
            return text
        texts = self._texts[place]
        return _UNREADABLE if texts is None else mask_with(texts, text)

    def refresh(self) -> None:
        """Read what was noted since."""
        with suppress(FileNotFoundError), self._path.open("rb") as notes:
            notes.seek(self._read)
            for line in notes:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                start, sealed = line.decode().split(" ", 1)
                self._starts.append(int(start))
                self._texts.append(self._opened(sealed.rstrip("\n")))

    def _opened(self, sealed: str) -> tuple[str, ...] | None:
        try:
            return tuple(msgspec.json.decode(self._unseal(sealed), type=list[str]))
        except (SettingsError, msgspec.DecodeError):
            return None
