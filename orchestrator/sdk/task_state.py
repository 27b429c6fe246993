"""What does a task remember from one try to the next?"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Protocol

import msgspec

from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.serialization import UnstorableError, encode, encoded_size

__all__ = ["NEVER_EXPIRE", "StateKeeper", "TaskState"]

NEVER_EXPIRE: Final = None
"""A retention of `TaskState.set`, as in Airflow."""

STATE_BYTES_MAX = 64 * 1024
"""Of one value as JSON: it is a note of where the task stands, not its data."""
STATE_KEYS_MAX = 1_000
STATE_KEY_LENGTH_MAX = 512


class StateKeeper(Protocol):
    """Keeps the values of one task instance. The worker and `orchestrator.testing` have one."""

    def values(self) -> Mapping[str, str]:
        """Return all of them by key, as JSON."""

    def write(self, key: str, value: str | None) -> None:
        """Keep a value (JSON) at once, or with None drop it. Raise TaskException when the try is
        no longer the one that may write."""


class TaskState:
    """Values that a task instance keeps until it is cleared: through retries, reschedules and the
    loss of its worker. Each is written when it is set; they keep their types."""

    def __init__(self, restored: Callable[[Any], Any], *, task_id: str) -> None:
        self._restored = restored
        self._task_id = task_id
        self._values: dict[str, str] | None = None

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under `key`, or `default`."""
        text = self._known().get(key)
        return default if text is None else self._restored(msgspec.json.decode(text))

    def set(self, key: str, value: Any, *, retention: timedelta | None = NEVER_EXPIRE) -> None:
        """Keep a value under `key`, from now on. It is there for as long as its task instance, so
        any `retention` that DAG files for Airflow ask for is met."""
        if retention is not None and not isinstance(retention, timedelta):
            raise TaskException(
                f"the retention of task_state[{key!r}] is {retention!r}; it must be a timedelta or "
                "NEVER_EXPIRE"
            )
        if str(key) != key or not 0 < len(key) <= STATE_KEY_LENGTH_MAX:
            raise TaskException(
                f"the key {str(key)[:40]!r} of task_state must be a text of 1 to "
                f"{STATE_KEY_LENGTH_MAX} characters"
            )
        known = self._known()
        if key not in known and len(known) >= STATE_KEYS_MAX:
            raise TaskException(
                f"task_state of task {self._task_id!r} has {STATE_KEYS_MAX:,} keys, which is all "
                "there may be; keep a list or dict under one key"
            )
        name = f"task_state[{key!r}] of task {self._task_id!r}"
        stored = encode(value, name=name, root="value")
        size = encoded_size(stored, name=name)
        if size > STATE_BYTES_MAX:
            raise UnstorableError(
                f"{name} takes {size:,} bytes as JSON; at most {STATE_BYTES_MAX:,} are allowed: "
                "write it to a file or table and keep its path or name"
            )
        text = msgspec.json.encode(stored).decode()
        self._keeper().write(key, text)
        known[key] = text

    def delete(self, key: str) -> None:
        """Drop the value under `key`, if there is one."""
        if key in self._known():
            self._keeper().write(key, None)
            del self._known()[key]

    async def aget(self, key: str, default: Any = None) -> Any:
        """As `get`, in an asynchronous task."""
        return self.get(key, default)

    async def aset(
        self, key: str, value: Any, *, retention: timedelta | None = NEVER_EXPIRE
    ) -> None:
        """As `set`, in an asynchronous task."""
        self.set(key, value, retention=retention)

    async def adelete(self, key: str) -> None:
        """As `delete`, in an asynchronous task."""
        self.delete(key)

    def items(self) -> list[tuple[str, Any]]:
        """Return every key with its value, sorted by key."""
        return [(key, self.get(key)) for key in sorted(self._known())]

    def _known(self) -> dict[str, str]:
        """Read once: nobody else writes while this try runs."""
        if self._values is None:
            self._values = dict(self._keeper().values())
        return self._values

    def _keeper(self) -> StateKeeper:
        from orchestrator.sdk.services import current_services  # noqa: PLC0415 - it imports this

        return current_services().state
