"""What may a person change in the values that tasks left?"""

from typing import Any

from orchestrator.control.checks import check_json, check_text
from orchestrator.control.ports import XComStore
from orchestrator.core.ids import TaskKey
from orchestrator.errors import RequestInvalidError
from orchestrator.sdk.serialization import encode

__all__ = ["XComControl"]

KEY_LENGTH_MAX = 512


class XComControl:
    """People's changes of XComs: plain JSON values, of task instances that are not at work (those
    that are leave theirs when they end). What is given never becomes a typed value."""

    def __init__(self, store: XComStore) -> None:
        self._store = store

    def create(self, of_task: TaskKey, key: str, value: Any) -> None:
        """Leave a value; raise NotFoundError without such a task instance, ConflictError if it has
        one of that key or is at work, RequestInvalidError for what is no JSON."""
        if not key.strip():
            raise RequestInvalidError("the key of an XCom is empty; name it")
        check_text(key, name="key", length_max=KEY_LENGTH_MAX)
        self._store.create_xcom(of_task, key, _stored(value))

    def update(self, of_task: TaskKey, key: str, value: Any) -> None:
        """Replace a value; raise like `create`, and NotFoundError without such an XCom."""
        self._store.update_xcom(of_task, key, _stored(value))

    def delete(self, of_task: TaskKey, key: str) -> None:
        """Remove a value; raise NotFoundError, or ConflictError while the task is at work."""
        self._store.delete_xcom(of_task, key)


def _stored(value: Any) -> Any:
    check_json(value, name="value")
    return encode(value, name="the value", root="value")
