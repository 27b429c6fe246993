"""What the store would know, in memory, for tests that wait until it knows something."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from orchestrator.ports import ParsedVersion


@dataclass
class MemoryCatalog:
    """ports.DagCatalog in memory. `wait_for` waits until what it holds fulfils a condition."""

    versions: dict[str, list[ParsedVersion]] = field(default_factory=dict)
    visible: dict[str, str] = field(default_factory=dict)
    """dag_id -> path."""
    errors: dict[str, tuple[str, str]] = field(default_factory=dict)
    """path -> (kind, message)."""
    warnings: dict[str, Mapping[str, str]] = field(default_factory=dict)
    writes: int = 0
    is_away: bool = False
    refusals: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def register(self, version: ParsedVersion) -> bool:
        with self._write():
            known = self.versions.setdefault(version.spec.dag_id, [])
            is_new = not known or known[-1].content_hash != version.content_hash
            if is_new:
                known.append(version)
            self.visible[version.spec.dag_id] = version.path
            return is_new

    def owner_of(self, dag_id: str) -> str | None:
        with self._changed:
            return self.visible.get(dag_id)

    def keep_only(self, path: str, dag_ids: Collection[str]) -> None:
        with self._write():
            self.visible = {
                dag_id: owner
                for dag_id, owner in self.visible.items()
                if owner != path or dag_id in dag_ids
            }

    def record_import_error(self, path: str, *, kind: str, message: str, stacktrace: str) -> None:
        with self._write():
            self.errors[path] = (str(kind), message)

    def clear_import_error(self, path: str) -> None:
        with self._write():
            self.errors.pop(path, None)

    def record_warnings(self, dag_id: str, warnings: Mapping[str, str]) -> None:
        with self._write():
            self.warnings[dag_id] = dict(warnings)

    def forget_missing(self, existing_paths: Collection[str]) -> None:
        with self._write():
            self.visible = {
                dag_id: path for dag_id, path in self.visible.items() if path in existing_paths
            }
            self.errors = {
                path: error for path, error in self.errors.items() if path in existing_paths
            }

    def wait_for(
        self, condition: Callable[["MemoryCatalog"], object], timeout_s: float = 20.0
    ) -> None:
        """Wait until the condition holds; it is asked after each write."""
        with self._changed:
            held = self._changed.wait_for(lambda: bool(condition(self)), timeout_s)
            assert held, (self.visible, self.errors, self.warnings)

    def _write(self) -> "_Write":
        return _Write(self, self._changed)


class _Write:
    """One transaction: refused while the store is away, told to whoever waits."""

    def __init__(self, catalog: MemoryCatalog, changed: threading.Condition) -> None:
        self._catalog, self._changed = catalog, changed

    def __enter__(self) -> None:
        self._changed.acquire()
        if self._catalog.is_away:
            self._catalog.refusals += 1
            self._changed.notify_all()
            self._changed.release()
            raise ConnectionError("the store is away")

    def __exit__(self, *_: object) -> None:
        self._catalog.writes += 1
        self._changed.notify_all()
        self._changed.release()
