"""Which files of the DAG folder did an import read, or look for and miss?"""

import os
import sys
from pathlib import Path

__all__ = ["ReadTracker", "module_candidates"]


class ReadTracker:
    """Notes what this process opens or lists below one folder, from now to its end.

    Python's audit events tell: modules, JSON, SQL, a folder listed by `glob`. A listed folder is
    noted with a trailing slash. The hook cannot be taken out again, so only a process that ends
    after one import has one.
    """

    def __init__(self, dags_folder: Path) -> None:
        self._roots = tuple(dict.fromkeys((str(dags_folder), os.path.realpath(dags_folder))))
        self._seen: set[str] = set()
        sys.addaudithook(self._note)

    def read(self, *, besides: str) -> tuple[str, ...]:
        """Return the paths noted so far, relative to the folder, without the DAG file itself."""
        return tuple(sorted(self._seen - {besides}))

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            self._note_path(arguments[0], is_folder=False)
        elif event in ("os.listdir", "os.scandir") and not _is_import_system():
            self._note_path(arguments[0], is_folder=True)

    def _note_path(self, path: object, *, is_folder: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor, or None for the working directory
        file = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - as written: links are kept
        for root in self._roots:
            if file == root or file.startswith(root + os.sep):
                relative = "" if file == root else file[len(root) + 1 :].replace(os.sep, "/")
                if "__pycache__" not in relative:
                    self._seen.add(f"{relative}/" if is_folder else relative)
                return


def module_candidates(name: str) -> tuple[str, ...]:
    """Return where in the DAG folder a missing module would have been: its arrival changes all."""
    path = name.replace(".", "/")
    return (f"{path}.py", f"{path}/__init__.py")


def _is_import_system() -> bool:
    """The import machinery lists each folder on sys.path; that is no wish of the author's."""
    frame = sys._getframe(2)
    return frame.f_code.co_filename.startswith("<frozen importlib")
