"""Which files are to be imported now, and when to look at each again.

Pure bookkeeping: what was seen and what came of it go in with the time, paths come out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from orchestrator.parsing.discovery import Listing, Signature
from orchestrator.parsing.results import ParsedFile, ProblemKind

__all__ = ["QUARANTINE_AFTER", "Ledger", "Observed"]

_RETRY_FIRST_S = 30.0
_RETRY_MAX_S = 600.0
QUARANTINE_AFTER = 3
"""A file that crashed the parser so often unchanged is left alone for longer and longer."""

_QUARANTINE_FIRST_S = 600.0
_QUARANTINE_MAX_S = 6 * 3600.0
_REPARSE_SHARE = 50
"""Importing unchanged files again may take at most one part in so many of one core's time."""

_CRASHES = frozenset({ProblemKind.CRASH, ProblemKind.EXIT, ProblemKind.MEMORY, ProblemKind.TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one look at the folder found: files to import, the new ones among them, files gone."""

    changed: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Entry:
    signature: Signature
    is_dag_file: bool | None = None
    """None until its text was read."""
    digest: str | None = None
    dependencies: tuple[str, ...] = ()
    duration_s: float = 0.0
    failures: int = 0
    due_at: float | None = None


@dataclass(slots=True)
class Ledger:
    """All files of one DAG folder. `reparse_s`: how often an unchanged file is imported again,
    because what it reads elsewhere (a database, a service) may have changed."""

    reparse_s: float
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _dependencies: dict[str, Signature | None] = field(default_factory=dict)

    @property
    def dag_files(self) -> frozenset[str]:
        """Every file that is, or for all that is known may be, a DAG file."""
        return frozenset(
            path for path, entry in self._entries.items() if entry.is_dag_file is not False
        )

    def was_dag_file(self, path: str) -> bool:
        """Whether it was one when last imported."""
        entry = self._entries.get(path)
        return entry is not None and entry.is_dag_file is True

    @property
    def dependencies(self) -> frozenset[str]:
        """Every file that an import read or missed besides the DAG file itself."""
        return frozenset(
            dependency for entry in self._entries.values() for dependency in entry.dependencies
        )

    def observe(self, listing: Listing) -> Observed:
        """Take in what the folder holds now."""
        gone = frozenset(
            path
            for path in self._entries
            if path not in listing.files and not path.startswith(listing.unreadable)
        )
        added = frozenset(listing.files.keys() - self._entries.keys())
        changed = {
            path
            for path, signature in listing.files.items()
            if path not in added and self._entries[path].signature != signature
        }
        for path in gone:
            del self._entries[path]
        for path in (*added, *changed):
            self._renew(path, listing.files[path])
        return Observed(changed=frozenset(changed | added), added=added, gone=gone)

    def observe_dependencies(self, signatures: Mapping[str, Signature | None]) -> frozenset[str]:
        """Take in the state of every dependency; return the DAG files that one changed for."""
        changed = {
            path
            for path, signature in signatures.items()
            if path in self._dependencies and self._dependencies[path] != signature
        }
        self._dependencies = dict(signatures)
        return self.dependents(changed)

    def dependents(self, touched: Collection[str]) -> frozenset[str]:
        """Return the DAG files whose import read one of these paths or listed its folder."""
        keys = {*touched, *(f"{path.rpartition('/')[0]}/" for path in touched)}
        found = frozenset(
            path for path, entry in self._entries.items() if not keys.isdisjoint(entry.dependencies)
        )
        for path in found:
            self._entries[path].failures = 0
        return found

    def knows(self, path: str) -> bool:
        """Say whether the folder holds this file."""
        return path in self._entries

    def digest_of(self, path: str) -> str | None:
        """Return the digest of the text that was imported last."""
        entry = self._entries.get(path)
        return entry.digest if entry else None

    def note_no_dag_file(self, path: str) -> bool:
        """The file's text is none of a DAG file; say whether it may have been one."""
        entry = self._entries.get(path)
        if entry is None:
            return False
        self._entries[path] = _Entry(signature=entry.signature, is_dag_file=False)
        return entry.is_dag_file is not False

    def note_parsed(self, result: ParsedFile, *, now: float) -> float | None:
        """Take in an import's result; return for how long its file is now quarantined, if it is."""
        entry = self._entries.get(result.path)
        if entry is None:
            return None
        if entry.digest != result.digest:
            entry.failures = 0
        entry.is_dag_file = True
        entry.digest = result.digest
        entry.dependencies = result.dependencies
        entry.duration_s = result.duration_s
        if result.error is None:
            entry.failures = 0
            entry.due_at = now + self._reparse_interval_s()
            return None
        entry.failures += 1
        if result.error.kind is ProblemKind.SYNTAX:
            entry.due_at = None  # only a change of the file can help
            return None
        beyond = entry.failures - QUARANTINE_AFTER
        if result.error.kind in _CRASHES and beyond >= 0:
            wait_s: float = min(_QUARANTINE_FIRST_S * 2 ** min(beyond, 32), _QUARANTINE_MAX_S)
            entry.due_at = now + wait_s
            return wait_s
        entry.due_at = now + min(_RETRY_FIRST_S * 2 ** min(entry.failures - 1, 32), _RETRY_MAX_S)
        return None

    def look_again_at(self, path: str, at: float) -> None:
        """Have a file imported again at a time, changed or not."""
        entry = self._entries.get(path)
        if entry is not None:
            entry.due_at = at

    def take_due(self, now: float) -> frozenset[str]:
        """Return the files whose time has come; each is returned once until it is parsed."""
        due = frozenset(
            path
            for path, entry in self._entries.items()
            if entry.due_at is not None and entry.due_at <= now
        )
        for path in due:
            self._entries[path].due_at = None
        return due

    def next_due_at(self) -> float | None:
        """Return when `take_due` will next have something to give."""
        return min(
            (entry.due_at for entry in self._entries.values() if entry.due_at is not None),
            default=None,
        )

    def _renew(self, path: str, signature: Signature) -> None:
        entry = self._entries.get(path)
        if entry is None:
            self._entries[path] = _Entry(signature=signature)
        else:
            entry.signature = signature

    def _reparse_interval_s(self) -> float:
        whole_s = sum(entry.duration_s for entry in self._entries.values())
        return max(self.reparse_s, whole_s * _REPARSE_SHARE)
