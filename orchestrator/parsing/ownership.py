"""Which file a dag_id belongs to when two files define it.

The file that has it keeps it, as long as it is there and defines it (or is broken: then it may
again). Of files that come together, as in the first scan of an empty store, the first by path has
it. Whoever comes later gets an import error, and the dag_id once the owner lets go.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from orchestrator.parsing.results import ParsedFile

__all__ = ["Ownership", "Ruling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Of one parsed file: who else owns which of its dag_ids, and which files must be imported
    again because of it (they lose a dag_id to this one, or may have one that this one gave up)."""

    rivals: Mapping[str, str] = field(default_factory=dict)
    reconsider: frozenset[str] = frozenset()


@dataclass(slots=True)
class Ownership:
    """What each file was last seen to define."""

    is_first_scan: bool = True
    _defined: dict[str, frozenset[str]] = field(default_factory=dict)
    _turned_down: dict[tuple[str, str], str] = field(default_factory=dict)
    """(dag_id, a file that defines it and does not have it) -> the file that has it."""
    _fresh: set[str] = field(default_factory=set)
    """dag_ids that no file had before this first scan."""

    def rule(
        self,
        parsed: ParsedFile,
        *,
        owner_of: Callable[[str], str | None],
        dag_files: Collection[str],
    ) -> Ruling:
        """Decide about a file that imports, and remember what it defines."""
        path = parsed.path
        dag_ids = frozenset(dag.spec.dag_id for dag in parsed.dags)
        rivals: dict[str, str] = {}
        reconsider: set[str] = set()
        for dag_id in sorted(dag_ids):
            owner = owner_of(dag_id)
            if owner is None and self.is_first_scan:
                self._fresh.add(dag_id)
            if owner is None or owner == path or not self._holds(owner, dag_id, dag_files):
                continue
            if dag_id in self._fresh and path < owner:
                reconsider.add(owner)
            else:
                rivals[dag_id] = owner
        reconsider |= self._release(path, keeps=dag_ids)
        self._defined[path] = dag_ids
        self._turned_down.update({(dag_id, path): owner for dag_id, owner in rivals.items()})
        return Ruling(rivals=rivals, reconsider=frozenset(reconsider))

    def forget(self, path: str) -> frozenset[str]:
        """A file defines nothing any more; return the files that may have what it had."""
        self._defined.pop(path, None)
        return self._release(path, keeps=frozenset())

    def end_first_scan(self) -> None:
        """From now on, who has a dag_id keeps it."""
        self.is_first_scan = False
        self._fresh.clear()

    def _holds(self, owner: str, dag_id: str, dag_files: Collection[str]) -> bool:
        if owner not in dag_files:
            return False
        defined = self._defined.get(owner)
        return defined is None or dag_id in defined

    def _release(self, path: str, *, keeps: frozenset[str]) -> frozenset[str]:
        """Drop what was noted of `path`; return who was turned down for what it does not keep."""
        waiting = {
            other
            for (dag_id, other), owner in self._turned_down.items()
            if owner == path and dag_id not in keeps
        }
        self._turned_down = {
            (dag_id, other): owner
            for (dag_id, other), owner in self._turned_down.items()
            if other not in (path, *waiting)
        }
        return frozenset(waiting)
