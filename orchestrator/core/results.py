"""What is kept of a successful try, so that another of the same code and arguments need not run?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.ids import TaskKey

__all__ = ["CachedResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResult:
    """What a try pushed, by key and as stored, and which try that was."""

    xcoms: Mapping[str, Any]
    source: TaskKey
    try_number: int
