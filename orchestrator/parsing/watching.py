"""Which paths of the DAG folder were touched just now, as the file system tells."""

import threading
from collections.abc import Callable
from pathlib import Path

import structlog
import watchfiles

__all__ = ["FolderWatch"]

_DEBOUNCE_MS = 100
_STEP_MS = 50
"""Changes are told once none has followed for a step, and after the debounce time anyway."""

_SKIPPED = frozenset({"__pycache__", ".git", ".hg", ".svn", ".venv", "node_modules"})

_log = structlog.get_logger()


class FolderWatch:
    """A thread that calls `on_touched` with relative paths. Where the file system tells nothing
    (a network share, no inotify watches left, no folder yet), `is_live` is False."""

    def __init__(self, folder: Path, on_touched: Callable[[frozenset[str]], None]) -> None:
        self._folder = folder
        self._on_touched = on_touched
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dag-folder-watch", daemon=True)
        self._failed = False

    @property
    def is_live(self) -> bool:
        """Say whether changes are told."""
        return self._thread.is_alive() and not self._failed

    def start(self) -> None:
        """Begin to watch. Look at the folder once more afterwards: what changed before is past."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching and wait for the thread to end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            for changes in watchfiles.watch(
                self._folder,
                watch_filter=self._is_of_interest,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=self._stopping,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._on_touched(frozenset(self._relative(path) for _, path in changes))
        except (OSError, RuntimeError) as error:  # watchfiles raises both for its own troubles
            _log.warning("dag_folder_not_watched", folder=str(self._folder), reason=str(error))
        finally:
            self._failed = not self._stopping.is_set()

    def _is_of_interest(self, _: watchfiles.Change, path: str) -> bool:
        return _SKIPPED.isdisjoint(self._relative(path).split("/"))

    def _relative(self, path: str) -> str:
        found = Path(path)
        if found.is_relative_to(self._folder):
            return found.relative_to(self._folder).as_posix()
        resolved = self._folder.resolve()
        return found.relative_to(resolved).as_posix() if found.is_relative_to(resolved) else path
