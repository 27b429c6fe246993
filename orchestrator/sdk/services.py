"""What may a running task ask of the orchestrator around it?

The worker answers from the store, `orchestrator.testing` from memory. Each field is one small
Protocol, defined beside the feature that needs it.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.sdk.caching import ResultCache
from orchestrator.sdk.callbacks import TryTrace
from orchestrator.sdk.clock import TaskClock, WallClock
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.memory import MemoryResults, MemoryState
from orchestrator.sdk.other_runs import OtherRuns
from orchestrator.sdk.secrets import Secrets, import_time_secrets, set_current_secrets
from orchestrator.sdk.task_state import StateKeeper
from orchestrator.sdk.xcoms import XComReader

__all__ = ["TaskServices", "current_services", "set_current_services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskServices:
    """The services of one try."""

    xcoms: XComReader
    clock: TaskClock = field(default_factory=WallClock)
    secrets: Secrets = import_time_secrets
    trace: TryTrace = field(default_factory=TryTrace)
    state: StateKeeper = field(default_factory=MemoryState)
    results: ResultCache = field(default_factory=MemoryResults)
    venvs_folder: Path | None = None
    """Where virtual environments are kept; None: each goes with its try."""
    other_runs: OtherRuns | None = None
    """None where there are none to be seen: a single try, run for a test."""


_current: ContextVar[TaskServices | None] = ContextVar("orchestrator_services", default=None)


def current_services() -> TaskServices:
    """Return the services of the try that is running."""
    services = _current.get()
    if services is None:
        raise TaskException("this works only while a task runs, not where the DAG is written")
    return services


def set_current_services(services: TaskServices) -> Callable[[], None]:
    """Make `services` those of the running try; return what takes them back."""
    token = _current.set(services)
    restore_secrets = set_current_secrets(services.secrets)

    def restore() -> None:
        restore_secrets()
        _current.reset(token)

    return restore
