"""Where do the parts of large XComs lie that are kept outside of SQL?

In a folder (`file:///srv/xcoms`), or wherever a URL of the library fsspec points (`s3://bucket/x`),
one folder for each run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from orchestrator.errors import OperatorError, SettingsError

__all__ = ["ValueFiles", "open_value_files"]


class ValueFiles(Protocol):
    """A place for files. Paths are relative, with slashes; the first step names the run."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole: a reader sees all of it or nothing."""

    def read(self, path: str) -> bytes:
        """Return a file's content; raise OperatorError when it is gone or out of reach."""

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; what is not there is fine."""

    def runs(self) -> list[str]:
        """Return the names of the folders there are, one for each run."""

    def delete_run(self, name: str) -> None:
        """Delete a run's folder with all in it."""


def open_value_files(url: str | None) -> ValueFiles | None:
    """Return the place that a URL names; None without one."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _Folder(Path(unquote(parts.path)))
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # noqa: PLC0415 - rare
    except ImportError:
        raise SettingsError(
            f"ORCHESTRATOR_XCOM_STORAGE_URL={url} needs the library fsspec and its driver for "
            f"{parts.scheme}; install them (for s3: fsspec s3fs) or use a file:/// URL"
        ) from None
    try:
        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SettingsError(f"ORCHESTRATOR_XCOM_STORAGE_URL={url}: {error}") from None
    return _Remote(system, root)


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, data: bytes) -> None:
        target = self._root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
            unfinished.write_bytes(data)
            unfinished.replace(target)
        except OSError as error:
            raise _trouble("written", target, error) from error

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise _trouble("read", self._root / path, error) from error

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                (self._root / path).unlink(missing_ok=True)
            except OSError as error:
                raise _trouble("deleted", self._root / path, error) from error

    def runs(self) -> list[str]:
        try:
            return sorted(each.name for each in self._root.iterdir() if each.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _trouble("listed", self._root, error) from error

    def delete_run(self, name: str) -> None:
        shutil.rmtree(self._root / name, ignore_errors=True)


class _Remote:
    """A file system of fsspec. Object stores write a file whole by nature."""

    def __init__(self, system: Any, root: str) -> None:
        self._system = system
        self._root = root.rstrip("/")

    def write(self, path: str, data: bytes) -> None:
        target = f"{self._root}/{path}"
        try:
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(target, data)
        except OSError as error:
            raise _trouble("written", target, error) from error

    def read(self, path: str) -> bytes:
        try:
            data: bytes = self._system.cat_file(f"{self._root}/{path}")
        except OSError as error:
            raise _trouble("read", f"{self._root}/{path}", error) from error
        return data

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                self._system.rm_file(f"{self._root}/{path}")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _trouble("deleted", f"{self._root}/{path}", error) from error

    def runs(self) -> list[str]:
        try:
            found = self._system.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _trouble("listed", self._root, error) from error
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def delete_run(self, name: str) -> None:
        try:
            self._system.rm(f"{self._root}/{name}", recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _trouble("deleted", f"{self._root}/{name}", error) from error


def _trouble(done: str, path: Path | str, error: OSError) -> OperatorError:
    said = error.strerror or str(error)
    return OperatorError(f"the XCom file {path} could not be {done}: {said}")
