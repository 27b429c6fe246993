"""How a DAG file becomes live DAG objects, wherever that is needed: parser child, worker, test.

The file is executed by path under a synthetic module name, so that `a/etl.py` and `b/etl.py` never
meet. The DAG folder is appended to `sys.path`, never prepended: a file of the author's cannot
shadow an installed package. Modules of the folder are compiled from their source each time, never
read from (or written to) `__pycache__`, whose one-second resolution would hide a quick edit.
"""

import hashlib
import linecache
import os
import re
import sys
from collections.abc import Callable
from importlib.abc import PathEntryFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import TypeVar

from orchestrator.errors import AuthorError
from orchestrator.parsing.problems import problem_of
from orchestrator.parsing.results import ImportProblem, ProblemKind
from orchestrator.parsing.sources import decode_source
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.scope import collecting, dags_of

_T = TypeVar("_T")

__all__ = ["DagFileError", "import_dags", "module_name"]


class DagFileError(AuthorError):
    """A DAG file could not be imported; `problem` says where, why and what helps."""

    def __init__(self, problem: ImportProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def import_dags(path: Path, *, dags_folder: Path, source: str | None = None) -> list[DAG]:
    """Import a DAG file and return its DAGs, in the order they were finished.

    With `source` that text is executed instead of what the file holds now (a run stays on its
    version), as if it stood at `path`. Modules it imports from the DAG folder come from disk,
    anew. Whatever goes wrong, `sys.exit` included, raises a DagFileError with file and line.
    """
    path, dags_folder = path.absolute(), dags_folder.absolute()
    shown = shown_path(path, dags_folder)
    text = decode_file(path, shown) if source is None else source
    _make_importable(dags_folder)
    _forget_modules_of(dags_folder)
    module = ModuleType(module_name(shown))
    module.__file__ = str(path)
    # Tracebacks and inspect.getsource() then show the text that runs, not what the file holds now.
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
    sys.modules[module.__name__] = module
    with collecting() as collected:
        guard_author_code(lambda: _execute(module, text, path), path=path, dags_folder=dags_folder)
    return guard_author_code(
        lambda: dags_of(vars(module), collected),
        path=path,
        dags_folder=dags_folder,
        invalid_as=ProblemKind.DUPLICATE,
    )


def shown_path(path: Path, dags_folder: Path) -> str:
    """Return the path as people and the store know it: relative to the DAG folder, with slashes."""
    return (
        path.relative_to(dags_folder).as_posix() if path.is_relative_to(dags_folder) else str(path)
    )


def module_name(shown: str) -> str:
    """Return the synthetic module name of a DAG file: readable, and different for each path."""
    readable = re.sub(r"\W", "_", Path(shown).stem)
    return f"orchestrator_dag_{hashlib.sha256(shown.encode()).hexdigest()[:12]}_{readable}"


def decode_file(path: Path, shown: str) -> str:
    """Read a DAG file's text as Python would; raise a DagFileError when it is not text."""
    try:
        return decode_source(path.read_bytes())
    except OSError as error:
        reason = f"{shown}: cannot be read: {error.strerror}"
    except (SyntaxError, UnicodeDecodeError) as error:
        reason = f"{shown}:1: {error}; save the file as UTF-8"
    raise DagFileError(ImportProblem(kind=ProblemKind.SYNTAX, message=reason, line=1))


def guard_author_code(
    call: Callable[[], _T],
    *,
    path: Path,
    dags_folder: Path,
    invalid_as: ProblemKind = ProblemKind.INVALID,
) -> _T:
    """Run code that the author's file has a part in; raise a DagFileError for whatever it raises.

    `invalid_as` is the kind of problem that an AuthorError means at this step.
    """
    try:
        return call()
    except KeyboardInterrupt:
        raise  # the person at the terminal, not the file
    except BaseException as error:
        problem = problem_of(error, path=path, dags_folder=dags_folder, invalid_as=invalid_as)
        raise DagFileError(problem) from error


def _execute(module: ModuleType, text: str, path: Path) -> None:
    if "\0" in text:
        # Python before 3.11.4 says this with a ValueError, as if the author's code had raised it.
        line = text.count("\n", 0, text.index("\0")) + 1
        said = "source code string cannot contain null bytes"
        raise SyntaxError(said, (str(path), line, None, None))
    code = compile(text, str(path), "exec", dont_inherit=True)
    exec(code, vars(module))  # noqa: S102 - running the author's file is what this module is for


class _FreshLoader(SourceFileLoader):
    """Compiles a module of the DAG folder from its source, whatever `__pycache__` says."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


_hooked_folders: set[str] = set()


def _make_importable(dags_folder: Path) -> None:
    folder = str(dags_folder)
    if folder not in sys.path:
        sys.path.append(folder)
    if folder not in _hooked_folders:
        _hooked_folders.add(folder)
        sys.path_hooks.insert(0, _folder_hook(folder))
    # Only this folder's finders forget what they listed: invalidate_caches() costs 10 ms.
    for entry in [entry for entry in sys.path_importer_cache if _is_within(entry, folder)]:
        del sys.path_importer_cache[entry]


def _folder_hook(folder: str) -> Callable[[str], PathEntryFinder]:
    finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FreshLoader, SOURCE_SUFFIXES)
    )

    def hook(entry: str) -> PathEntryFinder:
        if not _is_within(entry, folder):
            raise ImportError(entry)
        return finder(entry)

    return hook


def _is_within(entry: str, folder: str) -> bool:
    return entry == folder or entry.startswith(folder + os.sep)


def _forget_modules_of(dags_folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        loader = getattr(module, "__loader__", None)
        if isinstance(loader, _FreshLoader) and _is_within(loader.path, str(dags_folder)):
            del sys.modules[name]
