"""Who may start services on a data folder: one standalone orchestrator at a time."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from orchestrator.errors import ConflictError, SettingsError

__all__ = ["FolderLock", "lock_folder", "read_word"]

# A killed orchestrator's other half needs a moment to end all it had started.
_PATIENCE_S = 10.0
_ALIVE_PATIENCE_S = 0.3  # a process killed this instant still looks alive
_POLL_S = 0.02
_FILE = "standalone.lock"


class FolderLock:
    """A held lock. It is shared by fork and ends with the last process that holds it."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file
        self._word: Mapping[str, Any] = _read(file)

    @property
    def word(self) -> Mapping[str, Any]:
        """What was written here last, by us or by the holder before us."""
        return self._word

    def leave_word(self, **word: Any) -> None:
        """Write facts (JSON) for whoever finds the folder locked, and for the next holder."""
        self._write({**self._word, **word})

    def forget(self) -> None:
        """Leave an empty word: everything has been ended in order."""
        self._write({})

    def release(self) -> None:
        """Let go of it in this process; the others that share it keep it."""
        self._file.close()

    def _write(self, word: Mapping[str, Any]) -> None:
        self._word = word
        self._file.seek(0)
        self._file.truncate()
        json.dump(self._word, self._file)
        self._file.flush()


def lock_folder(home: Path) -> FolderLock:
    """Take the data folder, or raise ConflictError naming who has it."""
    path = home / _FILE
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be opened ({error.strerror}); it belongs to another user or the "
            "folder is read-only: choose another ORCHESTRATOR_HOME"
        ) from None
    try:
        _wait_for_lock(file, home)
    except ConflictError:
        file.close()
        raise
    return FolderLock(file)


def _wait_for_lock(file: TextIOWrapper, home: Path) -> None:
    waiting_since = time.monotonic()
    while not _try_lock(file):
        holder = _read(file)
        pid = holder.get("pid")
        waited_s = time.monotonic() - waiting_since
        if waited_s > _ALIVE_PATIENCE_S and isinstance(pid, int) and _is_alive(pid):
            raise ConflictError(
                f"an orchestrator (process {pid}, {holder.get('url')}) already serves {home}; "
                f"stop it with Ctrl-C or `kill {pid}`, or set ORCHESTRATOR_HOME to another folder"
            )
        if waited_s > _PATIENCE_S:
            raise ConflictError(
                f"processes of an orchestrator that was killed (process {pid}) still hold {home}; "
                "try again when they have ended"
            )
        time.sleep(_POLL_S)


def read_word(home: Path) -> Mapping[str, Any]:
    """Return what the holder of a data folder has left word of; empty when nobody holds it."""
    try:
        with (home / _FILE).open(encoding="utf-8") as file:
            return _read(file)
    except OSError:
        return {}


def _try_lock(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: TextIOWrapper) -> dict[str, Any]:
    """Read what the holder wrote; empty while it has not yet."""
    file.seek(0)
    with suppress(json.JSONDecodeError):
        holder = json.loads(file.read())
        if isinstance(holder, dict):
            return holder
    return {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
