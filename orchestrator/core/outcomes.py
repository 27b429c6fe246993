"""What one try of a task came to, as the worker's runner says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

XCOM_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of one XCom as JSON, unless an operator sets another limit."""
XCOM_INLINE_BYTES = 48 * 1024
"""A larger one is stored beside its row, unless an operator sets another size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The task did its work. `xcoms` maps key to JSON value, the returned one under
    `return_value` (a None return pushes nothing). `skip` names, sorted, the tasks that a branch or
    short circuit chose not to follow; None when the task decides nothing of the kind."""

    xcoms: Mapping[str, Any] = field(default_factory=dict)
    skip: tuple[str, ...] | None = None
    length: int | None = None
    """Of a returned list or dict: how many instances a task mapped over it has."""
    map_name: str | None = None
    """What a mapped task's map_index_template gave: the name of its index, for people. Every
    outcome has it."""
    reason: str | None = None
    """Why it succeeded without running its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The task asked to be skipped."""

    reason: str
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    map_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The try failed. `reason` is one line for people; the traceback is in the log.
    `retryable` is False when another try cannot help (the task said so)."""

    reason: str
    retryable: bool = True
    retry_in_s: float | None = None
    """The wait that the author's retry policy for this very exception asks for; None leaves it to
    the task's retry_delay."""
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    map_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled:
    """The task gives its worker back and wants to go on with the same try in `wait_s` seconds."""

    wait_s: float
    reason: str
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    map_name: str | None = None


Outcome = Succeeded | Skipped | Failed | Rescheduled
