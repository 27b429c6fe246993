"""Which files of the DAG folder may hold DAGs, and what tells that one has changed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from orchestrator.parsing.ignoring import IgnoreRule, is_ignored, read_rules

__all__ = [
    "Listing",
    "Signature",
    "dependency_signature",
    "folder_identity",
    "list_folder",
    "signature_of",
]

Signature: TypeAlias = tuple[int, int, int]
"""Modification time in ns, size, inode: differs when a file was written or replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The Python files of the folder by relative path, and the subfolders that could not be read
    (each ending in a slash): what is below those is unknown, not gone."""

    files: Mapping[str, Signature]
    unreadable: tuple[str, ...] = ()


def list_folder(dags_folder: Path) -> Listing:
    """Walk the DAG folder: `.py` files that no ignore file takes out, in sorted order.

    Hidden names and `__pycache__` are passed over. Symbolic links are followed, each folder once.
    Raise OSError when the folder itself cannot be read: then nothing is known, and nothing gone.
    """
    files: dict[str, Signature] = {}
    unreadable: list[str] = []
    visited: set[tuple[int, int]] = set()
    waiting: list[tuple[str, tuple[IgnoreRule, ...]]] = [("", ())]
    while waiting:
        relative, rules = waiting.pop()
        folder = dags_folder / relative
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            names = sorted(os.listdir(folder))  # noqa: PTH208 - names suffice
        except OSError:
            if not relative:
                raise
            unreadable.append(relative)
            continue
        rules = (*rules, *read_rules(folder, relative=relative))
        for name in names:
            _sort_in(folder / name, relative + name, rules, files, waiting)
    return Listing(files=dict(sorted(files.items())), unreadable=tuple(unreadable))


def _sort_in(
    path: Path,
    relative: str,
    rules: tuple[IgnoreRule, ...],
    files: dict[str, Signature],
    waiting: list[tuple[str, tuple[IgnoreRule, ...]]],
) -> None:
    if path.name.startswith(".") or path.name == "__pycache__":
        return
    if path.suffix == ".py":
        signature = signature_of(path)
        if signature is not None and not is_ignored(relative, rules, is_folder=False):
            files[relative] = signature
            return
    if path.is_dir() and not is_ignored(relative, rules, is_folder=True):
        waiting.append((relative + "/", rules))


def signature_of(path: Path) -> Signature | None:
    """Return what tells a change of one file; None when there is no such regular file."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not os.path.isfile(path):  # noqa: PTH113 - a pipe or socket would block whoever reads it
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def dependency_signature(dags_folder: Path, dependency: str) -> Signature | None:
    """Return what tells a change of a file, or with a trailing slash of a folder's entries."""
    if not dependency.endswith("/"):
        return signature_of(dags_folder / dependency)
    try:
        status = (dags_folder / dependency.strip("/")).stat()
    except OSError:
        return None
    return (status.st_mtime_ns, 0, status.st_ino)


def folder_identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells that the folder was replaced by another of its name (a git-sync swap)."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
